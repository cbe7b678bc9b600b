//go:build hardware

package v4l2

import (
	"bytes"
	"errors"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/scanout"
)

// start runs a gateway that knows its decoders: one that is unplugged during its trial would fail it.
func start(t *testing.T, clip []byte, settings string) *box.Box {
	t.Helper()
	runProbe(t, nil, probeState, settings)
	known, err := os.ReadFile(filepath.Join(probeState, "decoders.json"))
	if err != nil {
		t.Fatal(err)
	}
	b := box.Start(t, box.Config{Clip: clip, Settings: settings, State: map[string][]byte{"decoders.json": known}})
	b.Info("all decoders tried out", func(i contract.Info) bool {
		return len(i.Decoders) > 0 && !slices.ContainsFunc(i.Decoders, func(d contract.Decoder) bool { return d.Result == string(decode.Untried) })
	})
	return b
}

// text is a detail of an event.
func text(e contract.Event, key string) string {
	if n, ok := e.Detail[key].(float64); ok {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	s, _ := e.Detail[key].(string)
	return s
}

// detail wants an event to say something.
func detail(t *testing.T, e contract.Event, key, want string) {
	t.Helper()
	if got := text(e, key); got != want {
		t.Errorf("%s: %s is %q, want %q; it says %q", e.Code, key, got, want, e.Message)
	}
}

// Both decoders are found with device and driver, and fed. visl's pictures are not those of the clip: the probe sees
// that and puts them behind the processor's, until the configuration trusts them.
func TestProbeStateless(t *testing.T) {
	r := probe(t, nil, settings())
	for codec, element := range map[format.Codec]string{format.H264: "v4l2slh264dec", format.H265: "v4l2slh265dec"} {
		c, found := r.candidate(element, codec)
		if !found {
			t.Fatalf("no %s: %+v", element, r)
		}
		if c.Family != plan.V4L2Stateless || c.Device != node(t, vislDevice, "") || c.Driver != "visl" || c.Result != decode.Passed || c.Pictures != 90 {
			t.Errorf("%+v", c)
		}
	}
	for _, c := range []struct{ settings, want string }{
		{settings(), "h264: avdec_h264 (software) is taken first"},
		{settings(), "decode.differs: its pictures differ"},
		{settings(trusted), "h264: v4l2slh264dec (v4l2-stateless) is taken first"},
		{settings(trusted), "h265: v4l2slh265dec (v4l2-stateless) is taken first"},
	} {
		if out := runProbe(t, nil, probeState, c.settings); !strings.Contains(string(out), c.want) {
			t.Errorf("with %s there is no %q in\n%s", c.settings, c.want, out)
		}
	}
}

// A decoder that makes wrong pictures is replaced as soon as that is known.
func TestWrongPictures(t *testing.T) {
	b := box.Start(t, box.Config{Clip: clip.H264(), Settings: settings()})
	e := b.Event("decode.fallback")
	detail(t, e, "cause", "decode.differs")
	detail(t, e, "replaced_element", "v4l2slh264dec")
	detail(t, e, "element", "avdec_h264")
	b.Decoding("avdec_h264")
}

// What visl makes of H.265 is on the screen: its eight colours, left to right. For a person to see,
// bin/virtual-hardware/visl.png has all of it: number and references of a frame.
func TestStatelessIsShown(t *testing.T) {
	start(t, clip.H265(), strings.Replace(settings(trusted), `"none"`, `"kms"`, 1)).Decoding("v4l2slh265dec")
	screen, err := scanout.Open("/dev/dri/card1")
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	const want = "white yellow cyan green magenta red blue black"
	deadline := time.After(box.Patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		p, err := screen.Read()
		if err != nil && !errors.Is(err, scanout.ErrDark) {
			t.Fatal(err)
		}
		seen := "nothing"
		if err == nil {
			seen = colours(p)
		}
		select {
		case <-deadline:
			t.Fatalf("the screen shows %s", seen)
		case <-tick.C:
		}
		if seen == want {
			save(t, p, "visl.png")
			return
		}
	}
}

// colours names what is in the middle of the eighths of a picture of 640x360 on the screen, between the first two lines of visl's text.
func colours(p scanout.Picture) string {
	names := []string{"black", "blue", "green", "cyan", "red", "magenta", "yellow", "white"}
	height := p.Mode.X * 360 / 640
	y := (p.Mode.Y-height)/2 + height*40/360
	var list []string
	for i := range 8 {
		c := p.RGBAAt(p.Mode.X*(2*i+1)/16, y)
		list = append(list, names[int(c.R>>7)<<2|int(c.G>>7)<<1|int(c.B>>7)])
	}
	return strings.Join(list, " ")
}

// save keeps a picture for a person to see.
func save(t *testing.T, p scanout.Picture, name string) {
	t.Helper()
	var file bytes.Buffer
	if err := png.Encode(&file, p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("VIRTUAL_HARDWARE_OUT"), name), file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// fallsBack wants software to go on after an element lost its device, and the agent to say why. With GStreamer 1.22 that
// is an error that the driver takes no more, or could not decode a frame, and now and then a crash.
func fallsBack(t *testing.T, b *box.Box, element string) {
	t.Helper()
	e := b.Event("decode.fallback")
	detail(t, e, "failed_element", element)
	detail(t, e, "element", "avdec_h264")
	cause := text(e, "cause")
	failure := b.Event(cause)
	detail(t, failure, "element", element)
	t.Logf("%s: %s", cause, failure.Message)
	switch cause {
	case "decode.error":
		detail(t, failure, "gst_element", element)
	case "decode.crash":
		detail(t, failure, "signal", "segmentation fault")
	default:
		t.Errorf("losing the device is %s: %s", cause, failure.Message)
	}
	b.Decoding("avdec_h264")
}

// Unplugged in mid-stream: the picture goes on in software. Plugged in again: the hardware has it back when its time of
// denial, 30 s, is over. The child that decodes in software was started without the device.
func TestUnplugAndPlug(t *testing.T) {
	b := start(t, clip.H264(), settings(trusted))
	b.Decoding("v4l2slh264dec")
	unplug(t, "visl", vislDevice)
	fallsBack(t, b, "v4l2slh264dec")

	var e contract.Event
	plug(t, "visl", vislDevice)
	for e = b.Event("decode.recovered"); text(e, "element") != "v4l2slh264dec"; e = b.Event("decode.recovered") {
		t.Logf("on the way, as happens on a busy machine: %s", e.Message)
	}
	detail(t, e, "replaced_element", "avdec_h264")
	b.Decoding("v4l2slh264dec")
	if m := b.Telemetry("a second", func(m contract.Telemetry) bool { return m.ShownFrames > 0 }); m.Reconnects != 0 {
		t.Errorf("the stream had to be fetched again: %+v", m)
	}
}

// Two devices, each with an element of its own. When the first is gone, the second has its name: what was
// found out about that name does not count, and what is denied is the first device: the second has the picture at once.
func TestTwoStatelessDevices(t *testing.T) {
	give(t, vicodecDevice, "vicodec", "visl")
	first, second := node(t, vicodecDevice, ""), node(t, vislDevice, "")
	const name = "v4l2slh264dec"
	other := fmt.Sprintf("v4l2sl%sh264dec", filepath.Base(second))
	expectDevices(t, map[string]string{name: first, other: second})

	b := start(t, clip.H264(), settings(trusted))
	b.Decoding(name)
	writeSys(t, filepath.Join(drivers, "visl", "unbind"), vicodecDevice)
	t.Cleanup(func() { plug(t, "visl", vicodecDevice) })
	e := b.Event("decode.recovered")
	detail(t, e, "failed_element", name)
	detail(t, e, "element", name)
	b.Decoding(name)
	expectDevices(t, map[string]string{name: second})
}

// expectDevices wants these stateless decoders of H.264 and no others, each tried out on its device.
func expectDevices(t *testing.T, devices map[string]string) {
	t.Helper()
	r := probe(t, nil, settings(trusted))
	if got := r.elements(format.H264, plan.V4L2Stateless); len(got) != len(devices) {
		t.Errorf("found %q, want %v", got, devices)
	}
	for element, device := range devices {
		if c, _ := r.candidate(element, format.H264); c.Device != device || c.Driver != "visl" || c.Result != decode.Passed {
			t.Errorf("%s: %+v, want device %s", element, c, device)
		}
	}
}

// H.265 with wavefronts, which is what x265 makes unless told otherwise, crashes GStreamer 1.22's
// v4l2slh265dec. Software takes over, and what crashed is tried again beside the picture only.
func TestWavefrontCrash(t *testing.T) {
	if v := gstreamer(t); !strings.HasPrefix(v, "1.22.") {
		t.Skipf("GStreamer is %s; it is 1.22 that crashes", v)
	}
	wavefront := box.Clip(t, "640x360", "120", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "wpp=1:pools=2:log-level=error")
	b := start(t, wavefront, settings(trusted))
	e := b.Event("decode.crash")
	detail(t, e, "element", "v4l2slh265dec")
	detail(t, e, "signal", "segmentation fault")
	e = b.Event("decode.fallback")
	detail(t, e, "element", "avdec_h265")
	detail(t, e, "cause", "decode.crash")
	b.Decoding("avdec_h265")
	for range 3 {
		b.Telemetry("a second", func(m contract.Telemetry) bool { return m.ShownFrames > 0 && m.Decoder == "avdec_h265" })
	}
	crashes := 0
	for _, e := range b.Events() {
		if e.Code == "decode.crash" {
			crashes += int(e.Count)
		}
	}
	if crashes != 1 {
		t.Errorf("it crashed %d times", crashes)
	}
}

// gstreamer is the version of what the agent uses.
func gstreamer(t *testing.T) string {
	t.Helper()
	out := runProbe(t, nil, probeState, settings())
	version, _, _ := strings.Cut(strings.TrimPrefix(string(out), "GStreamer "), ",")
	return version
}

// A user who may not open the devices has no such decoders, and is told why. As soon as
// they are in the group, they have them: GStreamer does not go by what it remembers.
func TestClosedDevices(t *testing.T) {
	var all []string
	for _, pattern := range []string{"/dev/media*", "/dev/video*", "/dev/dri/renderD*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	for _, path := range all {
		if err := os.Chown(path, 0, video); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, 0o660); err != nil {
			t.Fatal(err)
		}
	}
	home := t.TempDir()
	r := probe(t, newUser(t, home), settings())
	slices.Sort(all)
	if !slices.Equal(r.Closed, all) {
		t.Errorf("closed are %q, want %q", r.Closed, all)
	}
	if found := r.elements(format.H264, plan.V4L2Stateless); len(found) > 0 {
		t.Errorf("found %q without permission", found)
	}
	r = probe(t, newUser(t, home, video), settings())
	if len(r.Closed) > 0 {
		t.Errorf("in the group video, closed are %q", r.Closed)
	}
	if found := r.elements(format.H264, plan.V4L2Stateless); !slices.Equal(found, []string{"v4l2slh264dec"}) {
		t.Errorf("in the group video, found %q", found)
	}
}

// Hardware decodes and the display shows it in the sandbox, as another user than the agent's, which is root.
func TestConfinedRendererHasItsDevices(t *testing.T) {
	for _, pattern := range []string{"/dev/video*", "/dev/media*"} {
		nodes, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, node := range nodes { // the tests before this one have made some anew, and here is no udev
			if err := errors.Join(os.Chown(node, 0, video), os.Chmod(node, 0o660)); err != nil {
				t.Fatal(err)
			}
		}
	}
	b := start(t, clip.H264(), strings.Replace(settings(trusted, `renderer_user = "nobody"`), `"none"`, `"kms"`, 1))
	b.Decoding("v4l2slh264dec")
	deadline := time.After(box.Patience)
	for short := unconfined(t); short != ""; short = unconfined(t) { // one that has only just started may still be about to
		select {
		case <-deadline:
			t.Fatal(short)
		case <-time.After(100 * time.Millisecond):
		}
	}
	for _, e := range b.Events() {
		if e.Code == report.CodeSandbox {
			t.Errorf("%s: %s", e.Code, e.Message)
		}
	}
}

// unconfined says what there is about a renderer that is not shut in, and nothing when all are. There must be one.
func unconfined(t *testing.T) string {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, process := range processes {
		line, _ := os.ReadFile(filepath.Join(process, "cmdline"))
		status, err := os.ReadFile(filepath.Join(process, "status"))
		if err != nil || !strings.Contains(string(line), "/edge-agent-renderer\x00") {
			continue
		}
		found = true
		for _, want := range []string{fmt.Sprintf("\nUid:\t%d\t", nobody), "\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n", "\nCapEff:\t0000000000000000\n"} {
			if !strings.Contains(string(status), want) {
				return fmt.Sprintf("no %q in\n%s", want, status)
			}
		}
	}
	if !found {
		return "there is no renderer"
	}
	return ""
}
