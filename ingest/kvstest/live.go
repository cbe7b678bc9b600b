package kvstest

import (
	"strings"
	"sync"
	"time"
)

// live is the feed of a clip.
type live struct {
	mu        sync.Mutex // guards timeline
	timeline  *timeline
	numbering numbering
	config    StreamConfig
	head      []byte
	shots     []shot // by piece
}

// shot is a piece of the clip with its blocks written, as they are in every fragment.
type shot struct {
	blocks [][]byte
	at     []time.Duration // when each is there, from the start of the fragment
	size   int             // of all blocks
}

func newLive(name string, source *Source, config StreamConfig, now time.Time) *live {
	if config.Retention == 0 {
		config.Retention = 24 * time.Hour
	}
	start := now.Add(-config.History).Truncate(time.Millisecond)
	pieces := source.pieces(config.Fragment)
	l := &live{
		timeline:  newTimeline(pieces, source.length, start),
		numbering: newNumbering(name, start),
		config:    config,
		head:      documentHead(source.tracks, config.Layout),
	}
	for _, p := range pieces {
		l.shots = append(l.shots, shoot(p))
	}
	return l
}

// shoot writes the blocks of a piece. A frame that comes after one with a later timestamp, as with B-frames, is not there
// before that.
func shoot(p piece) shot {
	var s shot
	var there time.Duration
	for _, f := range p.frames {
		at := f.at - p.offset
		there = max(there, at)
		block := simpleBlock(&f.Frame, at)
		s.blocks = append(s.blocks, block)
		s.at = append(s.at, there)
		s.size += len(block)
	}
	return s
}

func (l *live) first(s Selector, now time.Time) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now = now.Add(-l.config.Delay) // from here on, times are the producer's
	newest := max(0, l.timeline.begun(now))
	oldest := l.timeline.at(now.Add(-l.config.Retention))
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
		if !isToken || !ok || i < oldest || i > newest {
			return 0, staleToken
		}
		return i + 1, nil
	case ServerTimestamp:
		return max(oldest, l.timeline.at(s.start().Add(-l.config.Delay))), nil
	case ProducerTime:
		return max(oldest, l.timeline.at(s.start())), nil
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
	shot := l.shots[l.timeline.piece(i)]
	number, there := l.numbering.number(i), start.Add(l.config.Delay)
	c := chunk{number: number, tags: openingTags(number, there, start), start: there, end: end.Add(l.config.Delay)}
	opening := append(serviceTags(c.tags), clusterHead(l.config.Layout, l.clusterTime(start), shot.size)...)
	c.parts = append(c.parts, part{there, l.head}, part{there, opening})
	for k, block := range shot.blocks {
		c.parts = append(c.parts, part{there.Add(shot.at[k]), block})
	}
	c.closing = func(now time.Time) []byte {
		return closingTags(l.config.Layout, l.behind(start, now), tokenPrefix+number)
	}
	return c, true
}

func (l *live) clusterTime(start time.Time) time.Duration {
	switch l.config.Layout.Time {
	case SessionTime:
		return start.Sub(l.timeline.runs[0].start)
	case WallTime:
		return time.Duration(start.UnixNano())
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

func (l *live) stop(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timeline.stop(now.Add(-l.config.Delay))
}

func (l *live) produce(now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timeline.produce(now.Add(-l.config.Delay))
}
