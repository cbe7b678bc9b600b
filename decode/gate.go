package decode

import (
	"bytes"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/report"
)

// Unit is one access unit on its way to the renderer.
type Unit struct {
	Number  uint64 // of the frame, one more with each of the renderer's frames; 0 in trials
	Format  *format.Format
	Data    []byte
	Time    time.Duration // presentation time on the producer's line
	Key     bool
	Discont bool // units before this one are missing
	Stored  bool // of a recording: every frame is to be seen
	Replay  bool // was given out before, or is too old: decode it, do not show it

	Received   time.Time // when its last byte had been read; zero: not of interest
	Disposable bool      // no other unit refers to it, so it is left out of a replay

	block *block // that Data lies in, when a gate keeps it
}

// restlessSize is the size of slices from which on a frame that is no key frame certainly changes the picture:
// frames that say "as before" are smaller, but for what fills them up to a bit rate that has to be kept.
const restlessSize = 512

// restless says that a frame should change the picture.
func (u Unit) restless() bool {
	return !u.Key && len(u.Data) >= restlessSize && u.Format.SliceBytes(u.Data) >= restlessSize
}

// Limits bounds what waits between the sessions and the renderer child. A gate holds at most what Units and Bytes
// allow, and all gates of a renderer together at most Total bytes, of which those of hidden streams leave Bytes to the
// one that is shown. Total 0 is no less than one gate needs.
type Limits struct {
	Units, Bytes, Total int
}

// DefaultLimits hold several seconds of 4K video, and two seconds of 80 hidden streams of 4 Mbit/s.
var DefaultLimits = Limits{Units: 600, Bytes: 32 << 20, Total: 144 << 20}

// pool makes the memory that the limits allow for. A gate may take whole blocks for what it holds.
func (l Limits) pool() *pool {
	one := l.Bytes + l.Bytes/2 + 2*blockSize // frames do not fill their blocks
	return newPool(max(l.Total, 2*one), one)
}

// Gate is the bounded queue between the session and the renderer child. It begins
// with a key frame and keeps what it has given out since the last key frame, so that a new
// renderer can begin in the middle:
//
//	units:  K d d d d d d K d d
//	        └─ given out ─┘└ waiting ┘
//	                       next
//
// A parked gate keeps no more than the units since the last key frame: nobody takes from it. Only the newest of them
// would be shown, so the others count as hidden.
//
// When it is full, what was given out goes first, then the waiting units that no other refers to, then all that
// wait and those that follow until the next key frame: pictures that refer to missing ones would be broken.
//
// Whatever leaves the gate without being given out is settled in the ledger.
//
// Push may be called from any goroutine; Take, Release and Rewind belong to one other.
type Gate struct {
	limits Limits
	ledger *ledger       // nil for none
	ready  chan struct{} // holds a token while something may be waiting
	taken  chan struct{} // holds a token after something was taken

	mu      sync.Mutex
	memory  arena
	units   []Unit
	next    int           // index of the first waiting unit
	bytes   int           // of all units
	lent    *block        // that the unit taken last lies in
	given   uint64        // number of the newest unit that was given out
	over    uint64        // the same, of pipelines that are gone: they settle nothing any more
	shut    bool          // until the next key frame
	why     report.Reason // it is shut
	closed  bool
	parked  bool
	discont bool
	dropped uint64
}

// NewGate makes an empty gate of its own, which waits for a key frame.
func NewGate(limits Limits) *Gate { return newGate(limits, limits.pool(), nil) }

// newGate makes a gate whose memory is of a pool, and whose units are accounted for in a ledger.
func newGate(limits Limits, memory *pool, l *ledger) *Gate {
	return &Gate{
		limits: limits, ledger: l, memory: arena{pool: memory}, ready: make(chan struct{}, 1), taken: make(chan struct{}, 1),
		shut: true, why: report.DropNoKeyFrame, discont: true,
	}
}

