package mkv

import (
	"bytes"
	"io"
	"math"
	"math/bits"
	"time"
)

// A Reader walks a body on four levels:
//
//	            EBML header, Segment          Cluster
//	outside ──────────────────────▶ segment ──────────▶ cluster
//	   ▲  ▲                          │    ▲               │
//	   │  └── End ───────────────────┘    └───────────────┘
//	   │      at an EBML header, the Segment's end       at its end, or at what can
//	   │      or the end of the body                     only follow a Cluster
//	   │
//	   └── a valid EBML header ── lost ◀── End ── a fault on any level
type Reader struct {
	buf buffer

	level      level
	stepAt     int64 // where the element that is being read begins
	search     int64 // where the search for a document within other elements continues
	segmentEnd int64 // offset, or unknown
	clusterEnd int64 // offset, or unknown

	open        bool // a Start was sent and its End was not
	scale       uint64
	clusterTime int64 // of the open cluster, in units of scale
	firstTime   time.Duration
	hasFirst    bool // firstTime is set
	tracks      trackTable
	fragment    Fragment

	// Events live here, so that sending one allocates nothing.
	start Start
	frame Frame
	tags  Tags
	end   End

	waiting []*Track // of a Tracks element, not yet sent
	laced   [][]byte // of a laced block, not yet sent
	stray   error    // a fault behind a document that was whole, not yet sent
	fatal   error    // ends the reading once its End is sent
}

type level uint8

const (
	outside level = iota
	segment
	cluster
	lost
)

// NewReader reads a body from src.
func NewReader(src io.Reader, options ...Option) *Reader {
	r := &Reader{buf: buffer{src: src}}
	for _, set := range options {
		set(r)
	}
	return r
}

// Close gives the reader's memory back to its budget. No event is valid afterwards. A reader without a budget need
// not be closed.
func (r *Reader) Close() {
	r.buf.free()
	r.waiting, r.laced, r.stray, r.fatal = nil, nil, nil, io.ErrClosedPipe
}

// Next gives the next event as soon as its last byte has been read. At a clean end
// of the body it gives io.EOF; when the body ends in the middle of something, an *Error of
// Kind Truncated with the cause in it. Either comes again at every further call.
//
// Malformed bytes are no error of Next: they are in End.Err, and Next goes on.
func (r *Reader) Next() (Event, error) {
	for {
		if ev := r.pending(); ev != nil {
			return ev, nil
		}
		if r.fatal != nil {
			return nil, r.fatal
		}
		ev, err := r.step()
		if err != nil {
			ev = r.fault(err)
		}
		if ev != nil {
			return ev, nil
		}
	}
}

// Offset is how many bytes of the body have been consumed.
func (r *Reader) Offset() int64 { return r.buf.pos() }

// Tracks are the tracks of the open document, in its order. The slice is another one when anything of
// them differs from the document before.
func (r *Reader) Tracks() []*Track { return r.tracks.tracks }

// pending gives what one element left over for several calls.
func (r *Reader) pending() Event {
	switch {
	case len(r.waiting) > 0:
		t := r.waiting[0]
		r.waiting = r.waiting[1:]
		return t
	case len(r.laced) > 0:
		return r.nextLaced()
	case r.stray != nil:
		r.end = End{Fragment: Fragment{Offset: r.stepAt}, Err: r.stray}
		r.stray = nil
		return &r.end
	}
	return nil
}

// step consumes one element, or one header of an element whose children follow.
func (r *Reader) step() (Event, error) {
	if r.level == lost {
		return nil, r.resync()
	}
	r.stepAt = r.buf.pos()
	if r.level == cluster && r.buf.pos() == r.clusterEnd {
		r.level = segment
	}
	if r.level == segment && r.buf.pos() == r.segmentEnd {
		return r.finish(nil), nil
	}
	h, err := r.header()
	switch {
	case err == io.EOF:
		return r.endOfBody()
	case err != nil:
		return nil, err
	case h.id == padding:
		r.buf.consume(int(h.size))
		return nil, nil
	}
	switch r.level {
	case cluster:
		return r.inCluster(h)
	case segment:
		return r.inSegment(h)
	default:
		return r.document(h)
	}
}

