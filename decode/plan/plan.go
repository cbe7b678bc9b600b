// Package plan chooses, from what exists and what is wanted: plan.go by which elements a format is decoded, display.go where
// pictures go. It is pure; a plan is plain data and renders to the text of a pipeline.
package plan

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/quirk"
)

// Family is a way to reach decoders; configuration orders them.
type Family string

// The families, in the order that is the default.
const (
	VA            Family = "va"             // VA-API: Intel and AMD graphics
	V4L2Stateless Family = "v4l2-stateless" // Video4Linux, the kernel keeps no state: Rockchip, Allwinner, i.MX8, Raspberry Pi 5
	V4L2Stateful  Family = "v4l2-stateful"  // Video4Linux, firmware does it all: Raspberry Pi 4, Qualcomm, Amlogic
	Vendor        Family = "vendor"         // plugins of the chip's maker
	Software      Family = "software"       // the processor
)

// DefaultOrder tries hardware that many boxes share first and the processor last.
var DefaultOrder = []Family{VA, V4L2Stateless, V4L2Stateful, Vendor, Software}

// Patterns names the elements of a family, best first. Elements of a second GPU
// or codec device carry the device's name in theirs.
var Patterns = map[Family]map[format.Codec][]string{
	VA: {
		format.H264: {`vah264dec`, `varenderD\d+h264dec`, `vaapih264dec`},
		format.H265: {`vah265dec`, `varenderD\d+h265dec`, `vaapih265dec`},
	},
	V4L2Stateless: {
		format.H264: {`v4l2slh264dec`, `v4l2slvideo\d+h264dec`},
		format.H265: {`v4l2slh265dec`, `v4l2slvideo\d+h265dec`},
	},
	V4L2Stateful: {
		format.H264: {`v4l2h264dec`, `v4l2video\d+h264dec`},
		format.H265: {`v4l2h265dec`, `v4l2video\d+h265dec`},
	},
	Vendor: {
		format.H264: {`nvh264dec`, `nvh264sldec`, `qsvh264dec`, `mppvideodec`, `vpudec`, `imxvpudec_h264`},
		format.H265: {`nvh265dec`, `nvh265sldec`, `qsvh265dec`, `mppvideodec`, `vpudec`, `imxvpudec_h265`},
	},
	Software: {
		format.H264: {`avdec_h264`, `openh264dec`},
		format.H265: {`avdec_h265`, `libde265dec`},
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

	Device Device // that decodes; empty when not known

	Colorimetry bool // set a colorimetry that the stream leaves open; see Known.Unnegotiated
	MMAP        bool // have a stateful V4L2 decoder write to mapped memory; see quirk.MMAPCapture
	Pipelines   int  // that one renderer process opens with it; 0: any number. See quirk.NewRenderer
	Copied      bool // its pictures are not to be shown from where they were decoded; see quirk.CopyPath
	AtOnce      int  // pipelines that the device runs at the same time; 0: any number. See quirk.Decoders
	Unpaced     bool // show as fast as pictures come, for trials and tests
	Checksums   bool // of every picture, for trials and tests
}

// Device is the hardware behind an element. Fields are empty where they are not known.
type Device struct {
	Node   string // such as /dev/dri/renderD128
	Driver string // of the kernel
	Chip   string // PCI id, such as 8086:46d0
}

// Name tells a plan from others of the same renderer process.
func (p Plan) Name() string {
	if p.Colorimetry {
		return p.Element + " with colorimetry"
	}
	return p.Element
}

// deviceNumber is what elements of a second device have in their names.
var deviceNumber = regexp.MustCompile(`^(va)renderD\d+|^(v4l2|v4l2sl)video\d+`)

// DeniedBy is what a plan is denied by: device, driver and kind of element. The name of an element moves to the next device
// when the first one goes away. Where the device is not known it is the name.
func (p Plan) DeniedBy() string {
	if p.Device.Node == "" {
		return p.Name()
	}
	kind := deviceNumber.ReplaceAllString(p.Name(), "$1$2")
	return strings.Join([]string{kind, p.Device.Driver, p.Device.Node}, " ")
}

// Preference is what the configuration says about decoders.
type Preference struct {
	Order  []Family // most wanted first; nil means DefaultOrder
	Vendor []string // further elements of the vendor family, before those known here

	// Trusted are elements whose pictures may differ from those of the processor.
	Trusted []string
	// IgnoredQuirks are the known faults that do not count; see quirk.Row.ID.
	IgnoredQuirks []string
}

// SoftwareOnly says that the configuration wants no hardware.
func (p Preference) SoftwareOnly() bool {
	return len(p.Order) > 0 && !slices.ContainsFunc(p.Order, func(f Family) bool { return f != Software })
}

// Known is what is known of the decoders on this box. Its functions may be nil.
type Known struct {
	Found []string // elements that exist

	// Broken says that an element failed its last trial with a codec (see Probe). It is used
	// only when nothing else is left.
	Broken func(element string, c format.Codec) bool
	// Differs says that an element passed its last trial with other pictures than those of the
	// processor. It is treated like a broken one, unless the configuration trusts it.
	Differs func(element string, c format.Codec) bool
	// Denied says that a plan failed a short while ago, by Plan.DeniedBy.
	Denied func(by string) bool
	// Unnegotiated says that an element found no format for its pictures. The stateful
	// driver of the Raspberry Pi 4 does that when the stream leaves its colorimetry open.
	Unnegotiated func(element string) bool
	// Device gives the hardware behind an element.
	Device func(element string) Device
	// Slower says that an element was slower in its trial than the software decoder.
	Slower func(element string, c format.Codec) bool

	Box quirk.Box // by which known faults are found
}

// faults are the known faults of a decoder with a format.
func (k Known) faults(known quirk.Table, c Decoder, d Device, f format.Format) quirk.Rows {
	width, height, profile := f.Picture()
	return known.On(k.Box, quirk.Use{
		Driver: d.Driver, Chip: d.Chip, Element: c.Element, Codec: f.Codec, Width: width, Height: height, Profile: profile,
	})
}

func (k Known) device(element string) Device {
	if k.Device == nil {
		return Device{}
	}
	return k.Device(element)
}

// Choose lists the plans for a format, best first: families in the given order,
// within a family the better element first, and at the end those that the probe saw failing or making
// wrong pictures, and those for which a known fault says that software is better.
// Software is always the last family, also when the order leaves it out.
func Choose(f format.Format, d Display, p Preference, k Known) []Plan {
	var plans, broken []Plan
	known := quirk.Except(p.IgnoredQuirks)
	for _, c := range Candidates(f.Codec, p, k.Found) {
		device := k.device(c.Element)
		faults := k.faults(known, c, device, f)
		unnegotiated := k.Unnegotiated != nil && k.Unnegotiated(c.Element)
		plan := Plan{
			Family: c.Family, Element: c.Element, Parser: string(f.Codec) + "parse",
			Caps: f.Caps(), Prefix: f.Prefix(), Display: d, Device: device,
			Colorimetry: CanSetColorimetry(c) && unnegotiated,
			MMAP:        c.Family == V4L2Stateful && faults.Has(quirk.MMAPCapture),
			Pipelines:   faults.Least(quirk.NewRenderer),
			Copied:      faults.Has(quirk.CopyPath),
			AtOnce:      faults.Least(quirk.Decoders),
		}
		switch {
		case faults.Has(quirk.Denied), k.Denied != nil && k.Denied(plan.DeniedBy()):
		case k.Broken != nil && k.Broken(c.Element, f.Codec),
			k.Differs != nil && k.Differs(c.Element, f.Codec) && !slices.Contains(p.Trusted, c.Element),
			c.Family != Software && faults.Has(quirk.Software),
			k.Slower != nil && faults.Has(quirk.ByRate) && k.Slower(c.Element, f.Codec):
			broken = append(broken, plan)
		default:
			plans = append(plans, plan)
		}
	}
	return append(plans, broken...)
}

// CanSetColorimetry says that a decoder may leave the colorimetry out of its caps, as that of the Raspberry Pi 4 does: it
// is tried again with one set.
func CanSetColorimetry(d Decoder) bool { return d.Family == V4L2Stateful && d.Codec == format.H264 }

// Decoder is an element that decodes a codec, and how it gets at the hardware.
type Decoder struct {
	Element string
	Family  Family
	Codec   format.Codec
}

// Candidates lists what of the found elements decodes a codec, best first.
func Candidates(codec format.Codec, p Preference, found []string) []Decoder {
	order := p.Order
	if len(order) == 0 {
		order = DefaultOrder
	}
	order = slices.DeleteFunc(slices.Clone(order), func(f Family) bool { return f == Software })
	var list []Decoder
	for _, family := range append(order, Software) {
		names := Patterns[family][codec]
		if family == Vendor {
			names = slices.Concat(vendorPatterns(p.Vendor, codec), names)
		}
		for _, element := range pick(names, found) {
			if !slices.ContainsFunc(list, func(d Decoder) bool { return d.Element == element }) {
				list = append(list, Decoder{element, family, codec})
			}
		}
	}
	return list
}

// vendorPatterns are those of the configured elements that may decode a codec: an
// element that has another codec in its name does not.
func vendorPatterns(elements []string, codec format.Codec) []string {
	words := map[format.Codec]string{format.H264: "264", format.H265: "265"}
	var names []string
	for _, element := range elements {
		other := false
		for c, word := range words {
			other = other || c != codec && strings.Contains(element, word)
		}
		if !other {
			names = append(names, regexp.QuoteMeta(element))
		}
	}
	return names
}

// Decoders lists what of the found elements decodes the codecs known here, in the
// preferred order.
func Decoders(p Preference, found []string) []Decoder {
	return append(Candidates(format.H264, p, found), Candidates(format.H265, p, found)...)
}

// pick gives what was found of the elements with such names, in the order of the names.
func pick(names, found []string) []string {
	var list []string
	for _, name := range names {
		whole := regexp.MustCompile("^" + name + "$")
		var same []string
		for _, element := range found {
			if whole.MatchString(element) && !slices.Contains(list, element) {
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
// renderer looks at are named source, decoder, sink and, where there is one, download.
func (p Plan) Pipeline() string {
	parts := []string{
		`appsrc name=source format=time is-live=true do-timestamp=false block=false max-bytes=0 emit-signals=false caps="` + p.Caps + `"`,
		p.Parser + " config-interval=-1",
	}
	if p.Colorimetry {
		parts = append(parts, `capssetter join=true replace=false caps="video/x-h264,colorimetry=(string)bt709"`)
	}
	decoder := p.Element + " name=decoder"
	if p.MMAP {
		decoder += " capture-io-mode=mmap"
	}
	parts = append(parts, decoder)
	parts = append(parts, p.download()...)
	parts = append(parts, "appsink name=sink sync=false async=false qos=false max-buffers=1 enable-last-sample=false")
	return strings.Join(parts, " ! ")
}

// download brings VA-API surfaces into system memory, where every sink and the
// snapshot can read them; DMABuf with modifiers needs GStreamer 1.24.
func (p Plan) download() []string {
	if gpu := p.GPU(); gpu != "" {
		return []string{gpu + "postproc name=download", "video/x-raw,format=NV12"}
	}
	return nil
}

// GPU is what the elements of one VA-API device begin with: va, or varenderD129 for a second one. "" for other
// decoders.
func (p Plan) GPU() string {
	device, ok := strings.CutSuffix(p.Element, "dec")
	if !ok || p.Family != VA || strings.HasPrefix(device, "vaapi") {
		return ""
	}
	return strings.TrimSuffix(strings.TrimSuffix(device, string(format.H264)), string(format.H265))
}
