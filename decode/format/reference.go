package format

import "github.com/edge-agent/edge-agent/ingest/mkv"

// NAL unit types of H.264 (table 7-1) and H.265 (table 7-1) that say nothing about other pictures.
const (
	avcSEI, avcDelimiter, avcFiller                         = 6, 9, 12
	hevcDelimiter, hevcFiller, hevcPrefixSEI, hevcSuffixSEI = 35, 38, 39, 40
)

// disposable says that no other picture refers to this one, so that a decoder that has to get to a later one can do
// without. It is cautious: a frame that cannot be read, or that has anything else in it, is not.
func (f *Format) disposable(frame []byte) bool {
	slices := 0
	for nal := range mkv.Units(frame, f.LengthSize) {
		slice, free := unreferenced(f.Codec, f.Layers, nal)
		if !free {
			return false
		}
		if slice {
			slices++
		}
	}
	return slices > 0
}

// SliceBytes is how many bytes of a frame that is no key frame are slices.
func (f *Format) SliceBytes(frame []byte) (n int) {
	for nal := range mkv.Units(frame, f.LengthSize) {
		if slice, _ := unreferenced(f.Codec, f.Layers, nal); slice {
			n += len(nal)
		}
	}
	return n
}

// unreferenced says whether a NAL unit is a slice, and whether others can be decoded without it.
func unreferenced(codec Codec, layers int, nal []byte) (slice, free bool) {
	if codec == H264 {
		switch kind := nal[0] & 0x1F; {
		case kind >= 1 && kind <= 4: // slices and their partitions, but for those of IDR pictures
			return true, nal[0]>>5&3 == 0 // nal_ref_idc
		default:
			return false, kind == avcSEI || kind == avcDelimiter || kind == avcFiller
		}
	}
	if len(nal) < 2 {
		return false, false
	}
	switch kind := nal[0] >> 1 & 0x3F; {
	case kind < 32:
		// The even ones below 16 are not referred to by pictures of their own sub-layer: by none if it is the highest.
		layer := int(nal[1] & 7) // nuh_temporal_id_plus1
		return true, kind < 16 && kind%2 == 0 && layers > 0 && layer >= layers
	default:
		return false, kind == hevcDelimiter || kind == hevcFiller || kind == hevcPrefixSEI || kind == hevcSuffixSEI
	}
}
