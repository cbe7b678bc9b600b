// Package format says what has to be decoded: which codec, in which form, with which parameter sets. It is pure.
//
// Read codec.go (what a decoder is told), assemble.go (how blocks become access units, however a producer cuts them up),
// sets.go and reference.go (which frames no other refers to).
package format

import (
	"bytes"
	"encoding/hex"

	"github.com/edge-agent/edge-agent/decode/report"
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

	// CodecData is the AVCDecoderConfigurationRecord or its H.265 counterpart. For ByteStream it holds the parameter
	// sets in Annex B form, as far as they are known: they have to precede the first frame.
	CodecData []byte

	Width, Height int // as the container says; 0 when it does not

	// What follows from CodecData.
	LengthSize int // bytes of the length in front of each NAL unit; 0 for ByteStream
	Layers     int // temporal sub-layers of H.265, at the most; 0 when not known

	Series int // formats of one input with the same number go into one decoder
}

// FormatOf finds the format of a track whose frames need no conversion. The service does not check
// CodecPrivate, so the track's first frame has the last word on how NAL units are told apart.
func FormatOf(t *mkv.Track, first []byte) (Format, error) {
	var a Assembler
	if err := a.Begin(t); err != nil {
		return Format{}, err
	}
	c, err := a.Scan(first)
	if err != nil {
		return Format{}, err
	}
	a.Learn(c.Sets)
	if f := a.formatNow(); f != nil {
		return *f, nil
	}
	return Format{}, report.Errorf(report.CodeNoParameterSets, "%s", a.MissingSets())
}

// layers reads sps_max_sub_layers_minus1 of an H.265 SPS (7.3.2.2.1), behind the two bytes of its NAL unit's header.
func layers(sps []byte) int {
	if len(sps) < 3 {
		return 0
	}
	return int(sps[2]>>1&7) + 1
}

// Picture is what the first SPS says of the pictures: their size in pixels and profile_idc, for H.265 general_profile_idc.
// All are 0 when there is none that can be read.
func (f Format) Picture() (width, height int, profile byte) {
	codec := map[Codec]string{H264: mkv.CodecH264, H265: mkv.CodecH265}[f.Codec]
	sps := f.sps(codec)
	if len(sps) <= profileAt[codec] {
		return 0, 0, 0
	}
	width, height = mkv.PictureSize(codec, sps)
	profile = sps[profileAt[codec]]
	if f.Codec == H265 {
		profile &= 0x1f // behind general_profile_space and general_tier_flag
	}
	return width, height, profile
}

// sps is the first SPS.
func (f Format) sps(codec string) []byte {
	var sets ParameterSets
	switch f.Stream {
	case ByteStream:
		units := mkv.NewNALUnits(f.CodecData, 0)
		for nal := units.Next(); nal != nil; nal = units.Next() {
			sets.Learn(codec, nal)
		}
	case AVC:
		if c, err := mkv.ReadAVCC(f.CodecData); err == nil && len(c.SPS) > 0 {
			return c.SPS[0]
		}
	case HVC1:
		if c, err := mkv.ReadHVCC(f.CodecData); err == nil && len(c.SPS) > 0 {
			return c.SPS[0]
		}
	}
	for _, set := range sets.list {
		if set.kind == mkv.SPS {
			return set.nal
		}
	}
	return nil
}

// Equal says that a decoder set up for f can go on with g.
func (f Format) Equal(g Format) bool {
	return f.Codec == g.Codec && f.Stream == g.Stream && f.Width == g.Width && f.Height == g.Height &&
		bytes.Equal(f.CodecData, g.CodecData)
}

// Continues says that the pipeline that was opened for before decodes f too. Both are of the same input.
func (f *Format) Continues(before *Format) bool {
	return f == before || f != nil && before != nil && f.Series != 0 && f.Series == before.Series
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
