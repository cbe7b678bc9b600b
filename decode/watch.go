package decode

import (
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

// Patience is how long the renderer child may take.
type Patience struct {
	Hello  time.Duration // from its start to Hello; the first start on a box searches all plugins
	Open   time.Duration // to build and start a pipeline, and to read what is sent
	Load   time.Duration // the same while nothing is done for it: see progress.lives; 0: as Open
	Status time.Duration // between two Status messages
	Screen time.Duration // to open a display, or to say that it cannot be opened; 0: for ever
	First  time.Duration // from the first frames to the first picture out of the decoder
	Next   time.Duration // between two pictures, while frames go in and the screen has room
	Still  time.Duration // the same pictures again and again, while frames go in that change them; 0: for ever
	Frames uint64        // that must have gone in before First counts: decoders keep some to reorder them
	More   uint64        // that must have gone in before Next and Still count
}

// DefaultPatience is for hardware, which has software behind it: together with the start of the next child it leaves
// a picture that stands still for a second and a half. Boxes as slow as a Raspberry Pi under load keep to it.
var DefaultPatience = Patience{
	Hello: 30 * time.Second, Open: 10 * time.Second, Load: 1700 * time.Millisecond, Status: time.Second, Screen: 8 * time.Second,
	First: time.Second, Next: 700 * time.Millisecond, Still: 750 * time.Millisecond, Frames: 24, More: 10,
}

// leastStatuses is how often the child must have said that nothing goes on: where it is not heard, nothing is known of
// its decoder.
const leastStatuses = 3

// softwarePatience is how many times longer the processor's decoders may take: a box that is busy makes them slow, and
// nothing better comes after them. A process that does not even want the processor is not slow.
const softwarePatience = 4

// progress is what is known of the child's life: what was asked of it and what it answered.
// It tells a child that works from one that does not.
type progress struct {
	patience Patience
	atWork   func() bool // tells whether the child computes, or would if the box let it

	// effort tells what the child has done so far: a slow box takes its time to load a decoder, and works meanwhile.
	// nil: it is not known.
	effort func() (computed time.Duration, faults uint64, runs bool)

	// writing tells when the write to the child that is under way began; zero when there is none. nil: it is not
	// watched.
	writing func() time.Time

	mu      sync.Mutex
	started time.Time
	checked time.Time // last check
	heard   time.Time // last message; zero before the first
	greeted bool      // Hello has come: what comes before it says nothing
	opening time.Time // when the pipeline was asked for; zero when it is open or none was
	busy    bool      // the child says that the pipeline waits for something else
	lived   time.Time // when the child last did something for it

	computed time.Duration // of effort, then
	faults   uint64

	screen  uint32    // number of the display that was asked for
	screens time.Time // when it was; zero when it is open or has failed
	number  uint32    // of the pipeline
	asked   uint32    // the newest number that a pipeline was asked for with; less than number after a cut
	fed     uint64    // frames sent to it
	status  Status    // last one, perhaps of the pipeline before

	write   time.Time // that is under way, by when it began
	blocked time.Time // the same, without the time that is forgiven

	stuck    time.Time // when the first frame since the last progress was sent
	stuckFed uint64    // frames since then
	statuses int       // since then, none of them of progress
	had      uint64    // frames that the decoder had taken by then
	still    stillness
	trusting bool // do not mind pictures that stand still
	software bool // a software decoder decodes
	excused  bool // it is the stream of which no pictures come

	cutOff  uint32 // number of the newest pipeline that was not let come to its end
	barren  int    // pipelines in a row that came to their end without a picture
	without uint64 // frames that went into these
}

// mostBarren is how many pipelines may come to their end without a picture. A stream that changes its size all the time begins a
// new one each time, and none of them lives for as long as a decoder is waited for.
const mostBarren = 2

// hearing takes in that a message came, perhaps Hello.
func (p *progress) hearing(now time.Time, hello bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heard = now
	p.greeted = p.greeted || hello
}

// open begins a new pipeline, perhaps one of software, and returns its number.
func (p *progress) open(software bool, now time.Time) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.number++
	p.asked = p.number
	p.opening, p.lived, p.software, p.excused = now, now, software, false
	p.fed, p.stuckFed, p.statuses, p.had, p.still = 0, 0, 0, 0, stillness{}
	return p.number
}

