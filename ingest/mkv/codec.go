package mkv

import "bytes"

// codecVFW is a Video for Windows track: CodecPrivate is a BITMAPINFOHEADER, whose biCompression names the codec.
const codecVFW = "V_MS/VFW/FOURCC"

// bitmapInfoSize is the size of a BITMAPINFOHEADER in bytes. Its first field is that size too, but some muxers add
// the length of what follows to it, so it tells nothing.
const bitmapInfoSize = 40

// Codec is the codec of the track as a codec id of Matroska: CodecH264 and CodecH265 for Video for Windows tracks of
// these codecs too, and CodecID for all others.
func (t *Track) Codec() string {
	if t.CodecID != codecVFW || len(t.CodecPrivate) < bitmapInfoSize {
		return t.CodecID
	}
	var fourCC [4]byte
	copy(fourCC[:], t.CodecPrivate[16:])
	for i, c := range fourCC {
		if 'a' <= c && c <= 'z' {
			fourCC[i] = c - 'a' + 'A'
		}
	}
	switch string(fourCC[:]) {
	case "H264", "X264", "AVC1", "DAVC":
		return CodecH264
	case "HEVC", "H265", "X265", "HVC1", "HEV1":
		return CodecH265
	}
	return t.CodecID
}

// Configuration is what the producer says of the codec: CodecPrivate, or what follows the BITMAPINFOHEADER of a
// Video for Windows track. It may be a configuration record (avcC, hvcC), parameter sets in Annex B form, or empty,
// and nobody has checked it.
func (t *Track) Configuration() []byte {
	switch {
	case t.CodecID != codecVFW:
		return t.CodecPrivate
	case len(t.CodecPrivate) < bitmapInfoSize:
		return nil
	}
	return t.CodecPrivate[bitmapInfoSize:]
}

// Equal reports whether t and o describe the same track with the same configuration.
func (t *Track) Equal(o *Track) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.Number == o.Number && t.Type == o.Type && t.Name == o.Name &&
		t.CodecID == o.CodecID && bytes.Equal(t.CodecPrivate, o.CodecPrivate) &&
		t.DefaultDuration == o.DefaultDuration && t.Width == o.Width && t.Height == o.Height &&
		t.SampleRate == o.SampleRate && t.Channels == o.Channels && t.BitDepth == o.BitDepth && t.Encoded == o.Encoded
}
