package kvstest

import (
	"strings"
	"sync"
	"time"
)

// live is the feed of a clip.
type live struct {
	arn    string
	config StreamConfig

	mu       sync.Mutex
	timeline *timeline
	stale    int64 // tokens up to this fragment's are forgotten
	oldest   int64 // fragments before this one are erased
}

// newLive makes the feed of a stream that begins now, and some time ago if it has a history.
func newLive(arn string, source *Source, config StreamConfig, now time.Time) (*live, error) {
	if config.Retention == 0 {
		config.Retention = defaultRetention
	}
	first, err := newFilm(source, config.Layout, config.Fragment)
	if err != nil {
		return nil, err
	}
	start := now.Add(-config.History).Truncate(time.Millisecond)
	l := &live{
		arn:      arn,
		config:   config,
		timeline: newTimeline(newReel(first), start),
		stale:    -1,
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
		i, ok := l.fragment(s.AfterFragmentNumber, newest)
		if !ok || i < oldest || i > newest {
			return 0, errNoFragment
		}
		return i + 1, nil
	case Continuation:
		number := strings.TrimPrefix(s.ContinuationToken, opaquePrefix)
		i, ok := l.fragment(number, newest)
		if !ok || l.token(number) != s.ContinuationToken || i < oldest || i > newest || i <= l.stale {
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

// number is the number of fragment i; "" if it is not going to be produced as things are.
func (l *live) number(i int64) string {
	if l.config.Numbers.Order == Same {
		i = 0
	}
	start, _, ok := l.timeline.span(i)
	if !ok {
		return ""
	}
	return fragmentNumber(l.config.Numbers.counter(i), start.Add(l.config.Delay), l.arn)
}

// fragment finds the fragment with a number, the newest if several have it; false if there is none.
func (l *live) fragment(number string, newest int64) (int64, bool) {
	at, ok := serverTimeIn(number)
	if !ok {
		return 0, false
	}
	if l.config.Numbers.Order == Same {
		return newest, number == l.number(0)
	}
	// The number has whole milliseconds: the fragment may begin a little later.
	k := l.timeline.at(at.Add(-l.config.Delay))
	for _, i := range []int64{k, k + 1} {
		if l.number(i) == number {
			return i, true
		}
	}
	return 0, false
}

// opaquePrefix is what opaque tokens begin with.
const opaquePrefix = "after-"

// token is the continuation token of a fragment. In captures of the service it is the fragment number.
func (l *live) token(number string) string {
	if l.config.OpaqueTokens {
		return opaquePrefix + number
	}
	return number
}

func (l *live) chunk(i int64) (chunk, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	start, end, ok := l.timeline.span(i)
	if !ok {
		return chunk{}, false
	}
	f, k := l.timeline.reel.shot(i)
	number, there := l.number(i), start.Add(l.config.Delay)
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
			return d.closing(closingTags(l.behind(start, now), l.token(number)))
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
