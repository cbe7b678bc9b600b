package kvstest

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// mishap is what becomes of a call instead of, or before, what it asks for.
type mishap struct {
	hang      bool          // it gets no answer, not even a status line,
	time      time.Duration // for so long; 0 is for good
	refusal   *Exception    // it is refused
	elsewhere bool          // it is sent to a wrong endpoint
}

// gate is what calls of one operation have to pass.
type gate struct {
	rate *rate.Limiter

	mu      sync.Mutex
	waiting []mishap // for calls to come, one each
}

func newGate(limits Limits) *gate {
	return &gate{rate: rate.NewLimiter(rate.Limit(limits.Calls), limits.Calls)}
}

func (g *gate) add(n int, m mishap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, slices.Repeat([]mishap{m}, n)...)
}

func (g *gate) take() mishap {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		return mishap{}
	}
	m := g.waiting[0]
	g.waiting = g.waiting[1:]
	return m
}

// pass lets a call through or refuses it. An EndClient says that nobody waits for an answer any more.
func (g *gate) pass(ctx context.Context, clock *clock) (wrongEndpoint bool, err error) {
	m := g.take()
	if m.hang {
		if m.time == 0 {
			m.time = forGood
		}
		if clock.sleepUntil(ctx, clock.now().Add(m.time)) != nil {
			return false, EndClient
		}
	}
	switch {
	case m.refusal != nil:
		return false, m.refusal
	case !g.rate.AllowN(clock.wall(), 1):
		return false, ClientLimitExceeded
	}
	return m.elsewhere, nil
}

// forGood is a time that is never over.
const forGood time.Duration = math.MaxInt64 / 4

// RefuseMedia refuses the next n GetMedia calls.
func (s *Stream) RefuseMedia(n int, e *Exception) { s.media.add(n, mishap{refusal: e}) }

// RefuseEndpoint refuses the next n GetDataEndpoint calls.
func (s *Stream) RefuseEndpoint(n int, e *Exception) { s.location.add(n, mishap{refusal: e}) }

// HangMedia keeps the next n GetMedia calls waiting for the status line, each for a time; 0 is for good.
func (s *Stream) HangMedia(n int, d time.Duration) { s.media.add(n, mishap{hang: true, time: d}) }

// HangEndpoint keeps the next n GetDataEndpoint calls waiting for an answer, each for a time; 0 is for good.
func (s *Stream) HangEndpoint(n int, d time.Duration) {
	s.location.add(n, mishap{hang: true, time: d})
}

// Misdirect answers the next n GetDataEndpoint calls with an endpoint that knows no stream: GetMedia there is refused
// with InvalidEndpointException.
func (s *Stream) Misdirect(n int) { s.location.add(n, mishap{elsewhere: true}) }