// cut forgets a pipeline that is given up: what it still holds is not awaited.
func (p *progress) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutOff = p.number
	p.number++
	p.opening = time.Time{}
	p.fed, p.stuckFed = 0, 0
}

// drained takes in the last Status of a pipeline.
func (p *progress) drained(s Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.Decoded > 0:
		p.barren, p.without = 0, 0
	case s.Fed > 0 && s.Number > p.cutOff:
		p.barren++
		p.without += s.Fed
	}
}

// screenAsked takes in that a display was asked for. Until there is an answer the child may read nothing, which says
// nothing about its decoder.
func (p *progress) screenAsked(number uint32, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.screen, p.screens = number, now
}

// screened takes in what became of a display, good or bad. What waited for it may take its own time from now on.
func (p *progress) screened(number uint32, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number != p.screen || p.screens.IsZero() {
		return
	}
	p.screens = time.Time{}
	p.stuck, p.statuses = now, 0
	for _, at := range []*time.Time{&p.opening, &p.lived, &p.blocked} {
		if !at.IsZero() {
			*at = now
		}
	}
}

func (p *progress) opened(number uint32, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if number == p.number {
		p.opening = time.Time{}
		p.stuck, p.statuses = now, 0 // frames that came while it was opening have waited for that
	}
}

func (p *progress) sent(u Unit, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.still.sent(u)
	p.fed++
	if p.stuckFed == 0 {
		p.stuck, p.statuses = now, 0
	}
	p.stuckFed++
}

// suspect says whether pictures that stand still are a fault of the decoder.
func (p *progress) suspect(yes bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trusting = !yes
}

// excuse says that the decoder makes no pictures because of the frames: that is no failure until it has made one again.
func (p *progress) excuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.excused = true
}

// advance takes in a Status and gives the one before it of the same pipeline.
// current is false when the pipeline has been replaced already.
func (p *progress) advance(s Status, now time.Time) (before Status, current bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.busy = s.Busy
	if s.Number == 0 || s.Number > p.asked || s.Number < p.status.Number { // not one that it can have
		return s, false
	}
	before, p.status = p.status, s
	if before.Number != s.Number {
		before = Status{}
	}
	if s.Number != p.number {
		return before, false
	}
	if s.Decoded > before.Decoded {
		p.excused = false
	}
	if s.Decoded > before.Decoded || s.Held {
		p.stuckFed, p.stuck, p.statuses, p.had = p.waiting(), now, 0, s.taken()
	} else {
		p.statuses++
	}
	if p.software && s.Skipped > before.Skipped {
		p.still = stillness{} // the few pictures that it still makes may have been there before, as those of a clip played in a loop
	}
	p.still.advance(s, now)
	return before, true
}

// inFlight is how many frames were sent and have not reached the decoder, as far as is known.
func (p *progress) inFlight() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting()
}

func (p *progress) waiting() uint64 {
	if p.status.Number != p.number {
		return p.fed
	}
	return min(p.fed, p.fed-min(p.fed, p.status.Fed)+min(p.fed, p.status.Queued)) // no more than it was given
}

// forgive lets the child have the time in which this process did not run either: that of a box that was asleep or
// has too much to do says nothing about the child. p.mu is held.
func (p *progress) forgive(now time.Time) {
	slept := now.Sub(p.checked) - checkEvery
	if !p.checked.IsZero() && slept > checkEvery {
		for _, at := range []*time.Time{&p.started, &p.heard, &p.opening, &p.lived, &p.screens, &p.blocked, &p.stuck} {
			if !at.IsZero() && at.Before(now) {
				*at = at.Add(min(slept, now.Sub(*at)))
			}
		}
	}
	p.checked = now
}

