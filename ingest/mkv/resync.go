package mkv

import (
	"bytes"
	"math"
)

// A document begins with these: magic, a header of a hundred bytes or less, the
// Segment's header, and one of the Segment's children.
var magic = []byte{0x1A, 0x45, 0xDF, 0xA3}

const (
	maxPrologue = 1 << 10 // payload of an EBML header
	maxHeader   = 4 + 8   // id and size of any element
	noEnd       = math.MaxInt64

	// lookback is what verdictOn needs at most.
	lookback = maxHeader + maxPrologue + maxHeader + maxHeader
)

// prologue reads the EBML header and the Segment's header at the front of b, which stands at offset. It gives
// the latter and the length of both; n is 0 when b is too short to tell.
func prologue(b []byte, offset int64) (seg header, n int, err error) {
	h := parseHeader(b)
	h.offset = offset
	switch {
	case h.n < 0:
		return seg, 0, malformed(idEBML, offset, "no element begins with these bytes")
	case h.n == 0:
		return seg, 0, nil
	case h.size == unknown || h.size > maxPrologue:
		return seg, 0, malformed(idEBML, offset, sizeText(h.size))
	}
	n = h.n + int(h.size)
	if len(b) < n {
		return seg, 0, nil
	}
	if err := checkDocType(element{header: h, data: b[h.n:n]}); err != nil {
		return seg, 0, err
	}
	seg = parseHeader(b[n:])
	seg.offset = offset + int64(n)
	switch {
	case seg.n < 0:
		return seg, 0, malformed(idEBML, seg.offset, "no element begins with these bytes")
	case seg.n == 0:
		return seg, 0, nil
	case seg.id != idSegment:
		return seg, 0, malformed(seg.id, seg.offset, "a Segment follows the EBML header")
	}
	return seg, n + seg.n, nil
}

// checkDocType holds an EBML header to be one of Matroska's.
func checkDocType(e element) error {
	c := e.children()
	docType := ""
	for child, ok := c.next(); ok; child, ok = c.next() {
		if child.id == idDocType {
			docType = child.text()
		}
	}
	if c.err != nil {
		return c.err
	}
	if docType != "matroska" && docType != "webm" {
		return malformed(idDocType, e.offset, "\""+docType+"\" where \"matroska\" is expected")
	}
	return nil
}

// verdict says whether a document begins at a magic.
type verdict uint8

const (
	undecided verdict = iota // needs more bytes
	noDocument
	document
)

// verdictOn judges b, which begins with a magic. The magic alone may stand in any frame, so a document counts as
// found only with a sound header, a Segment and a child of a Segment after it.
func verdictOn(b []byte) verdict {
	_, n, err := prologue(b, 0)
	switch {
	case err != nil:
		return noDocument
	case n == 0:
		return undecided
	}
	child := parseHeader(b[n:])
	switch {
	case child.n == 0:
		return undecided
	case child.n > 0 && (child.id.topOfSegment() || child.id == idVoid || child.id == idCRC32):
		return document
	}
	return noDocument
}

// documentBefore searches what has been read so far for a document whose start, up to the header of the Segment's
// first child, lies before end. It never reads. Every byte is searched once: the search continues at r.search, which is
// where a candidate stands that needs more bytes, or where a magic may begin whose rest has not been read.
//
// The result may not depend on how reads split the body. So a candidate is judged by the bytes before end only, even
// if more have been read, and no candidate is judged before the one in front of it.
func (r *Reader) documentBefore(end int64) (at int64, found bool) {
	r.search = max(r.search, r.buf.pos()-lookback)
	for r.search+int64(len(magic)) <= end {
		b := r.buf.since(r.search)
		i := bytes.Index(b, magic)
		if i < 0 {
			r.search += int64(max(0, len(b)-len(magic)+1))
			return 0, false
		}
		r.search += int64(i)
		b = b[i:]
		rest := end - r.search
		if rest < int64(len(magic)) {
			return 0, false
		}
		b = b[:min(int64(len(b)), rest)]
		switch verdictOn(b) {
		case document:
			return r.search, true
		case undecided:
			if int64(len(b)) == rest || r.buf.err == nil {
				return 0, false // the next element, or the next read, decides
			}
		}
		r.search++
	}
	return 0, false
}

// cutBy says that the document at offset begins within h: what h is part of was cut there.
func cutBy(h header, offset int64) error {
	return malformed(h.id, h.offset,
		"it should extend to byte "+itoa(h.end())+", but a document begins in it, at byte "+itoa(offset))
}

// resync looks for the next document after a fault.
func (r *Reader) resync() error {
	for ended := false; ; ended = !r.buf.fill(1) {
		if at, found := r.documentBefore(noEnd); found {
			r.buf.seek(at)
			r.level = outside
			return nil
		}
		r.buf.consume(r.buf.buffered())
		if ended {
			r.level = outside
			if r.buf.cause() != nil {
				return r.truncated(idEBML, r.buf.pos(), "")
			}
			return nil
		}
	}
}
