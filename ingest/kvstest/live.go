package kvstest

import (
	"strings"
	"sync"
	"time"
)

// live is the feed of a clip.
type live struct {
	numbering numbering
	config    StreamConfig

	mu       sync.Mutex
	timeline *timeline
	stale    int64 // tokens up to this fragment's are forgotten
	oldest   int64 // fragments before this one are erased
}

// newLive makes a stream that begins now, and some time ago if it has a history.
func newLive(name string, source *Source, config StreamConfig, now time.Time) (*live, error) {
	if config.Retention == 0 {
		config.Retention = 24 * time.Hour
	}
	first, err := newFilm(source, config.Layout, config.Fragment)
	if err != nil {
		return nil, err
	}
	start := now.Add(-config.History).Truncate(time.Millisecond)
	l := &live{
		numbering: newNumbering(name, start),
		config:    config,
		timeline:  newTimeline(newReel(first), start),
		stale:     -1,
	}
	for _, c := range config.Changes {
		next, err := newFilm(c.Source, config.Layout, config.Fragment)
		if err != nil {
			return nil, err
		}
		l.timeline.reel.change(c.Fragment, next)
	}
	return l, nil
}

func (l *live) first(s Selector, now time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = now.Add(-l.config.Delay) // from here on, times are when frames are captured
	newest := max(0, l.timeline.begun(now))
	oldest := max(l.oldest, l.timeline.at(now.Add(-l.config.Retention)))
	switch s.Type {
	case Earliest:
		return oldest, nil
	case FragmentNumber:
		i, ok := l.numbering.count(s.AfterFragmentNumber)
		if !ok || i < oldest || i > newest {
			return 0, errNoFragment
		}
		return i + 1, nil
	case Continuation:
		number, isToken := strings.CutPrefix(s.ContinuationToken, tokenPrefix)
		i, ok := l.numbering.count(number)
		if !isToken || !ok || i < oldest || i > newest || i <= l.stale {
			return 0, staleToken
		}
		return i + 1, nil
	case ServerTimestamp:
		return max(oldest, l.timeline.at(s.start().Add(-l.config.Delay))), nil
	case ProducerTime:
		return max(oldest, l.timeline.at(s.start().Add(-l.config.Ahead))), nil
	}
	return newest, nil
}

// tokenPrefix makes a continuation token of a fragment number. In captures the two are the same; here they differ, so
// that whoever takes one for the other is found out.
const tokenPrefix = "after-"

func (l *live) chunk(i int64) (chunk, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start, end, ok := l.timeline.span(i)
	if !ok {
		return chunk{}, false
	}
	f, k := l.timeline.reel.shot(i)
	number, there := l.numbering.number(i), start.Add(l.config.Delay)
	d := &document{
		film: f, shot: &f.shots[k], there: there, ticks: l.ticks(i, start), seed: uint64(2 * i),
		own: f.layout.openingTags(number, there, start.Add(l.config.Ahead)),
	}
	if n := int64(f.layout.TagsOnly); n > 0 && (i+1)%n == 0 {
		d.shot = nil
	}
	return chunk{
		number: number, tags: d.own, start: there, end: end.Add(l.config.Delay),
		parts: d.parts(),
		closing: func(now time.Time) []byte {
			return d.closing(closingTags(l.behind(start, now), tokenPrefix+number))
		},
	}, true
}

// ticks is the first timestamp in fragment i.
func (l *live) ticks(i int64, start time.Time) uint64 {
	layout := l.config.Layout
	switch layout.Time {
	case SessionTime:
		r, _ := l.timeline.run(i)
		return uint64(layout.ticks(start.Sub(r.start)))
	case WallTime:
		return uint64(layout.ticks(time.Duration(start.Add(l.config.Ahead).UnixNano())))
	}
	return 0
}

// behind is how far a fragment is behind the newest complete one.
func (l *live) behind(start, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = now.Add(-l.config.Delay)
	newest := l.timeline.begun(now)
	newestStart, newestEnd, _ := l.timeline.span(newest)
	if newestEnd.After(now) && newest > 0 {
		newestStart, _, _ = l.timeline.span(newest - 1)
	}
	return max(0, newestStart.Sub(start))
}