// Push adds a unit, whose data is copied, and never blocks. It returns how many
// units this one cost, itself included: 0 when there was room.
func (g *Gate) Push(u Unit) (dropped int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		g.ledger.settle(u.Number, report.Hidden)
		return 0
	}
	if g.parked && u.Key {
		g.leave(len(g.units), report.Hidden)
	}
	if g.shut && !u.Key {
		return g.refuse(u, g.why)
	}
	if len(u.Data) > g.limits.Bytes {
		g.shut, g.why = true, report.DropTooLarge
		return g.refuse(u, report.DropTooLarge)
	}
	data, in, dropped := g.admit(u.Data, nil)
	if in == nil || g.shut && !u.Key {
		if in != nil {
			g.memory.release(in)
		}
		return dropped + g.refuse(u, g.why)
	}
	u.Data, u.block = data, in
	u.Discont = u.Discont || g.discont
	g.shut, g.discont = false, false
	g.units = append(g.units, u)
	g.bytes += len(u.Data)
	if g.parked {
		g.hide(len(g.units) - 1)
		return 0
	}
	g.wake()
	return dropped
}

// Amend adds a further slice to the unit that was pushed last. If that was given out, it is given out again with all
// from the last key frame on. It returns false when the unit was dropped.
func (g *Gate) Amend(number uint64, more []byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := len(g.units) - 1
	if last < 0 || g.units[last].Number != number || len(g.units[last].Data)+len(more) > g.limits.Bytes {
		return false
	}
	u := &g.units[last]
	data, in, ok := g.memory.store(g.parked, u.Data, more)
	if !ok {
		return false
	}
	g.memory.release(u.block)
	g.bytes += len(more)
	u.Data, u.block = data, in
	if !g.parked && g.next > last && g.units[0].Key {
		g.rewind()
	}
	return true
}

// refuse drops a unit that does not get in.
func (g *Gate) refuse(u Unit, why report.Reason) (dropped int) {
	g.discont = true
	if g.parked { // nobody misses it
		g.ledger.settle(u.Number, report.Hidden)
		return 0
	}
	g.ledger.settle(u.Number, why)
	g.dropped++
	return 1
}

// admit makes room for a unit and copies its data. in is nil when there is none.
func (g *Gate) admit(data, more []byte) (stored []byte, in *block, dropped int) {
	for step := 0; ; step++ {
		if !g.full(len(data) + len(more)) {
			if stored, in, ok := g.memory.store(g.parked, data, more); ok {
				return stored, in, dropped
			}
		}
		switch step {
		case 0:
			g.forget()
		case 1:
			dropped += g.shed()
		case 2:
			dropped += g.giveUp()
		default:
			return nil, nil, dropped
		}
	}
}

// wake tells Take that something may be waiting.
func (g *Gate) wake() {
	select {
	case g.ready <- struct{}{}:
	default:
	}
}

// drop takes in that a unit leaves without having been given out.
func (g *Gate) drop(u *Unit, why report.Reason) {
	g.bytes -= len(u.Data)
	g.memory.release(u.block)
	g.settle(u, why)
}

// leave drops the first n units for one reason.
func (g *Gate) leave(n int, why report.Reason) {
	for i := range n {
		g.settle(&g.units[i], why)
	}
	g.cut(n)
}

// settle settles a unit. A pipeline that has a hidden one settles that itself: its picture may be on the screen.
func (g *Gate) settle(u *Unit, why report.Reason) bool {
	if why == report.Hidden && g.inPipeline(u) {
		return false
	}
	return g.ledger.settle(u.Number, why)
}

// inPipeline says that a pipeline has a unit, and settles it.
func (g *Gate) inPipeline(u *Unit) bool { return u.Number <= g.given && g.given > g.over }

// hide settles the first n units as hidden, which stay.
func (g *Gate) hide(n int) {
	for i := n - 1; i >= 0 && g.settle(&g.units[i], report.Hidden); i-- {
	}
}

// Returned takes in that no pipeline has units of this gate any more.
func (g *Gate) Returned() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = g.given
	if !g.parked {
		return
	}
	kept := uint64(math.MaxUint64) // the newest may still be shown
	if last := len(g.units) - 1; last >= 0 {
		kept = g.units[last].Number
	}
	g.ledger.settleThrough(g.given, kept, report.Hidden)
}

