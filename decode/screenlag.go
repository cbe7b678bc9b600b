package decode

import (
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

// The local lag: how long after its reception a frame is on the screen. Both ends are read from this box's monotonic
// clock, so that the producer's clock may jump, run backwards or stand still.

const (
	// mostReceptions bounds what is remembered of an input: the frames between the oldest that may be on the screen and
	// the newest.
	mostReceptions = 4096
	// hiddenReceptions is what is remembered of one that is not shown: a group of pictures.
	hiddenReceptions = 300
	// overdue is how much longer than the last one a frame may take before its waiting counts as lag: more than the
	// time between two statuses and what the network and the decoder vary by.
	overdue = time.Second
)

// reception is when a frame was received.
type reception struct {
	number   uint64        // Unit.Number
	at       time.Duration // on the producer's line
	received time.Time
	shown    bool
}

// screenLag measures the local lag of one input. Its methods may be called from any goroutine.
type screenLag struct {
	mu       sync.Mutex
	frames   []reception // by number
	onScreen reception   // the newest picture; number 0 before the first
	wall     time.Time   // when it was there, by the monotonic clock
	reported time.Time   // the same as Status.Wall
	behind   time.Time   // when the first frame after it was received; zero when there is none
}

// received takes in a frame; numbers rise. hidden says that the input is not shown.
func (l *screenLag) received(number uint64, at time.Duration, received time.Time, hidden bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frames == nil {
		l.frames = make([]reception, 0, hiddenReceptions) // all that a hidden input needs
	}
	most := mostReceptions
	if hidden {
		most = hiddenReceptions
	}
	if over := len(l.frames) + 1 - most; over > 0 {
		l.frames = l.frames[:copy(l.frames, l.frames[over:])]
	}
	l.frames = append(l.frames, reception{number: number, at: at, received: received})
	if l.behind.IsZero() {
		l.behind = received
	}
}

// reset forgets the picture: the input was hidden, and is shown from now on.
func (l *screenLag) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.onScreen, l.wall, l.reported, l.behind = reception{}, time.Time{}, time.Time{}, time.Time{}
}

// status takes in what a status says of the input's pipeline. The frame on the screen is the newest one that was shown
// and has the time of the picture there: several frames may have the same time.
//
// Status.Wall is of the wall clock, as the renderer is another process. It is placed on the monotonic clock here, so
// that only a clock that is set within the moment between the picture and its status matters.
func (l *screenLag) status(s Status, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, settled := range s.Settled {
		if settled.Reason == report.Shown {
			l.setShown(settled.Frame)
		}
	}
	if s.Wall.IsZero() || s.Wall.Equal(l.reported) {
		return
	}
	l.reported = s.Wall
	for i := len(l.frames) - 1; i >= 0; i-- {
		if f := l.frames[i]; f.shown && f.at == s.FrameTime {
			l.onScreen, l.wall = f, screenTime(f.received, s.Wall, now)
			l.findBehind(i)
			return
		}
	}
}

// maxSlew is how far the time of a picture may be outside the time from its reception to its status: what the wall
// clock is adjusted by.
const maxSlew = time.Second

// screenTime places the time of a picture on the monotonic clock. It is zero, unknown, when it is before the reception
// of the frame or after now: the clock was set between the picture and its status, or the renderer is wrong.
func screenTime(received, wall, now time.Time) time.Time {
	at := now.Add(-now.Round(0).Sub(wall))
	if at.Before(received.Add(-maxSlew)) || at.After(now.Add(maxSlew)) {
		return time.Time{}
	}
	if at.Before(received) {
		return received
	}
	return at
}

func (l *screenLag) setShown(number uint64) {
	for i := len(l.frames) - 1; i >= 0 && l.frames[i].number >= number; i-- {
		if l.frames[i].number == number {
			l.frames[i].shown = true
		}
	}
}

// findBehind finds the first frame after the one on the screen, at i. Frames that were decoded after it may have been
// shown before it. What is well before it is forgotten.
func (l *screenLag) findBehind(i int) {
	l.behind = time.Time{}
	for _, f := range l.frames[i+1:] {
		if !f.shown {
			l.behind = f.received
			break
		}
	}
	if cut := i - maxReorder; cut > 0 {
		l.frames = l.frames[:copy(l.frames, l.frames[cut:])]
	}
}

// maxReorder is how many frames may be decoded between one and those shown before it (H.264 and H.265: 16).
const maxReorder = 16

// lag is the time from the reception of the frame on the screen to its picture, and when that was. Once frames that
// came after it wait for more than overdue longer, the picture is out of date, and the lag is how long they have
// waited.
func (l *screenLag) lag(now time.Time) (lag time.Duration, shown time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.onScreen.number == 0 || l.wall.IsZero() {
		return 0, time.Time{}, false
	}
	lag = l.wall.Sub(l.onScreen.received)
	if l.behind.IsZero() {
		return lag, l.wall, true
	}
	if waited := now.Sub(l.behind); waited > lag+overdue {
		lag = waited
	}
	return lag, l.wall, true
}

// ScreenLag is the local lag of the input that is shown: the time from the reception of a frame to its picture on the
// screen, as far as known at now. While the picture is frozen and frames arrive, it is how long the oldest of them has
// waited. shown is when the newest picture was on the screen; ok is false before the first.
func (in *Input) ScreenLag(now time.Time) (lag time.Duration, shown time.Time, ok bool) {
	return in.lag.lag(now)
}
