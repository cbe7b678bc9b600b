package mkv

import "bytes"

// A document begins with these: magic, a header of a hundred bytes or less, the
// Segment's header, and one of the Segment's children.
var magic = []byte{0x1A, 0x45, 0xDF, 0xA3}

const maxPrologue = 1 << 10

// prologue reads the EBML header and the Segment's header in front of the window without
// consuming them, and gives the latter and the length of both.
func (r *Reader) prologue() (seg header, n int, err error) {
	offset := r.buf.pos()
	h, err := r.headerAt(0)
	if err != nil {
		return header{}, 0, err
	}
	if h.size == unknown || h.size > maxPrologue {
		return header{}, 0, malformed(idEBML, offset, sizeText(h.size))
	}
	n = h.n + int(h.size)
	if !r.buf.fill(n) {
		return header{}, 0, r.truncated(idEBML, offset, "")
	}
	if err := checkDocType(element{header: h, data: r.buf.window()[h.n:n]}); err != nil {
		return header{}, 0, err
	}
	if seg, err = r.headerAt(n); err != nil {
		return header{}, 0, err
	}
	if seg.id != idSegment {
		return header{}, 0, malformed(seg.id, seg.offset, "a Segment follows the EBML header")
	}
	return seg, n + seg.n, nil
}

// headerAt reads the header that stands skip bytes into the window.
func (r *Reader) headerAt(skip int) (header, error) {
	for n := skip + 1; ; n = r.buf.buffered() + 1 {
		if !r.buf.fill(n) {
			return header{}, r.truncated(idEBML, r.buf.pos(), "")
		}
		h := parseHeader(r.buf.window()[skip:])
		h.offset = r.buf.pos() + int64(skip)
		if h.n < 0 {
			return h, malformed(idEBML, h.offset, "no element begins with these bytes")
		}
		if h.n > 0 {
			return h, nil
		}
	}
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

// resync looks for the next document after a fault. The magic alone may stand in any
// frame, so a document counts as found only with a sound header, a Segment and a child of
// a Segment behind it.
func (r *Reader) resync() error {
	for {
		i := bytes.Index(r.buf.window(), magic)
		if i >= 0 {
			r.buf.consume(i)
			if r.soundDocument() {
				r.level = outside
				return nil
			}
			r.buf.consume(1)
			continue
		}
		// The magic may be cut at the window's end.
		r.buf.consume(max(0, r.buf.buffered()-len(magic)+1))
		if !r.buf.fill(r.buf.buffered() + 1) {
			r.buf.consume(r.buf.buffered())
			r.level = outside
			if r.buf.cause() != nil {
				return r.truncated(idEBML, r.buf.pos(), "")
			}
			return nil
		}
	}
}

func (r *Reader) soundDocument() bool {
	_, n, err := r.prologue()
	if err != nil {
		return false
	}
	child, err := r.headerAt(n)
	return err == nil && (child.id.topOfSegment() || child.id == idVoid || child.id == idCRC32)
}
