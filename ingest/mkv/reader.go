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

// NewReader reads a body from r.
func NewReader(r io.Reader) *Reader {
	return &Reader{buf: buffer{src: r}}
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
	if err == io.EOF {
		return r.endOfBody()
	}
	if err != nil {
		return nil, err
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
// ends in front of it.
func (r *Reader) header() (header, error) {
	for n := 1; ; {
		b := r.buf.window()
		if len(b) > 0 && b[0] == 0 { // NUL padding between elements
			r.buf.consume(1)
			continue
		}
		h := parseHeader(b)
		h.offset = r.buf.pos()
		switch {
		case h.n < 0:
			return h, malformed(r.container(), h.offset, "no element begins with these bytes")
		case h.n > 0:
			return h, r.contained(h)
		}
		if n = len(b) + 1; !r.buf.fill(n) {
			if len(b) == 0 && r.buf.cause() == nil {
				return h, io.EOF
			}
			return h, r.truncated(r.container(), h.offset, "")
		}
	}
}

// contained checks that h ends within what is open around it.
func (r *Reader) contained(h header) error {
	end := int64(unknown)
	switch r.level {
	case cluster:
		end = r.clusterEnd
	case segment:
		end = r.segmentEnd
	}
	if end == unknown {
		return nil
	}
	if h.offset+int64(h.n) > end || h.end() > end {
		return malformed(h.id, h.offset, "reaches behind its "+r.container().String()+", which ends at byte "+itoa(end))
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
	seg, n, err := r.prologue()
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
			return nil, malformed(h.id, h.offset, "in a Cluster that should reach to byte "+itoa(r.clusterEnd))
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

// whole reads an element of at most limit bytes and consumes it.
func (r *Reader) whole(h header, limit int64) (element, error) {
	if h.size == unknown || h.size > limit {
		return element{}, malformed(h.id, h.offset, sizeText(h.size)+", of which at most "+itoa(limit)+" are taken")
	}
	n := h.n + int(h.size)
	if !r.buf.fill(n) {
		return element{}, r.truncated(h.id, h.offset,
			itoa(int64(r.buf.buffered()))+" of "+itoa(int64(n))+" bytes are there")
	}
	return element{header: h, data: r.buf.take(n)[h.n:]}, nil
}

// skip passes over an element that nobody here needs. Its size may be a lie, and the next documents
// stand where it pretends to be.
func (r *Reader) skip(h header) error {
	if h.size == unknown || h.size > maxSkip {
		return malformed(h.id, h.offset, sizeText(h.size)+", of which at most "+itoa(maxSkip)+" are passed over")
	}
	end := h.end()
	for rest := end - r.buf.pos(); rest > 0; rest = end - r.buf.pos() {
		if !r.buf.fill(int(min(rest, int64(len(magic))))) {
			r.buf.consume(r.buf.buffered())
			return r.truncated(h.id, h.offset, "it should reach to byte "+itoa(end))
		}
		window := r.buf.window()
		window = window[:min(int64(len(window)), rest)]
		i := bytes.Index(window, magic)
		switch {
		case i >= 0:
			r.buf.consume(i)
			if r.soundDocument() {
				return malformed(h.id, h.offset, "it should reach to byte "+itoa(end)+", but a document begins in it")
			}
			r.buf.consume(1)
		case int64(len(window)) == rest:
			r.buf.consume(len(window))
		default: // the magic may be cut at the window's end
			r.buf.consume(len(window) - len(magic) + 1)
		}
	}
	return nil
}

func sizeText(size int64) string {
	if size == unknown {
		return "of unknown size"
	}
	return itoa(size) + " bytes"
}

// endOfBody ends the reading where the body ends between two elements.
func (r *Reader) endOfBody() (Event, error) {
	switch {
	case !r.open:
		r.fatal = io.EOF
		return nil, nil
	case r.level == cluster && r.clusterEnd != unknown:
		return nil, r.truncated(idCluster, r.buf.pos(), "it should reach to byte "+itoa(r.clusterEnd))
	case r.segmentEnd != unknown:
		return nil, r.truncated(idSegment, r.buf.pos(), "it should reach to byte "+itoa(r.segmentEnd))
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

// finish ends the open document.
func (r *Reader) finish(err error) Event {
	r.fragment.Bytes = r.buf.pos() - r.fragment.Offset
	r.end = End{Fragment: r.fragment, Err: err}
	r.level, r.open = outside, false
	return &r.end
}

// fault ends the open document because of err, which is an *Error. When bytes are
// still to come, the next document is looked for.
func (r *Reader) fault(err error) Event {
	if !r.open {
		r.fragment = Fragment{Offset: r.buf.pos()}
	}
	if err.(*Error).Kind == Malformed {
		// The next document may already begin within the element at fault.
		r.buf.rewind(r.stepAt)
		whole := r.open && r.level == segment && r.fragment.Complete()
		if whole { // what came behind its last tag is not its fault
			r.stray, err = err, nil
		}
		ev := r.finish(err)
		r.level = lost
		return ev
	}
	r.fatal = err
	if !r.open {
		return nil
	}
	return r.finish(err)
}
