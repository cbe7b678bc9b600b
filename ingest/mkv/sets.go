package mkv

// SetKind tells parameter sets apart.
type SetKind uint8

// The kinds of parameter sets, in the order in which a decoder needs them.
const (
	NoSet SetKind = iota // another NAL unit
	VPS                  // of H.265 only
	SPS
	PPS
)

// ParameterSet says what parameter set a NAL unit is, and the number by which others refer to it: 0 where it is cut
// short. It is NoSet for other NAL units.
func ParameterSet(codec string, nal []byte) (kind SetKind, id uint32) {
	switch {
	case codec == CodecH264 && nal[0]&0x1F == avcSPS:
		kind, id = SPS, firstNumber(nal[min(4, len(nal)):]) // behind profile_idc, the constraint flags and level_idc
	case codec == CodecH264 && nal[0]&0x1F == avcPPS:
		kind, id = PPS, firstNumber(nal[1:])
	case codec == CodecH265 && len(nal) > 2:
		switch nal[0] >> 1 & 0x3F {
		case hevcVPS:
			kind, id = VPS, uint32(nal[2]>>4)
		case hevcSPS:
			_, id = hevcSPSHead(nal)
			kind = SPS
		case hevcPPS:
			kind, id = PPS, firstNumber(nal[2:])
		}
	}
	const most = 255 // of the ids of H.264's PPS; all others are smaller
	if id > most {
		return NoSet, 0
	}
	return kind, id
}

// firstNumber reads an unsigned Exp-Golomb number.
func firstNumber(b []byte) uint32 {
	bits := bitReader{data: b}
	return bits.ue()
}

// PictureSize is the size of the pictures that an SPS describes, after cropping; 0, 0 when it cannot be read.
func PictureSize(codec string, sps []byte) (width, height int) {
	if codec == CodecH265 {
		return hevcSize(sps)
	}
	return avcSize(sps)
}

// Slice says whether a NAL unit is a slice, and whether its picture begins with it.
func Slice(codec string, nal []byte) (slice, first bool) {
	switch codec {
	case CodecH264:
		switch kind := nal[0] & 0x1F; kind {
		case avcSlice, avcPartitionA, avcIDR:
			return true, len(nal) < 2 || nal[1]&0x80 != 0 // first_mb_in_slice is 0
		default:
			return kind > avcPartitionA && kind < avcIDR, false
		}
	case CodecH265:
		if nal[0]>>1&0x3F > hevcLastSlice {
			return false, false
		}
		return true, len(nal) < 3 || nal[2]&0x80 != 0 // first_slice_segment_in_pic_flag
	}
	return false, false
}

// Auxiliary reports whether a NAL unit is one of those that come with slices: parameter sets, SEI, delimiters, filler.
func Auxiliary(codec string, nal []byte) bool {
	switch codec {
	case CodecH264: // table 7-1; 14 and 20 are of scalable and multi-view streams
		kind := nal[0] & 0x1F
		return kind >= avcSEI && kind <= 15 || kind == 19 || kind == 20
	case CodecH265:
		kind := nal[0] >> 1 & 0x3F
		return kind >= hevcVPS && kind <= hevcSuffixSEI
	}
	return false
}
