package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/test/kit"
)

// boxes are elements as they are found on real boxes.
var boxes = []struct {
	name, about string
	found       []string
}{
	{"intel", "VA-API on an Intel box", []string{"avdec_h264", "avdec_h265", "vah264dec", "vah265dec", "vaapih264dec", "kmssink", "ximagesink"}},
	{"two-gpus", "three render nodes", []string{"avdec_h264", "avdec_h265", "varenderD130h264dec", "varenderD129h264dec", "vah264dec", "varenderD129h265dec", "vah265dec"}},
	{"pi4", "Raspberry Pi 4: firmware for H.264, a stateless driver for H.265", []string{"openh264dec", "avdec_h264", "avdec_h265", "v4l2h264dec", "v4l2slh265dec"}},
	{"pi5", "Raspberry Pi 5: a stateless driver for H.265 and nothing else", []string{"openh264dec", "avdec_h264", "avdec_h265", "v4l2slh265dec"}},
	{"rockchip", "two stateless devices, and the maker's plugin", []string{"avdec_h264", "avdec_h265", "v4l2slvideo3h264dec", "v4l2slh264dec", "v4l2slh265dec", "mppvideodec"}},
	{"imx8", "i.MX8: stateless, and the maker's plugin", []string{"avdec_h264", "avdec_h265", "vpudec", "v4l2slvideo10h264dec", "v4l2slvideo2h264dec", "v4l2slh264dec", "v4l2slh265dec"}},
	{"none", "no hardware", []string{"libde265dec", "avdec_h264", "avdec_h265", "openh264dec"}},
	{"empty", "no decoder at all", []string{"fakesink"}},
}

func box(name string) []string {
	for _, b := range boxes {
		if b.name == name {
			return b.found
		}
	}
	panic(name)
}

// names are the plans in short: element, and + with colorimetry.
func names(plans []Plan) string {
	var list []string
	for _, p := range plans {
		name := p.Element
		if p.Colorimetry {
			name += "+"
		}
		list = append(list, name)
	}
	return strings.Join(list, " ")
}

