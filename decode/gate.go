package decode

import (
	"bytes"
	"context"
	"sync"
	"time"
)

// Unit is one access unit on its way to the renderer.
type Unit struct {
	Number  uint64 // of the frame, one more with each of the renderer's frames; 0 in trials
	Format  *Format
	Data    []byte
	Time    time.Duration // presentation time on the producer's line
	Key     bool
	Discont bool // units before this one are missing
	Stored  bool // of a recording: every frame is to be seen
	Replay  bool // was given out before, or is too old: decode it, do not show it

	Received   time.Time // when its last byte had been read; zero: not of interest
	Disposable bool      // no other unit refers to it, so it is left out of a replay
}

// Limits bounds a Gate. It holds at most what both allow.
type Limits struct {
	Units, Bytes int
}

// DefaultLimits hold several seconds of 4K video.
var DefaultLimits = Limits{Units: 600, Bytes: 32 << 20}

// Gate is the bounded queue between the session and the renderer child. It begins
// with a key frame and keeps what it has given out since the last key frame, so that a new
// renderer can begin in the middle:
//
//	units:  K d d d d d d K d d
//	        └─ given out ─┘└ waiting ┘
//	                       next
//
// A parked gate keeps no more than the units since the last key frame: nobody takes from it.
//
// When it is full the waiting units are given up, and those that follow until
// the next key frame: pictures that refer to missing ones would be broken.
//
// Push may be called from any goroutine; Take and Rewind belong to one other.
type Gate struct {
	limits Limits
	ready  chan struct{} // holds a token while something may be waiting
	taken  chan struct{} // holds a token after something was taken

	mu      sync.Mutex
	units   []Unit
	next    int // index of the first waiting unit
	bytes   int // of all units
	shut    bool
	closed  bool
	parked  bool
	discont bool
	dropped uint64
}

// NewGate makes an empty gate, which waits for a key frame.
func NewGate(limits Limits) *Gate {
	return &Gate{limits: limits, ready: make(chan struct{}, 1), taken: make(chan struct{}, 1), shut: true, discont: true}
}

// Push adds a unit, whose data is copied, and never blocks. It returns how many
// units this one cost, itself included: 0 when there was room.
func (g *Gate) Push(u Unit) (dropped int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return 0
	}
	if g.parked && u.Key {
		g.cut(len(g.units))
	}
	if !g.shut && g.full(len(u.Data)) {
		g.forget()
	}
	if !g.shut && g.full(len(u.Data)) {
		dropped = g.giveUp()
	}
	if g.shut && !u.Key || len(u.Data) > g.limits.Bytes {
		g.discont = true
		if g.parked {
			return 0 // nobody misses them
		}
		g.dropped += uint64(dropped + 1)
		return dropped + 1
	}
	u.Data = bytes.Clone(u.Data)
	u.Discont = u.Discont || g.discont
	g.shut, g.discont = false, false
	g.units = append(g.units, u)
	g.bytes += len(u.Data)
	if g.parked {
		return 0
	}
	g.dropped += uint64(dropped)
	select {
	case g.ready <- struct{}{}:
	default:
	}
	return dropped
}

// Park makes the gate keep only what a decoder will begin with later. Take gives out
// nothing meanwhile, and Wait does not wait.
func (g *Gate) Park() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parked = true
	last := len(g.units) - 1
	for last >= 0 && !g.units[last].Key {
		last--
	}
	g.cut(max(0, last))
	g.next = 0
	if last < 0 {
		g.cut(len(g.units))
		g.shut, g.discont = true, true
	}
	select {
	case g.taken <- struct{}{}:
	default:
	}
}

// Close makes a parked gate let go of what it keeps and take no more. It returns how many units it has dropped.
func (g *Gate) Close() (dropped uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cut(len(g.units))
	g.closed = true
	return g.dropped
}

// Unpark makes Take begin with the last key frame. All units but the newest are marked for replay, or left out.
func (g *Gate) Unpark() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parked = false
	g.next = 0
	g.markReplay(len(g.units))
}

// Wait waits until no more than half of the room is taken by waiting units, but not longer
// than patience after the last of them was taken.
func (g *Gate) Wait(patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !g.roomy() {
		select {
		case <-g.taken:
			timer.Reset(patience)
		case <-timer.C:
			return
		}
	}
}

