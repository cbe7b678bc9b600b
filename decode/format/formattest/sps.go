package formattest

// SPS is a sequence parameter set in Annex B form, of "h264" or "h265", with a profile and a size in pixels.
func SPS(codec string, profile byte, width, height int) []byte {
	var b bits
	if codec == "h265" {
		b.number(0x4201, 16) // header of the NAL unit
		b.number(0x01, 8)    // sps_video_parameter_set_id, no sub-layers, nesting
		b.number(int(profile), 8)
		for range 11 { // compatibility, constraints, level: nothing that looks like a start code
			b.number(0x5d, 8)
		}
		b.golomb(0)
		b.golomb(1) // 4:2:0
		b.golomb(width)
		b.golomb(height)
		b.number(0, 1) // no conformance window
		for range 3 {  // bit depths, log2_max_pic_order_cnt_lsb_minus4
			b.golomb(0)
		}
		return b.end()
	}
	b.number(0x67, 8) // header of the NAL unit
	b.number(int(profile), 8)
	b.number(0x0128, 16) // constraints, level 4
	b.golomb(0)
	if profile >= 100 {
		b.golomb(1) // 4:2:0
		b.golomb(0) // bit depths
		b.golomb(0)
		b.number(0, 2) // no transform bypass, no scaling matrix
	}
	b.golomb(0) // log2_max_frame_num_minus4
	b.golomb(2) // pic_order_cnt_type
	b.golomb(1) // max_num_ref_frames
	b.number(0, 1)
	b.golomb((width+15)/16 - 1)
	b.golomb((height+15)/16 - 1)
	b.number(0b1100, 4) // frames only, direct 8x8; no cropping, no VUI
	return b.end()
}

// bits are written from the highest of each byte on.
type bits struct {
	bytes []byte
	n     int
}

func (b *bits) number(v, count int) {
	for i := count - 1; i >= 0; i-- {
		if b.n%8 == 0 {
			b.bytes = append(b.bytes, 0)
		}
		b.bytes[b.n/8] |= byte(v>>i&1) << (7 - b.n%8)
		b.n++
	}
}

// golomb writes ue(v) of 9.1.
func (b *bits) golomb(v int) {
	length := 0
	for (v+1)>>(length+1) > 0 {
		length++
	}
	b.number(0, length)
	b.number(v+1, length+1)
}

// end is the NAL unit behind a start code.
func (b *bits) end() []byte {
	b.number(1, 1) // rbsp_stop_one_bit
	return append([]byte{0, 0, 0, 1}, b.bytes...)
}
