package mqtt

import (
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// repeatWindow is the least time between two events of the same code and stream.
const repeatWindow = 10 * time.Second

// repeats holds repeats of an event to a rate. The first one passes at once and
// opens a window; those within the window are summed into one, which passes when
// the window ends and opens the next. So the counts that pass add up to what
// happened. Not safe for concurrent use.
type repeats struct {
	windows map[repeatKey]*window
}

type repeatKey struct{ code, stream string }

type window struct {
	ends time.Time
	sum  *contract.Event // of what came within the window, nil if nothing
}

// add takes an event and tells whether it passes now; if not it has been summed up.
func (r *repeats) add(e contract.Event, now time.Time) (passes bool) {
	key := repeatKey{e.Code, e.Stream}
	w := r.windows[key]
	if w == nil {
		if r.windows == nil {
			r.windows = make(map[repeatKey]*window)
		}
		r.windows[key] = &window{ends: now.Add(repeatWindow)}
		return true
	}
	if w.sum != nil { // the newest text, the oldest beginning
		e.Count += w.sum.Count
		e.FirstTS = w.sum.FirstTS
	}
	w.sum = &e
	return false
}

// due returns the sums whose windows have ended, the latest event last.
func (r *repeats) due(now time.Time) []contract.Event {
	var sums []contract.Event
	for key, w := range r.windows {
		switch {
		case now.Before(w.ends):
		case w.sum == nil:
			delete(r.windows, key)
		default:
			sums = append(sums, *w.sum)
			w.sum, w.ends = nil, now.Add(repeatWindow)
		}
	}
	slices.SortFunc(sums, func(a, b contract.Event) int { return a.LastTS.Compare(b.LastTS.Time) })
	return sums
}

// all returns all sums, ended or not.
func (r *repeats) all(now time.Time) []contract.Event { return r.due(now.Add(repeatWindow)) }

// next is when due has something to return; ok is false while there is nothing to wait for.
func (r *repeats) next() (at time.Time, ok bool) {
	for _, w := range r.windows {
		if w.sum != nil && (!ok || w.ends.Before(at)) {
			at, ok = w.ends, true
		}
	}
	return at, ok
}
