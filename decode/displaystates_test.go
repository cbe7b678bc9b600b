package decode

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/xserver"
	"github.com/edge-agent/edge-agent/test/kit"
)

// displayRig is an attempt without a child: what would be sent to it, and what is reported, is kept.
type displayRig struct {
	*attempt
	t       *testing.T
	outputs outputs

	mu      sync.Mutex
	sent    bytes.Buffer
	reports []string
}

// Write takes in what is sent to the child.
func (s *displayRig) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent.Write(b)
}

func (s *displayRig) reported(r report.Report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports = append(s.reports, r.Code+": "+r.Message)
}

func newDisplayRig(t *testing.T, sink plan.Sink, files ...string) *displayRig {
	s := &displayRig{t: t}
	s.attempt, _ = lone(t)
	s.out = NewWriter(s)
	s.own = []string{"avdec_h264", "avdec_h265", "kmssink", "ximagesink", "waylandsink"}
	s.outputs.plug(files...)
	c := &s.r.config
	c.Sink, c.DRM = sink, &s.outputs
	c.Report = s.reported
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	return s
}

// news gives what was sent, and then what was reported, since it was called last.
func (s *displayRig) news() string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	r := NewReader(bytes.NewReader(s.sent.Bytes()), FromAgent)
	for {
		m, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, s.words(m))
	}
	s.sent.Reset()
	all = append(all, s.reports...)
	s.reports = nil
	return strings.Join(all, "\n")
}

func (s *displayRig) words(m Message) string {
	s.t.Helper()
	var screen Screen
	var load Load
	var slate Slate
	var err error
	text := ""
	switch m.Kind {
	case KindScreen:
		err = m.Decode(&screen)
		text = fmt.Sprintf("screen %d %v", screen.Number, screen.Display)
		if p := screen.Display.Path; p != "" && p != plan.PathAuto {
			text += " by " + string(p)
		}
		if screen.Unpaced {
			text += " unpaced"
		}
	case KindLoad:
		err = m.Decode(&load)
		text = "load " + strings.Join(load.Elements, " ")
	case KindSlate:
		err = m.Decode(&slate)
		text = "slate " + slate.State
		if slate.AtOnce {
			text += " at once"
		}
	default:
		text = fmt.Sprint("message ", m.Kind)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}

// look looks at the outputs once.
func (s *displayRig) look() {
	s.t.Helper()
	if err := s.lookForDisplay(); err != nil {
		s.t.Fatal(err)
	}
}

// opened takes in that the display was opened that was asked for last, and failed that it was not.
func (s *displayRig) opened() { s.r.screened(Screened{Number: s.r.display.number}) }

func (s *displayRig) failed(code string) {
	s.r.screened(Screened{Number: s.r.display.number, Failure: &Failure{Code: code, Message: "it failed"}})
}
func (s *displayRig) trouble() string { return s.r.DisplayTrouble().Code }
func (s *displayRig) want(news ...string) {
	s.t.Helper()
	kit.Expect(s.t, "news", s.news(), strings.Join(news, "\n"))
}

const hdmi1 = "kms HDMI-A-1 1920x1080"

// A new child is told what to load, and where to show pictures.
func TestChildIsToldWhatToLoad(t *testing.T) {
	for name, c := range map[string]struct {
		waits *format.Format
		load  string
	}{
		"nothing waits": {nil, "load h264parse avdec_h264"},
		"H.264 waits":   {&format.Format{Codec: format.H264}, "load h264parse avdec_h264"},
		"H.265 waits":   {&format.Format{Codec: format.H265}, "load h265parse avdec_h265"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDisplayRig(t, plan.KMS, plugged...)
			s.r.config.Unpaced = true
			if c.waits != nil {
				s.r.shown.gate.Push(Unit{Key: true, Format: c.waits, Data: []byte("K")})
			}
			if err := s.setTheStage(); err != nil {
				t.Fatal(err)
			}
			s.want(c.load, "screen 1 "+hdmi1+" unpaced")
			kit.Expect(t, "display", s.r.Stats().Display.String(), hdmi1)
			kit.Expect(t, "asked for", s.progress.screen, 1)
			kit.Expect(t, "waited for", s.progress.screens.IsZero(), false)
		})
	}
}

