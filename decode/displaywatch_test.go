package decode

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
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
	m := drmFiles(files...)
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
	switch {
	case s.Display.Sink != plan.KMS:
	case fault == "stuck screen":
		select {} // it reads nothing either; its heart beats
	case fault == "lost screen":
		return
	case fault == "hung screen":
		_ = out.JSON(KindScreened, Screened{Number: s.Number, Failure: &Failure{Code: report.CodeHang, Message: "no answer"}})
		return
	}
	answer := Screened{Number: s.Number}
	if fault == "busy" && s.Display.Sink == plan.KMS && s.Number <= 3 { // two times: there is another display in between
		answer.Failure = &Failure{Code: report.CodeBusy, Message: "another program holds the display"}
	}
	_ = out.JSON(KindScreened, answer)
}

// on waits until pictures go to a display.
func (r *rig) on(display string) {
	r.t.Helper()
	r.until("display "+display, func() bool { return r.Stats().Display.String() == display })
}

func startWithOutputs(t *testing.T, fault string, sink plan.Sink, files ...string) (*rig, *outputs) {
	o := &outputs{}
	o.plug(files...)
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	return start(t, fault, func(c *Config) { c.Sink, c.DRM = sink, o }), o
}

func TestUnplugAndPlug(t *testing.T) {
	for _, sink := range []plan.Sink{plan.Auto, plan.KMS} {
		r, o := startWithOutputs(t, "none", sink, plugged...)
		r.on("kms HDMI-A-1 1920x1080")
		r.push("Kd")
		r.shown(2)
		o.plug(unplugged...)
		if lost := r.report(report.CodeDisplayLost); !strings.Contains(lost.Message, "HDMI-A-1 was unplugged") {
			t.Errorf("%+v", lost)
		}
		r.on("none")
		o.plug(another...)
		r.report(report.CodeDisplayBack)
		r.on("kms HDMI-A-1 1280x720")
		r.push("d")
		r.shown(3)
		kit.Expect(t, "got", r.got(), "|Kdd") // the decoder noticed nothing
		kit.Expect(t, "restarts", r.Stats().Restarts, 0)
		kit.Expect(t, "reports", len(r.reports), 0)
	}
}

// While the kernel looks at the cables itself, a look at it takes long, and is old when it has ended.
func TestUnplugWhileLooking(t *testing.T) {
	r, o := startWithOutputs(t, "none", plan.KMS, plugged...)
	r.on("kms HDMI-A-1 1920x1080")
	m := drmFiles(unplugged...)
	o.next.Store(&m)
	r.report(report.CodeDisplayLost)
	r.on("none")
	o.plug(plugged...)
	r.report(report.CodeDisplayBack)
	r.on("kms HDMI-A-1 1920x1080")
	kit.Expect(t, "reports", len(r.reports), 0)
}

// A kernel that has not looked yet does so when the output is opened.
func TestOutputThatNobodyLookedAt(t *testing.T) {
	r, o := startWithOutputs(t, "none", plan.Auto, "card1-HDMI-A-1/status=unknown")
	r.on("kms HDMI-A-1")
	o.plug(plugged...)
	r.on("kms HDMI-A-1 1920x1080")
	o.plug(another...)
	r.on("kms HDMI-A-1 1280x720") // another screen, plugged in faster than anybody looks
	kit.Expect(t, "reports", len(r.reports), 0)
}

