package decode

import (
	"sync"

	"github.com/edge-agent/edge-agent/decode/system"
)

// Frames that gates keep lie outside of Go's heap: the collector lets the heap grow to twice of what is in use, which
// for the groups of pictures of 64 streams is too much. The memory of a pool goes back to the system in blocks. A
// process has one renderer and so one pool, which lives as long as it does.

// blockSize is the least size of a block: several frames of a stream of 4 Mbit/s. Larger frames have a block of their
// own size, rounded up to a multiple of blockStep.
const (
	blockSize = 128 << 10
	blockStep = 64 << 10
)

// leastSpare is how much memory that nobody uses a pool keeps at the least; beyond it a sixteenth of what is in use.
// Streams whose key frames come at different times need no more, and those whose key frames come at once would
// otherwise keep the memory of whole groups beside the groups.
const leastSpare = 2 << 20

// pool is the memory for the frames of all gates of a renderer. Its methods may be called from any goroutine.
type pool struct {
	limit   int // bytes that the blocks in use may have
	reserve int // bytes of these that hidden streams do not get

	mu    sync.Mutex
	used  int
	spare []*block // of blockSize, which nobody uses
}

// block is memory for frames, which fill it one after the other. It belongs to one gate, whose lock guards it.
type block struct {
	memory []byte
	filled int
	frames int // that are still needed
}

func newPool(limit, reserve int) *pool { return &pool{limit: limit, reserve: reserve} }

// get gives an empty block for a frame of n bytes; nil when the limit is reached.
func (p *pool) get(n int, hidden bool) *block {
	size := blockSize
	if n > size {
		size = (n + blockStep - 1) / blockStep * blockStep
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	limit := p.limit
	if hidden {
		limit -= p.reserve
	}
	if p.used+size > limit {
		return nil
	}
	if last := len(p.spare) - 1; size == blockSize && last >= 0 {
		b := p.spare[last]
		p.spare = p.spare[:last]
		p.used += size
		return b
	}
	memory, err := system.MapMemory(size)
	if err != nil { // the box has no memory: the same as a limit
		return nil
	}
	p.used += size
	return &block{memory: memory}
}

// put takes a block back whose frames nobody needs.
func (p *pool) put(b *block) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= len(b.memory)
	b.filled, b.frames = 0, 0
	if spare := len(p.spare) * blockSize; len(b.memory) == blockSize && spare < max(leastSpare, p.used/16) {
		p.spare = append(p.spare, b)
		return
	}
	system.UnmapMemory(b.memory)
}

// add gives memory for a frame of n bytes behind the last one; false when there is no room.
func (b *block) add(n int) ([]byte, bool) {
	if b == nil || len(b.memory)-b.filled < n {
		return nil, false
	}
	memory := b.memory[b.filled : b.filled+n : b.filled+n]
	b.filled += n
	b.frames++
	return memory, true
}

// arena is the memory of one gate: blocks of the pool, of which the newest is being filled.
type arena struct {
	pool    *pool
	current *block
}

// store copies parts, one after the other, into memory of the pool; false when the limit is reached.
func (a *arena) store(hidden bool, parts ...[]byte) (data []byte, in *block, ok bool) {
	n := 0
	for _, part := range parts {
		n += len(part)
	}
	data, ok = a.current.add(n)
	if !ok {
		next := a.pool.get(n, hidden)
		if next == nil {
			return nil, nil, false
		}
		if a.current != nil && a.current.frames == 0 {
			a.pool.put(a.current)
		}
		a.current = next
		data, _ = next.add(n)
	}
	rest := data
	for _, part := range parts {
		rest = rest[copy(rest, part):]
	}
	return data, a.current, true
}

// release says that one of a block's frames is no longer needed.
func (a *arena) release(b *block) {
	if b == nil {
		return
	}
	if b.frames--; b.frames > 0 {
		return
	}
	if b == a.current && len(b.memory) == blockSize {
		b.filled = 0
		return
	}
	if b == a.current {
		a.current = nil
	}
	a.pool.put(b)
}

// close gives the block back that is being filled, if none of its frames is needed.
func (a *arena) close() {
	if a.current != nil && a.current.frames == 0 {
		a.pool.put(a.current)
		a.current = nil
	}
}