// The slate is sent once to each child, and to one after a child that showed nothing, at once.
func TestSlateIsSentOnce(t *testing.T) {
	for _, again := range []bool{false, true} {
		s := newDisplayRig(t, plan.None)
		s.again = again
		s.r.setCurrent(s.attempt)
		send := func() string {
			slate, _ := s.outbox.empty()
			if err := s.sendSlate(); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%v %s", slate, s.news())
		}
		at := map[bool]string{true: " at once"}[again]
		kit.Expect(t, "none was set", send(), "false ")
		s.r.SetSlate(Slate{State: "waiting"})
		kit.Expect(t, "a slate", send(), "true slate waiting"+at)
		s.r.SetSlate(Slate{State: "waiting"})
		kit.Expect(t, "the same", send(), "false ")
		s.r.SetSlate(Slate{State: "lost"})
		kit.Expect(t, "another", send(), "true slate lost"+at)
		s.r.setCurrent(nil)
		s.r.SetSlate(Slate{State: "for the next child"})
		kit.Expect(t, "without a child", s.r.slate.State, "for the next child")
	}
}

// A display that is missing at the start is reported once, and is used when it is there. One that was lost is reported
// once, and once more when it is back.
func TestDisplayIsLostAndBack(t *testing.T) {
	s := newDisplayRig(t, plan.KMS, unplugged...)
	if err := s.setTheStage(); err != nil {
		t.Fatal(err)
	}
	s.want("load h264parse avdec_h264", "screen 1 none", "display.none: no screen is connected to any of HDMI-A-1")
	s.opened()
	s.look()
	s.look()
	s.want()
	kit.Expect(t, "trouble without a screen", s.trouble(), "display.none")

	s.outputs.plug(plugged...)
	s.look()
	s.look()
	s.want("screen 2 " + hdmi1)
	kit.Expect(t, "trouble until it is open", s.trouble(), "display.none")
	s.r.screened(Screened{Number: 1}) // of the one before
	kit.Expect(t, "trouble after an old answer", s.trouble(), "display.none")
	s.r.screened(Screened{Number: 2, Mode: plan.Mode{Width: 1920, Height: 1080}})
	s.want()
	kit.Expect(t, "trouble with a screen", s.trouble(), "")
	kit.Expect(t, "mode", s.r.Stats().Mode, plan.Mode{Width: 1920, Height: 1080})
	s.r.screened(Screened{Number: 1, Mode: plan.Mode{Width: 1, Height: 1}})
	kit.Expect(t, "mode", s.r.Stats().Mode, plan.Mode{Width: 1920, Height: 1080})

	for n := uint32(3); n < 7; n += 2 {
		s.outputs.plug(unplugged...)
		s.look()
		s.want(fmt.Sprintf("screen %d none", n), "display.lost: HDMI-A-1 was unplugged")
		s.opened()
		s.look()
		s.want()
		kit.Expect(t, "trouble", s.trouble(), "display.lost")
		s.outputs.plug(plugged...)
		s.look()
		s.want(fmt.Sprintf("screen %d %s", n+1, hdmi1))
		s.opened()
		s.opened()
		s.want("display.back: showing on " + hdmi1 + " again")
		kit.Expect(t, "trouble", s.trouble(), "")
	}
	s.outputs.plug(another...)
	s.look()
	s.want("screen 7 kms HDMI-A-1 1280x720") // another screen, without having been lost
}

