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
	// remembered is how many frames FrameTime knows: more than a pipeline holds.
	remembered = 512
	// leastMargin is what the display needs to have a picture ready in time.
	leastMargin = 15 * time.Millisecond
	// maxExtra is how much longer than the budget a decoder may take and still not be called behind.
	maxExtra = 500 * time.Millisecond
	// extraDecay is the part of it that is taken back at a time, when it is no longer needed.
	extraDecay = 16
)

// Joining. What the service has ready when a stream is joined, and what piled up in a long break, comes as fast as the
// network takes it. Only the newest of these frames is of interest.
const (
	// joinLate is how late a frame arrives after a break that is long.
	joinLate = 500 * time.Millisecond
	// joinMost is the longest that frames are taken for such: a network that is slow never gets to the end of them.
	joinMost = 2 * time.Second
)

// Catching up. Frames that came in a burst, after a break or while the decoder was being opened, leave
// more of them waiting than the budget asks for. That is lag for nothing, so pictures
// then come a little faster until it is gone.
const (
	// slackWindow is how long frames are watched, on top of twice the longest pause between
	// arrivals: where whole fragments come at once, their last frame always waits long.
	slackWindow = time.Second
	// freeSlack is left alone.
	freeSlack = 10 * time.Millisecond
	// hurry is the part of a frame's duration that is taken off: one eighth is hardly seen.
	hurry = 8
)

// join is a burst of frames that are made up for.
type join struct {
	on            bool
	since, last   time.Duration // arrival of its first frame and of its newest
	first, newest time.Duration // presentation times, the least and the greatest
	frames        time.Duration // how many there are, to divide by
}

// Timeline maps frame times on the producer's line to the pipeline's running
// time. A frame is due Budget after the moment at which it would arrive if it took as long as
// the frame at the anchor took. It is pure: the clock is an argument. The zero value
// with a Budget is ready; it belongs to one goroutine.
//
//	          first frame, gap, step back, too late
//	(empty) ────────────────────────────────────────▶ anchored ──┐
//	                                                     ▲       │ other frames keep their distance,
//	                                                     └───────┘ or an eighth less while catching up
type Timeline struct {
	Budget time.Duration

	anchored bool
	shift    time.Duration // from the producer's line to running time
	newest   time.Duration
	lastDue  time.Duration
	join     join
	slack    slack
	extra    time.Duration // beyond the budget, for the decoder
	mapped   ring

	replaying   bool
	replayFirst time.Duration
}

// slack is how much longer than the budget the frames of a window have waited, at the least.
type slack struct {
	since  time.Duration // when the window began
	last   time.Duration // arrival
	pause  time.Duration // the longest between two arrivals, ever since the anchor
	least  time.Duration // in this window
	excess time.Duration // in the window before: still to be caught up
}

// ring remembers when the newest frames are due.
type ring struct {
	frames [remembered]struct{ at, due time.Duration }
	count  int
}

// Map gives the running time at which the picture of a frame is due. at is the
// frame's presentation time, key whether it is a key frame, now the running time of its arrival.
// Frames come in decoding order, so small steps back are normal (B-frames); but every
// key frame is presented after all frames before it.
func (t *Timeline) Map(at time.Duration, key bool, now time.Duration) (due time.Duration, anchored bool) {
	if !t.anchored || t.broken(at, key, now) {
		t.anchor(at, now)
		anchored = true
	} else {
		t.catchUp(at, now)
	}
	due = max(0, t.due(at))
	if anchored || at > t.newest {
		t.newest = at
	}
	t.lastDue = max(t.lastDue, due)
	t.mapped.add(at, due)
	return due, anchored
}

// Joining says that a frame that arrives now belongs to a burst of old ones: it is to be decoded, and
// shown only if no other frame is there; see Replay. A burst ends with the first frame that does not come
// clearly faster than it was made.
func (t *Timeline) Joining(at, now time.Duration) bool {
	j := &t.join
	switch begins := !t.anchored && j.frames == 0 || t.anchored && !j.on && t.due(at) < now-joinLate; {
	case begins:
		*j = join{on: true, since: now, last: now, first: at, newest: at, frames: 1}
		t.replaying = false
	case j.on:
		j.first, j.newest = min(j.first, at), max(j.newest, at)
		each := (j.newest - j.first) / j.frames
		j.on = now-j.last < each*3/4 && now-j.since < joinMost
		j.last = now
		j.frames++
	}
	return j.on
}

// Replay gives the running time of a frame that only has to be decoded, because
// its picture was shown before: so long ago that no sink shows it.
func (t *Timeline) Replay(at, now time.Duration) time.Duration {
	if !t.replaying {
		t.replaying, t.replayFirst = true, at
	}
	due := max(0, min(at-t.replayFirst+longPast, now-longPast))
	t.mapped.add(at, due)
	return due
}

// FrameTime is Map the other way round: which frame was due at a running time.
func (t *Timeline) FrameTime(due time.Duration) (at time.Duration, ok bool) {
	return t.mapped.find(due)
}

// Margin takes in how long before their time pictures leave the decoder at the best. When that is too short,
// it always takes longer than the budget leaves: the line moves, so that pictures are late no more. It is to
// be called about once a second.
func (t *Timeline) Margin(best time.Duration) {
	short := min(leastMargin-best, maxExtra-t.extra)
	switch {
	case !t.anchored:
	case short > 0:
		t.extra += short
		t.shift += short
	default: // what it no longer needs is caught up, slower than catching up goes
		t.extra = max(0, t.extra+short/extraDecay)
	}
}

func (t *Timeline) budget() time.Duration { return t.Budget + t.extra }

func (t *Timeline) due(at time.Duration) time.Duration { return at + t.shift }

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
	due := now + t.budget()
	if t.anchored {
		due = max(due, t.lastDue+time.Millisecond)
	}
	t.anchored, t.shift = true, due-at
	t.slack = slack{since: now, last: now, least: due - now - t.budget()}
}

// catchUp moves the line a little when frames wait longer than they must.
func (t *Timeline) catchUp(at, now time.Duration) {
	s := &t.slack
	s.pause, s.last = max(s.pause, now-s.last), now
	s.least = min(s.least, t.due(at)-now-t.budget())
	if now-s.since >= slackWindow+2*s.pause {
		s.excess = max(0, s.least-freeSlack)
		s.since, s.least = now, t.due(at)-now-t.budget()
	}
	if step := at - t.newest; step > 0 {
		faster := min(s.excess, step/hurry)
		s.excess -= faster
		s.least -= faster
		t.shift -= faster
	}
}

func (r *ring) add(at, due time.Duration) {
	f := &r.frames[r.count%remembered]
	f.at, f.due = at, due
	r.count++
}

// find gives the frame that is due last of those that are due by then.
func (r *ring) find(due time.Duration) (at time.Duration, ok bool) {
	var best time.Duration
	for _, f := range r.frames[:min(r.count, remembered)] {
		if f.due <= due && (!ok || f.due > best) {
			at, best, ok = f.at, f.due, true
		}
	}
	return at, ok
}
