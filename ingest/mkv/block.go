package mkv

// simpleBlock reads a SimpleBlock: a track number, a time, flags, and one frame or more.
func (r *Reader) simpleBlock(h header) (Event, error) {
	e, err := r.whole(h, maxFrame)
	if err != nil {
		return nil, err
	}
	return r.block(e, nil)
}

// blockGroup reads a BlockGroup: a Block and what is said of it. A Block without a
// reference to another one is a key frame.
func (r *Reader) blockGroup(h header) (Event, error) {
	group, err := r.whole(h, maxFrame)
	if err != nil {
		return nil, err
	}
	var block element
	key := true
	c := group.children()
	for child, ok := c.next(); ok; child, ok = c.next() {
		switch child.id {
		case idBlock:
			block = child
		case idReference:
			key = false
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	if block.id == 0 {
		return nil, nil
	}
	return r.block(block, &key)
}

const (
	flagKey    = 0x80 // of a SimpleBlock
	flagLacing = 0x06
)

// block sends the first frame of a block and keeps the others. key overrules the flag.
func (r *Reader) block(e element, key *bool) (Event, error) {
	number, n := parseSize(e.data)
	if n <= 0 || len(e.data) < n+3 {
		return nil, malformed(e.id, e.offset, "too short for a block")
	}
	track := r.tracks.byNumber(uint64(number))
	if track == nil {
		return nil, malformed(e.id, e.offset, "of track "+itoa(number)+", which no Tracks element announced")
	}
	at, ok := r.time(int16(uint16(e.data[n])<<8 | uint16(e.data[n+1])))
	if !ok {
		return nil, malformed(e.id, e.offset, outOfRange)
	}
	flags := e.data[n+2]
	payload := e.data[n+3:]

	r.frame = Frame{
		Track:       track,
		Time:        at,
		ClusterTime: r.firstTime,
		Key:         flags&flagKey != 0,
		Offset:      e.offset,
	}
	if key != nil {
		r.frame.Key = *key
	}
	if flags&flagLacing == 0 {
		return r.sendFrame(payload), nil
	}
	r.laced, ok = unlace(r.laced[:0], payload, flags&flagLacing)
	if !ok {
		r.laced = nil
		return nil, malformed(e.id, e.offset, "its lacing does not add up")
	}
	ev := r.sendFrame(r.laced[0])
	r.laced = r.laced[1:]
	return ev, nil
}

// nextLaced sends the next frame of the same block.
func (r *Reader) nextLaced() Event {
	data := r.laced[0]
	r.laced = r.laced[1:]
	if next := r.frame.Time + r.frame.Track.DefaultDuration; next > r.frame.Time { // no overflow
		r.frame.Time = next
	}
	return r.sendFrame(data)
}

func (r *Reader) sendFrame(data []byte) Event {
	f := &r.frame
	f.Data = data
	f.Key = isKey(f.Track, data, f.Key)
	r.fragment.Frames++
	if f.Track.Type == Video {
		r.fragment.VideoFrames++
		if f.Key {
			r.fragment.KeyFrames++
		}
	}
	return f
}

// Lacing puts several frames into one block: their number less one, the sizes of all but
// the last in one of three spellings, the frames.
const (
	laceXiph  = 0x02
	laceFixed = 0x04
	laceEBML  = 0x06
)

// unlace appends the frames of a laced block to dst, without copying them.
func unlace(dst [][]byte, b []byte, mode byte) ([][]byte, bool) {
	if len(b) == 0 {
		return dst, false
	}
	count := int(b[0]) + 1
	b = b[1:]
	if mode == laceFixed {
		if len(b)%count != 0 {
			return dst, false
		}
		size := len(b) / count
		for range count {
			dst, b = append(dst, b[:size:size]), b[size:]
		}
		return dst, true
	}
	var sizes [256]int
	total, size := 0, 0
	for i := range count - 1 {
		var ok bool
		if mode == laceXiph {
			size, b, ok = xiphSize(b)
		} else {
			size, b, ok = ebmlSize(b, size, i == 0)
		}
		if total += size; !ok || size < 0 || total > len(b) {
			return dst, false
		}
		sizes[i] = size
	}
	sizes[count-1] = len(b) - total
	for _, size := range sizes[:count] {
		dst, b = append(dst, b[:size:size]), b[size:]
	}
	return dst, true
}

// xiphSize reads a size as a run of bytes that are added up; the first below 255 ends it.
func xiphSize(b []byte) (size int, rest []byte, ok bool) {
	for i, c := range b {
		size += int(c)
		if c < 255 {
			return size, b[i+1:], true
		}
	}
	return 0, nil, false
}

// ebmlSize reads the first size as a data size, and each further one as the difference
// to the one before, moved so that it can be negative.
func ebmlSize(b []byte, before int, first bool) (size int, rest []byte, ok bool) {
	v, n := parseSize(b)
	if n <= 0 {
		return 0, nil, false
	}
	if first {
		return int(v), b[n:], v != unknown
	}
	if v == unknown { // all ones are a plain number here
		v = 1<<(7*n) - 1
	}
	return before + int(v) - (1<<(7*n-1) - 1), b[n:], true
}
