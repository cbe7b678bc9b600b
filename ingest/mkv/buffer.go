package mkv

import "io"

// Bounds on what is held in memory. A frame is the largest thing there is: GetMedia's
// fragments end at 50 MB, and a 4K key frame takes 1 to 2 MB.
const (
	maxFrame  = 16 << 20 // a block or block group
	maxMaster = 1 << 20  // any other element that is read as a whole
	maxSkip   = 64 << 20 // an element that is passed over unread

	startBuffer   = 64 << 10
	maxEmptyReads = 100 // of a source that gives neither bytes nor an error
)

// buffer is a window on the body: data[from:to] has been read from src and not yet
// been consumed. It grows to what a whole element needs, as the bytes arrive, not when a
// size is claimed: memory doubles only when it is full.
type buffer struct {
	src      io.Reader
	data     []byte
	from, to int
	base     int64 // offset in the body of data[0]
	err      error // of src, for ever after
}

func (b *buffer) pos() int64     { return b.base + int64(b.from) }
func (b *buffer) window() []byte { return b.data[b.from:b.to] }
func (b *buffer) consume(n int)  { b.from += n }
func (b *buffer) buffered() int  { return b.to - b.from }
func (b *buffer) has(n int) bool { return b.to-b.from >= n }
func (b *buffer) take(n int) []byte {
	p := b.data[b.from : b.from+n : b.from+n]
	b.from += n
	return p
}

// fill reads until n bytes are in the window, and no longer; false when the source
// ended first. What take gave before is no longer valid.
func (b *buffer) fill(n int) bool {
	for empty := 0; !b.has(n); {
		if b.err != nil {
			return false
		}
		b.makeRoom(n)
		got, err := b.src.Read(b.data[b.to:])
		b.to += got
		b.err = err
		if got > 0 {
			empty = 0
		} else if empty++; empty == maxEmptyReads && err == nil {
			b.err = io.ErrNoProgress
		}
	}
	return true
}

// makeRoom sees to free space behind the window, which lacks some of n bytes.
func (b *buffer) makeRoom(n int) {
	if b.data == nil {
		b.data = make([]byte, startBuffer)
	}
	if b.from+n <= len(b.data) {
		return
	}
	if b.from > 0 {
		copy(b.data, b.window())
		b.base += int64(b.from)
		b.from, b.to = 0, b.buffered()
	}
	if b.to == len(b.data) {
		grown := make([]byte, min(2*len(b.data), maxFrame+startBuffer))
		copy(grown, b.data)
		b.data = grown
	}
}

// rewind goes back to an offset, or as far towards it as there are bytes.
func (b *buffer) rewind(offset int64) { b.from = max(0, int(offset-b.base)) }

// cause is what ended the source, or nil for a plain end.
func (b *buffer) cause() error {
	if b.err == io.EOF {
		return nil
	}
	return b.err
}
