package decode

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
)

// outputs is a /sys/class/drm whose cables can be pulled.
type outputs struct {
	now  atomic.Pointer[fstest.MapFS]
	next atomic.Pointer[fstest.MapFS] // from after the next look on
}

func (o *outputs) Open(name string) (fs.File, error) {
	file, err := o.now.Load().Open(name)
	if path.Base(name) == "modes" { // what is read last
		if next := o.next.Swap(nil); next != nil {
			o.now.Store(next)
		}
	}
	return file, err
}

func (o *outputs) plug(files ...string) {
	m := drm(files...)
	o.now.Store(&m)
}

var (
	plugged   = []string{"card1-HDMI-A-1/status=connected", "card1-HDMI-A-1/connector_id=42", "card1-HDMI-A-1/modes=1920x1080,1280x720"}
	unplugged = []string{"card1-HDMI-A-1/status=disconnected", "card1-HDMI-A-1/connector_id=42"}
	another   = []string{"card1-HDMI-A-1/status=connected", "card1-HDMI-A-1/connector_id=42", "card1-HDMI-A-1/modes=1280x720"}
)

// fakeScreen answers a Screen.
func fakeScreen(fault string, m Message, out *Writer) {
	var s Screen
	_ = m.Decode(&s)
	answer := Screened{Number: s.Number}
	if fault == "busy" && s.Display.Sink == KMS && s.Number <= 3 { // two times: there is another display in between
		answer.Failure = &Failure{Code: CodeBusy, Message: "another program holds the display"}
	}
	_ = out.JSON(KindScreened, answer)
}

// on waits until pictures go to a display.
func (r *rig) on(display string) {
	r.t.Helper()
	r.until("display "+display, func() bool { return r.Stats().Display.String() == display })
}

func startWithOutputs(t *testing.T, fault string, sink Sink, files ...string) (*rig, *outputs) {
	o := &outputs{}
	o.plug(files...)
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	return start(t, fault, func(c *Config) { c.Sink, c.DRM = sink, o }), o
}

func TestUnplugAndPlug(t *testing.T) {
	for _, sink := range []Sink{Auto, KMS} {
		r, o := startWithOutputs(t, "none", sink, plugged...)
		r.on("kms HDMI-A-1 1920x1080")
		r.push("Kd")
		r.shown(2)
		o.plug(unplugged...)
		if lost := r.report(CodeDisplayLost); !strings.Contains(lost.Message, "HDMI-A-1 was unplugged") {
			t.Errorf("%+v", lost)
		}
		r.on("none")
		o.plug(another...)
		r.report(CodeDisplayBack)
		r.on("kms HDMI-A-1 1280x720")
		r.push("d")
		r.shown(3)
		expect(t, "got", r.got(), "|Kdd") // the decoder noticed nothing
		expect(t, "restarts", r.Stats().Restarts, 0)
		expect(t, "reports", len(r.reports), 0)
	}
}

// While the kernel looks at the cables itself, a look at it takes long, and is old when it has ended.
func TestUnplugWhileLooking(t *testing.T) {
	r, o := startWithOutputs(t, "none", KMS, plugged...)
	r.on("kms HDMI-A-1 1920x1080")
	m := drm(unplugged...)
	o.next.Store(&m)
	r.report(CodeDisplayLost)
	r.on("none")
	o.plug(plugged...)
	r.report(CodeDisplayBack)
	r.on("kms HDMI-A-1 1920x1080")
	expect(t, "reports", len(r.reports), 0)
}

// A kernel that has not looked yet does so when the output is opened.
func TestOutputThatNobodyLookedAt(t *testing.T) {
	r, o := startWithOutputs(t, "none", Auto, "card1-HDMI-A-1/status=unknown")
	r.on("kms HDMI-A-1")
	o.plug(plugged...)
	r.on("kms HDMI-A-1 1920x1080")
	o.plug(another...)
	r.on("kms HDMI-A-1 1280x720") // another screen, plugged in faster than anybody looks
	expect(t, "reports", len(r.reports), 0)
}

// Pictures go to another output, and back when that is asked for.
func TestAnotherConnector(t *testing.T) {
	second := append(slices.Clone(plugged), "card1-HDMI-A-2/status=connected", "card1-HDMI-A-2/connector_id=51", "card1-HDMI-A-2/modes=1280x720")
	r, o := startWithOutputs(t, "none", Auto, append(second, "card1-DP-1/status=disconnected")...)
	r.on("kms HDMI-A-1 1920x1080")
	r.push("Kd")
	r.shown(2)
	for name, want := range map[string]string{"HDMI-A-2": "", "DP-1": "no screen", "HDMI-A-3": "there is no connector"} {
		err := r.CheckConnector(name)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || reportOf(err).Code != CodeConnector) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.SetConnector("HDMI-A-2")
	r.on("kms HDMI-A-2 1280x720")
	r.push("d")
	r.shown(3)
	expect(t, "reports", len(r.reports), 0)
	o.plug(plugged...)
	r.report(CodeDisplayLost)
	r.on("none") // it was asked for
	r.SetConnector("")
	r.report(CodeDisplayBack)
	r.on("kms HDMI-A-1 1920x1080")
	expect(t, "got", r.got(), "|Kdd")
	expect(t, "restarts", r.Stats().Restarts, 0)
}

func TestNoConnectorsInAWindow(t *testing.T) {
	for _, sink := range []Sink{X11, Wayland, None} {
		if err := New(Config{Sink: sink}).CheckConnector("HDMI-A-1"); err == nil || reportOf(err).Code != CodeConnector {
			t.Errorf("%s: %v", sink, err)
		}
	}
}

func TestStartWithoutDisplay(t *testing.T) {
	r, o := startWithOutputs(t, "none", Auto, unplugged...)
	r.on("none")
	o.plug(plugged...)
	r.on("kms HDMI-A-1 1920x1080")
	expect(t, "reports", len(r.reports), 0)
}

func TestWantedDisplayIsNotThere(t *testing.T) {
	r, o := startWithOutputs(t, "none", KMS, unplugged...)
	r.report(CodeNoDisplay)
	r.push("K")
	r.shown(1)
	o.plug(plugged...)
	r.on("kms HDMI-A-1 1920x1080")
	expect(t, "reports", len(r.reports), 0)
}

func TestBusyDisplayIsTriedAgain(t *testing.T) {
	r, _ := startWithOutputs(t, "busy", Auto, plugged...)
	if busy := r.report(CodeBusy); !strings.Contains(busy.Message, "another program holds the display; it is tried again in 1s") {
		t.Errorf("%+v", busy)
	}
	r.report(CodeDisplayBack)
	r.on("kms HDMI-A-1 1920x1080")
	expect(t, "restarts", r.Stats().Restarts, 0)
}

func TestSlateIsSentToEveryChild(t *testing.T) {
	r := start(t, "crash")
	r.SetSlate(Slate{State: "waiting"})
	r.push("K")
	r.shown(1)
	r.until("the slate", func() bool { return strings.HasPrefix(r.got(), "<waiting>|K") })
	r.SetSlate(Slate{State: "waiting"})
	r.SetSlate(Slate{State: "lost"})
	r.until("the new slate", func() bool { return strings.Count(r.got(), "<") == 2 && strings.HasSuffix(r.got(), "<lost>") })
	r.push("ddd")
	r.report(CodeCrash)
	r.report(CodeFallback)
	r.until("the slate in the new child", func() bool { return strings.HasPrefix(r.got(), "<lost>|k") })
}
