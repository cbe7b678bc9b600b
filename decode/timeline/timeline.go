// Package timeline decides when a frame is due: it maps the producer's times to the clock of the pipeline. It is pure.
package timeline

import "time"

// DefaultLatency is the budget between a frame's arrival and its picture.
const DefaultLatency = 200 * time.Millisecond

// The bounds of a Timeline.
const (
	// maxGap is the longest step forward between two frames that is waited out.
	maxGap = 2 * time.Second
	// maxLate is how late a frame may arrive without being called late. It leaves the
	// decoder half of what the screen tolerates.
	maxLate = 50 * time.Millisecond
	// shrink is the part of the time since the first late frame by which lateness must have shrunk, less shrinkSlack:
	// then the late frames are a burst that ends by itself. Otherwise the network takes longer from now on.
	shrink      = 3
	shrinkSlack = 50 * time.Millisecond
	// manyBursts in burstsWithin are not single events: fragments come as a whole, and irregularly.
	manyBursts   = 3
	burstsWithin = 15 * time.Second
	// longPast is the least age of a replayed picture, and the room that is left for frames that are displayed before
	// the first of a line.
	longPast = time.Second
	// squeeze divides the distances of replayed frames of a new line: their names must lie between those of frames to
	// be shown, and only their order matters. squeezeRoom is longPast for them.
	squeeze     = 64
	squeezeRoom = 10 * time.Millisecond
	// settleHold is the part of a frame's duration by which Hold moves into the names of frames at a time. Pictures on
	// their way are earlier by it.
	settleHold = 32
	// maxDepth is the deepest reordering there is (max_num_reorder_frames, H.264 E.2.1; H.265 7.4.3.2).
	maxDepth = 16
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
// time. It is pure: the clock is an argument. The zero value with a Budget is ready; it belongs to one goroutine.
//
// A decoder that reorders can deliver a picture only when as many frames after it have come as the reordering is deep.
// The newest picture that it can deliver is the base. It is due Budget after the arrival of the frame with which it can
// be delivered, as the arrival was at the anchor:
//
//	          first frame, gap, step back, lastingly late
//	(empty) ──────────────────────────────────────────────▶ anchored ──┐
//	                                                           ▲       │ other frames keep their distance,
//	                                                           └───────┘ or an eighth less while catching up
//
// What Map gives is the name of a frame in the pipeline; its picture is due Hold later. Hold moves pictures that are in
// the pipeline already. Names rise in display order: decoders rely on that.
type Timeline struct {
	Budget time.Duration

	anchored bool
	shift    time.Duration // from the producer's line to names
	hold     time.Duration // from names to running time
	newest   time.Duration
	lastName time.Duration
	step     time.Duration // between two pictures, on average
	depth    int           // of reordering
	rough    bool          // the base was not known at the anchor, or was another one
	recent   latest
	late     lateness
	join     join
	slack    slack
	extra    time.Duration // beyond the budget, for the decoder
	mapped   ring

	replay replay
}

// replay is how frames are named that only have to be decoded.
type replay struct {
	on     bool          // first and name are set, and no frame was given to Map since
	first  time.Duration // presentation time of the first frame on this line
	name   time.Duration // its name
	divide time.Duration // distances of names are those of times by this
}

// latest holds the greatest times of frames, the greatest first.
type latest struct {
	times [maxDepth + 1]time.Duration
	n     int
}

func (l *latest) add(at time.Duration) {
	i := l.n
	for i > 0 && at > l.times[i-1] {
		i--
	}
	if i == len(l.times) {
		return
	}
	l.n = min(l.n+1, len(l.times))
	copy(l.times[i+1:l.n], l.times[i:])
	l.times[i] = at
}

// step is the distance of two pictures on average, 0 when there are fewer.
func (l *latest) step() time.Duration { return step(l.times[:l.n]) }

// stepBefore is step without the newest picture: some of those right before that one may still be to come.
func (l *latest) stepBefore() time.Duration { return step(l.times[min(1, l.n):l.n]) }

func step(times []time.Duration) time.Duration {
	if len(times) < 2 {
		return 0
	}
	return (times[0] - times[len(times)-1]) / time.Duration(len(times)-1)
}

// lateness is what is known of frames that come late.
type lateness struct {
	on    bool
	since time.Duration // arrival of the first
	first time.Duration // how late that was
	ends  [manyBursts - 1]time.Duration
}

// slack is how much longer than the budget the frames of a window have waited, at the least.
type slack struct {
	since  time.Duration // when the window began
	last   time.Duration // arrival
	pause  time.Duration // the longest between two arrivals, ever since the anchor
	least  time.Duration // in this window
	excess time.Duration // in the window before: still to be caught up
}

// ring remembers the names of the newest frames.
type ring struct {
	frames [remembered]struct{ at, due time.Duration }
	count  int
}

// Map gives the name of a frame: its picture is due Hold after it, running time. at is the
// frame's presentation time, key whether it is a key frame, now the running time of its arrival.
// Frames come in decoding order, so small steps back are normal (B-frames); but every
// key frame is presented after all frames before it.
func (t *Timeline) Map(at time.Duration, key bool, now time.Duration) (name time.Duration, anchored bool) {
	restart := t.follow(at, key) || t.replay.on
	t.replay.on = false
	if restart || !t.anchored || t.tooLate(at, now) {
		t.anchor(at, now, restart)
		anchored = true
	} else {
		t.refine(now)
		t.catchUp(at, now)
	}
	name = max(0, at+t.shift)
	t.newest = max(t.newest, at)
	t.lastName = max(t.lastName, name)
	t.mapped.add(at, name)
	return name, anchored
}

// follow takes in the time of a frame. restart says that it does not belong to those before it.
func (t *Timeline) follow(at time.Duration, key bool) (restart bool) {
	r := &t.recent
	if restart = r.n > 0 && (at > t.newest+maxGap || at < t.newest-maxGap || key && at < t.newest); restart {
		*r = latest{}
		t.newest = at
	}
	r.add(at)
	if r.n > 2 {
		t.step = r.step()
	}
	return restart
}

// Hold is how long after its name a picture is due.
func (t *Timeline) Hold() time.Duration { return t.hold }

// Gap is how far apart pictures are: the newest two, or the last few on average, whichever is more. 0 while there is
// only one.
func (t *Timeline) Gap() time.Duration {
	if t.recent.n < 2 {
		return 0
	}
	return max(t.recent.times[0]-t.recent.times[1], t.recent.step())
}

// Depth takes in how many frames after it the decoder needs at the most before it delivers a picture.
func (t *Timeline) Depth(frames int) {
	frames = min(frames, maxDepth)
	t.rough = t.rough || frames > t.depth
	t.depth = frames
}

// Joining says that a frame that arrives now belongs to a burst of old ones: it is to be decoded, and
// shown only if no other frame is there; see Replay. A burst ends with the first frame that does not come
// clearly faster than it was made.
func (t *Timeline) Joining(at, now time.Duration) bool {
	j := &t.join
	switch begins := !t.anchored && j.frames == 0 || t.anchored && !j.on && t.due(at) < now-joinLate; {
	case begins:
		*j = join{on: true, since: now, last: now, first: at, newest: at, frames: 1}
	case j.on:
		j.first, j.newest = min(j.first, at), max(j.newest, at)
		each := (j.newest - j.first) / j.frames
		j.on = now-j.last < each*3/4 && now-j.since < joinMost
		j.last = now
		j.frames++
		if !j.on { // what is late now is so lastingly
			t.late = lateness{on: true, since: j.since}
		}
	}
	return j.on
}

// Replay gives the name of a frame that only has to be decoded: before those of frames to be shown, after those of
// earlier frames, also when the producer's line begins again. key says whether it is a key frame.
func (t *Timeline) Replay(at time.Duration, key bool, now time.Duration) time.Duration {
	restart := t.follow(at, key)
	r := &t.replay
	switch {
	case !t.anchored && (restart || !r.on):
		*r = replay{on: true, first: at, name: t.lastName + longPast, divide: 1}
	case t.anchored && restart:
		*r = replay{on: true, first: at, name: t.lastName + squeezeRoom, divide: squeeze}
	}
	name := at + t.shift
	if r.on {
		name = r.name + (at-r.first)/r.divide
	}
	if !t.anchored {
		name = min(name, now-longPast)
	}
	name = max(0, name)
	t.newest = max(t.newest, at)
	t.lastName = max(t.lastName, name)
	t.mapped.add(at, name)
	return name
}

// Replayed says that a frame is displayed before one that was given to Replay, so that it must be named by it as well.
func (t *Timeline) Replayed(at time.Duration) bool {
	return t.replay.on && at < t.newest && at >= t.newest-maxGap
}

// FrameTime is Map the other way round: which frame has a name.
func (t *Timeline) FrameTime(name time.Duration) (at time.Duration, ok bool) {
	return t.mapped.find(name)
}

// Margin takes in how long before their time pictures leave the decoder at the best. When that is too short,
// it always takes longer than the budget leaves: pictures are held longer, so that they are late no more. It is to
// be called about once a second.
func (t *Timeline) Margin(best time.Duration) {
	short := min(leastMargin-best, maxExtra-t.extra)
	switch {
	case !t.anchored:
	case short > 0:
		t.extra += short
		t.hold += short
	default: // what it no longer needs is caught up, slower than catching up goes
		t.extra = max(0, t.extra+short/extraDecay)
	}
}

func (t *Timeline) budget() time.Duration { return t.Budget + t.extra }

func (t *Timeline) due(at time.Duration) time.Duration { return at + t.shift + t.hold }

// base is the time of the newest picture that the decoder can deliver. ok is false while too few frames have come.
func (t *Timeline) base() (at time.Duration, ok bool) {
	if t.depth < t.recent.n {
		return t.recent.times[t.depth], true
	}
	if t.recent.n == 0 {
		return 0, false
	}
	return t.recent.times[t.recent.n-1] - time.Duration(t.depth-t.recent.n+1)*t.step, false
}

// tooLate says that frames come later from now on, so that the line has to move. A burst after a break is late as well;
// but it ends, and the frames after it are in time again. Frames that are displayed before one that came cannot
// move the line.
func (t *Timeline) tooLate(at, now time.Duration) bool {
	l := &t.late
	base, ok := t.base()
	late := now - t.due(base) - maxLate
	switch {
	case !ok || at < t.newest:
		return false
	case late <= 0:
		if l.on {
			l.on = false
			copy(l.ends[1:], l.ends[:])
			l.ends[0] = now
		}
		return false
	case !l.on:
		l.on, l.since, l.first = true, now, late
		oldest := l.ends[len(l.ends)-1]
		return oldest > 0 && now-oldest < burstsWithin
	}
	return late > l.first-(now-l.since)/shrink+shrinkSlack
}

// anchor makes the base due after the budget, but at not before what is already due. On another line than the frames
// before, more frames may follow that are displayed before at: their names must be free as well.
func (t *Timeline) anchor(at, now time.Duration, restart bool) {
	base, ok := t.base()
	shift := now + t.budget() - base - t.hold
	if t.lastName > 0 {
		free := time.Millisecond
		if restart {
			free += time.Duration(t.depth) * t.step
		}
		shift = max(shift, t.lastName+free-at)
	}
	t.anchored, t.shift, t.rough = true, shift, !ok
	t.late = lateness{}
	t.slack = slack{since: now, last: now, least: t.due(base) - now - t.budget()}
}

// refine makes the line fit the base once it is known, if pictures would be late otherwise.
func (t *Timeline) refine(now time.Duration) {
	base, ok := t.base()
	if !t.rough || !ok {
		return
	}
	t.rough = false
	t.hold += min(max(0, now+t.budget()-t.due(base)), maxExtra)
}

// catchUp moves the line a little when frames wait longer than they must.
func (t *Timeline) catchUp(at, now time.Duration) {
	s := &t.slack
	s.pause, s.last = max(s.pause, now-s.last), now
	if base, ok := t.base(); ok {
		waits := t.due(base) - now - t.budget()
		s.least = min(s.least, waits)
		if now-s.since >= slackWindow+2*s.pause {
			s.excess = max(0, s.least-freeSlack)
			s.since, s.least = now, waits
		}
	}
	if at <= t.newest {
		return
	}
	faster := min(s.excess, (at-t.newest)/hurry)
	settled := min(t.hold, t.step/settleHold)
	// Frames between the two, which come later, are still to be named in their order.
	if step := t.recent.stepBefore(); step > 0 {
		faster = min(faster, step*3/4)
	}
	s.excess -= faster
	s.least -= faster
	t.shift -= faster
	t.hold -= settled
	t.shift += settled
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
