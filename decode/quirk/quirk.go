// Package quirk knows the faults of drivers in the field: table.go is the table, this file finds the rows that apply to
// a box. It is pure. In go what is known of the box and of a use of one of its devices, out come rows; each says what to
// do, in one sentence why, and who reported it.
package quirk

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/edge-agent/edge-agent/decode/format"
)

// Action is what is done about a fault.
type Action string

// The actions. Those of decoders are carried out by plan.Choose and by the renderer, those of displays by what chooses
// the path of pictures. Row.N says how many, where an action counts something.
const (
	Denied      Action = "denied"       // the decoder is not used
	Software    Action = "software"     // the software decoder is used first
	ByRate      Action = "by-rate"      // the software decoder is used first if it was faster in the trial
	NewRenderer Action = "new-renderer" // a new renderer process after N pipelines
	MMAPCapture Action = "mmap-capture" // capture-io-mode=mmap
	Decoders    Action = "decoders"     // at most N pipelines at once on one device

	CopyPath      Action = "copy-path"       // pictures go through system memory
	Linear        Action = "linear"          // DMABuf with the modifier LINEAR only
	NoQuarterTurn Action = "no-quarter-turn" // planes do not rotate by 90 or 270 degrees
	NoPrimaryNV12 Action = "no-primary-nv12" // the primary plane takes no NV12, although it claims to
	ChoosePlane   Action = "choose-plane"    // kmssink finds no plane, or one for cursors: name one
	ClearPlanes   Action = "clear-planes"    // planes may still be bound by a process that was killed
	ModeAgain     Action = "mode-again"      // set the mode again after the cable was plugged in, also the same mode
	OneConsumer   Action = "one-consumer"    // only one element may use the decoder's buffers
	NoGL          Action = "no-gl"           // OpenGL and Wayland sinks show wrong pictures

	Report Action = "report" // nothing but to say so: the agent is built for it, or the box has to be changed
)

// counts are the actions of which N counts something.
var counts = []Action{NewRenderer, Decoders}

// Row is a known fault. An empty field applies to all.
type Row struct {
	ID    string // never changes: configurations name it
	Where string // for people, such as "Pi 4"

	Drivers  []string // of the kernel: of the decoder's device or the graphics card
	Chips    []string // one of Box.Chips or Use.Chip is this, or begins with it where it ends with *
	Elements []string // regular expressions of whole names
	Screens  bool     // only graphics cards that show pictures
	From     string   // first GStreamer version
	Before   string   // first GStreamer version that does not have the fault
	Codec    format.Codec
	Over     int    // pictures of more than so many pixels
	Profiles []byte // profile_idc of H.264, general_profile_idc of H.265

	Actions []Action
	N       int    // of the action that counts
	Text    string // one sentence: what goes wrong
	Does    string // what the agent does about it, for the line that names the row
	Source  string
}

// Box is what is known of the whole box.
type Box struct {
	GStreamer string   // version
	Chips     []string // of the device tree's compatible, or maker and model of DMI
}

// Use is a use of a device: by a decoder element, or by a display.
type Use struct {
	Driver  string // of the kernel; "" when not known
	Chip    string // PCI id of the device, such as 8086:46d0; "" when it has none
	Element string // that decodes; "" of a display
	Codec   format.Codec

	// Of the stream. AnyPicture asks for the rows of all sizes and profiles.
	AnyPicture    bool
	Width, Height int
	Profile       byte
}

// Table is the rows that count.
type Table struct{ rows []Row }

// Except is the table without the rows with these ids.
func Except(ignored []string) Table {
	return Table{slices.DeleteFunc(slices.Clone(All), func(r Row) bool { return slices.Contains(ignored, r.ID) })}
}

// IDs lists the ids of all rows.
func IDs() []string {
	ids := make([]string, len(All))
	for i, r := range All {
		ids[i] = r.ID
	}
	return ids
}

// Rows are those that apply to a use.
type Rows []Row