// lookAtWrite takes in whether a write is under way. p.mu is held.
func (p *progress) lookAtWrite() {
	if p.writing == nil {
		return
	}
	if began := p.writing(); !began.Equal(p.write) {
		p.write, p.blocked = began, began
	}
}

// check returns the failure of a child that does not work. It is to be called every checkEvery.
func (p *progress) check(now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lookAtWrite()
	p.forgive(now)
	status := p.patience.Status
	if p.software && now.Sub(p.heard) > status && p.atWork() {
		status *= softwarePatience
	}
	switch {
	case !p.greeted:
		if now.Sub(p.started) > p.patience.Hello {
			return failed(report.CodeHang, "the renderer process did not say hello within %v", p.patience.Hello)
		}
	case now.Sub(p.heard) > status:
		return failed(report.CodeHang, "the renderer process has not answered for %v", status)
	case !p.screens.IsZero():
		if limit := p.patience.Screen; limit > 0 && now.Sub(p.screens) > limit {
			return failed(report.CodeDisplayLost, "the display was not opened within %v", limit)
		}
	case !p.blocked.IsZero() && now.Sub(p.blocked) > p.patience.Open: // opening is what keeps a child from reading for longest
		return failed(report.CodeHang, "the renderer process has read nothing for %v", p.patience.Open)
	case !p.opening.IsZero():
		if now.Sub(p.opening) > p.patience.Open {
			return failed(report.CodeHang, "the pipeline did not start within %v", p.patience.Open)
		}
		if limit := p.patience.Load; limit > 0 && !p.lives(now) && now.Sub(p.lived) > limit {
			return failed(report.CodeHang, "the pipeline did not start, and for %v nothing was done for that", limit)
		}
	default:
		return p.checkPictures(now)
	}
	return nil
}

// What a child does at least that loads a decoder, between two moments at which it lives. Its heartbeat takes less.
const (
	leastComputed = 100 * time.Millisecond
	leastFaults   = 10
)

// lives says whether the child does something for the pipeline that was asked for, as far as can be seen: it computes,
// would if the box let it, or reads from disk; or the display or the pipeline before keeps it. p.mu is held.
func (p *progress) lives(now time.Time) bool {
	if p.effort == nil {
		return true
	}
	computed, faults, runs := p.effort()
	if runs || p.busy || computed-p.computed >= leastComputed || faults-p.faults >= leastFaults {
		p.lived, p.computed, p.faults = now, computed, faults
		return true
	}
	return false
}

// checkPictures returns the failure of a decoder that does not work in a child that does. p.mu is held.
func (p *progress) checkPictures(now time.Time) error {
	current := p.status.Number == p.number
	limit, frames := p.patience.First, p.patience.Frames
	if current && p.status.Decoded > 0 {
		limit, frames = p.patience.Next, p.patience.More
	}
	still := p.patience.Still
	if p.software {
		limit, still = limit*softwarePatience, still*softwarePatience
	}
	if p.barren >= mostBarren && p.without >= p.patience.Frames && !p.excused {
		return failed(report.CodeSilent, "%d pipelines in a row ended without a picture of %d frames", p.barren, p.without)
	}
	switch {
	case p.stuckFed < max(1, frames) || p.statuses < leastStatuses || now.Sub(p.stuck) <= limit:
	case current && p.status.taken()-p.had < frames:
		return failed(report.CodeHang, "the decoder has stopped: for %v no picture came out, and %d frames wait for it", limit, p.waiting())
	case p.excused:
	default:
		return failed(report.CodeSilent, "%d frames went into the decoder and for %v no picture came out", p.stuckFed, limit)
	}
	if current && !p.trusting {
		return p.still.check(p.status, still, max(1, p.patience.More), now)
	}
	return nil
}
