package mkv

import (
	"encoding/binary"
	"errors"
)

// NAL unit types of H.264 (table 7-1).
const (
	avcSlice      = 1
	avcPartitionA = 2
	avcIDR        = 5
	avcSEI        = 6
	avcSPS        = 7
	avcPPS        = 8
)

const avcLengthSizeAt = 4 // offset of lengthSizeMinusOne in avcC

// AVCConfig is an AVCDecoderConfigurationRecord (avcC; ISO/IEC 14496-15, 5.3.3.1).
type AVCConfig struct {
	Profile, Level byte
	LengthSize     int      // bytes of the length in front of each NAL unit: 1, 2 or 4
	SPS, PPS       [][]byte // parameter sets, without length
	Width, Height  int      // pixels, after cropping; 0 when no SPS can be read
}

var (
	errConfigShort   = errors.New("codec configuration ends too early")
	errConfigVersion = errors.New("codec configuration is not of version 1")
	errConfigNAL     = errors.New("codec configuration holds something else than parameter sets")
	errConfigEmpty   = errors.New("codec configuration holds no parameter sets")
)

// ParseAVCC reads avcC, the CodecPrivate of H.264. What is in it must be whole, and
// there must be an SPS and a PPS: a decoder could not begin otherwise.
func ParseAVCC(b []byte) (*AVCConfig, error) {
	c, err := ReadAVCC(b)
	if err != nil {
		return nil, err
	}
	if len(c.SPS) == 0 || len(c.PPS) == 0 {
		return nil, errConfigEmpty
	}
	return c, nil
}

// ReadAVCC is ParseAVCC, but the parameter sets may be missing: streams of the form avc3 have them in band.
func ReadAVCC(b []byte) (*AVCConfig, error) {
	if len(b) < 7 {
		return nil, errConfigShort
	}
	if b[0] != 1 {
		return nil, errConfigVersion
	}
	c := &AVCConfig{Profile: b[1], Level: b[3], LengthSize: int(b[avcLengthSizeAt]&3) + 1}
	count, rest := int(b[5]&0x1F), b[6:]
	var err error
	if c.SPS, rest, err = parameterSets(rest, count, avcSPS); err != nil {
		return nil, err
	}
	if len(rest) == 0 {
		return nil, errConfigShort
	}
	if c.PPS, _, err = parameterSets(rest[1:], int(rest[0]), avcPPS); err != nil {
		return nil, err
	}
	if len(c.SPS) > 0 {
		c.Width, c.Height = avcSize(c.SPS[0])
	}
	return c, nil
}

// parameterSets reads count NAL units of one kind, each with its length in two bytes.
func parameterSets(b []byte, count int, kind byte) (sets [][]byte, rest []byte, err error) {
	for range count {
		if len(b) < 2 {
			return nil, nil, errConfigShort
		}
		n := int(binary.BigEndian.Uint16(b))
		b = b[2:]
		if n == 0 || n > len(b) {
			return nil, nil, errConfigShort
		}
		if b[0]&0x1F != kind {
			return nil, nil, errConfigNAL
		}
		sets, b = append(sets, b[:n:n]), b[n:]
	}
	return sets, b, nil
}

// avcSize reads the size of the picture from an SPS (H.264, 7.3.2.1.1); 0, 0 when
// it cannot be read.
func avcSize(sps []byte) (width, height int) {
	if len(sps) < 4 {
		return 0, 0
	}
	r := bitReader{data: unescape(sps[4:])}
	profile := sps[1]
	r.ue() // seq_parameter_set_id
	chroma := uint32(1)
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		chroma = avcHighProfile(&r)
	}
	r.ue() // log2_max_frame_num_minus4
	avcPictureOrder(&r)
	r.ue()  // max_num_ref_frames
	r.bit() // gaps_in_frame_num_value_allowed_flag
	mbWidth, mapHeight := r.ue()+1, r.ue()+1
	frameMbsOnly := r.bit()
	if frameMbsOnly == 0 {
		r.bit() // mb_adaptive_frame_field_flag
	}
	r.bit() // direct_8x8_inference_flag
	cropX, cropY := r.crop()
	unitX, unitY := cropUnits(chroma)
	unitY *= 2 - frameMbsOnly
	return r.size(mbWidth*16, mapHeight*16*(2-frameMbsOnly), cropX*unitX, cropY*unitY)
}

// avcHighProfile reads what only the high profiles' SPS have.
func avcHighProfile(r *bitReader) (chroma uint32) {
	chroma = r.ue()
	if chroma == 3 {
		if r.bit() == 1 { // separate_colour_plane_flag
			chroma = 0
		}
	}
	r.ue()  // bit_depth_luma_minus8
	r.ue()  // bit_depth_chroma_minus8
	r.bit() // qpprime_y_zero_transform_bypass_flag
	if r.bit() == 0 {
		return chroma
	}
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := range lists {
		if r.bit() == 1 {
			avcScalingList(r, i)
		}
	}
	return chroma
}

func avcScalingList(r *bitReader, list int) {
	size := 16
	if list >= 6 {
		size = 64
	}
	last, next := int32(8), int32(8)
	for range size {
		if next != 0 {
			next = (last + r.se() + 256) % 256
		}
		if next != 0 {
			last = next
		}
	}
}

func avcPictureOrder(r *bitReader) {
	switch r.ue() { // pic_order_cnt_type
	case 0:
		r.ue() // log2_max_pic_order_cnt_lsb_minus4
	case 1:
		r.bit() // delta_pic_order_always_zero_flag
		r.se()  // offset_for_non_ref_pic
		r.se()  // offset_for_top_to_bottom_field
		for range min(r.ue(), 255) {
			r.se() // offset_for_ref_frame
		}
	}
}

// crop reads a cropping or conformance window and gives the sums of left and right, top
// and bottom.
func (b *bitReader) crop() (x, y uint32) {
	if b.bit() == 0 {
		return 0, 0
	}
	x = b.ue() + b.ue()
	y = b.ue() + b.ue()
	return x, y
}

// cropUnits gives how many luma samples a cropping unit spans (table 6-1).
func cropUnits(chroma uint32) (x, y uint32) {
	switch chroma {
	case 1:
		return 2, 2
	case 2:
		return 2, 1
	}
	return 1, 1
}

// size is a coded size less its cropping, or 0, 0 when either was not to be read.
func (b *bitReader) size(width, height, cropX, cropY uint32) (int, int) {
	const most = 1 << 16
	if b.short || width > most || height > most || cropX >= width || cropY >= height {
		return 0, 0
	}
	return int(width - cropX), int(height - cropY)
}
