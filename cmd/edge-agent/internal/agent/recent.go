package agent

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/web"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// mostRecent is how many events are kept for the status.
const mostRecent = 50

// recentEvents are the newest events, for people at this machine. One that says the same as the one before it, of the
// same stream, is counted with it.
type recentEvents struct {
	mu     sync.Mutex
	events []contract.Event // oldest first
	counts map[string]int64
}

func (r *recentEvents) add(e contract.Event, now time.Time) {
	code, _ := contract.Lookup(e.Code)
	e.Severity, e.Count = code.Severity, 1
	e.TS.Time, e.FirstTS.Time, e.LastTS.Time = now, now, now
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counts == nil {
		r.counts = make(map[string]int64)
	}
	r.counts[e.Code]++
	if i := r.sameAsBefore(e); i >= 0 {
		e.Count, e.FirstTS = r.events[i].Count+1, r.events[i].FirstTS
		r.events = slices.Delete(r.events, i, i+1)
	}
	r.events = append(r.events, e)
	r.events = slices.Delete(r.events, 0, max(0, len(r.events)-mostRecent))
}

// sameAsBefore finds the newest event of the stream, if it says the same as e; else -1. r.mu is held.
func (r *recentEvents) sameAsBefore(e contract.Event) int {
	for i, before := range slices.Backward(r.events) {
		if before.Stream == e.Stream {
			if before.Code == e.Code && unchanging(before.Message) == unchanging(e.Message) {
				return i
			}
			return -1
		}
	}
	return -1
}

// all are the events, oldest first, and how often each code was reported.
func (r *recentEvents) all() ([]contract.Event, map[string]int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.events), maps.Clone(r.counts)
}

// The lag of the last hour is kept in so many steps, each the highest of what was seen in it.
const (
	historyStep  = 10 * time.Second
	historySteps = int(time.Hour / historyStep)
)

// history is the lag of a stream over the last hour.
type history struct{ kept []web.Point }

// add takes in the lag of an interval that ends now.
func (h *history) add(now time.Time, lag contract.Lag) {
	p := web.Point{At: now, Service: high(lag.Service), Producer: high(lag.Producer), Local: high(lag.Local)}
	if n := len(h.kept); n > 0 && now.Sub(h.kept[n-1].At) < historyStep {
		last := &h.kept[n-1]
		last.Service, last.Producer, last.Local = max(last.Service, p.Service), max(last.Producer, p.Producer), max(last.Local, p.Local)
		return
	}
	h.kept = append(h.kept, p)
	if len(h.kept) > historySteps {
		h.kept = slices.Delete(h.kept, 0, len(h.kept)-historySteps)
	}
}

func (h *history) points() []web.Point { return slices.Clone(h.kept) }

// high is what most of the values are not above; negative when there are none.
func high(d *contract.Distribution) time.Duration {
	if d == nil {
		return -1
	}
	return time.Duration(d.P95) * time.Millisecond
}
