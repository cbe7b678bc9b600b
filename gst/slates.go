package gst

import (
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
)

// How long pictures that may be about to come are waited for, before there is a slate.
const (
	startGrace = 400 * time.Millisecond // from the start of the process
	openGrace  = 500 * time.Millisecond // from the start of a decoder, where there was no picture yet
	cutGrace   = 700 * time.Millisecond // from when another stream is to be shown: so long the last picture stays
)

// slateSize is that of the display, or one that will do where it is not known. Where there is no display only
// snapshots show the slate.
func slateSize(d plan.Display) plan.Mode {
	switch {
	case d.Mode.Width > 0 && (d.Rotate == 90 || d.Rotate == 270):
		return plan.Mode{Width: d.Mode.Height, Height: d.Mode.Width}
	case d.Mode.Width > 0:
		return d.Mode
	case d.Sink == plan.None:
		return plan.Mode{Width: 640, Height: 360}
	}
	return plan.Mode{Width: 1920, Height: 1080}
}

// slates decides when the slate is on the screen: at the start, soon, and when no picture came for a while. Then it is
// drawn anew whenever its text changes, and every second for its clock.
type slates struct {
	text   decode.Slate
	known  bool // that is, text
	latest time.Time
	from   time.Time // not before

	// Of the stream whose picture is on the screen.
	another bool          // it is not the one that is to be shown
	gap     time.Duration // between its frames, 0 while not known
	waiting time.Time     // when the first frame after the newest picture came; zero for none

	up      bool
	drawn   decode.Slate
	drawnAt time.Time
}

func (l *slates) set(text decode.Slate, now time.Time) {
	first := !l.known
	l.text, l.known = text, true
	if first {
		l.grant(startGrace, now)
	}
}

// opening takes in that a decoder starts.
func (l *slates) opening(now time.Time) {
	if l.latest.IsZero() {
		l.grant(openGrace, now)
	}
}

// grant gives a picture that long to come.
func (l *slates) grant(grace time.Duration, now time.Time) {
	if until := now.Add(grace); until.After(l.from) && !l.text.AtOnce {
		l.from = until
	}
}

// picture takes in when the newest picture was shown; zero for none.
func (l *slates) picture(at time.Time) {
	if at.After(l.latest) {
		l.latest, l.from, l.up, l.another = at, at.Add(l.text.After), false, false
	}
}

// frames takes in how far apart frames are, and since when some wait to be seen.
func (l *slates) frames(gap time.Duration, waiting time.Time) { l.gap, l.waiting = gap, waiting }

// stays says that the newest picture is all there is to see: frames are rare, or it is the only one so far, and the
// session plays.
func (l *slates) stays(now time.Time) bool {
	rare := l.gap == 0 || 2*l.gap > l.text.After
	seen := l.waiting.IsZero() || now.Sub(l.waiting) < l.text.After
	return l.text.Alive && !l.latest.IsZero() && !l.another && !l.up && rare && seen
}

// cut takes in that the picture is to go.
func (l *slates) cut(now time.Time) { l.from, l.another = now.Add(cutGrace), true }

// cleared takes in that there is another screen, with nothing on it.
func (l *slates) cleared() { l.up, l.another = false, true }

// due says that the slate is to be drawn now.
func (l *slates) due(now time.Time) bool {
	if !l.known || now.Before(l.from) || l.stays(now) {
		return false
	}
	return !l.up || l.text != l.drawn || now.Unix() != l.drawnAt.Unix()
}

// drew takes in that it was.
func (l *slates) drew(text decode.Slate, now time.Time) { l.up, l.drawn, l.drawnAt = true, text, now }
