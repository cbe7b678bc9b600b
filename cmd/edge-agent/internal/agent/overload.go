package agent

import (
	"fmt"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

// The bounds of overload: of the frames of a window, a quarter is missed by everybody who watches, a twentieth by
// hardly anybody.
const (
	overloadWindow = 5 * time.Second
	overloadBegins = 4
	overloadEnds   = 20
	overloadLeast  = 50 // frames of a window: of fewer, a moment's delay would be a quarter

	// overloadLongest is how long the window of a stream with few frames is: of that a moment is no quarter.
	// overloadFewest is how many frames there must be even then.
	overloadLongest = 30 * time.Second
	overloadFewest  = 10
)

// overload tells when the box shows much less than it receives, because decoding or showing is too slow. It is pure:
// the clock is an argument.
type overload struct {
	since time.Time // when the window began
	then  report.FrameCounts
	condition
}

// note takes in the counts of the stream on the display. It is called about once a second.
func (o *overload) note(c report.FrameCounts, now time.Time) {
	missed := missedFrames(c) - missedFrames(o.then)
	received := c.Received - o.then.Received
	ended := endedFrames(c) - endedFrames(o.then) // those that are missed may have come before this window
	switch begun := o.code != ""; {
	case o.since.IsZero():
	case !windowOver(now.Sub(o.since), received):
		return
	case received < overloadFewest || begun && missed*overloadEnds < ended:
		o.condition = condition{}
	case begun || missed*overloadBegins > ended:
		o.condition = condition{report.CodeDropped, fmt.Sprintf(
			"%d of %d frames could not be shown in time; lower resolution or frame rate, use a hardware decoder, or relieve the CPU", missed, ended)}
	}
	o.since, o.then = now, c
}

// windowOver says that there is enough of a window to tell, or that nothing comes any more.
func windowOver(lasted time.Duration, received uint64) bool {
	return lasted >= overloadWindow && (received == 0 || received >= overloadLeast || lasted >= overloadLongest)
}

// restart begins another window: the stream was not on the display.
func (o *overload) restart() { *o = overload{} }

// endedFrames are those of which it is known whether they were shown.
func endedFrames(c report.FrameCounts) uint64 { return c.Received - min(c.Received, c.Queued) }

func missedFrames(c report.FrameCounts) uint64 {
	return c.Dropped[report.DropOverload] + c.Dropped[report.DropLate] + c.Dropped[report.DropQueueFull]
}