// Pictures go to another output, and back when that is asked for.
func TestAnotherConnector(t *testing.T) {
	second := append(slices.Clone(plugged), "card1-HDMI-A-2/status=connected", "card1-HDMI-A-2/connector_id=51", "card1-HDMI-A-2/modes=1280x720")
	r, o := startWithOutputs(t, "none", plan.Auto, append(second, "card1-DP-1/status=disconnected")...)
	r.on("kms HDMI-A-1 1920x1080")
	r.push("Kd")
	r.shown(2)
	for name, want := range map[string]string{"HDMI-A-2": "", "DP-1": "no screen", "HDMI-A-3": "there is no connector"} {
		err := r.CheckConnector(name)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || reportOf(err).Code != report.CodeConnector) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.SetConnector("HDMI-A-2")
	r.on("kms HDMI-A-2 1280x720")
	r.push("d")
	r.shown(3)
	kit.Expect(t, "reports", len(r.reports), 0)
	o.plug(plugged...)
	r.report(report.CodeDisplayLost)
	r.on("none") // it was asked for
	r.SetConnector("")
	r.report(report.CodeDisplayBack)
	r.on("kms HDMI-A-1 1920x1080")
	kit.Expect(t, "got", r.got(), "|Kdd")
	kit.Expect(t, "restarts", r.Stats().Restarts, 0)
}

func TestNoConnectorsInAWindow(t *testing.T) {
	for _, sink := range []plan.Sink{plan.X11, plan.Wayland, plan.None} {
		if err := New(Config{Sink: sink}).CheckConnector("HDMI-A-1"); err == nil || reportOf(err).Code != report.CodeConnector {
			t.Errorf("%s: %v", sink, err)
		}
	}
}

func TestStartWithoutDisplay(t *testing.T) {
	r, o := startWithOutputs(t, "none", plan.Auto, unplugged...)
	r.on("none")
	o.plug(plugged...)
	r.on("kms HDMI-A-1 1920x1080")
	kit.Expect(t, "reports", len(r.reports), 0)
}

func TestWantedDisplayIsNotThere(t *testing.T) {
	r, o := startWithOutputs(t, "none", plan.KMS, unplugged...)
	r.report(report.CodeNoDisplay)
	r.push("K")
	r.shown(1)
	o.plug(plugged...)
	r.on("kms HDMI-A-1 1920x1080")
	kit.Expect(t, "reports", len(r.reports), 0)
}

func TestBusyDisplayIsTriedAgain(t *testing.T) {
	r, _ := startWithOutputs(t, "busy", plan.Auto, plugged...)
	if busy := r.report(report.CodeBusy); !strings.Contains(busy.Message, "another program holds the display; it is tried again in 1s") {
		t.Errorf("%+v", busy)
	}
	r.report(report.CodeDisplayBack)
	r.on("kms HDMI-A-1 1920x1080")
	kit.Expect(t, "restarts", r.Stats().Restarts, 0)
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
	r.report(report.CodeCrash)
	r.report(report.CodeFallback)
	r.until("the slate in the new child", func() bool { return strings.HasPrefix(r.got(), "<lost>|k") })
}

// A display that does not open is blamed for that, neither the decoder nor the process, and the next one is used.
func TestDisplayThatDoesNotOpen(t *testing.T) {
	for _, fault := range []string{"stuck screen", "lost screen", "hung screen"} {
		t.Run(fault, func(t *testing.T) {
			o := &outputs{}
			o.plug(plugged...)
			t.Setenv("DISPLAY", "")
			t.Setenv("WAYLAND_DISPLAY", "")
			r := start(t, fault, func(c *Config) {
				c.Sink, c.DRM = plan.Auto, o
				c.Patience.Screen, c.Patience.Open, c.Patience.Next, c.Patience.More = time.Second, 2*time.Second, 100*time.Millisecond, 2
			})
			r.push("Kddd")
			lost := r.report(report.CodeDisplayLost)
			if !strings.Contains(lost.Message, "kms HDMI-A-1") || !strings.Contains(lost.Message, "tried again in 30s") {
				t.Errorf("%+v", lost)
			}
			r.on("none")
			r.push("d")
			r.until("pictures", func() bool { return r.Stats().Shown > 0 })
			s := r.Stats()
			kit.Expect(t, "decoder", s.Decoder, "vah264dec")
			kit.Expect(t, "denied", len(s.Denied), 0)
			kit.Expect(t, "reports", len(r.reports), 0)
			kit.Expect(t, "restarts", s.Restarts, map[string]int{"stuck screen": 1, "lost screen": 1}[fault])
		})
	}
}

