package decode

import (
	"fmt"
	"strings"
	"testing"
)

// boxes are elements as they are found on real boxes.
var boxes = map[string][]string{
	"intel":    {"avdec_h264", "avdec_h265", "vah264dec", "vah265dec", "vaapih264dec", "kmssink", "ximagesink"},
	"two-gpus": {"avdec_h264", "varenderD130h264dec", "varenderD129h264dec", "vah264dec"},
	"pi4":      {"openh264dec", "avdec_h264", "avdec_h265", "v4l2h264dec", "v4l2slh265dec"},
	"imx8":     {"avdec_h264", "vpudec", "v4l2slvideo10h264dec", "v4l2slvideo2h264dec", "v4l2slh264dec"},
	"none":     {"libde265dec", "avdec_h264", "avdec_h265", "openh264dec"},
}

func TestChoose(t *testing.T) {
	h264 := Format{Codec: H264, Stream: AVC, CodecData: avcC}
	h265 := Format{Codec: H265, Stream: ByteStream}
	for _, c := range []struct {
		box    string
		format Format
		order  []Family
		denied string
		want   string
	}{
		{"intel", h264, DefaultOrder, "", "vah264dec vaapih264dec avdec_h264"},
		{"intel", h264, DefaultOrder, "vah264dec", "vaapih264dec avdec_h264"},
		{"intel", h264, []Family{Software, VA}, "", "vah264dec vaapih264dec avdec_h264"},
		{"intel", h264, []Family{Software}, "", "avdec_h264"},
		{"two-gpus", h264, nil, "", "avdec_h264"},
		{"two-gpus", h264, DefaultOrder, "", "vah264dec varenderD129h264dec varenderD130h264dec avdec_h264"},
		{"pi4", h264, DefaultOrder, "", "v4l2h264dec avdec_h264 openh264dec"},
		{"pi4", h265, DefaultOrder, "", "v4l2slh265dec avdec_h265"},
		{"imx8", h264, DefaultOrder, "", "v4l2slh264dec v4l2slvideo2h264dec v4l2slvideo10h264dec vpudec avdec_h264"},
		{"imx8", h264, []Family{Vendor, V4L2}, "", "vpudec v4l2slh264dec v4l2slvideo2h264dec v4l2slvideo10h264dec avdec_h264"},
		{"none", h265, DefaultOrder, "", "avdec_h265 libde265dec"},
	} {
		denied := func(element string) bool { return element == c.denied }
		var got []string
		for _, p := range Choose(c.format, Display{Sink: None}, boxes[c.box], c.order, denied) {
			got = append(got, p.Element)
			if family, ok := FamilyOf(p.Element); !ok || family != p.Family {
				t.Errorf("%s is of family %s, says FamilyOf, and %s, says the plan", p.Element, family, p.Family)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s, %s, %v, denied %q: got %q, want %q", c.box, c.format.Codec, c.order, c.denied, got, c.want)
		}
	}
}

func TestFamilyOfOtherElements(t *testing.T) {
	for _, element := range []string{"kmssink", "avdec_h264x", "xavdec_h264", ""} {
		if f, ok := FamilyOf(element); ok {
			t.Errorf("%s is of family %s", element, f)
		}
	}
}

func TestPipelines(t *testing.T) {
	displays := []Display{
		{Sink: None},
		{Sink: X11, Mode: window},
		{Sink: Wayland},
		{Sink: KMS, Card: "/dev/dri/card1", Connector: "HDMI-A-1", ConnectorID: 89, Mode: Mode{1920, 1080}},
		{Sink: KMS, Card: "/dev/dri/card0", Connector: "HDMI-A-1"},
	}
	formats := []Format{{Codec: H264, Stream: AVC, CodecData: avcC}, {Codec: H265, Stream: ByteStream}}
	var text strings.Builder
	write := func(title string, p Plan) {
		fmt.Fprintf(&text, "# %s\n%s\n\n", title, strings.ReplaceAll(p.Pipeline(), " ! ", " !\n  "))
	}
	for _, d := range displays {
		write(d.String(), Choose(formats[0], d, boxes["none"], nil, nil)[0])
	}
	write("VA-API, second GPU", Choose(formats[0], displays[0], []string{"varenderD129h264dec"}, DefaultOrder, nil)[0])
	write("VA-API, old", Choose(formats[0], displays[0], []string{"vaapih264dec"}, DefaultOrder, nil)[0])
	write("VA-API, H.265", Choose(formats[1], displays[0], boxes["intel"], DefaultOrder, nil)[0])
	unpaced := Choose(formats[1], displays[0], boxes["none"], DefaultOrder, nil)[0]
	unpaced.Unpaced = true
	write("not paced", unpaced)
	golden(t, "pipelines.txt", text.String())
}