// header reads the next element's header without consuming it; io.EOF when the body
// ends in front of it. NULs between elements come as padding.
func (r *Reader) header() (header, error) {
	for {
		b := r.buf.window()
		if len(b) > 0 && b[0] == 0 {
			return header{id: padding, size: r.zeros(b)}, nil
		}
		h := parseHeader(b)
		h.offset = r.buf.pos()
		switch {
		case h.n < 0:
			return h, malformed(r.container(), h.offset, "no element begins with these bytes")
		case h.n > 0:
			return h, r.contained(h)
		}
		if !r.buf.fill(len(b) + 1) {
			if len(b) == 0 && r.buf.cause() == nil {
				return h, io.EOF
			}
			return h, r.truncated(r.container(), h.offset, "")
		}
	}
}

// zeros counts the NULs at the front of b that belong to what is open.
func (r *Reader) zeros(b []byte) int64 {
	n := int64(len(b) - len(bytes.TrimLeft(b, "\x00")))
	if end := r.containerEnd(); end != unknown {
		n = min(n, end-r.buf.pos())
	}
	return n
}

// containerEnd is the offset at which what is open ends, or unknown.
func (r *Reader) containerEnd() int64 {
	switch r.level {
	case cluster:
		return r.clusterEnd
	case segment:
		return r.segmentEnd
	}
	return unknown
}

// contained checks that h ends within what is open around it.
func (r *Reader) contained(h header) error {
	end := r.containerEnd()
	if end == unknown {
		return nil
	}
	if h.offset+int64(h.n) > end || h.end() > end {
		return malformed(h.id, h.offset, "extends past the end of its "+r.container().String()+" at byte "+itoa(end))
	}
	return nil
}

// container is what the next element is a child of.
func (r *Reader) container() id {
	switch r.level {
	case cluster:
		return idCluster
	case segment:
		return idSegment
	}
	return idEBML
}

// document opens a document: an EBML header and the Segment's own header.
func (r *Reader) document(h header) (Event, error) {
	if h.id != idEBML {
		return nil, malformed(h.id, h.offset, "a document begins with an EBML header")
	}
	r.search = max(r.search, h.offset+1)
	if err := r.await(h, maxPrologue); err != nil {
		return nil, err
	}
	seg, n, err := prologue(r.buf.window(), h.offset)
	for ; n == 0 && err == nil; seg, n, err = prologue(r.buf.window(), h.offset) {
		if !r.buf.fill(r.buf.buffered() + 1) {
			err = r.truncated(idEBML, h.offset, "")
			break
		}
	}
	if err != nil {
		return nil, err
	}
	r.begin(h.offset)
	r.buf.consume(n)
	r.level, r.segmentEnd = segment, seg.end()
	r.start = Start{Offset: h.offset}
	return &r.start, nil
}

// begin resets what belongs to one document.
func (r *Reader) begin(offset int64) {
	r.buf.trim()
	r.open = true
	r.scale = uint64(time.Millisecond)
	r.clusterTime, r.firstTime, r.hasFirst = 0, 0, false
	r.fragment = Fragment{Offset: offset}
}

// inSegment handles a child of the Segment.
func (r *Reader) inSegment(h header) (Event, error) {
	switch h.id {
	case idCluster:
		r.buf.consume(h.n)
		r.level, r.clusterEnd = cluster, h.end()
		if h.size == unknown {
			r.clusterEnd = r.segmentEnd
		}
		r.clusterTime = 0
		return nil, nil
	case idInfo:
		return nil, r.info(h)
	case idTracks:
		return nil, r.readTracks(h)
	case idTags:
		return r.readTags(h)
	case idEBML:
		return r.nextDocument(h.offset), nil
	case idSegment:
		return nil, malformed(h.id, h.offset, "inside of another Segment")
	}
	return nil, r.skip(h)
}

// inCluster handles a child of a Cluster, or what ends a Cluster of unknown size.
func (r *Reader) inCluster(h header) (Event, error) {
	switch h.id {
	case idSimpleBlock:
		return r.simpleBlock(h)
	case idBlockGroup:
		return r.blockGroup(h)
	case idTimestamp:
		return nil, r.timestamp(h)
	}
	if h.id == idEBML || h.id.topOfSegment() {
		if r.clusterEnd != r.segmentEnd {
			return nil, malformed(h.id, h.offset, "in a Cluster that should extend to byte "+itoa(r.clusterEnd))
		}
		r.level = segment
		return nil, nil
	}
	return nil, r.skip(h)
}

