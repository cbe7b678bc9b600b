package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/decode/quirk"
	"github.com/edge-agent/edge-agent/test/kit"
)

// faulty are boxes that have the known faults: drivers by element, and graphics cards.
var faulty = []struct {
	name     string
	box      quirk.Box
	elements map[string]Device
	cards    []string
}{
	{
		"Pi 3, GStreamer 1.22",
		quirk.Box{GStreamer: "1.22.0", Chips: []string{"brcm,bcm2837"}},
		map[string]Device{"v4l2h264dec": {"/dev/video10", "bcm2835-codec", ""}},
		[]string{"vc4-drm"},
	},
	{
		"Pi 4, GStreamer 1.22",
		quirk.Box{GStreamer: "1.22.0", Chips: []string{"raspberrypi,4-model-b", "brcm,bcm2711"}},
		map[string]Device{
			"v4l2h264dec": {"/dev/video10", "bcm2835-codec", ""}, "v4l2slh265dec": {"/dev/video19", "rpi-hevc-dec", ""},
		},
		[]string{"vc4-drm"},
	},
	{
		"Pi 5, GStreamer 1.26",
		quirk.Box{GStreamer: "1.26.2", Chips: []string{"brcm,bcm2712"}},
		map[string]Device{"v4l2slh265dec": {"/dev/video19", "rpi-hevc-dec", ""}},
		[]string{"vc4-drm"},
	},
	{"Intel", quirk.Box{GStreamer: "1.22.0"}, intelWith("i915", "8086:9a49"), []string{"i915"}},
	{"Intel xe", quirk.Box{GStreamer: "1.26.2"}, intelWith("xe", "8086:9a49"), []string{"xe"}},
	{"Alder Lake N", quirk.Box{GStreamer: "1.26.2"}, intelWith("i915", "8086:46d1"), nil},
	{"Elkhart Lake", quirk.Box{GStreamer: "1.26.2"}, intelWith("i915", "8086:4555"), nil},
	{"Jasper Lake", quirk.Box{GStreamer: "1.26.2"}, intelWith("i915", "8086:4e61"), nil},
	{"i7-8559U", quirk.Box{GStreamer: "1.26.2"}, intelWith("i915", "8086:3ea5"), nil},
	{"N4000, slow", quirk.Box{GStreamer: "1.26.2"}, intelWith("i915", "8086:3185"), nil},
	{"AMD", quirk.Box{GStreamer: "1.26.2"}, intelWith("amdgpu", "1002:1636"), []string{"amdgpu"}},
	{"NVIDIA", quirk.Box{GStreamer: "1.28.0"}, map[string]Device{"nvh264dec": {}}, []string{"nvidia"}},
	{"Jetson", quirk.Box{GStreamer: "1.20.3"}, map[string]Device{"nvv4l2decoder": {}}, nil},
	{
		"RK3588, vendor kernel",
		quirk.Box{GStreamer: "1.22.0", Chips: []string{"rockchip,rk3588s"}},
		map[string]Device{"mppvideodec": {}},
		[]string{"rockchip-drm"},
	},
	{"RK3568J", quirk.Box{GStreamer: "1.22.0", Chips: []string{"rockchip,rk3568j"}}, map[string]Device{"mppvideodec": {}}, nil},
	{"SpacemiT K1", quirk.Box{GStreamer: "1.26.2", Chips: []string{"spacemit,k1-x"}}, nil, []string{"spacemit-drm"}},
	{
		"Qualcomm",
		quirk.Box{GStreamer: "1.26.2"},
		map[string]Device{"v4l2h264dec": {"/dev/video0", "qcom-venus-decoder", ""}},
		nil,
	},
	{
		"i.MX8M Quad",
		quirk.Box{GStreamer: "1.22.0", Chips: []string{"fsl,imx8mq"}},
		map[string]Device{
			"v4l2slh264dec": {"/dev/video1", "hantro-vpu", ""}, "v4l2slh265dec": {"/dev/video1", "hantro-vpu", ""},
		},
		nil,
	},
	{
		"visl: no known fault but those of GStreamer 1.22",
		quirk.Box{GStreamer: "1.22.0"},
		map[string]Device{"v4l2slh264dec": {"/dev/video0", "visl", ""}},
		nil,
	},
}

func intelWith(driver, chip string) map[string]Device {
	d := Device{"/dev/dri/renderD128", driver, chip}
	return map[string]Device{"vah264dec": d, "vah265dec": d}
}

