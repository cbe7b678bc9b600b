package decode

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

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
		now.Settled = slices.DeleteFunc(now.Settled, func(f report.Settled) bool { return f.Frame < p.first || f.Frame > p.last }) // it was not given others
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
		p.settle(report.DropNoPicture, s.feeding, rest)
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
		p.settle(report.DropDecoderFailed, nil, nil)
	}
	s.pipes, s.feeding = nil, nil
	for _, in := range inputs { // one may have given out a frame for which no pipeline was opened
		in.gate.Returned()
	}
}

// settle settles what a pipeline was given and did not settle, for a reason, or as hidden where it was cut. What the
// gate will give out again is left, all that it keeps, or while the input is hidden, and not the one that feeds the
// child, the newest; and so is what one of the later pipelines was given too.
func (p pipe) settle(why report.Reason, feeding *Input, later []pipe) {
	oldest, newest := p.in.gate.span()
	if p.in != feeding && p.in.gate.hidden() {
		oldest = newest
	}
	if p.cut {
		why = report.Hidden
	}
	for _, other := range later {
		if other.in == p.in {
			oldest = min(oldest, other.first)
		}
	}
	p.in.ledger.settleThrough(p.last, oldest, why)
}
