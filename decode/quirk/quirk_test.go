package quirk

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/test/kit"
)

func ids(rows Rows) string {
	var list []string
	for _, r := range rows {
		list = append(list, r.ID)
	}
	return strings.Join(list, " ")
}

// What is not known of a box has no row; versions, sizes, profiles and chips are bounds.
func TestWhatARowIsAbout(t *testing.T) {
	row := Row{
		ID: "r", Drivers: []string{"d"}, Chips: []string{"maker,chip*"}, Elements: []string{`dec\d*`},
		From: "1.22", Before: "1.26.3",
		Codec: format.H264, Over: 100, Profiles: []byte{110}, Actions: []Action{Software},
	}
	box := Box{GStreamer: "1.24.1", Chips: []string{"maker,chip-b"}}
	use := Use{Driver: "d", Element: "dec1", Codec: format.H264, Width: 20, Height: 20, Profile: 110}
	for name, tc := range map[string]struct {
		change func(b *Box, u *Use)
		want   bool
	}{
		"all":               {func(*Box, *Use) {}, true},
		"first version":     {func(b *Box, _ *Use) { b.GStreamer = "1.22.0" }, true},
		"last version":      {func(b *Box, _ *Use) { b.GStreamer = "1.26.2" }, true},
		"repaired":          {func(b *Box, _ *Use) { b.GStreamer = "1.26.3" }, false},
		"later":             {func(b *Box, _ *Use) { b.GStreamer = "2.0" }, false},
		"earlier":           {func(b *Box, _ *Use) { b.GStreamer = "1.20.7" }, false},
		"unknown version":   {func(b *Box, _ *Use) { b.GStreamer = "" }, false},
		"no chip":           {func(b *Box, _ *Use) { b.Chips = nil }, false},
		"other chip":        {func(b *Box, _ *Use) { b.Chips = []string{"maker,other"} }, false},
		"chip of device":    {func(b *Box, u *Use) { b.Chips, u.Chip = nil, "maker,chip" }, true},
		"unknown driver":    {func(_ *Box, u *Use) { u.Driver = "" }, false},
		"longer element":    {func(_ *Box, u *Use) { u.Element = "mydec1" }, false},
		"a display":         {func(_ *Box, u *Use) { u.Element = "" }, false},
		"other codec":       {func(_ *Box, u *Use) { u.Codec = format.H265 }, false},
		"just that size":    {func(_ *Box, u *Use) { u.Width, u.Height = 10, 10 }, false},
		"unknown size":      {func(_ *Box, u *Use) { u.Width, u.Height = 0, 0 }, false},
		"other profile":     {func(_ *Box, u *Use) { u.Profile = 100 }, false},
		"any picture":       {func(_ *Box, u *Use) { u.Width, u.Profile, u.AnyPicture = 0, 0, true }, true},
		"only for displays": {func(_ *Box, _ *Use) { row.Screens = true }, false},
	} {
		b, u := box, use
		row.Screens = false
		tc.change(&b, &u)
		if got := (Table{[]Row{row}}).On(b, u) != nil; got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Rows that are ignored are gone, and of several limits the smallest counts.
func TestExcept(t *testing.T) {
	pi := Box{GStreamer: "1.22.0", Chips: []string{"raspberrypi,4-model-b", "brcm,bcm2711"}}
	use := Use{Driver: "bcm2835-codec", Element: "v4l2h264dec", Codec: format.H264}
	all := Except(nil).On(pi, use)
	if !all.Has(NewRenderer) || all.Least(NewRenderer) != 20 || all.Least(Decoders) != 0 {
		t.Error(ids(all))
	}
	rest := Except([]string{"pi4-pipelines"}).On(pi, use)
	if rest.Has(NewRenderer) || len(rest) != len(all)-1 {
		t.Error(ids(rest))
	}
	both := Rows{
		{Actions: []Action{Decoders}, N: 3}, {Actions: []Action{Decoders}, N: 2}, {Actions: []Action{Report}, N: 1},
	}
	if n := both.Least(Decoders); n != 2 {
		t.Error(n)
	}
}

func TestRowInWords(t *testing.T) {
	use := Use{Driver: "bcm2835-codec", Element: "v4l2h264dec", Codec: format.H264}
	got := Except(nil).On(Box{GStreamer: "1.22.0", Chips: pi4}, use)[0].String()
	const want = "Pi 4, GStreamer 1.22: new renderer every 20 pipelines (raspberrypi/firmware#1845)"
	if got != want {
		t.Errorf("%s; want %s", got, want)
	}
	for want, r := range map[string]Row{
		"A":                                {Where: "A"},
		"A, GStreamer 1.26 and later":      {Where: "A", From: "1.26"},
		"A, GStreamer before 1.26.11":      {Where: "A", Before: "1.26.11"},
		"A, GStreamer 1.26 to before 1.30": {Where: "A", From: "1.26", Before: "1.30"},
	} {
		if got := r.Place(); got != want {
			t.Errorf("%s; want %s", got, want)
		}
	}
}

// Each row is whole: a configuration can name it, a person can read it, and what counts has a number.
func TestTable(t *testing.T) {
	id := regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	for i, r := range All {
		if !id.MatchString(r.ID) || slices.Contains(IDs()[:i], r.ID) {
			t.Errorf("%s: not a new id", r.ID)
		}
		sentences := strings.Count(r.Text+" ", ". ")
		if r.Where == "" || r.Does == "" || r.Source == "" || sentences != 1 {
			t.Errorf("%s: a row has place, one sentence, what is done and a source", r.ID)
		}
		counted := slices.ContainsFunc(r.Actions, func(a Action) bool { return slices.Contains(counts, a) })
		if len(r.Actions) == 0 || counted != (r.N > 0) {
			t.Errorf("%s: %v with %d", r.ID, r.Actions, r.N)
		}
		for _, p := range r.Elements {
			if _, err := regexp.Compile(p); err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
		}
	}
}

// docs/hardware.md shows the table; -update writes it there.
func TestTableInTheDocumentation(t *testing.T) {
	const file, mark = "../../docs/hardware.md", "<!-- known faults -->\n"
	const after = "`edge-agent explain CODE`"
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, marked := strings.Cut(string(b), mark)
	_, end, ended := strings.Cut(rest, after)
	if !marked || !ended {
		t.Fatal("the place of the table is not marked")
	}
	var table strings.Builder
	table.WriteString("| id | where | fault | what is done | source |\n|---|---|---|---|---|\n")
	for _, r := range All {
		source := r.Source
		if !strings.HasPrefix(source, "test/") {
			source = issue.ReplaceAllString(source, "[$0](https://github.com/$1/issues/$2)")
		}
		fmt.Fprintf(&table, "| `%s` | %s | %s | %s | %s |\n", r.ID, r.Place(), r.Text, r.Does, source)
	}
	want := before + mark + table.String() + "\n" + after + end
	if kit.Updating() {
		kit.ReplaceFile(t, file, want)
	} else if string(b) != want {
		t.Error("docs/hardware.md differs from the table: go test ./decode/quirk -update")
	}
}

var issue = regexp.MustCompile(`([\w.-]+/[\w.-]+)#(\d+)`)