// streams are of 1080p and 4K, with profiles as real cameras have.
var streams = map[string]format.Format{
	"h264 1080p": {Codec: format.H264, Stream: format.ByteStream, CodecData: formattest.SPS("h264", 100, 1920, 1080)},
	"h264 4K":    {Codec: format.H264, Stream: format.ByteStream, CodecData: formattest.SPS("h264", 100, 3840, 2160)},
	"h264 10bit": {Codec: format.H264, Stream: format.ByteStream, CodecData: formattest.SPS("h264", 110, 1920, 1080)},
	"h265 1080p": {Codec: format.H265, Stream: format.ByteStream, CodecData: formattest.SPS("h265", 1, 1920, 1080)},
	"h265 4K":    {Codec: format.H265, Stream: format.ByteStream, CodecData: formattest.SPS("h265", 1, 3840, 2160)},
}

// selected is what is selected on a box, in words.
func selected(t *testing.T, i int, ignored ...string) string {
	t.Helper()
	var b strings.Builder
	f := faulty[i]
	known := Known{
		Found: []string{"avdec_h264", "avdec_h265"}, Box: f.box,
		Device: func(element string) Device { return f.elements[element] },
		Slower: func(element string, _ format.Codec) bool { return strings.HasPrefix(element, "va") },
	}
	for element := range f.elements {
		known.Found = append(known.Found, element)
	}
	for _, name := range []string{"h264 1080p", "h264 4K", "h264 10bit", "h265 1080p", "h265 4K"} {
		fmt.Fprintf(&b, "  %s:", name)
		for _, p := range Choose(streams[name], Display{}, Preference{Vendor: []string{"nvv4l2decoder"}, IgnoredQuirks: ignored}, known) {
			fmt.Fprintf(&b, " %s", p.Name())
			if p.MMAP {
				b.WriteString(" mmap")
			}
			if p.Pipelines > 0 {
				fmt.Fprintf(&b, " pipelines=%d", p.Pipelines)
			}
			if p.AtOnce > 0 {
				fmt.Fprintf(&b, " at-once=%d", p.AtOnce)
			}
			b.WriteByte(';')
		}
		b.WriteByte('\n')
	}
	uses := []quirk.Use{}
	for element, d := range f.elements {
		uses = append(uses, quirk.Use{Driver: d.Driver, Chip: d.Chip, Element: element, AnyPicture: true})
	}
	for _, driver := range f.cards {
		uses = append(uses, quirk.Use{Driver: driver})
	}
	var rows, actions []string
	for _, u := range uses {
		for _, r := range quirk.Except(ignored).On(f.box, u) {
			rows = append(rows, r.ID)
			for _, a := range r.Actions {
				actions = append(actions, string(a))
			}
		}
	}
	for _, list := range [][]string{rows, actions} {
		slices.Sort(list)
	}
	fmt.Fprintf(&b, "  actions: %s\n", strings.Join(slices.Compact(actions), " "))
	fmt.Fprintf(&b, "  rows: %s\n", strings.Join(slices.Compact(rows), " "))
	return b.String()
}

// What is selected on boxes that have the known faults, by every row of the table.
func TestSelectionOnFaultyBoxes(t *testing.T) {
	var b strings.Builder
	for i, f := range faulty {
		fmt.Fprintf(&b, "%s\n%s", f.name, selected(t, i))
	}
	kit.Golden(t, "faults.txt", b.String())
	for _, id := range quirk.IDs() {
		if !slices.ContainsFunc(seq(len(faulty)), func(i int) bool {
			return selected(t, i) != selected(t, i, id)
		}) {
			t.Errorf("%s: it applies to none of the boxes", id)
		}
	}
}

func seq(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

// A denial belongs to a device. The name of an element that moves to the next device is not denied with it.
func TestDeniedByDevice(t *testing.T) {
	first := Plan{Element: "v4l2slh264dec", Device: Device{Node: "/dev/video0", Driver: "hantro-vpu"}}
	second := Plan{Element: "v4l2slvideo1h264dec", Device: Device{Node: "/dev/video1", Driver: "hantro-vpu"}}
	moved := second
	moved.Element = "v4l2slh264dec"
	if second.DeniedBy() != moved.DeniedBy() || first.DeniedBy() == moved.DeniedBy() {
		t.Errorf("%s, %s, %s", first.DeniedBy(), second.DeniedBy(), moved.DeniedBy())
	}
	other := first
	other.Device.Driver = "rkvdec"
	h265 := first
	h265.Element = "v4l2slh265dec"
	if first.DeniedBy() == other.DeniedBy() || first.DeniedBy() == h265.DeniedBy() {
		t.Error("another driver, or another codec, is another decoder")
	}
	gpu := Plan{Element: "varenderD129h264dec", Device: Device{Node: "/dev/dri/renderD129", Driver: "i915"}}
	if got := gpu.DeniedBy(); got != "vah264dec i915 /dev/dri/renderD129" {
		t.Error(got)
	}
	if got := (Plan{Element: "mppvideodec"}).DeniedBy(); got != "mppvideodec" {
		t.Error(got)
	}
}
