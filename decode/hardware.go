package decode

import (
	"io/fs"
	"path"
	"strings"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/quirk"
)

// readChips says what a box is: what its device tree is compatible with, or maker and model where there is none.
func readChips(sys fs.FS) []string {
	if tree, err := fs.ReadFile(sys, "firmware/devicetree/base/compatible"); err == nil {
		return strings.FieldsFunc(string(tree), func(r rune) bool { return r == 0 })
	}
	var chips []string
	for _, name := range []string{"sys_vendor", "product_name", "board_name"} {
		text, err := fs.ReadFile(sys, "class/dmi/id/"+name)
		if text := strings.TrimSpace(string(text)); err == nil && text != "" {
			chips = append(chips, text)
		}
	}
	return chips
}

// chipOf is the PCI id of the device behind a node, "" when it is not on that bus.
func chipOf(sys fs.FS, node string) string {
	name := path.Base(node)
	var id []string
	for _, part := range []string{"vendor", "device"} {
		text, err := fs.ReadFile(sys, "class/drm/"+name+"/device/"+part)
		if err != nil {
			return ""
		}
		id = append(id, strings.TrimPrefix(strings.TrimSpace(string(text)), "0x"))
	}
	return strings.Join(id, ":")
}

// deviceAt is the hardware behind a node.
func deviceAt(sys fs.FS, node string) plan.Device {
	if node == "" {
		return plan.Device{}
	}
	return plan.Device{Node: node, Driver: driverOf(sys, node), Chip: chipOf(sys, node)}
}

// box is what known faults are found by.
func (r *ProbeReport) box() quirk.Box { return quirk.Box{GStreamer: r.GStreamer, Chips: r.Chips} }

// device gives the hardware behind an element as it was found.
func (r *ProbeReport) device(element string) plan.Device {
	for _, c := range r.Candidates {
		if c.Element == element {
			return plan.Device{Node: c.Device, Driver: c.Driver, Chip: c.Chip}
		}
	}
	return plan.Device{}
}

// Slower says that an element was slower in its trial than a software decoder.
func (r *ProbeReport) Slower(element string, c format.Codec) bool {
	have := r.candidate(element, c)
	if have == nil || have.Family == plan.Software || have.Result != Passed {
		return false
	}
	for _, other := range r.Candidates {
		if other.Family == plan.Software && other.Codec == c && other.Result == Passed && other.FPS > have.FPS {
			return true
		}
	}
	return false
}

// Quirks lists the known faults of a candidate's device, with pictures of any size.
func (r *ProbeReport) Quirks(c Candidate, p plan.Preference) quirk.Rows {
	return quirk.Except(p.IgnoredQuirks).On(r.box(), quirk.Use{
		Driver: c.Driver, Chip: c.Chip, Element: c.Element, Codec: c.Codec, AnyPicture: true,
	})
}