// A display that fails is reported once for each reason, and tried again after a time that grows, until it works.
func TestDisplayThatFailsIsTriedAgain(t *testing.T) {
	s := newDisplayRig(t, plan.Auto, plugged...)
	synctest.Test(t, func(*testing.T) {
		number := 1
		screen := func(where string) string {
			number++
			return fmt.Sprintf("screen %d %s", number-1, where)
		}
		if err := s.setTheStage(); err != nil {
			t.Fatal(err)
		}
		s.want("load h264parse avdec_h264", screen(hdmi1))
		fails := func(code string, pass time.Duration, reported string) {
			t.Helper()
			s.failed(code)
			kit.Expect(t, "display", s.r.Stats().Display, plan.Display{})
			trouble := code
			if code == report.CodeHang {
				trouble = "display.lost"
			}
			kit.Expect(t, "trouble", s.trouble(), trouble)
			s.look() // nowhere meanwhile
			if s.opened(); reported == "" {
				s.want(screen("none"))
			} else {
				s.want(screen("none"), reported)
			}
			time.Sleep(pass - 1)
			s.look()
			s.want()
			time.Sleep(time.Nanosecond)
			s.look()
			s.want(screen(hdmi1))
		}
		busy := "display.busy: " + hdmi1 + ": it failed; it is tried again in "
		fails(report.CodeBusy, time.Second, busy+"1s")
		fails(report.CodeBusy, 2*time.Second, "")
		fails(report.CodeBusy, 4*time.Second, "")
		fails(report.CodeError, 8*time.Second, "decode.error: "+hdmi1+": it failed; it is tried again in 8s")
		fails(report.CodeBusy, 16*time.Second, busy+"16s")
		fails(report.CodeBusy, 30*time.Second, "")
		fails(report.CodeHang, 30*time.Second, "display.lost: "+hdmi1+": it failed; it is tried again in 30s")
		s.opened()
		s.want("display.back: showing on " + hdmi1 + " again")
		fails(report.CodeHang, 30*time.Second, "display.lost: "+hdmi1+": it failed; it is tried again in 30s")
		s.opened()
		s.want("display.back: showing on " + hdmi1 + " again")
		// What is plugged in may be another one.
		s.failed(report.CodeBusy)
		s.outputs.plug(another...)
		s.look()
		s.want(screen("kms HDMI-A-1 1280x720"), busy+"30s")
		s.failed(report.CodeBusy)
		s.look()
		s.news()
		s.r.SetConnector("HDMI-A-1") // somebody wants it now
		number = int(s.r.display.number) + 1
		s.look()
		s.want(screen("kms HDMI-A-1 1280x720"))
	})
}

// How long a way to a screen is passed over; the others are not.
func TestPassingOver(t *testing.T) {
	var d display
	now := time.Unix(1000, 0)
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		kit.Expect(t, "passed over", d.pass(plan.KMS, false, now), want*time.Second)
		kit.Expect(t, "until", d.failed[plan.KMS].until, now.Add(want*time.Second))
	}
	kit.Expect(t, "another one", d.pass(plan.X11, false, now), time.Second)
	kit.Expect(t, "one that hangs", d.pass(plan.Wayland, true, now), 30*time.Second)
	kit.Expect(t, "the same again", d.pass(plan.Wayland, false, now), 2*time.Second)
	d.look(nil)
	kit.Expect(t, "nothing was plugged", d.pass(plan.X11, false, now), 2*time.Second)
	d.look([]plan.Connector{{Name: "DP-1"}})
	kit.Expect(t, "something was plugged", d.pass(plan.X11, false, now), time.Second)
	d.look([]plan.Connector{{Name: "DP-1"}})
	kit.Expect(t, "it is still plugged", d.pass(plan.X11, false, now), 2*time.Second)
	for range 100 {
		d.pass(plan.X11, false, now)
	}
	kit.Expect(t, "a hundred times", d.pass(plan.X11, false, now), 30*time.Second)
}

// The outputs of the kernel are not looked at while pictures go to a window or nowhere.
func TestDisplayIsLookedFor(t *testing.T) {
	second := slices.Concat(plugged, []string{"card1-HDMI-A-2/status=connected"})
	for name, c := range map[string]struct {
		sink      plan.Sink
		connector string
		now       plan.Display
		files     []string
		news      string
	}{
		"X":                     {plan.Auto, "", plan.Display{Sink: plan.X11}, plugged, ""},
		"Wayland":               {plan.Auto, "", plan.Display{Sink: plan.Wayland}, plugged, ""},
		"X, an output is asked": {plan.Auto, "HDMI-A-2", plan.Display{Sink: plan.X11}, second, "screen 1 kms HDMI-A-2"},
		"no display is wanted":  {plan.None, "", plan.Display{Sink: plan.None}, plugged, ""},
		"none was there":        {plan.Auto, "", plan.Display{Sink: plan.None}, plugged, "screen 1 " + hdmi1},
		"none is there":         {plan.Auto, "", plan.Display{Sink: plan.None}, unplugged, ""},
		"on another card": {
			plan.KMS, "",
			plan.Display{Sink: plan.KMS, Card: "/dev/dri/card0", Connector: "HDMI-A-1"},
			plugged,
			"screen 1 " + hdmi1 + "\ndisplay.lost: HDMI-A-1 was unplugged",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDisplayRig(t, c.sink, c.files...)
			s.r.SetConnector(c.connector)
			s.r.stats.Display = c.now
			s.look()
			s.want(strings.Split(c.news, "\n")...)
		})
	}
}

