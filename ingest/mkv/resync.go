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

	maxError = 4 << 10 // of a document by which the service ends a stream, up to the end of its tags
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
			docType = child.name()
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

// isError says whether b begins with a document by which the service ends a stream: its tags have an error and no
// fragment, and no frames come before them. known is false when b is too short to tell.
func isError(b []byte) (yes, known bool) {
	_, n, err := prologue(b, 0)
	if err != nil || n == 0 {
		return false, err != nil
	}
	for {
		h := parseHeader(b[n:])
		end := n + h.n + int(min(h.size, maxError))
		switch {
		case h.n == 0:
			return false, false
		case h.n < 0 || h.size == unknown || h.size > maxError || end > lookback+maxError:
			return false, true
		case len(b) < end:
			return false, false
		}
		switch h.id {
		case idTags:
			var r Reader
			err := r.parseTags(element{header: h, data: b[n+h.n : end]})
			return err == nil && r.fragment.Failed() && r.fragment.Number == "" && r.fragment.Token == "", true
		case idVoid, idCRC32, idSeekHead, idInfo, idTracks:
			n = end
		default:
			return false, true
		}
	}
}

// within is the search for a document within an element. What an element holds comes from the camera, which may write
// whole documents there. So only two kinds count: one by which the service ends the stream, in the middle of whatever
// it was sending; and any, if nothing goes on behind the element, whose size is wrong then.
type within struct {
	id     id
	end    int64 // of the element
	doubt  int64 // where the first document begins that is of neither kind so far; unknown for none
	needed int64 // the offset up to which bytes are needed to know; 0 when enough have been read
}

func insideOf(h header) within { return within{id: h.id, end: h.end(), doubt: unknown} }

// alien says that it is no element of Matroska: what was taken for its header is something else, and all documents in
// it count.
func (w *within) alien() bool {
	_, known := names[w.id]
	return !known
}

// look continues the search in what has been read. It never reads. at is where the service's last document begins.
func (r *Reader) look(w *within) (at int64, found bool) {
	for w.needed = 0; ; r.search++ {
		at, found := r.documentBefore(w.end)
		if !found {
			return 0, false
		}
		switch yes, known := isError(r.buf.since(at)); {
		case yes || w.alien():
			return at, true
		case !known && r.buf.err == nil && !r.buf.refused:
			w.needed = at + lookback + maxError
			return 0, false
		case w.doubt == unknown:
			w.doubt = at
		}
	}
}

// sound says whether something goes on behind an element that has been read to its end, and may be a document or part
// of one. known is false when more bytes are needed to tell, which w.needed says.
func (r *Reader) sound(w *within) (yes, known bool) {
	if w.end == r.containerEnd() {
		return true, true
	}
	b := r.buf.since(w.end)
	h := parseHeader(b)
	switch {
	case len(b) > 0 && b[0] == 0: // padding
		return true, true
	case h.n < 0:
		return false, true
	case h.n == 0 && r.buf.err == nil && !r.buf.refused:
		w.needed = w.end + maxHeader
		return false, false
	case h.n == 0:
		return true, true // the body ends
	}
	switch h.id {
	case idEBML, idVoid, idCRC32:
		return true, true
	case idSimpleBlock, idBlockGroup, idTimestamp:
		return r.level == cluster, true
	}
	return h.id.topOfSegment(), true
}

// cut ends an element at the document that begins in it, at an offset.
func (r *Reader) cut(h header, at int64) error {
	r.search = at
	return cutBy(h, at)
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