// Park makes the gate keep only what a decoder will begin with later. Take gives out
// nothing meanwhile, and Wait does not wait.
func (g *Gate) Park() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parked = true
	for i := range max(0, len(g.units)-1) { // also of those that a child was given which died
		g.settle(&g.units[i], report.Hidden)
	}
	last := len(g.units) - 1
	for last >= 0 && !g.units[last].Key {
		last--
	}
	g.cut(max(0, last))
	g.next = 0
	if last < 0 {
		g.leave(len(g.units), report.Hidden)
		g.shut, g.why, g.discont = true, report.DropNoKeyFrame, true
	}
	select {
	case g.taken <- struct{}{}:
	default:
	}
}

// Discard lets go of all that the gate has: what comes next is of another place in the stream. What a pipeline was
// given is settled by that.
func (g *Gate) Discard() {
	g.mu.Lock()
	defer g.mu.Unlock()
	why := report.DropCatchUp
	if g.parked {
		why = report.Hidden
	}
	for i := range g.units {
		if u := &g.units[i]; !g.inPipeline(u) {
			g.settle(u, why)
		}
	}
	g.cut(len(g.units))
	g.next = 0
	g.shut, g.why, g.discont = true, report.DropNoKeyFrame, true
	select {
	case g.taken <- struct{}{}:
	default:
	}
}

// Close makes a gate let go of what it keeps and take no more. It returns how many units it has dropped.
func (g *Gate) Close() (dropped uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.leave(len(g.units), report.Hidden)
	g.next, g.closed = 0, true
	g.memory.close()
	select {
	case g.taken <- struct{}{}:
	default:
	}
	return g.dropped
}

// Unpark makes Take begin with the last key frame. All units but the newest are marked for replay, or left out.
func (g *Gate) Unpark() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.parked = false
	g.next = 0
	g.hide(len(g.units) - 1)
	g.markReplay(len(g.units), report.Hidden)
}

// readAhead is how much of a recording waits: enough for the network's jitter. More would only make the recording
// answer late to a seek, and look more recent to the session than it is on the screen.
const readAhead = time.Second

// Wait waits until less than a second of video waits and no more than half of the room is taken by it, but not longer
// than patience after the last of them was taken, nor after ctx has ended.
func (g *Gate) Wait(ctx context.Context, patience time.Duration) {
	if g.roomy() {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for !g.roomy() {
		select {
		case <-g.taken:
			timer.Reset(patience)
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gate) roomy() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.parked || g.closed {
		return true
	}
	waiting := g.units[g.next:]
	if len(waiting) > g.limits.Units/2 {
		return false
	}
	if last := len(waiting) - 1; last > 0 && (waiting[last].Time-waiting[0].Time).Abs() > readAhead {
		return false
	}
	bytes := 0
	for i := range waiting {
		bytes += len(waiting[i].Data)
	}
	return bytes <= g.limits.Bytes/2
}

// recording says that the next unit is of a recording.
func (g *Gate) recording() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.next < len(g.units) && g.units[g.next].Stored
}

// hidden says that the gate is parked.
func (g *Gate) hidden() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.parked
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

// shed drops the waiting units that no other refers to.
func (g *Gate) shed() (dropped int) {
	if g.parked {
		return 0 // they are left out when it is shown
	}
	kept := g.units[:g.next]
	for _, u := range g.units[g.next:] {
		if u.Disposable && !u.Discont {
			g.drop(&u, report.DropQueueFull)
			dropped++
			continue
		}
		kept = append(kept, u)
	}
	clear(g.units[len(kept):])
	g.units = kept
	g.dropped += uint64(dropped)
	return dropped
}

// giveUp drops what waits and shuts the gate until the next key frame.
func (g *Gate) giveUp() (dropped int) {
	why := report.DropQueueFull
	if g.parked {
		why = report.Hidden
	}
	dropped = len(g.units) - g.next
	for i := g.next; i < len(g.units); i++ {
		g.drop(&g.units[i], why)
		g.units[i] = Unit{}
	}
	g.units = g.units[:g.next]
	g.shut, g.why, g.discont = true, report.DropQueueFull, true
	if g.parked {
		return 0
	}
	g.dropped += uint64(dropped)
	return dropped
}

// cut lets go of the first n units, which were given out or are settled.
func (g *Gate) cut(n int) {
	for i := range n {
		g.bytes -= len(g.units[i].Data)
		g.memory.release(g.units[i].block)
	}
	kept := copy(g.units, g.units[n:])
	clear(g.units[kept:])
	g.units = g.units[:kept]
}

// Take gives out the next unit and waits for one when there is none. Its data
// must not be changed, and is valid until the next Take or Release. The error is that of the context.
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
	g.unlend()
	if g.parked || g.next == len(g.units) {
		return Unit{}, false
	}
	if g.units[g.next].Key {
		g.cut(g.next)
		g.next = 0
	}
	u := g.units[g.next]
	g.next++
	g.given = max(g.given, u.Number)
	if g.lent = u.block; g.lent != nil {
		g.lent.frames++
	}
	select {
	case g.taken <- struct{}{}:
	default:
	}
	return u, true
}

