package kvstest

import (
	"math"
	"sort"
	"time"
)

// timeline is when which fragment of a stream was, is or will be produced: pure arithmetic on the producer's clock.
//
// When a clip is over it begins again, or another one does; the count, the fragment numbers and the timestamps run on.
// A producer that stops and produces again leaves a gap in time but none in the count.
type timeline struct {
	reel *reel
	runs []run // never empty
}

// run is a time without a break.
type run struct {
	first int64
	start time.Time // of the first fragment
	end   int64     // the count after the last fragment; math.MaxInt64 as long as it goes on
}

func newTimeline(r *reel, start time.Time) *timeline {
	return &timeline{reel: r, runs: []run{{start: start, end: math.MaxInt64}}}
}

// run is the one that fragment i is of, if it is going to be produced as things are.
func (t *timeline) run(i int64) (run, bool) {
	k := sort.Search(len(t.runs), func(k int) bool { return t.runs[k].first > i }) - 1
	if k < 0 || i >= t.runs[k].end {
		return run{}, false
	}
	return t.runs[k], true
}

// span gives the time of fragment i; false if it is not going to be produced as things are.
func (t *timeline) span(i int64) (start, end time.Time, ok bool) {
	r, ok := t.run(i)
	if !ok {
		return time.Time{}, time.Time{}, false
	}
	zero := r.start.Add(-t.reel.position(r.first))
	return zero.Add(t.reel.position(i)), zero.Add(t.reel.position(i + 1)), true
}

// begun is the newest fragment of which production has begun at a time, or -1.
func (t *timeline) begun(at time.Time) int64 {
	k := sort.Search(len(t.runs), func(k int) bool { return t.runs[k].start.After(at) }) - 1
	if k < 0 {
		return -1
	}
	r := t.runs[k]
	return min(t.reel.at(t.reel.position(r.first)+at.Sub(r.start)), r.end-1)
}

// at is the fragment that contains a time or, in a gap, the next.
func (t *timeline) at(when time.Time) int64 {
	i := t.begun(when)
	if i < 0 {
		return 0
	}
	if _, end, _ := t.span(i); !end.After(when) {
		i++
	}
	return i
}

// stop ends the run after the fragment in production.
func (t *timeline) stop(at time.Time) {
	if r := &t.runs[len(t.runs)-1]; r.end == math.MaxInt64 {
		r.end = max(t.begun(at)+1, r.first)
	}
}

// produce begins a new run if none goes on, not before the last fragment is over.
func (t *timeline) produce(at time.Time) {
	r := t.runs[len(t.runs)-1]
	if r.end == math.MaxInt64 {
		return
	}
	if _, end, ok := t.span(r.end - 1); ok && end.After(at) {
		at = end
	}
	t.runs = append(t.runs, run{first: r.end, start: at, end: math.MaxInt64})
}