// info takes the time scale from an Info element.
func (r *Reader) info(h header) error {
	e, err := r.whole(h, maxMaster)
	if err != nil {
		return err
	}
	c := e.children()
	for child, ok := c.next(); ok; child, ok = c.next() {
		if child.id != idTimestampScale {
			continue
		}
		v, err := child.uint()
		if err != nil {
			return err
		}
		if v == 0 {
			return malformed(child.id, child.offset, "0 nanoseconds")
		}
		r.scale = v
	}
	return c.err
}

// timestamp reads the Cluster's own time.
func (r *Reader) timestamp(h header) error {
	e, err := r.whole(h, maxMaster)
	if err != nil {
		return err
	}
	v, err := e.uint()
	if err != nil {
		return err
	}
	// The element is unsigned, but muxers write a time before 0 into it as well: as a two's complement number of
	// eight bytes. Read as unsigned, it would be later than any time that a Duration holds.
	r.clusterTime = int64(v)
	t, ok := r.time(0)
	if !ok {
		return malformed(h.id, h.offset, outOfRange)
	}
	if !r.hasFirst {
		r.firstTime, r.hasFirst = t, true
	}
	return nil
}

const outOfRange = "a time more than 292 years away from 0"

// time is the cluster's timestamp plus a block's offset. Either may be negative: the first pictures of a recording
// with B-frames or an open GOP often come before 0. It is false for times that a Duration cannot hold.
func (r *Reader) time(offset int16) (time.Duration, bool) {
	ticks := r.clusterTime + int64(offset)
	if (ticks < r.clusterTime) != (offset < 0) { // overflow
		return 0, false
	}
	magnitude := uint64(ticks)
	if ticks < 0 {
		magnitude = -magnitude
	}
	hi, ns := bits.Mul64(magnitude, r.scale)
	if hi != 0 || ns > math.MaxInt64 {
		return 0, false
	}
	if ticks < 0 {
		return -time.Duration(ns), true
	}
	return time.Duration(ns), true
}

// endOfBody ends the reading where the body ends between two elements.
func (r *Reader) endOfBody() (Event, error) {
	switch {
	case !r.open:
		r.fatal = io.EOF
		return nil, nil
	case r.level == cluster && r.clusterEnd != unknown:
		return nil, r.truncated(idCluster, r.buf.pos(), "it should extend to byte "+itoa(r.clusterEnd))
	case r.segmentEnd != unknown:
		return nil, r.truncated(idSegment, r.buf.pos(), "it should extend to byte "+itoa(r.segmentEnd))
	}
	if r.unfinished() {
		return nil, r.truncated(idSegment, r.buf.pos(), "its closing tags are missing")
	}
	r.fatal = io.EOF
	return r.finish(nil), nil
}

// nextDocument ends the open document where another one begins.
func (r *Reader) nextDocument(offset int64) Event {
	if r.unfinished() {
		return r.finish(malformed(idSegment, offset, "the next document begins, but its closing tags are missing"))
	}
	return r.finish(nil)
}

// unfinished says that a fragment of the service has frames but not the tags that the
// service sends last: it was cut exactly between two elements.
func (r *Reader) unfinished() bool {
	f := &r.fragment
	return f.Number != "" && f.Frames > 0 && !f.Complete() && !f.Failed()
}

// truncated says that the body ended in the middle of i.
func (r *Reader) truncated(i id, offset int64, detail string) error {
	return &Error{Kind: Truncated, Element: i.String(), Offset: offset, Detail: detail, Err: r.buf.cause()}
}

// finish ends the open document where the reader is.
func (r *Reader) finish(err error) Event { return r.finishAt(r.buf.pos(), err) }

// finishAt ends the open document at an offset.
func (r *Reader) finishAt(offset int64, err error) Event {
	r.fragment.Bytes = offset - r.fragment.Offset
	r.end = End{Fragment: r.fragment, Err: err}
	r.level, r.open = outside, false
	return &r.end
}

// fault ends the open document because of err, which is an *Error. When bytes are
// still to come, the next document is looked for.
func (r *Reader) fault(err error) Event {
	if !r.open {
		r.fragment = Fragment{Offset: r.stepAt}
	}
	if err.(*Error).Kind == Malformed {
		whole := r.open && r.level == segment && r.fragment.Complete()
		if whole { // what came behind its last tag is not its fault
			r.stray, err = err, nil
		}
		ev := r.finishAt(r.stepAt, err) // without the element at fault
		r.level = lost
		return ev
	}
	r.fatal = err
	if !r.open {
		return nil
	}
	return r.finish(err)
}
