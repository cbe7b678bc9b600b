package mkv

// whole reads an element of at most limit bytes and consumes it.
func (r *Reader) whole(h header, limit int64) (element, error) {
	if err := r.await(h, limit); err != nil {
		return element{}, err
	}
	return element{header: h, data: r.buf.take(h.n + int(h.size))[h.n:]}, nil
}

// await reads until all of an element is in the window. A document that begins within it says that the element was
// cut: when the service fails in the middle of a block, its error comes right behind the bytes that were sent, and
// the body may then stay open.
func (r *Reader) await(h header, limit int64) error {
	if h.size == unknown || h.size > limit {
		return malformed(h.id, h.offset, sizeText(h.size)+", of which at most "+itoa(limit)+" are taken")
	}
	n := h.n + int(h.size)
	r.buf.need = max(r.buf.need, n)
	for ended := false; ; ended = !r.buf.read(n) {
		if at, found := r.documentBefore(h.end()); found {
			return cutBy(h, at)
		}
		switch {
		case r.buf.has(n):
			return nil
		case ended && r.buf.refused:
			return malformed(h.id, h.offset, itoa(h.size)+" bytes; the memory for large frames is in use by other streams")
		case ended:
			return r.truncated(h.id, h.offset, itoa(int64(r.buf.buffered()))+" of "+itoa(int64(n))+" bytes are there")
		}
	}
}

// skip skips an element that is not needed. Its size may be wrong, and the next documents may stand within it.
func (r *Reader) skip(h header) error {
	if h.size == unknown || h.size > maxSkip {
		return malformed(h.id, h.offset, sizeText(h.size)+", of which at most "+itoa(maxSkip)+" are skipped")
	}
	for ended := false; ; ended = !r.buf.fill(1) {
		if at, found := r.documentBefore(h.end()); found {
			return cutBy(h, at)
		}
		rest := h.end() - r.buf.pos()
		if rest <= int64(r.buf.buffered()) {
			r.buf.consume(int(rest))
			return nil
		}
		r.buf.consume(r.buf.buffered())
		if ended {
			return r.truncated(h.id, h.offset, "it should extend to byte "+itoa(h.end()))
		}
	}
}

func sizeText(size int64) string {
	if size == unknown {
		return "of unknown size"
	}
	return itoa(size) + " bytes"
}