// While a display is being opened, nothing is known of the decoder.
func TestOpeningADisplayIsExcused(t *testing.T) {
	const limit = 5 * time.Second
	for _, answered := range []bool{true, false} {
		start := time.Unix(1000, 0)
		p := progress{patience: Patience{Hello: time.Hour, Open: time.Second, Status: time.Hour, Screen: limit, First: time.Second, Next: time.Second, More: 2}, started: start}
		n := p.open(false, start)
		p.opened(n, start)
		p.advance(Status{Number: n, Fed: 1, Decoded: 1}, start)
		p.hearing(start, true)
		p.screenAsked(7, start)
		p.screened(6, start) // an older one
		for range 20 {
			p.sent(Unit{}, start)
			p.advance(Status{Number: n, Fed: 1, Decoded: 1}, start)
		}
		at := checkEvery
		for ; at <= limit; at += checkEvery {
			if err := p.check(start.Add(at)); err != nil {
				t.Fatalf("after %v: %v", at, err)
			}
		}
		if answered {
			p.screened(7, start.Add(limit))
		}
		err := p.check(start.Add(limit + checkEvery))
		if answered {
			if err != nil {
				t.Errorf("just answered: %v", err)
			}
			for range leastStatuses {
				p.advance(Status{Number: n, Fed: 1, Decoded: 1}, start)
			}
			for ; at <= limit+2*time.Second; at += checkEvery {
				err = p.check(start.Add(at))
			}
		}
		want := map[bool]string{true: report.CodeHang, false: report.CodeDisplayLost}[answered]
		var f *failure
		if !errors.As(err, &f) || f.Code != want {
			t.Errorf("answered %v: %v", answered, err)
		}
	}
}

// Whoever asks about the display does not wait for a server that does not answer.
func TestNobodyWaitsForADisplayServer(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	accepted, asked := make(chan struct{}), make(chan struct{})
	go func() {
		conn, err := silent.Accept()
		if err != nil {
			return
		}
		close(accepted)
		<-asked // as long as the agent's patience has not ended
		conn.Close()
	}()
	port := silent.Addr().(*net.TCPAddr).Port
	t.Setenv("WAYLAND_DISPLAY", "")
	t.Setenv("DISPLAY", fmt.Sprintf("127.0.0.1:%d", port-6000))
	r := New(Config{Sink: plan.X11})
	chosen := make(chan plan.Choice)
	go func() { chosen <- r.chooseDisplay([]string{plan.X11.Element()}, nil) }()
	<-accepted
	if !r.display.mu.TryLock() { // DisplayTrouble and SetConnector take it
		t.Error("the lock is held while the server is waited for")
	} else {
		r.display.mu.Unlock()
	}
	close(asked)
	if c := <-chosen; c.Display.Sink != plan.None {
		t.Errorf("%+v", c)
	}
	if trouble := r.DisplayTrouble(); trouble.Code != report.CodeNoDisplay {
		t.Errorf("%+v", trouble)
	}
}

// A driver that does not answer is left behind.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck := make(chan struct{})
		began := time.Now()
		err := within(time.Second, func() error {
			<-stuck
			return nil
		})
		if err == nil || time.Since(began) != time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		close(stuck)
	})
	if err := within(time.Hour, func() error { return fs.ErrPermission }); err != fs.ErrPermission {
		t.Error(err)
	}
}

// drmFiles is /sys/class/drm with these files, each "name=content" with commas for line ends.
func drmFiles(files ...string) fstest.MapFS {
	m := fstest.MapFS{"version": {Data: []byte("drm 1.1.0")}}
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		m[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(content, ",", "\n"))}
	}
	return m
}
