package gst

import (
	"strconv"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// bits writes what H.264 is made of.
type bits struct {
	data []byte
	free int // bits of the last byte
}

func (b *bits) u(n int, value uint) {
	for i := n - 1; i >= 0; i-- {
		if b.free == 0 {
			b.data, b.free = append(b.data, 0), 8
		}
		b.free--
		b.data[len(b.data)-1] |= byte(value>>i&1) << b.free
	}
}

// ue writes Exp-Golomb codes (9.1).
func (b *bits) ue(values ...uint) {
	for _, v := range values {
		n := len(strconv.FormatUint(uint64(v+1), 2))
		b.u(2*n-1, v+1)
	}
}

// unit ends a NAL unit and puts it into Annex B's form.
func (b *bits) unit(head byte) []byte {
	b.u(1, 1) // rbsp_trailing_bits
	out := append([]byte{0, 0, 0, 1}, head)
	zeros := 0
	for _, c := range b.data {
		if zeros == 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if out = append(out, c); c == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return out
}

// The size of the clip in macroblocks; fields are half as high.
const fieldsWidth, fieldsHeight = 4, 4

// fields is a clip whose frames are coded as two fields each (PAFF), which no encoder at hand does: half of each field is raw
// samples, the other half is that of the field before, but for a field that decoding can begin with.
func fields(count int) []frame {
	track := &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264}
	var list []frame
	for n := range count {
		key := n%15 == 0
		var data []byte
		if key {
			data = fieldParameters()
		}
		for bottom := range uint(2) {
			data = append(data, field(n%15, bottom, byte(n))...)
		}
		list = append(list, frame{track, data, time.Duration(n) * time.Second / 25, key})
	}
	return list
}

// fieldParameters are an SPS and a PPS (7.3.2.1, 7.3.2.2).
func fieldParameters() []byte {
	var sps, pps bits
	sps.u(24, 77<<16|30)  // Main profile, level 3
	sps.ue(0, 0, 0, 4, 1) // id, 4 bits of frame_num, type of picture order count and 8 bits of it, reference frames
	sps.u(1, 0)           // no gaps
	sps.ue(fieldsWidth-1, fieldsHeight/2-1)
	sps.u(5, 0b00100) // fields may occur, no adaption of macroblocks, direct_8x8_inference, no cropping, no VUI
	pps.ue(0, 0)      // ids
	pps.u(2, 0)       // CAVLC, no order of bottom fields
	pps.ue(0, 0, 0)   // slice groups, references
	pps.u(3, 0)       // no weights
	pps.ue(0, 0, 0)   // QP
	pps.u(3, 0)
	return append(sps.unit(0x67), pps.unit(0x68)...)
}

// field is one field of the frame with a number since the key frame (7.3.3, 7.3.4).
func field(number int, bottom uint, shade byte) []byte {
	var s bits
	idr := number == 0 && bottom == 0
	inter := number > 0
	s.ue(0, map[bool]uint{false: 7, true: 5}[inter], 0) // first macroblock, I or P, PPS
	s.u(4, uint(number))                                // frame_num
	s.u(2, 2|bottom)                                    // a field
	if idr {
		s.ue(0)
	}
	s.u(8, uint(number)*2+bottom) // picture order count
	if inter {
		s.u(2, 0) // as many references as the PPS says, in their order
	}
	s.u(map[bool]int{false: 1, true: 2}[idr], 0) // marking of references
	s.ue(0)                                      // QP
	const all = fieldsWidth * fieldsHeight / 2
	for i := range all {
		if inter && i < all/2 {
			continue
		}
		if inter {
			s.ue(map[bool]uint{true: all / 2}[i == all/2]) // macroblocks that are as before
			s.ue(5 + 25)                                   // I_PCM; the types of I slices follow those of P slices
		} else {
			s.ue(25)
		}
		s.samples(shade + byte(i)*7 + byte(bottom)*3)
	}
	if idr {
		return s.unit(0x65)
	}
	return s.unit(0x41)
}

// samples writes a macroblock's raw samples, of which none may be 0.
func (b *bits) samples(shade byte) {
	b.free = 0
	for i := range 384 {
		b.data = append(b.data, 1|(shade+byte(i)))
	}
}

func TestPicturesOfFields(t *testing.T) {
	frames := fields(45)
	want := reference(t, ffmpeg, frames, size{fieldsWidth * 16, fieldsHeight * 16, 45})
	if len(want) != 45 {
		t.Fatalf("the plain file has %d pictures", len(want))
	}
	compare(t, through(t, frames)[0], want)
}
