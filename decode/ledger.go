package decode

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// mostOpen is how many frames of an input may be on their way. No queue holds as many: what is older was lost by
// somebody.
const mostOpen = 1 << 16

// ledger accounts for the frames of one input: each is opened once, and settled once. A nil ledger accounts for
// nothing. Its methods may be called from any goroutine and call nothing themselves.
type ledger struct {
	mu      sync.Mutex
	counts  FrameCounts // Queued stands in queued
	queued  uint64
	entries []entry // by number; those before the first that is on its way are cut
	first   int     // index of the oldest entry
}

// entry is a frame that is, or was a moment ago, on its way.
type entry struct {
	number  uint64
	settled bool
}

// open takes in a frame that has been received. Numbers rise.
func (l *ledger) open(number uint64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts.Received++
	l.queued++
	if len(l.entries)-l.first >= mostOpen {
		l.settleEntry(&l.entries[l.first], DropNoPicture)
		l.trim()
	}
	if len(l.entries) == cap(l.entries) && l.first > 0 {
		l.entries = l.entries[:copy(l.entries, l.entries[l.first:])]
		l.first = 0
	}
	l.entries = append(l.entries, entry{number: number})
}

// settle takes in what became of a frame. It returns false, and changes nothing, when that is known already.
func (l *ledger) settle(number uint64, why Reason) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.find(number)
	if e == nil || e.settled {
		return false
	}
	l.settleEntry(e, why)
	l.trim()
	return true
}

// settleThrough settles all frames up to one, and that one, but not those from kept on.
func (l *ledger) settleThrough(number, kept uint64, why Reason) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.entries[l.first:] {
		e := &l.entries[l.first+i]
		if e.number > number || e.number >= kept {
			break
		}
		if !e.settled {
			l.settleEntry(e, why)
		}
	}
	l.trim()
}

// onItsWay says that a frame is not settled.
func (l *ledger) onItsWay(number uint64) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.find(number)
	return e != nil && !e.settled
}

// snapshot gives the counts, which add up.
func (l *ledger) snapshot() FrameCounts {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.Queued = l.queued
	c.Dropped = maps.Clone(c.Dropped)
	return c
}

// find gives the entry of a frame; nil when it was settled long ago. l.mu is held.
func (l *ledger) find(number uint64) *entry {
	recent := l.entries[l.first:]
	i, found := slices.BinarySearchFunc(recent, number, func(e entry, n uint64) int { return cmp.Compare(e.number, n) })
	if !found {
		return nil
	}
	return &recent[i]
}

// settleEntry counts a frame. l.mu is held.
func (l *ledger) settleEntry(e *entry, why Reason) {
	e.settled = true
	l.queued--
	switch why {
	case Shown:
		l.counts.Shown++
	case Hidden:
		l.counts.Hidden++
	default:
		if l.counts.Dropped == nil {
			l.counts.Dropped = make(map[Reason]uint64)
		}
		l.counts.Dropped[why]++
	}
}

// trim forgets the oldest entries that are settled. l.mu is held.
func (l *ledger) trim() {
	for l.first < len(l.entries) && l.entries[l.first].settled {
		l.first++
	}
	if l.first == len(l.entries) {
		l.entries, l.first = l.entries[:0], 0
	}
}

// sentTo is what the pipelines of one child were given, so that frames of which it says nothing are settled
// too. The child says things in their order: what it says of one pipeline proves that those before are gone.
//
//	opened ──frames──▶ in use ──another is opened──▶ drained: the child has settled all
//	                     │ cut                        │ or the child died
//	                     ▼                            ▼
//	                 gone with the next word     decoder_failed
//	                 of the child: hidden
type sentTo struct {
	mu      sync.Mutex
	feeding *Input // whose frames the child gets now
	pipes   []pipe // those that are not known to be gone, oldest first
}

// pipe is one pipeline.
type pipe struct {
	number uint32
	in     *Input
	first  uint64 // the oldest frame that it was given
	last   uint64 // the newest
	opened bool   // the child has said something of it
	cut    bool
}

