package decode

import (
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

// lagScreen is a screen that shows frames after their reception. Times are of one clock.
type lagScreen struct {
	t     *testing.T
	lag   screenLag
	start time.Time
}

func newLagScreen(t *testing.T) *lagScreen {
	return &lagScreen{t: t, start: time.Now()}
}

func (s *lagScreen) time(after time.Duration) time.Time { return s.start.Add(after) }

func (s *lagScreen) receive(number uint64, at, after time.Duration) {
	s.lag.received(number, at, s.time(after), false)
}

// show tells that frames were shown, the last of them, which has this time, after some time.
func (s *lagScreen) show(at, after time.Duration, numbers ...uint64) {
	status := Status{FrameTime: at, Wall: s.time(after).Round(0)}
	for _, n := range numbers {
		status.Settled = append(status.Settled, report.Settled{Frame: n})
	}
	s.lag.status(status, s.time(after))
}

func (s *lagScreen) want(after, want time.Duration) {
	s.t.Helper()
	got, _, ok := s.lag.lag(s.time(after))
	if !ok || got.Round(time.Millisecond) != want {
		s.t.Errorf("after %v the lag is %v, %v, want %v", after, got, ok, want)
	}
}

func TestScreenLagIsFromReceptionToScreen(t *testing.T) {
	for name, line := range map[string]func(i int) time.Duration{
		"a clock":        func(i int) time.Duration { return time.Duration(i) * 40 * ms },
		"days apart":     func(i int) time.Duration { return time.Duration(i) * 24 * time.Hour },
		"backwards":      func(i int) time.Duration { return time.Duration(-i) * time.Second },
		"standing still": func(int) time.Duration { return time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			s := newLagScreen(t)
			if _, _, ok := s.lag.lag(s.start); ok {
				t.Error("there is a lag before the first picture")
			}
			for i := range 100 {
				received := time.Duration(i) * 40 * ms
				s.receive(uint64(i+1), line(i), received)
				if i >= 5 {
					s.show(line(i-5), received+10*ms, uint64(i-4))
					s.want(received+10*ms, 210*ms)
				}
			}
			if len(s.lag.frames) > 5+2*maxReorder {
				t.Errorf("%d frames are remembered", len(s.lag.frames))
			}
		})
	}
}

// A stream with a frame every five seconds is up to date, however old its picture is.
func TestScreenLagOfASlowStream(t *testing.T) {
	s := newLagScreen(t)
	s.receive(1, 0, 0)
	s.show(0, 150*ms, 1)
	s.want(5*time.Second, 150*ms)
	s.receive(2, 5*time.Second, 5*time.Second)
	s.want(5*time.Second, 150*ms)
	s.want(5400*ms, 150*ms) // the next status may not have come
	s.show(5*time.Second, 5180*ms, 2)
	s.want(9*time.Second, 180*ms)
}

// A frozen picture falls behind with every second that frames arrive, whether they wait or are dropped.
func TestScreenLagOfAFrozenPicture(t *testing.T) {
	s := newLagScreen(t)
	for i := range 100 {
		s.receive(uint64(i+1), time.Duration(i)*40*ms, time.Duration(i)*40*ms)
	}
	s.show(0, 200*ms, 1)
	s.want(1200*ms, 200*ms)
	s.want(4*time.Second, 3960*ms)
	s.want(14*time.Second, 13960*ms)
	s.show(99*40*ms, 20*time.Second, 100)
	s.want(20*time.Second, 20*time.Second-99*40*ms)
}

// B-frames are decoded after the frame that they are shown before: at the end of a stream nothing waits.
func TestScreenLagWithReorderedFrames(t *testing.T) {
	s := newLagScreen(t)
	for i, at := range []time.Duration{0, 3, 1, 2, 6, 4, 5} { // in the order of decoding
		s.receive(uint64(i+1), at*40*ms, time.Duration(i)*40*ms)
	}
	s.show(3*40*ms, 320*ms, 1, 3, 4, 2)
	s.want(320*ms, 280*ms)
	s.show(6*40*ms, 440*ms, 6, 7, 5)
	s.want(time.Minute, 280*ms)
}

// After another input was shown, a lag is that of pictures since then.
func TestScreenLagAfterShow(t *testing.T) {
	s := newLagScreen(t)
	s.receive(1, 0, 0)
	s.show(0, 100*ms, 1)
	for i := range 1000 {
		s.lag.received(uint64(i+2), time.Duration(i)*40*ms, s.time(time.Duration(i)*40*ms), true)
	}
	if n := len(s.lag.frames); n > hiddenReceptions {
		t.Errorf("%d frames are remembered", n)
	}
	s.lag.reset()
	if _, _, ok := s.lag.lag(s.time(time.Hour)); ok {
		t.Error("there is a lag of the time before")
	}
	s.show(999*40*ms, 999*40*ms+250*ms, 1001)
	s.want(999*40*ms+250*ms, 250*ms)
}

// The clock was set between a picture and its status, or a status is wrong: the lag is not known, until the next picture.
func TestScreenLagWithoutATime(t *testing.T) {
	for name, wall := range map[string]time.Time{
		"1970": time.Unix(1, 0), "before the reception": time.Now().Add(-time.Minute), "after now": time.Now().Add(time.Hour), "far": time.Unix(1<<40, 0),
	} {
		var l screenLag
		now := time.Now()
		l.received(1, 0, now, false)
		l.status(Status{Wall: wall, Settled: []report.Settled{{Frame: 1, Reason: report.Shown}}}, now.Add(time.Millisecond))
		if lag, _, ok := l.lag(now.Add(time.Millisecond)); ok {
			t.Errorf("%s: the lag is %v", name, lag)
		}
		l.received(2, 40*time.Millisecond, now, false)
		shown := now.Add(30 * time.Millisecond)
		l.status(Status{Wall: shown.Round(0), FrameTime: 40 * time.Millisecond, Settled: []report.Settled{{Frame: 2, Reason: report.Shown}}}, shown)
		if lag, _, ok := l.lag(shown); !ok || lag != 30*time.Millisecond {
			t.Errorf("%s: the next lag is %v, %v", name, lag, ok)
		}
	}
}
