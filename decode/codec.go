package decode

import (
	"bytes"
	"encoding/hex"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Codec is a video codec, named as in GStreamer's caps.
type Codec string

// The codecs that can be decoded.
const (
	H264 Codec = "h264"
	H265 Codec = "h265"
)

// StreamFormat says how NAL units are told apart in a frame, named as in
// GStreamer's caps.
type StreamFormat string

// Length-prefixed NAL units are AVC in H.264 and HVC1 in H.265; ByteStream is
// Annex B, with start codes.
const (
	AVC        StreamFormat = "avc"
	HVC1       StreamFormat = "hvc1"
	ByteStream StreamFormat = "byte-stream"
)

// Format is what a decoder must know of a track.
type Format struct {
	Codec  Codec
	Stream StreamFormat

	// CodecData is the AVCDecoderConfigurationRecord or its H.265 counterpart. For
	// ByteStream it holds the parameter sets in Annex B form when the container has
	// them; they have to precede the first frame.
	CodecData []byte

	Width, Height int // as the container says; 0 when it does not

	// What follows from CodecData.
	LengthSize int // bytes of the length in front of each NAL unit; 0 for ByteStream
	Layers     int // temporal sub-layers of H.265, at the most; 0 when not known
}

// FormatOf finds the format of a track. The service does not check
// CodecPrivate, so the track's first frame has the last word on how NAL units are told apart.
func FormatOf(t *mkv.Track, first []byte) (Format, error) {
	f := Format{CodecData: t.CodecPrivate, Width: t.Width, Height: t.Height}
	switch t.CodecID {
	case mkv.CodecH264:
		f.Codec, f.Stream = H264, AVC
		if c, err := mkv.ParseAVCC(t.CodecPrivate); err == nil {
			f.LengthSize = c.LengthSize
		}
	case mkv.CodecH265:
		f.Codec, f.Stream = H265, HVC1
		if c, err := mkv.ParseHVCC(t.CodecPrivate); err == nil {
			f.LengthSize, f.Layers = c.LengthSize, layers(c.SPS[0])
		}
	default:
		return Format{}, errorf(CodeCodec, "track %d has codec %q; only %s and %s can be decoded",
			t.Number, t.CodecID, mkv.CodecH264, mkv.CodecH265)
	}
	switch {
	case t.Encoded:
		return Format{}, errorf(CodeCodec, "track %d is compressed or encrypted in the container; the producer must send it plain", t.Number)
	case f.LengthSize > 0 && lengthPrefixed(first, f.LengthSize):
		return f, nil
	case mkv.IsAnnexB(first):
		f.Stream, f.LengthSize = ByteStream, 0
		if !mkv.IsAnnexB(t.CodecPrivate) {
			f.CodecData = nil
		}
		return f, nil
	case f.LengthSize > 0:
		return Format{}, errorf(CodeCodec, "track %d: the frames are neither NAL units with %d-byte lengths, as CodecPrivate says, nor Annex B; the producer's muxer is at fault",
			t.Number, f.LengthSize)
	}
	return Format{}, errorf(CodeCodec, "track %d: CodecPrivate (%d bytes) is no decoder configuration and the frames are not Annex B; the producer must send one of the two",
		t.Number, len(t.CodecPrivate))
}

// layers reads sps_max_sub_layers_minus1 of an H.265 SPS (7.3.2.2.1), behind the two bytes of its NAL unit's header.
func layers(sps []byte) int {
	if len(sps) < 3 {
		return 0
	}
	return int(sps[2]>>1&7) + 1
}

// Equal says that a decoder set up for f can go on with g.
func (f Format) Equal(g Format) bool {
	return f.Codec == g.Codec && f.Stream == g.Stream && f.Width == g.Width && f.Height == g.Height &&
		bytes.Equal(f.CodecData, g.CodecData)
}

// Caps is the format as GStreamer caps. Width and height stay out of it: parsers
// believe them over the parameter sets, and containers are often wrong.
func (f Format) Caps() string {
	caps := "video/x-" + string(f.Codec) + ",stream-format=" + string(f.Stream) + ",alignment=au"
	if f.Stream != ByteStream {
		caps += ",codec_data=(buffer)" + hex.EncodeToString(f.CodecData)
	}
	return caps
}

// Prefix is what has to precede the first frame.
func (f Format) Prefix() []byte {
	if f.Stream == ByteStream {
		return f.CodecData
	}
	return nil
}

// lengthPrefixed says that lengths lead exactly from NAL unit to NAL unit to the
// end of the frame. 00 00 01 may begin a length as well as a start code, so only the whole walk tells.
func lengthPrefixed(frame []byte, lengthSize int) bool {
	if len(frame) == 0 {
		return false
	}
	for len(frame) > 0 {
		if len(frame) < lengthSize {
			return false
		}
		var size uint64
		for _, b := range frame[:lengthSize] {
			size = size<<8 | uint64(b)
		}
		if size == 0 || size > uint64(len(frame)-lengthSize) {
			return false
		}
		frame = frame[lengthSize+int(size):]
	}
	return true
}
