// Package drm asks the kernel about a graphics card and sets what it shows: the screen's mode, buffers for it, and the
// planes that are laid over each other on the way to the screen.
//
// In: the device node of a card. Out: modes and planes as plain data. Read drm.go, card_linux.go (what is asked, in the
// order in which a screen is set up), then requests_linux.go (the structures of the kernel's drm.h and drm_mode.h).
package drm

import "strings"

// Kind is what a plane is for.
type Kind string

// The kinds, as the kernel numbers them.
const (
	Overlay Kind = "overlay"
	Primary Kind = "primary" // carries the whole screen
	Cursor  Kind = "cursor"
)

// Mode is a size that a screen can show, with the times that make it.
type Mode struct {
	Width, Height int // pixels
	timing        timing
}

// timing is struct drm_mode_modeinfo.
type timing struct {
	Clock                                       uint32 // kHz
	Width, HSyncStart, HSyncEnd, HTotal, HSkew  uint16
	Height, VSyncStart, VSyncEnd, VTotal, VScan uint16
	Refresh                                     uint32 // Hz
	Flags, Type                                 uint32
	Name                                        [32]byte
}

// Flags and types of a timing.
const (
	hSyncPositive = 1 << 0
	vSyncPositive = 1 << 2
	preferred     = 1 << 3
)

// Fallbacks are modes that nearly every screen takes, best first, for one that does not say what it can: CEA-861 and VESA.
func Fallbacks() []Mode {
	list := []timing{
		{Clock: 148500, Width: 1920, HSyncStart: 2008, HSyncEnd: 2052, HTotal: 2200, Height: 1080, VSyncStart: 1084, VSyncEnd: 1089, VTotal: 1125, Refresh: 60, Flags: hSyncPositive | vSyncPositive},
		{Clock: 74250, Width: 1280, HSyncStart: 1390, HSyncEnd: 1430, HTotal: 1650, Height: 720, VSyncStart: 725, VSyncEnd: 730, VTotal: 750, Refresh: 60, Flags: hSyncPositive | vSyncPositive},
		{Clock: 65000, Width: 1024, HSyncStart: 1048, HSyncEnd: 1184, HTotal: 1344, Height: 768, VSyncStart: 771, VSyncEnd: 777, VTotal: 806, Refresh: 60, Flags: 1<<1 | 1<<3},
	}
	var modes []Mode
	for _, t := range list {
		modes = append(modes, modeOf(t))
	}
	return modes
}

func modeOf(t timing) Mode { return Mode{Width: int(t.Width), Height: int(t.Height), timing: t} }

// Connector is an output and the way to it.
type Connector struct {
	ID    uint32
	CRTC  uint32 // that drives it, or can
	pipe  int    // place of the CRTC among those of the card
	Modes []Mode // the preferred one first; none when the screen does not say
}

// Plane is a layer that a card puts on the screen by itself.
type Plane struct {
	ID         uint32
	Kind       Kind
	Formats    []string // fourcc codes, such as NV12
	Shows      bool     // there is a picture on it
	CRTC       uint32   // that shows it; 0
	pipes      uint32   // the CRTCs it can be on
	Properties map[string]Property
}

// Reaches says that a plane can be shown on an output.
func (p Plane) Reaches(c Connector) bool { return p.pipes&(1<<c.pipe) != 0 }

// Property is one that can be set.
type Property struct {
	ID    uint32
	Value uint64
	Fixed bool              // cannot be set
	Names map[string]uint64 // of the values of an enumeration; of a bit mask the number of the bit
}

// Buffer is memory of a card for a picture. That of NewBuffer can be written; others only stand for one.
type Buffer struct {
	ID            uint32 // of the framebuffer
	handle        uint32
	Width, Height int
	Stride        int
	Pixels        []byte // blue, green, red and nothing; nil: not to be written
}

// Rectangle is in pixels.
type Rectangle struct{ X, Y, Width, Height int }

// text is a name in a fixed number of bytes.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

func fourcc(code string) uint32 {
	return uint32(code[0]) | uint32(code[1])<<8 | uint32(code[2])<<16 | uint32(code[3])<<24
}

func fourccText(code uint32) string {
	return string([]byte{byte(code), byte(code >> 8), byte(code >> 16), byte(code >> 24)})
}