func TestHasScreen(t *testing.T) {
	d := plan.Display{Sink: plan.KMS, Card: "/dev/dri/card1", Connector: "DP-1"}
	for name, c := range map[string]struct {
		connector plan.Connector
		has       bool
	}{
		"connected":         {plan.Connector{Card: "card1", Name: "DP-1", Connected: true}, true},
		"not known":         {plan.Connector{Card: "card1", Name: "DP-1", Unknown: true}, true},
		"unplugged":         {plan.Connector{Card: "card1", Name: "DP-1"}, false},
		"another connector": {plan.Connector{Card: "card1", Name: "DP-2", Connected: true}, false},
		"another card":      {plan.Connector{Card: "card0", Name: "DP-1", Connected: true}, false},
	} {
		kit.Expect(t, name, hasScreen(d, []plan.Connector{{Card: "card1", Name: "DP-3"}, c.connector}), c.has)
	}
	kit.Expect(t, "none", hasScreen(d, nil), false)
}

// The display is looked after every half a second from when the child has greeted, until the attempt ends.
func TestDisplayIsWatched(t *testing.T) {
	s := newDisplayRig(t, plan.KMS, plugged...)
	synctest.Test(t, func(t *testing.T) {
		s.greeted, s.screened = make(chan struct{}), make(chan Screened, 1)
		ctx, end := context.WithCancelCause(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- s.watchDisplay(ctx) }()
		time.Sleep(time.Minute)
		s.want()
		close(s.greeted)
		time.Sleep(500*ms - 1)
		synctest.Wait()
		s.want()
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		s.want("screen 1 " + hdmi1)
		s.screened <- Screened{Number: 1, Mode: plan.Mode{Width: 1920, Height: 1080}}
		synctest.Wait()
		kit.Expect(t, "mode", s.r.Stats().Mode, plan.Mode{Width: 1920, Height: 1080})
		s.outputs.plug(unplugged...)
		time.Sleep(500*ms - 1)
		synctest.Wait()
		s.want()
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		s.want("screen 2 none", "display.lost: HDMI-A-1 was unplugged")
		over := errors.New("over")
		end(over)
		kit.Expect(t, "it ended because of", <-ended, over)
		kit.Expect(t, "before it began, because of", s.watchDisplay(ctx), over)
	})
}

// A display that cannot be asked for is the end of the child's connection.
func TestDisplayCannotBeAskedFor(t *testing.T) {
	s := newDisplayRig(t, plan.KMS, plugged...)
	s.out = NewWriter(brokenPipe{})
	synctest.Test(t, func(t *testing.T) {
		s.greeted, s.screened = make(chan struct{}), make(chan Screened)
		close(s.greeted)
		began := time.Now()
		err := s.watchDisplay(context.Background())
		var f *failure
		if !errors.As(err, &f) || f.Code != report.CodeCrash {
			t.Error(err)
		}
		kit.Expect(t, "after", time.Since(began), 750*ms) // half a second, and a quarter for a better reason
	})
	if s.setTheStage() == nil || s.askAgain() == nil {
		t.Error("a write that failed is not noticed")
	}
	s.r.SetSlate(Slate{State: "waiting"})
	if s.sendSlate() == nil {
		t.Error("a slate that was not sent is not noticed")
	}
}

