package mkv

import "io"

// Bounds on what is held in memory. A frame is the largest thing there is: GetMedia's
// fragments end at 50 MB, and a 4K key frame takes 1 to 2 MB.
const (
	maxFrame  = 16 << 20 // a block or block group
	maxMaster = 1 << 20  // any other element that is read as a whole
	maxSkip   = 64 << 20 // an element that is skipped

	startBuffer   = 64 << 10
	maxEmptyReads = 100 // of a source that gives neither bytes nor an error
)

// buffer is a window on the body: data[from:to] has been read from src and not yet
// been consumed, and up to lookback bytes in front of it are kept. It grows to what a whole element needs, as
// the bytes arrive, not when a size is claimed: memory at most doubles, and only when it is full.
type buffer struct {
	src      io.Reader
	data     []byte
	from, to int
	base     int64 // offset in the body of data[0]
	err      error // of src, for ever after

	budget  *Budget
	refused bool // the budget did not allow to grow

	need, needBefore int // bytes of the largest element of this document and of the one before it
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

// since gives the bytes from offset on, which is at most lookback in front of the window.
func (b *buffer) since(offset int64) []byte {
	return b.data[max(0, min(int(offset-b.base), b.to)):b.to]
}

// seek makes the window begin at offset, which is at most lookback in front of it.
func (b *buffer) seek(offset int64) { b.from = max(0, int(offset-b.base)) }

// fill reads until n bytes are in the window, and no longer; false when the source
// ended first. What take gave before is no longer valid.
func (b *buffer) fill(n int) bool {
	for !b.has(n) {
		if !b.read(n) {
			return false
		}
	}
	return true
}

// read reads once, of the n bytes that should be in the window and some more; false when nothing came because the
// source ended or because the budget refused the memory.
func (b *buffer) read(n int) bool {
	if b.err != nil {
		return false
	}
	if b.refused = !b.makeRoom(n); b.refused {
		return false
	}
	// A large buffer is for large elements, and no reason to read far ahead.
	free := b.data[b.to:min(len(b.data), b.from+max(n, startBuffer))]
	for range maxEmptyReads {
		var got int
		got, b.err = b.src.Read(free)
		b.to += got
		if got > 0 || b.err != nil {
			return got > 0
		}
	}
	b.err = io.ErrNoProgress
	return false
}

// makeRoom makes free space after the window, which lacks some of n bytes; false when the budget refuses it.
func (b *buffer) makeRoom(n int) bool {
	if b.data == nil {
		b.data = make([]byte, startBuffer)
	}
	if b.from+n <= len(b.data) {
		return true
	}
	if b.from > lookback { // at most once for each element, or small reads would move a large window many times
		b.shift(b.data)
	}
	if b.to < len(b.data) {
		return true
	}
	size := min(2*len(b.data), bufferFor(n))
	if !b.budget.acquire(size - len(b.data)) {
		return false
	}
	b.shift(make([]byte, size))
	return true
}

// bufferFor is the size of a buffer for elements of n bytes, and for some that are a little larger: the next key frame
// may be one.
func bufferFor(n int) int {
	n += lookback
	return max(startBuffer, n, min(n+n/8, maxFrame+startBuffer))
}

// shift moves what is kept to the front of data, which becomes the buffer.
func (b *buffer) shift(data []byte) {
	start := max(0, b.from-lookback)
	copy(data, b.data[start:b.to])
	b.base += int64(start)
	b.data, b.from, b.to = data, b.from-start, b.to-start
}

// trim gives memory back that neither this document nor the one before it needed. It is called between two
// documents: fragments begin with a key frame, and a buffer for key frames should not be made again in each of them.
func (b *buffer) trim() {
	size := bufferFor(max(b.need, b.needBefore))
	b.need, b.needBefore = 0, b.need
	held := b.to - max(0, b.from-lookback)
	if len(b.data) < 2*size || held > size {
		return
	}
	b.budget.release(len(b.data) - size)
	b.shift(make([]byte, size))
}

// free gives all memory back.
func (b *buffer) free() {
	b.budget.release(max(0, len(b.data)-startBuffer))
	b.data, b.from, b.to, b.err = nil, 0, 0, io.ErrClosedPipe
}

// cause is what ended the source, or nil for a plain end.
func (b *buffer) cause() error {
	if b.err == io.EOF {
		return nil
	}
	return b.err
}
