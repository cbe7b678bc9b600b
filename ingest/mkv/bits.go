package mkv

// bitReader reads the bits of a NAL unit's payload (H.264 and H.265, 7.2 and 9.1/9.2).
// Behind the end it gives zeros and sets short.
type bitReader struct {
	data  []byte
	pos   int // in bits
	short bool
}

// unescape takes out the emulation prevention bytes: 00 00 03 stands for 00 00.
func unescape(nal []byte) []byte {
	out := make([]byte, 0, len(nal))
	zeros := 0
	for _, c := range nal {
		if zeros >= 2 && c == 3 {
			zeros = 0
			continue
		}
		if c == 0 {
			zeros++
		} else {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

func (b *bitReader) bit() uint32 {
	if b.pos>>3 >= len(b.data) {
		b.short = true
		return 0
	}
	v := b.data[b.pos>>3] >> (7 - b.pos&7) & 1
	b.pos++
	return uint32(v)
}

func (b *bitReader) u(n int) uint32 {
	var v uint32
	for range n {
		v = v<<1 | b.bit()
	}
	return v
}

func (b *bitReader) skip(n int) { b.pos += n }

// ue reads an unsigned Exp-Golomb number.
func (b *bitReader) ue() uint32 {
	zeros := 0
	for b.bit() == 0 {
		if zeros++; zeros > 31 || b.short {
			b.short = true
			return 0
		}
	}
	return 1<<zeros - 1 + b.u(zeros)
}

// se reads a signed Exp-Golomb number.
func (b *bitReader) se() int32 {
	v := b.ue()
	if v&1 == 1 {
		return int32(v/2 + 1)
	}
	return -int32(v / 2)
}