func (s *displayRig) askAgain() error {
	s.r.stats.Display = plan.Display{}
	return s.lookForDisplay()
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Why connectors cannot be chosen where pictures go to a window.
func TestConnectorsWhilePicturesGoToAWindow(t *testing.T) {
	for _, c := range []struct {
		config plan.Sink
		now    plan.Sink
		name   string
		says   string // "" for none
	}{
		{plan.Auto, plan.KMS, "HDMI-A-1", ""},
		{plan.Auto, plan.None, "HDMI-A-1", ""},
		{plan.KMS, plan.KMS, "HDMI-A-1", ""},
		{plan.Auto, plan.KMS, "HDMI-A-2", "there is no connector HDMI-A-2"},
		{plan.Auto, plan.X11, "HDMI-A-1", "a window on x11"},
		{plan.Auto, plan.Wayland, "HDMI-A-1", "a window on wayland"},
		{plan.X11, plan.X11, "HDMI-A-1", "pictures go to x11, which has no connectors"},
		{plan.None, plan.None, "HDMI-A-1", "pictures go to none, which has no connectors"},
	} {
		s := newDisplayRig(t, c.config, plugged...)
		s.r.stats.Display = plan.Display{Sink: c.now}
		err := s.r.CheckConnector(c.name)
		if c.says == "" && err == nil {
			continue
		}
		if err == nil || c.says == "" || !strings.Contains(err.Error(), c.says) || reportOf(err).Code != "display.connector" {
			t.Errorf("%s, now %s: %v", c.config, c.now, err)
		}
	}
}

// What is wanted and cannot be used is reported once for each connector that is asked for.
func TestConnectorThatIsMissing(t *testing.T) {
	s := newDisplayRig(t, plan.KMS, plugged...)
	s.r.stats.Display = plan.Display{Sink: plan.None}
	for _, c := range []struct{ connector, news string }{
		{"DP-9", "display.connector: there is no connector DP-9; there are HDMI-A-1"},
		{"DP-9", ""},
		{"", "screen 1 " + hdmi1},
		{"DP-9", "screen 2 none\ndisplay.connector: there is no connector DP-9; there are HDMI-A-1"},
		{"DP-8", "display.connector: there is no connector DP-8; there are HDMI-A-1"},
	} {
		s.r.SetConnector(c.connector)
		s.look()
		s.look()
		s.want(strings.Split(c.news, "\n")...)
	}
	kit.Expect(t, "connector", s.r.connector(), "DP-8")
}

// That a display was lost says more than that none can be used. Access that was refused is over once there is another
// way.
func TestWhyThereIsNoDisplay(t *testing.T) {
	of := func(code, told string) *display { return &display{trouble: report.Report{Code: code}, told: told} }
	lost := func(code string) *display { return &display{lost: true, trouble: report.Report{Code: code}} }
	missing, refused := report.Errorf(report.CodeNoDisplay, "no screen"), report.Errorf(report.CodeNoAccess, "refused")
	for name, c := range map[string]struct {
		before  *display
		err     error
		report  string
		trouble string
		told    string
	}{
		"one is used":                {&display{}, nil, "", "", ""},
		"one is used now":            {of(report.CodeNoDisplay, "no screen"), nil, "", report.CodeNoDisplay, "no screen"},
		"one that needs no access":   {of(report.CodeNoAccess, "refused"), nil, "", "", ""},
		"none":                       {&display{}, missing, report.CodeNoDisplay, report.CodeNoDisplay, "no screen"},
		"none, as was told":          {&display{told: "no screen"}, missing, "", report.CodeNoDisplay, "no screen"},
		"none, for another reason":   {of(report.CodeNoDisplay, "no screen"), refused, report.CodeNoAccess, report.CodeNoAccess, "refused"},
		"one was lost":               {lost(report.CodeDisplayLost), missing, "", report.CodeDisplayLost, ""},
		"one is held by another one": {lost(report.CodeBusy), missing, "", report.CodeBusy, ""},
		"one failed":                 {lost(report.CodeError), missing, "", report.CodeNoDisplay, ""},
	} {
		d := c.before
		report := d.chosen(c.err)
		kit.Expect(t, name+": report", report.Code, c.report)
		kit.Expect(t, name+": trouble", d.trouble.Code, c.trouble)
		kit.Expect(t, name+": told", d.told, c.told)
	}
}

// fakeX is an X server that counts who asks.
type fakeX struct {
	xserver.Server
	asked  atomic.Int32
	lets   atomic.Bool
	leaves chan struct{} // a client left
}

func startFakeX(t *testing.T, address string) *fakeX {
	t.Helper()
	x := &fakeX{leaves: make(chan struct{}, 100)}
	listener, err := net.Listen("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	x.Server = xserver.Server{Network: "unix", Address: address, Number: "0", Getenv: func(string) string { return "/absent" }}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			x.asked.Add(1)
			answer := "\x00\x05\x0b\x00\x00\x00\x02\x00no wa\x00\x00\x00"
			if x.lets.Load() {
				answer = "\x01\x00\x0b\x00\x00\x00\x00\x00"
			}
			_, _ = conn.Write([]byte(answer))
			go func() {
				defer conn.Close()
				for b := make([]byte, 64); err == nil; {
					_, err = conn.Read(b)
				}
				x.leaves <- struct{}{}
			}()
		}
	}()
	return x
}

