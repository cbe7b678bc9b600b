package mkv

// whole reads an element of at most limit bytes and consumes it.
func (r *Reader) whole(h header, limit int64) (element, error) {
	if err := r.await(h, limit); err != nil {
		return element{}, err
	}
	return element{header: h, data: r.buf.take(h.n + int(h.size))[h.n:]}, nil
}

// await reads until all of an element is in the window. The service may end the stream within it: when it fails in the
// middle of a block, its error comes right behind the bytes that were sent, and the body may then stay open.
func (r *Reader) await(h header, limit int64) error {
	if h.size == unknown || h.size > limit {
		err := malformed(h.id, h.offset, sizeText(h.size)+", of which at most "+itoa(limit)+" are taken")
		if h.size != unknown && h.size <= maxSkip {
			if skipping := r.skip(h); skipping != nil {
				return skipping
			}
		}
		return err
	}
	n := h.n + int(h.size)
	r.buf.need = max(r.buf.need, n)
	w := insideOf(h)
	for ended := false; ; ended = !r.buf.read(max(n, int(w.needed-h.offset))) {
		if at, found := r.look(&w); found {
			return r.cut(h, at)
		}
		switch {
		case r.buf.has(n) && w.needed > 0 && !ended:
		case r.buf.has(n) && w.doubt == unknown:
			return nil
		case r.buf.has(n):
			if yes, known := r.sound(&w); yes {
				return nil
			} else if known {
				return r.cut(h, w.doubt)
			}
		case ended && r.buf.refused:
			return malformed(h.id, h.offset, itoa(h.size)+" bytes; the memory for large frames is in use by other streams")
		case ended:
			return r.truncated(h.id, h.offset, itoa(int64(r.buf.buffered()))+" of "+itoa(int64(n))+" bytes are there")
		}
	}
}

// skip skips an element that is not needed. What comes after the first document in it is kept, up to a limit, until it
// is known whether the element's size is right.
func (r *Reader) skip(h header) error {
	if h.size == unknown || h.size > maxSkip {
		return malformed(h.id, h.offset, sizeText(h.size)+", of which at most "+itoa(maxSkip)+" are skipped")
	}
	w := insideOf(h)
	for ended := false; ; ended = !r.buf.read(r.buf.buffered() + 1) {
		if at, found := r.look(&w); found {
			return r.cut(h, at)
		}
		if w.doubt != unknown && w.end-w.doubt > maxMaster {
			w.doubt = unknown // so large an element has the right size
		}
		rest := h.end() - r.buf.pos()
		switch whole := rest <= int64(r.buf.buffered()); {
		case whole && w.needed > 0 && !ended:
		case whole && w.doubt == unknown:
			r.buf.consume(int(rest))
			return nil
		case whole:
			if yes, known := r.sound(&w); yes {
				r.buf.consume(int(rest))
				return nil
			} else if known {
				return r.cut(h, w.doubt)
			}
		case ended:
			r.buf.consume(r.buf.buffered())
			return r.truncated(h.id, h.offset, "it should extend to byte "+itoa(h.end()))
		}
		r.buf.consume(int(r.unneeded(&w)))
	}
}

// unneeded is how many bytes of the window are not needed any more, of an element that is skipped.
func (r *Reader) unneeded(w *within) int64 {
	keep := min(r.buf.pos()+int64(r.buf.buffered()), w.end)
	if w.needed > 0 {
		keep = min(keep, r.search)
	}
	if w.doubt != unknown {
		keep = min(keep, w.doubt)
	}
	return max(0, keep-r.buf.pos())
}

func sizeText(size int64) string {
	if size == unknown {
		return "of unknown size"
	}
	return itoa(size) + " bytes"
}
