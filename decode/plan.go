package decode

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Family is a way to reach decoders; configuration orders them.
type Family string

// The families, in the order that is the default.
const (
	VA       Family = "va"       // VA-API: Intel and AMD graphics
	V4L2     Family = "v4l2"     // Video4Linux: the boards
	Vendor   Family = "vendor"   // plugins of the chip's maker
	Software Family = "software" // the processor
)

// DefaultOrder tries hardware that many boxes share first and the processor last.
var DefaultOrder = []Family{VA, V4L2, Vendor, Software}

// maxLateness is how late a picture may reach the sink and still be shown. The
// sinks' own 5 ms would drop nearly everything on a slow box.
const maxLateness = 100 * time.Millisecond

// candidates names the elements of a family by patterns, best first. Elements of
// a second GPU or codec device carry the device's name in theirs.
var candidates = map[Family]map[Codec][]string{
	VA: {
		H264: {`vah264dec`, `varenderD\d+h264dec`, `vaapih264dec`},
		H265: {`vah265dec`, `varenderD\d+h265dec`, `vaapih265dec`},
	},
	V4L2: { // stateless before stateful: newer, and without firmware of its own mind
		H264: {`v4l2slh264dec`, `v4l2slvideo\d+h264dec`, `v4l2h264dec`, `v4l2video\d+h264dec`},
		H265: {`v4l2slh265dec`, `v4l2slvideo\d+h265dec`, `v4l2h265dec`, `v4l2video\d+h265dec`},
	},
	Vendor: {
		H264: {`nvh264dec`, `nvh264sldec`, `qsvh264dec`, `mppvideodec`, `vpudec`},
		H265: {`nvh265dec`, `nvh265sldec`, `qsvh265dec`, `mppvideodec`, `vpudec`},
	},
	Software: {
		H264: {`avdec_h264`, `openh264dec`},
		H265: {`avdec_h265`, `libde265dec`},
	},
}

// Plan is one way to decode a format and show the pictures. It is plain data: the
// agent makes it, the renderer child builds it.
type Plan struct {
	Family  Family
	Element string // GStreamer element that decodes
	Parser  string
	Caps    string // of the frames
	Prefix  []byte // goes in before the first frame
	Display Display
	Unpaced bool // show as fast as pictures come, for trials and tests
}

// Choose lists the plans for a format, best first: families in the given order,
// within a family the better element first. Software is always last, also when
// the order leaves it out. found are the elements that exist; denied ones are passed over.
func Choose(f Format, d Display, found []string, order []Family, denied func(element string) bool) []Plan {
	order = slices.DeleteFunc(slices.Clone(order), func(f Family) bool { return f == Software })
	var plans []Plan
	for _, family := range append(order, Software) {
		for _, element := range elements(family, f.Codec, found) {
			if denied != nil && denied(element) {
				continue
			}
			plans = append(plans, Plan{
				Family: family, Element: element, Parser: string(f.Codec) + "parse",
				Caps: f.Caps(), Prefix: f.Prefix(), Display: d,
			})
		}
	}
	return plans
}

// FamilyOf tells which family a decoder element belongs to; ok is false for
// elements that are no decoder known here.
func FamilyOf(element string) (f Family, ok bool) {
	for family, codecs := range candidates {
		for codec := range codecs {
			if len(elements(family, codec, []string{element})) > 0 {
				return family, true
			}
		}
	}
	return "", false
}

// Decoder is an element that decodes a codec, and how it gets at the hardware.
type Decoder struct {
	Element string
	Family  Family
	Codec   Codec
}

// Decoders lists what of the found elements decodes the codecs known here, in the
// default order.
func Decoders(found []string) []Decoder {
	var list []Decoder
	for _, family := range DefaultOrder {
		for _, codec := range []Codec{H264, H265} {
			for _, element := range elements(family, codec, found) {
				list = append(list, Decoder{element, family, codec})
			}
		}
	}
	return list
}

// elements picks those of a family from what was found, best first.
func elements(family Family, codec Codec, found []string) []string {
	var list []string
	for _, pattern := range candidates[family][codec] {
		whole := regexp.MustCompile("^" + pattern + "$")
		var same []string
		for _, element := range found {
			if whole.MatchString(element) {
				same = append(same, element)
			}
		}
		slices.SortFunc(same, byDevice)
		list = append(list, slices.Compact(same)...)
	}
	return list
}

// byDevice orders names that differ in a device number: video9 before video10.
func byDevice(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// Pipeline is the plan as gst-launch-1.0 understands it. The elements that the
// renderer looks at are named source, decoder and sink.
func (p Plan) Pipeline() string {
	parts := []string{
		`appsrc name=source format=time is-live=true do-timestamp=false block=false max-bytes=0 emit-signals=false caps="` + p.Caps + `"`,
		p.Parser + " config-interval=-1",
		p.Element + " name=decoder",
	}
	parts = append(parts, p.download()...)
	parts = append(parts, p.Display.adapt()...)
	return strings.Join(append(parts, p.sink()), " ! ")
}

// download brings VA-API surfaces into system memory, where every sink and the
// snapshot can read them; DMABuf with modifiers needs GStreamer 1.24.
func (p Plan) download() []string {
	if device, ok := strings.CutSuffix(p.Element, "dec"); ok && p.Family == VA && !strings.HasPrefix(device, "vaapi") {
		device = strings.TrimSuffix(strings.TrimSuffix(device, string(H264)), string(H265))
		return []string{device + "postproc", "video/x-raw,format=NV12"}
	}
	return nil
}

func (p Plan) sink() string {
	text := p.Display.Sink.Element() + " name=sink"
	switch p.Display.Sink {
	case KMS:
		if p.Display.ConnectorID > 0 {
			text += fmt.Sprintf(" connector-id=%d", p.Display.ConnectorID)
		}
		if p.Display.Mode.Width > 0 {
			text += " force-modesetting=true"
		}
	case Wayland:
		text += " fullscreen=true"
	case X11:
		text += " force-aspect-ratio=true"
	}
	if p.Unpaced {
		return text + " sync=false qos=false enable-last-sample=true"
	}
	// The budget is in the frames' times already, so the sink gets no deadline of its own.
	return text + fmt.Sprintf(" sync=true max-lateness=%d processing-deadline=0 qos=false enable-last-sample=true", maxLateness.Nanoseconds())
}