// A server that refuses is asked again after five seconds, or at once with other cookies. Who was let in stays until
// it is not needed any more.
func TestRefusedXServerIsAskedAgainLater(t *testing.T) {
	x := startFakeX(t, filepath.Join(t.TempDir(), "X0"))
	other := startFakeX(t, filepath.Join(t.TempDir(), "X1"))
	synctest.Test(t, func(t *testing.T) {
		var d display
		ask := func(x *fakeX, server xserver.Server, refused bool, asked int32) {
			t.Helper()
			err := d.xAccess(server)
			if refused != errors.Is(err, xserver.Refused("no wa")) || !refused && err != nil {
				t.Errorf("access: %v", err)
			}
			kit.Expect(t, "asked", x.asked.Load(), asked)
		}
		ask(x, x.Server, true, 1)
		ask(x, x.Server, true, 1)
		time.Sleep(5*time.Second - 1)
		ask(x, x.Server, true, 1)
		time.Sleep(time.Nanosecond)
		ask(x, x.Server, true, 2)
		ask(other, other.Server, true, 1)
		ask(x, x.Server, true, 3) // the refusal of only one is kept
		for range 3 {
			<-x.leaves
		}
		x.lets.Store(true)
		cookies := x.Server
		cookies.Getenv = func(string) string { return "/also/absent" }
		ask(x, cookies, false, 4)
		ask(x, cookies, false, 5)
		<-x.leaves // the fourth
		kit.Expect(t, "left", len(x.leaves), 0)
		d.leaveX()
		<-x.leaves
		d.leaveX()
		kit.Expect(t, "stays", d.xClient == nil, true)
	})
}

// The connection to an X server is given up when the display that was asked for is open or has failed.
func TestXServerIsLeft(t *testing.T) {
	for _, c := range []struct {
		answer Screened
		stays  bool
	}{
		{Screened{Number: 1}, true},
		{Screened{Number: 2}, false},
		{Screened{Number: 2, Failure: &Failure{Code: report.CodeError}}, false},
	} {
		s := newDisplayRig(t, plan.None)
		s.r.display.number = 2
		ours, theirs := net.Pipe()
		defer theirs.Close()
		s.r.display.xClient = ours
		s.r.screened(c.answer)
		kit.Expect(t, "stays", s.r.display.xClient != nil, c.stays)
		_ = ours.Close()
	}
}

// A session that refuses access is reported only when there is no other way to a screen.
func TestRefusedAccessIsReportedWithoutAnotherWay(t *testing.T) {
	for name, c := range map[string]struct {
		sink  plan.Sink
		files []string
		code  string
		where string
	}{
		"an output":   {plan.Auto, plugged, "", hdmi1},
		"no output":   {plan.Auto, unplugged, "display.access", "none"},
		"X is wanted": {plan.X11, plugged, "display.access", "none"},
		"none":        {plan.None, plugged, "", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newDisplayRig(t, c.sink, c.files...)
			server := xserver.Name{Address: "/tmp/.X11-unix/X99", Authority: "/absent"}
			s.r.display.refused = xRefusal{server, xserver.Refused("no"), time.Now().Add(time.Hour)}
			t.Setenv("DISPLAY", ":99")
			t.Setenv("XAUTHORITY", "/absent")
			choice := s.r.chooseDisplay(s.own, plan.Connectors(s.r.config.DRM))
			kit.Expect(t, "display", choice.Display.String(), c.where)
			kit.Expect(t, "trouble", s.trouble(), c.code)
			kit.Expect(t, "reports", len(s.reports), map[string]int{"": 0, "display.access": 1}[c.code])
		})
	}
}

func TestDial(t *testing.T) {
	address := filepath.Join(t.TempDir(), "wayland")
	if err := dial("unix", address); err == nil {
		t.Error("nobody listens")
	}
	compositor := startFakeX(t, address)
	if err := dial("unix", address); err != nil {
		t.Error(err)
	}
	<-compositor.leaves
}
