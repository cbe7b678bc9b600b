package format

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

func TestFormatOf(t *testing.T) {
	h264 := func(private []byte) *mkv.Track {
		return &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: private, Width: 640, Height: 360}
	}
	h265 := func(private []byte) *mkv.Track {
		return &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH265, CodecPrivate: private, Width: 320, Height: 180}
	}
	// A NAL unit of 258 bytes: its length begins like a start code.
	ambiguous := append([]byte{0, 0, 1, 2, 0x65, 0x88}, make([]byte, 256)...)
	hevcSets := formattest.HEVCAnnexB[:21]
	layered := bytes.Clone(formattest.HVCC)
	layered[bytes.Index(layered, []byte{0x42, 1, 1})+2] = 2 << 1 // sps_max_sub_layers_minus1
	twoBytes := bytes.Clone(formattest.AVCC)
	twoBytes[4] = 0xfd
	as := func(stream StreamFormat, data []byte, lengthSize, layers int) Format {
		return Format{Stream: stream, CodecData: data, LengthSize: lengthSize, Layers: layers}
	}
	for name, c := range map[string]struct {
		track *mkv.Track
		frame []byte
		want  Format
		fails string
	}{
		"avcC, lengths":                {h264(formattest.AVCC), formattest.Lengths, as(AVC, formattest.AVCC, 4, 0), ""},
		"avcC, length like start code": {h264(formattest.AVCC), ambiguous, as(AVC, formattest.AVCC, 4, 0), ""},
		"avcC, 2-byte lengths":         {h264(twoBytes), formattest.Lengths[2:], as(AVC, twoBytes, 2, 0), ""},
		"avcC, Annex B":                {h264(formattest.AVCC), formattest.AnnexB[14:], as(ByteStream, formattest.AnnexBSets, 0, 0), ""},
		"nothing, Annex B":             {h264(nil), formattest.AnnexB, as(ByteStream, formattest.AnnexBSets, 0, 0), ""},
		"Annex B, Annex B":             {h264(formattest.AnnexBSets), formattest.AnnexB[14:], as(ByteStream, formattest.AnnexBSets, 0, 0), ""},
		"junk, Annex B":                {h264([]byte("junk")), formattest.AnnexB, as(ByteStream, formattest.AnnexBSets, 0, 0), ""},
		"5-byte start code":            {h264(nil), append([]byte{0}, formattest.AnnexB...), as(ByteStream, formattest.AnnexBSets, 0, 0), ""},
		"hvcC, lengths":                {h265(formattest.HVCC), formattest.HEVCLengths, as(HVC1, formattest.HVCC, 4, 1), ""},
		"hvcC, three layers":           {h265(layered), formattest.HEVCLengths, as(HVC1, layered, 4, 3), ""},
		"hvcC, Annex B":                {h265(formattest.HVCC), formattest.HEVCAnnexB[21:], as(ByteStream, hevcSets, 0, 1), ""},
		"H.265, nothing, Annex B":      {h265(nil), formattest.HEVCAnnexB, as(ByteStream, hevcSets, 0, 1), ""},
		"H.265 without VPS":            {h265(nil), formattest.HEVCAnnexB[7:], Format{}, "no parameter sets (VPS)"},
		"H.264 without sets":           {h264(nil), formattest.AnnexB[14:], Format{}, "no parameter sets (SPS and PPS)"},
		"junk, junk":                   {h264([]byte("junk")), []byte("junkjunk"), Format{}, "not a decoder configuration"},
		"avcC, length too long":        {h264(formattest.AVCC), []byte{0, 0, 0, 9, 1}, Format{}, "neither"},
		"avcC, empty frame":            {h264(formattest.AVCC), nil, Format{}, "neither"},
		"another codec":                {&mkv.Track{CodecID: "V_VP9"}, formattest.Lengths, Format{}, "V_VP9"},
		"compressed":                   {&mkv.Track{CodecID: mkv.CodecH264, Encoded: true}, formattest.Lengths, Format{}, "plain"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := FormatOf(c.track, c.frame)
			if c.fails != "" {
				code := report.CodeCodec
				if strings.HasPrefix(c.fails, "no parameter sets") {
					code = report.CodeNoParameterSets
				}
				var e *report.Error
				if !errors.As(err, &e) || e.Code != code || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got %v, want %s with %q", err, code, c.fails)
				}
				return
			}
			want := c.want
			want.Codec, want.Width, want.Height = H264, 640, 360
			if c.track.CodecID == mkv.CodecH265 {
				want.Codec, want.Width, want.Height = H265, 320, 180
			}
			want.Series = 1
			if err != nil || !reflect.DeepEqual(f, want) {
				t.Errorf("got %+v, %v, want %+v", f, err, want)
			}
		})
	}
}

func TestFormatEqual(t *testing.T) {
	f := Format{Codec: H264, Stream: AVC, CodecData: formattest.AVCC, Width: 640, Height: 360}
	for name, g := range map[string]Format{
		"codec":  {Codec: H265, Stream: AVC, CodecData: formattest.AVCC, Width: 640, Height: 360},
		"stream": {Codec: H264, Stream: ByteStream, CodecData: formattest.AVCC, Width: 640, Height: 360},
		"data":   {Codec: H264, Stream: AVC, CodecData: formattest.AVCC[1:], Width: 640, Height: 360},
		"width":  {Codec: H264, Stream: AVC, CodecData: formattest.AVCC, Width: 641, Height: 360},
		"height": {Codec: H264, Stream: AVC, CodecData: formattest.AVCC, Width: 640, Height: 361},
	} {
		if f.Equal(g) {
			t.Errorf("another %s is equal", name)
		}
	}
}
