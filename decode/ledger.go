package decode

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/edge-agent/edge-agent/decode/report"
)

// mostOpen is how many frames of an input may be on their way. No queue holds as many: what is older was lost by
// somebody.
const mostOpen = 1 << 16

// ledger accounts for the frames of one input: each is opened once, and settled once. A nil ledger accounts for
// nothing. Its methods may be called from any goroutine and call nothing themselves.
type ledger struct {
	mu      sync.Mutex
	counts  report.FrameCounts // Queued stands in queued
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
		l.settleEntry(&l.entries[l.first], report.DropNoPicture)
		l.trim()
	}
	if len(l.entries) == cap(l.entries) && l.first > 0 {
		l.entries = l.entries[:copy(l.entries, l.entries[l.first:])]
		l.first = 0
	}
	l.entries = append(l.entries, entry{number: number})
}

// settle takes in what became of a frame. It returns false, and changes nothing, when that is known already.
func (l *ledger) settle(number uint64, why report.Reason) bool {
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
func (l *ledger) settleThrough(number, kept uint64, why report.Reason) {
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
func (l *ledger) snapshot() report.FrameCounts {
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
func (l *ledger) settleEntry(e *entry, why report.Reason) {
	e.settled = true
	l.queued--
	switch why {
	case report.Shown:
		l.counts.Shown++
	case report.Hidden:
		l.counts.Hidden++
	default:
		if l.counts.Dropped == nil {
			l.counts.Dropped = make(map[report.Reason]uint64)
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
