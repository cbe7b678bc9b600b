package decode

import "time"

// DefaultLatency is the budget between a frame's arrival and its picture.
const DefaultLatency = 200 * time.Millisecond

// The bounds of a Timeline.
const (
	// maxGap is the longest step forward between two frames that is waited out.
	maxGap = 2 * time.Second
	// maxLate is how late a frame may arrive before the line moves. It leaves the
	// decoder half of what the sink tolerates (maxLateness).
	maxLate = 50 * time.Millisecond
	// longPast is the least age of a replayed picture: far beyond what a sink still shows.
	longPast = time.Second
	// maxAnchors is how many moves of the line FrameTime remembers.
	maxAnchors = 8
)

// Timeline maps frame times on the producer's line to the pipeline's running
// time. A frame is due Budget after the moment at which it would arrive if it took as long as
// the frame at the anchor took. It is pure: the clock is an argument. The zero value
// with a Budget is ready; it belongs to one goroutine.
//
//	          first frame, gap, step back, too late
//	(empty) ────────────────────────────────────────▶ anchored ──┐
//	                                                     ▲       │ other frames keep their distance
//	                                                     └───────┘
type Timeline struct {
	Budget time.Duration

	anchors []anchor // newest last
	newest  time.Duration
	lastDue time.Duration

	replaying   bool
	replayFirst time.Duration
}

// anchor ties a frame time to the running time at which it is due.
type anchor struct {
	at, due time.Duration
}

// Map gives the running time at which the picture of a frame is due. at is the
// frame's presentation time, key whether it is a key frame, now the running time of its arrival.
// Frames come in decoding order, so small steps back are normal (B-frames); but every
// key frame is presented after all frames before it.
func (t *Timeline) Map(at time.Duration, key bool, now time.Duration) (due time.Duration, anchored bool) {
	if len(t.anchors) == 0 || t.broken(at, key, now) {
		t.anchor(at, now)
		anchored = true
	}
	due = max(0, t.due(at))
	if anchored || at > t.newest {
		t.newest = at
	}
	t.lastDue = max(t.lastDue, due)
	return due, anchored
}

// Replay gives the running time of a frame that only has to be decoded, because
// its picture was shown before: so long ago that no sink shows it.
func (t *Timeline) Replay(at, now time.Duration) time.Duration {
	if !t.replaying {
		t.replaying, t.replayFirst = true, at
	}
	return max(0, min(at-t.replayFirst+longPast, now-longPast))
}

// FrameTime is Map the other way round: which frame was due at a running time.
func (t *Timeline) FrameTime(due time.Duration) (at time.Duration, ok bool) {
	for i := len(t.anchors) - 1; i >= 0; i-- {
		if a := t.anchors[i]; due >= a.due || i == 0 {
			return a.at + due - a.due, true
		}
	}
	return 0, false
}

func (t *Timeline) due(at time.Duration) time.Duration {
	a := t.anchors[len(t.anchors)-1]
	return a.due + at - a.at
}

// broken says that the line no longer fits the frames.
func (t *Timeline) broken(at time.Duration, key bool, now time.Duration) bool {
	switch {
	case at > t.newest+maxGap:
		return true
	case key && at < t.newest:
		return true
	}
	return t.due(at) < now-maxLate
}

// anchor makes at due after the budget, but not before what is already due.
func (t *Timeline) anchor(at, now time.Duration) {
	due := now + t.Budget
	if len(t.anchors) > 0 {
		due = max(due, t.lastDue+time.Millisecond)
	}
	if len(t.anchors) == maxAnchors {
		t.anchors = append(t.anchors[:0], t.anchors[1:]...)
	}
	t.anchors = append(t.anchors, anchor{at, due})
}
