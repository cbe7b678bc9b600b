package main

import (
	"fmt"
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// The bounds of overload: of the frames of a window, a quarter is missed by everybody who watches, a twentieth by hardly anybody.
const (
	overloadWindow = 5 * time.Second
	overloadBegins = 4
	overloadEnds   = 20
	overloadLeast  = 50 // frames of a window: of a stream with fewer, a moment's delay would be a quarter
)

// overload tells when the box shows much less than it receives, because decoding or showing is too slow. It is pure:
// the clock is an argument.
type overload struct {
	since time.Time // when the window began
	then  decode.FrameCounts
	condition
}

// note takes in the counts of the stream on the display. It is called about once a second.
func (o *overload) note(c decode.FrameCounts, now time.Time) {
	if !o.since.IsZero() && now.Sub(o.since) < overloadWindow {
		return
	}
	missed := missedFrames(c) - missedFrames(o.then)
	received := c.Received - o.then.Received
	switch begun := o.code != ""; {
	case o.since.IsZero():
	case received < overloadLeast || begun && missed*overloadEnds < received:
		o.condition = condition{}
	case begun || missed*overloadBegins > received:
		o.condition = condition{decode.CodeDropped, fmt.Sprintf(
			"%d of %d frames could not be shown in time; lower resolution or frame rate, use a hardware decoder, or relieve the CPU", missed, received)}
	}
	o.since, o.then = now, c
}

// restart begins another window: the stream was not on the display.
func (o *overload) restart() { *o = overload{} }

func missedFrames(c decode.FrameCounts) uint64 {
	return c.Dropped[decode.DropOverload] + c.Dropped[decode.DropLate] + c.Dropped[decode.DropQueueFull]
}