// On lists the rows that apply to a use on a box.
func (t Table) On(b Box, u Use) (found Rows) {
	for _, r := range t.rows {
		if r.applies(b, u) {
			found = append(found, r)
		}
	}
	return found
}

// IDs are those of the rows, in the order of the table.
func (r Rows) IDs() (ids []string) {
	for _, row := range r {
		ids = append(ids, row.ID)
	}
	return ids
}

// Has says that one of the rows asks for an action.
func (r Rows) Has(a Action) bool { return r.With(a) != nil }

// With lists the rows that ask for an action.
func (r Rows) With(a Action) (list Rows) {
	for _, row := range r {
		if slices.Contains(row.Actions, a) {
			list = append(list, row)
		}
	}
	return list
}

// Least is the smallest N of an action that counts; 0 when no row asks for it.
func (r Rows) Least(a Action) int {
	least := 0
	for _, row := range r.With(a) {
		if least == 0 || row.N < least {
			least = row.N
		}
	}
	return least
}

func (r *Row) applies(b Box, u Use) bool {
	switch {
	case r.Screens && u.Element != "",
		len(r.Drivers) > 0 && !slices.Contains(r.Drivers, u.Driver),
		len(r.Chips) > 0 && !r.isChip(b, u),
		len(r.Elements) > 0 && !slices.ContainsFunc(r.Elements, func(p string) bool { return whole(p, u.Element) }),
		r.Codec != "" && u.Codec != "" && r.Codec != u.Codec,
		(r.Codec != "" || r.ofStreams()) && u.Element == "",
		r.From != "" && older(b.GStreamer, r.From),
		r.Before != "" && !older(b.GStreamer, r.Before):
		return false
	}
	return u.AnyPicture || (r.Over == 0 || u.Width*u.Height > r.Over) &&
		(len(r.Profiles) == 0 || slices.Contains(r.Profiles, u.Profile))
}

// ofStreams says that a row is about some streams only.
func (r *Row) ofStreams() bool { return r.Over > 0 || len(r.Profiles) > 0 }

func (r *Row) isChip(b Box, u Use) bool {
	return slices.ContainsFunc(append(slices.Clone(b.Chips), u.Chip), func(have string) bool {
		return have != "" && slices.ContainsFunc(r.Chips, func(want string) bool {
			start, open := strings.CutSuffix(want, "*")
			return have == want || open && strings.HasPrefix(have, start)
		})
	})
}

func whole(pattern, name string) bool {
	return regexp.MustCompile("^(?:" + pattern + ")$").MatchString(name)
}

// older compares versions of GStreamer. One that is not known has no fault of certain versions: it is older than all.
func older(version, than string) bool {
	a, b := strings.Split(version, "."), strings.Split(than, ".")
	for i := range b {
		have := 0
		if i < len(a) {
			have, _ = strconv.Atoi(a[i])
		}
		want, _ := strconv.Atoi(b[i])
		if have != want {
			return cmp.Less(have, want)
		}
	}
	return false
}

// String names a row for people, such as
// "Pi 4, GStreamer 1.22: new renderer every 20 pipelines (raspberrypi/firmware#1845)".
func (r Row) String() string { return fmt.Sprintf("%s: %s (%s)", r.Place(), r.Does, r.Source) }

// Place is where a fault is: box, and the versions of GStreamer.
func (r Row) Place() string {
	switch {
	case r.From != "" && r.Before == following(r.From):
		return r.Where + ", GStreamer " + r.From
	case r.From != "" && r.Before != "":
		return r.Where + ", GStreamer " + r.From + " to before " + r.Before
	case r.From != "":
		return r.Where + ", GStreamer " + r.From + " and later"
	case r.Before != "":
		return r.Where + ", GStreamer before " + r.Before
	}
	return r.Where
}

// following is the stable series after one: 1.24 after 1.22.
func following(version string) string {
	major, minor, _ := strings.Cut(version, ".")
	n, err := strconv.Atoi(minor)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s.%d", major, n+2)
}