func TestChoose(t *testing.T) {
	h264 := format.Format{Codec: format.H264, Stream: format.AVC, CodecData: formattest.AVCC}
	h265 := format.Format{Codec: format.H265, Stream: format.ByteStream}
	is := func(names ...string) func(string) bool {
		return func(name string) bool { return slices.Contains(names, name) }
	}
	isBroken := func(names ...string) func(string, format.Codec) bool {
		return func(name string, _ format.Codec) bool { return slices.Contains(names, name) }
	}
	for _, c := range []struct {
		what   string
		box    string
		format format.Format
		prefer Preference
		known  Known
		want   string
	}{
		{"denied", "intel", h264, Preference{}, Known{Denied: is("vah264dec")}, "vaapih264dec avdec_h264"},
		{"broken come last", "intel", h264, Preference{}, Known{Broken: isBroken("vah264dec", "vaapih264dec")}, "avdec_h264 vah264dec vaapih264dec"},
		{"broken with another codec only", "intel", h265, Preference{}, Known{Broken: func(_ string, c format.Codec) bool { return c == format.H264 }}, "vah265dec avdec_h265"},
		{"wrong pictures come last", "intel", h264, Preference{}, Known{Differs: isBroken("vah264dec", "vaapih264dec")}, "avdec_h264 vah264dec vaapih264dec"},
		{"unless trusted", "intel", h264, Preference{Trusted: []string{"vaapih264dec"}}, Known{Differs: isBroken("vah264dec", "vaapih264dec")}, "vaapih264dec avdec_h264 vah264dec"},
		{"trust does not mend", "intel", h264, Preference{Trusted: []string{"vah264dec"}}, Known{Broken: isBroken("vah264dec")}, "vaapih264dec avdec_h264 vah264dec"},
		{"all broken", "none", h264, Preference{}, Known{Broken: isBroken("avdec_h264", "openh264dec")}, "avdec_h264 openh264dec"},
		{"broken and denied", "none", h264, Preference{}, Known{Broken: isBroken("avdec_h264"), Denied: is("avdec_h264")}, "openh264dec"},
		{"all denied", "none", h264, Preference{}, Known{Denied: is("avdec_h264", "openh264dec")}, ""},
		{"software is last", "intel", h264, Preference{Order: []Family{Software, VA}}, Known{}, "vah264dec vaapih264dec avdec_h264"},
		{"software only", "intel", h264, Preference{Order: []Family{Software}}, Known{}, "avdec_h264"},
		{"software left out", "intel", h264, Preference{Order: []Family{VA}}, Known{}, "vah264dec vaapih264dec avdec_h264"},
		{"stateful first", "pi4", h265, Preference{Order: []Family{V4L2Stateful, V4L2Stateless}}, Known{}, "v4l2slh265dec avdec_h265"},
		{"vendor first", "imx8", h264, Preference{Order: []Family{Vendor, V4L2Stateless}}, Known{}, "vpudec v4l2slh264dec v4l2slvideo2h264dec v4l2slvideo10h264dec avdec_h264"},
		{"vendor of the configuration", "none", h264, Preference{Vendor: []string{"libde265dec", "fastdec", "openh264dec", "avdec_h265"}}, Known{}, "openh264dec avdec_h264"},
		{"no format was negotiated", "pi4", h264, Preference{}, Known{Unnegotiated: is("v4l2h264dec"), Denied: is("v4l2h264dec")}, "v4l2h264dec+ avdec_h264 openh264dec"},
		{"nor with colorimetry", "pi4", h264, Preference{}, Known{Unnegotiated: is("v4l2h264dec"), Denied: is("v4l2h264dec", "v4l2h264dec with colorimetry")}, "avdec_h264 openh264dec"},
		{"only stateful drivers", "intel", h264, Preference{}, Known{Unnegotiated: is("vah264dec")}, "vah264dec vaapih264dec avdec_h264"},
	} {
		c.known.Found = box(c.box)
		if got := names(Choose(c.format, Display{Sink: None}, c.prefer, c.known)); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
}

// What runs on which box, and how.
func TestBoxes(t *testing.T) {
	formats := []format.Format{{Codec: format.H264, Stream: format.AVC, CodecData: formattest.AVCC}, {Codec: format.H265, Stream: format.ByteStream}}
	var text strings.Builder
	for _, b := range boxes {
		for _, f := range formats {
			plans := Choose(f, Display{Sink: None}, Preference{}, Known{Found: b.found})
			fmt.Fprintf(&text, "# %s (%s), %s: %s\n", b.name, b.about, f.Codec, names(plans))
			if len(plans) > 0 {
				_, decoding, _ := strings.Cut(plans[0].Pipeline(), " ! ")
				decoding, _, _ = strings.Cut(decoding, " ! appsink")
				fmt.Fprintf(&text, "%s\n", decoding)
			}
			text.WriteString("\n")
		}
	}
	kit.Golden(t, "boxes.txt", text.String())
}

func TestDecodersOfBothCodecs(t *testing.T) {
	var got []string
	for _, d := range Decoders(Preference{}, box("rockchip")) {
		got = append(got, fmt.Sprintf("%s/%s/%s", d.Element, d.Family, d.Codec))
	}
	kit.Expect(t, "decoders", strings.Join(got, " "), "v4l2slh264dec/v4l2-stateless/h264 v4l2slvideo3h264dec/v4l2-stateless/h264 mppvideodec/vendor/h264 avdec_h264/software/h264 "+
		"v4l2slh265dec/v4l2-stateless/h265 mppvideodec/vendor/h265 avdec_h265/software/h265")
}

func TestPipelines(t *testing.T) {
	displays := []Display{
		{Sink: None},
		{Sink: X11, Mode: Mode{1280, 720}},
		{Sink: Wayland},
		{Sink: KMS, Card: "/dev/dri/card1", Connector: "HDMI-A-1", ConnectorID: 89, Mode: Mode{1920, 1080}},
		{Sink: KMS, Card: "/dev/dri/card0", Connector: "HDMI-A-1"},
	}
	formats := []format.Format{{Codec: format.H264, Stream: format.AVC, CodecData: formattest.AVCC}, {Codec: format.H265, Stream: format.ByteStream}}
	var text strings.Builder
	put := func(title, pipeline string) {
		fmt.Fprintf(&text, "# %s\n%s\n\n", title, strings.ReplaceAll(pipeline, " ! ", " !\n  "))
	}
	write := func(title string, p Plan) { put(title, p.Pipeline()) }
	first := func(f format.Format, d Display, found []string) Plan {
		return Choose(f, d, Preference{}, Known{Found: found})[0]
	}
	for _, d := range displays {
		put(d.String(), d.Pipeline(false))
	}
	put("not paced", displays[0].Pipeline(true))
	write("software", first(formats[0], displays[0], box("none")))
	write("VA-API, second GPU", first(formats[0], displays[0], []string{"varenderD129h264dec"}))
	write("VA-API, old", first(formats[0], displays[0], []string{"vaapih264dec"}))
	write("VA-API, H.265", first(formats[1], displays[0], box("intel")))
	stateful := first(formats[0], displays[0], box("pi4"))
	stateful.Colorimetry = true
	write("V4L2 stateful, with colorimetry", stateful)
	kit.Golden(t, "pipelines.txt", text.String())
}