func (g *Gate) roomy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.parked {
		return true
	}
	waiting := g.units[g.next:]
	bytes := 0
	for i := range waiting {
		bytes += len(waiting[i].Data)
	}
	return len(waiting) <= g.limits.Units/2 && bytes <= g.limits.Bytes/2
}

// full says that n more bytes do not fit.
func (g *Gate) full(n int) bool {
	return len(g.units) >= g.limits.Units || g.bytes+n > g.limits.Bytes
}

// forget lets go of what was given out: room for new units is worth more than a replay.
func (g *Gate) forget() {
	g.cut(g.next)
	g.next = 0
}

// giveUp drops what waits and shuts the gate until the next key frame.
func (g *Gate) giveUp() (dropped int) {
	dropped = len(g.units) - g.next
	for i := g.next; i < len(g.units); i++ {
		g.bytes -= len(g.units[i].Data)
		g.units[i] = Unit{}
	}
	g.units = g.units[:g.next]
	g.shut, g.discont = true, true
	return dropped
}

// cut drops the first n units.
func (g *Gate) cut(n int) {
	for i := range n {
		g.bytes -= len(g.units[i].Data)
	}
	kept := copy(g.units, g.units[n:])
	clear(g.units[kept:])
	g.units = g.units[:kept]
}

// Take gives out the next unit and waits for one when there is none. Its data
// must not be changed. The error is that of the context.
func (g *Gate) Take(ctx context.Context) (Unit, error) {
	for {
		if u, ok := g.take(); ok {
			return u, nil
		}
		select {
		case <-ctx.Done():
			return Unit{}, context.Cause(ctx)
		case <-g.ready:
		}
	}
}

func (g *Gate) take() (Unit, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.parked || g.next == len(g.units) {
		return Unit{}, false
	}
	if g.units[g.next].Key {
		g.cut(g.next)
		g.next = 0
	}
	g.next++
	select {
	case g.taken <- struct{}{}:
	default:
	}
	return g.units[g.next-1], true
}

// Rewind makes Take begin again with the last key frame that was given out, for
// a new renderer. All units but the newest, or of a recording all that were given out, are marked for replay, or left out.
// It returns how many are marked.
func (g *Gate) Rewind() (replay int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.parked || g.next == 0 && (len(g.units) == 0 || g.units[0].Key) {
		return 0 // nothing was given out
	}
	first := 0
	for first < len(g.units) && !g.units[first].Key {
		first++
	}
	given := max(0, g.next-first)
	g.dropped += uint64(max(0, first-g.next))
	g.cut(first)
	g.next = 0
	if len(g.units) == 0 {
		g.shut, g.discont = true, true
		return 0
	}
	return g.markReplay(given)
}

// markReplay marks the units before the one that is to be seen first, and leaves out those that the rest can be decoded
// without. That one is the newest; of a recording it is the first that nobody was given, when so many were given out.
// It returns how many are marked.
func (g *Gate) markReplay(given int) (replay int) {
	if len(g.units) == 0 {
		return 0
	}
	seen := len(g.units) - 1
	for i := given; i < seen; i++ {
		if u := g.units[i]; u.Stored && !u.Replay {
			seen = i
		}
	}
	discont := true
	kept := g.units[:0]
	for i, u := range g.units {
		u.Replay = i < seen
		u.Discont = u.Discont || discont
		if u.Replay && u.Disposable {
			g.bytes -= len(u.Data)
			discont = u.Discont
			continue
		}
		if u.Replay {
			replay++
		}
		discont = false
		kept = append(kept, u)
	}
	clear(g.units[len(kept):])
	g.units = kept
	select {
	case g.ready <- struct{}{}:
	default:
	}
	return replay
}

// format is that of the newest unit.
func (g *Gate) format() (f Format, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := len(g.units) - 1
	if last < 0 || g.units[last].Format == nil {
		return Format{}, false
	}
	return *g.units[last].Format, true
}

// GateStats counts.
type GateStats struct {
	Waiting int
	Dropped uint64 // since the gate was made, those before the first key frame included
}

// Stats gives the present figures.
func (g *Gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GateStats{Waiting: len(g.units) - g.next, Dropped: g.dropped}
}