// Release lets go of the data of the unit that was taken last.
func (g *Gate) Release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unlend()
}

func (g *Gate) unlend() {
	g.memory.release(g.lent)
	g.lent = nil
	if g.closed {
		g.memory.close()
	}
}

// Rewind makes Take begin again with the last key frame that was given out, for
// a new renderer. All units but the newest, or of a recording all that were shown, are marked for replay, or left out.
// It returns how many are marked.
func (g *Gate) Rewind() (replay int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.rewind()
}

func (g *Gate) rewind() (replay int) {
	if g.parked || g.next == 0 && (len(g.units) == 0 || g.units[0].Key) {
		return 0 // nothing was given out
	}
	first := 0
	for first < len(g.units) && !g.units[first].Key {
		first++
	}
	given := max(0, g.next-first)
	g.dropped += uint64(max(0, first-g.next))
	g.leave(first, report.DropDecoderFailed)
	g.next = 0
	if len(g.units) == 0 {
		g.shut, g.why, g.discont = true, report.DropDecoderFailed, true
		return 0
	}
	return g.markReplay(given, report.DropCatchUp)
}

// markReplay marks the units before the one that is to be seen first, and leaves out those that the rest can be decoded
// without, which are settled for a reason; but not those that a pipeline has, which settles them. The one that is to be
// seen first is the newest; of a recording it is the first that was not shown, as far as the ledger knows, else the
// first that nobody was given, when so many were given out. It returns how many are marked.
func (g *Gate) markReplay(given int, why report.Reason) (replay int) {
	if len(g.units) == 0 {
		return 0
	}
	seen := len(g.units) - 1
	for i := seen - 1; i >= 0; i-- {
		if u := &g.units[i]; u.Stored && (g.ledger.onItsWay(u.Number) || g.ledger == nil && i >= given && !u.Replay) {
			seen = i
		}
	}
	discont := true
	kept := g.units[:0]
	for i, u := range g.units {
		u.Replay = i < seen || u.Stored && g.ledger != nil && !g.ledger.onItsWay(u.Number)
		u.Discont = u.Discont || discont
		if u.Replay && u.Disposable && !g.inPipeline(&u) { // else it may be on the screen in a moment
			g.drop(&u, why)
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
	g.wake()
	return replay
}

// span gives the numbers of the oldest and the newest unit that are kept; both are the greatest number
// there is when none is.
func (g *Gate) span() (oldest, newest uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.units) == 0 {
		return math.MaxUint64, math.MaxUint64
	}
	return g.units[0].Number, g.units[len(g.units)-1].Number
}

// format is that of the newest unit.
func (g *Gate) format() (f format.Format, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := len(g.units) - 1
	if last < 0 || g.units[last].Format == nil {
		return format.Format{}, false
	}
	return *g.units[last].Format, true
}

// kept copies what was given out since the last key frame.
func (g *Gate) kept() []Unit {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == 0 || !g.units[0].Key {
		return nil
	}
	units := slices.Clone(g.units[:g.next])
	for i := range units {
		units[i].Data, units[i].block = bytes.Clone(units[i].Data), nil
	}
	return units
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
