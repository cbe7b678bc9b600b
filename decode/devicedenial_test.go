package decode

import (
	"errors"
	"io"
	"testing"
	"testing/fstest"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/test/kit"
)

// A decoder that takes so many pipelines in one process gets a new one for the next, unless the fault is ignored.
func TestNewRendererAfterSoManyPipelines(t *testing.T) {
	f := &format.Format{Codec: format.H264}
	for _, ignored := range [][]string{nil, {"mpp-restart-leak"}} {
		r := New(Config{Prefer: plan.Preference{IgnoredQuirks: ignored}})
		a := &attempt{r: r, out: NewWriter(io.Discard), own: []string{"mppvideodec"}, pipelines: map[string]int{}}
		kit.Expect(t, "first", a.open(t.Context(), f), nil)
		err := a.open(t.Context(), f)
		kit.Expect(t, "second is refused", errors.Is(err, errSpent), ignored == nil)
	}
}

// What a device takes at once includes trials. What the picture needs is never refused.
func TestPlaces(t *testing.T) {
	var p Places
	gpu := plan.Plan{Family: plan.VA, Element: "vah264dec", Device: plan.Device{Node: "/dev/dri/renderD128"}}
	other := plan.Plan{Family: plan.VA, Element: "varenderD129h264dec", Device: plan.Device{Node: "/dev/dri/renderD129"}}
	picture := p.use(gpu)
	if _, free := p.take(gpu, 1); free {
		t.Error("a second pipeline on a device that takes one")
	}
	for what, d := range map[string]plan.Plan{"other": other, "unknown": {}} {
		if _, free := p.take(d, 1); !free {
			t.Error(what)
		}
	}
	trial, free := p.take(gpu, 2)
	if _, third := p.take(gpu, 2); !free || third {
		t.Errorf("two at once: second %v, third %v", free, third)
	}
	trial()
	trial() // it is given back once
	picture()
	if _, free := p.take(gpu, 1); !free {
		t.Error("it was given back")
	}
	early := p.use(plan.Plan{Family: plan.VA, Element: "vah265dec"}) // before its node is known
	if _, free := p.take(gpu, 2); free {
		t.Error("the same device by another element")
	}
	early()
	if _, free := (*Places)(nil).take(gpu, 1); !free {
		t.Error("nobody counts")
	}
}

// A denial stays with its device when the name of the element moves to another one, or the device gets another name.
func TestDenialFollowsTheDevice(t *testing.T) {
	first, second := "v4l2slh264dec", "v4l2slvideo3h264dec"
	sys := fstest.MapFS{}
	r := New(Config{Sys: sys})
	f := format.Format{Codec: format.H264}
	found := []string{first, second, "avdec_h264"}
	r.locate(map[string]string{first: "/dev/video0", second: "/dev/video3"})
	p, _ := r.best(f, found)
	kit.Expect(t, "first", p.Element, first)
	r.note(&failure{plan: &p}, 0)
	p, _ = r.best(f, found)
	kit.Expect(t, "after it failed", p.Element, second)

	// The first device is gone. Before anything is known of the names nothing is denied by them.
	r.devicesNow(nil)
	r.devicesNow([]deviceNode{{path: "/dev/video3"}})
	p, _ = r.best(f, []string{first, "avdec_h264"})
	kit.Expect(t, "with its new name", p.Element, first)
	r.locate(map[string]string{first: "/dev/video3"})
	p, _ = r.best(f, []string{first, "avdec_h264"})
	kit.Expect(t, "the second device", p.Device.Node, "/dev/video3")

	// It is back, by another name.
	r.locate(map[string]string{first: "/dev/video3", "v4l2slvideo0h264dec": "/dev/video0"})
	r.note(&failure{plan: &p}, 0)
	p, _ = r.best(f, []string{first, "v4l2slvideo0h264dec", "avdec_h264"})
	kit.Expect(t, "both are denied", p.Element, "avdec_h264")
}

// What a box is comes from its device tree, else from DMI; what cannot be read is not known.
func TestReadHardware(t *testing.T) {
	for want, sys := range map[string]fstest.MapFS{
		"": {},
		"raspberrypi,4-model-b brcm,bcm2711": {
			"firmware/devicetree/base/compatible": {Data: []byte("raspberrypi,4-model-b\x00brcm,bcm2711\x00")},
		},
		"Maker Model 3": {"class/dmi/id/sys_vendor": {Data: []byte("Maker\n")}, "class/dmi/id/product_name": {Data: []byte("Model 3\n")}},
	} {
		got := ""
		for i, chip := range readChips(sys) {
			if i > 0 {
				got += " "
			}
			got += chip
		}
		kit.Expect(t, "chips", got, want)
	}
	sys := fstest.MapFS{
		"class/drm/renderD128/device/vendor": {Data: []byte("0x8086\n")}, "class/drm/renderD128/device/device": {Data: []byte("0x46d0\n")},
		"class/drm/renderD129/device/vendor": {Data: []byte("0x8086\n")},
	}
	kit.Expect(t, "chip", deviceAt(sys, "/dev/dri/renderD128").Chip, "8086:46d0")
	kit.Expect(t, "half of it", deviceAt(sys, "/dev/dri/renderD129").Chip, "")
	kit.Expect(t, "no device", deviceAt(sys, ""), plan.Device{})
}

// A decoder is not tried out beside the picture on a device that takes no more pipelines; once there is room it is.
func TestProbeLeavesADeviceThatIsInUse(t *testing.T) {
	var places Places
	leave := places.use(plan.Plan{Family: plan.VA, Element: "vah264dec"})
	for _, want := range []Result{Untried, Passed} {
		r, _ := probe(t, "none", func(c *ProbeConfig) { c.Sys, c.Places = sysWith("amdgpu"), &places })
		if c := r.candidate("vah264dec", format.H264); c == nil || c.Driver != "amdgpu" || c.Result != want {
			t.Errorf("%+v; want %s", c, want)
		}
		leave()
	}
}