// feed takes in that the child gets the frames of an input from now on.
func (s *sentTo) feed(in *Input) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.feeding
	s.feeding = in
	if before != nil && !s.has(before, s.pipes) {
		before.gate.Returned()
	}
}

// has says that the child has, or may get at any moment, frames of an input. s.mu is held.
func (s *sentTo) has(in *Input, pipes []pipe) bool {
	return s.feeding == in || slices.ContainsFunc(pipes, func(p pipe) bool { return p.in == in })
}

// open begins another pipeline.
func (s *sentTo) open(number uint32, in *Input) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pipes = append(s.pipes, pipe{number: number, in: in, first: math.MaxUint64})
}

// frame takes in that a frame is sent to the newest pipeline.
func (s *sentTo) frame(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pipes) == 0 {
		return
	}
	p := &s.pipes[len(s.pipes)-1]
	p.first, p.last = min(p.first, number), max(p.last, number)
}

// cut takes in that the child is to take the newest pipeline down at once.
func (s *sentTo) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last := len(s.pipes) - 1; last >= 0 {
		s.pipes[last].cut = true
	}
}

// opened takes in that the child has opened a pipeline.
func (s *sentTo) opened(number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard(number)
}

// status settles what a status says, and what it proves. The last status of a pipeline ends it.
func (s *sentTo) status(now Status, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard(now.Number)
	for i := range s.pipes {
		if s.pipes[i].number != now.Number {
			continue
		}
		p := &s.pipes[i]
		now.Settled = slices.DeleteFunc(now.Settled, func(f Settled) bool { return f.Frame < p.first || f.Frame > p.last }) // it was not given others
		for _, frame := range now.Settled {
			p.in.ledger.settle(frame.Frame, frame.Reason)
		}
		p.in.lag.status(now, time.Now())
		if last {
			s.end(i + 1)
		}
		return
	}
}

// heard takes in that the child has said something of a pipeline; 0 says that it has none, which it may have said
// before it was asked for one. s.mu is held.
func (s *sentTo) heard(number uint32) {
	if number == 0 {
		if last := len(s.pipes) - 1; last >= 0 && s.pipes[last].cut && s.pipes[last].opened {
			s.end(last + 1)
		}
		return
	}
	for i := range s.pipes {
		if s.pipes[i].number == number {
			s.pipes[i].opened = true
			s.end(i)
			return
		}
	}
}

// end settles what the first n pipelines have left. s.mu is held.
func (s *sentTo) end(n int) {
	gone, rest := s.pipes[:n], s.pipes[n:]
	for _, p := range gone {
		p.settle(DropNoPicture, s.feeding, rest)
		if !s.has(p.in, rest) {
			p.in.gate.Returned()
		}
	}
	s.pipes = slices.Delete(s.pipes, 0, n)
}

// died settles what went with the child. What is still in the gate of an input that is shown is given to the next one.
func (s *sentTo) died(inputs []*Input) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pipes {
		p.settle(DropDecoderFailed, nil, nil)
	}
	s.pipes, s.feeding = nil, nil
	for _, in := range inputs { // one may have given out a frame for which no pipeline was opened
		in.gate.Returned()
	}
}

// settle settles what a pipeline was given and did not settle, for a reason, or as hidden where it was cut. What the
// gate will give out again is left, all that it keeps, or while the input is hidden, and not the one that feeds the
// child, the newest; and so is what one of the later pipelines was given too.
func (p pipe) settle(why Reason, feeding *Input, later []pipe) {
	oldest, newest := p.in.gate.span()
	if p.in != feeding && p.in.gate.hidden() {
		oldest = newest
	}
	if p.cut {
		why = Hidden
	}
	for _, other := range later {
		if other.in == p.in {
			oldest = min(oldest, other.first)
		}
	}
	p.in.ledger.settleThrough(p.last, oldest, why)
}
