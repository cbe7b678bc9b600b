package gst

import (
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// How long pictures that may be about to come are waited for, before there is a slate.
const (
	startGrace = 400 * time.Millisecond // from the start of the process
	openGrace  = 500 * time.Millisecond // from the start of a decoder, where there was no picture yet
	cutGrace   = 700 * time.Millisecond // from when another stream is to be shown: so long the last picture stays
)

// slateSize is that of the display, or one that will do where it is not known. Where there is no display only
// snapshots show the slate.
func slateSize(d decode.Display) decode.Mode {
	switch {
	case d.Mode.Width > 0:
		return d.Mode
	case d.Sink == decode.None:
		return decode.Mode{Width: 640, Height: 360}
	}
	return decode.Mode{Width: 1920, Height: 1080}
}

// slates decides when the slate is on the screen: at the start, soon, and when no picture came for a while. Then it is
// drawn anew whenever its text changes, and every second for its clock.
type slates struct {
	text   decode.Slate
	known  bool // that is, text
	latest time.Time
	from   time.Time // not before

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
		l.latest, l.from, l.up = at, at.Add(l.text.After), false
	}
}

// cut takes in that the picture is to go.
func (l *slates) cut(now time.Time) { l.from = now.Add(cutGrace) }

// cleared takes in that there is another screen, with nothing on it.
func (l *slates) cleared() { l.up = false }

// due says that the slate is to be drawn now.
func (l *slates) due(now time.Time) bool {
	if !l.known || now.Before(l.from) {
		return false
	}
	return !l.up || l.text != l.drawn || now.Unix() != l.drawnAt.Unix()
}

// drew takes in that it was.
func (l *slates) drew(text decode.Slate, now time.Time) { l.up, l.drawn, l.drawnAt = true, text, now }
