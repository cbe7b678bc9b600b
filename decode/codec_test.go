package decode

import (
	"errors"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

var (
	// avcC with 4-byte lengths, one SPS of 4 bytes and one PPS of 2.
	avcC = []byte{
		1, 0x42, 0x00, 0x1e, 0xff,
		0xe1, 0, 4, 0x67, 0x42, 0x00, 0x1e,
		1, 0, 2, 0x68, 0xce,
	}
	lengths = []byte{0, 0, 0, 2, 0x65, 0x88}
	// annexB has the same SPS, PPS and IDR slice.
	annexB     = []byte{0, 0, 0, 1, 0x67, 0x42, 0x00, 0x1e, 0, 0, 0, 1, 0x68, 0xce, 0, 0, 0, 1, 0x65, 0x88}
	annexBSets = annexB[:14]
	// hevcAnnexB has VPS, SPS, PPS and an IDR slice of H.265.
	hevcAnnexB = []byte{0, 0, 0, 1, 0x40, 1, 0x0c, 0, 0, 0, 1, 0x42, 1, 1, 0, 0, 0, 1, 0x44, 1, 0xc1, 0, 0, 0, 1, 19 << 1, 1, 0xaf}
)

func TestFormatOf(t *testing.T) {
	h264 := func(private []byte) *mkv.Track {
		return &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: private, Width: 640, Height: 360}
	}
	// A NAL unit of 258 bytes: its length begins like a start code.
	ambiguous := append([]byte{0, 0, 1, 2, 0x65, 0x88}, make([]byte, 256)...)
	for name, c := range map[string]struct {
		track  *mkv.Track
		frame  []byte
		stream StreamFormat
		data   []byte
		fails  string
	}{
		"avcC, lengths":                {h264(avcC), lengths, AVC, avcC, ""},
		"avcC, length like start code": {h264(avcC), ambiguous, AVC, avcC, ""},
		"avcC, Annex B":                {h264(avcC), annexB[14:], ByteStream, annexBSets, ""},
		"nothing, Annex B":             {h264(nil), annexB, ByteStream, annexBSets, ""},
		"Annex B, Annex B":             {h264(annexBSets), annexB[14:], ByteStream, annexBSets, ""},
		"junk, Annex B":                {h264([]byte("junk")), annexB, ByteStream, annexBSets, ""},
		"5-byte start code":            {h264(nil), append([]byte{0}, annexB...), ByteStream, annexBSets, ""},
		"junk, junk":                   {h264([]byte("junk")), []byte("junkjunk"), "", nil, "not a decoder configuration"},
		"avcC, length too long":        {h264(avcC), []byte{0, 0, 0, 9, 1}, "", nil, "neither"},
		"avcC, empty frame":            {h264(avcC), nil, "", nil, "neither"},
		"another codec":                {&mkv.Track{CodecID: "V_VP9"}, lengths, "", nil, "V_VP9"},
		"compressed":                   {&mkv.Track{CodecID: mkv.CodecH264, Encoded: true}, lengths, "", nil, "plain"},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := FormatOf(c.track, c.frame)
			if c.fails != "" {
				var e *Error
				if !errors.As(err, &e) || e.Code != CodeCodec || !strings.Contains(err.Error(), c.fails) {
					t.Fatalf("got %v, want %s with %q", err, CodeCodec, c.fails)
				}
				return
			}
			want := Format{Codec: H264, Stream: c.stream, CodecData: c.data, Width: 640, Height: 360}
			if err != nil || !f.Equal(want) {
				t.Errorf("got %+v, %v, want %+v", f, err, want)
			}
		})
	}
}

func TestFormatEqual(t *testing.T) {
	f := Format{Codec: H264, Stream: AVC, CodecData: avcC, Width: 640, Height: 360}
	for name, g := range map[string]Format{
		"codec":  {Codec: H265, Stream: AVC, CodecData: avcC, Width: 640, Height: 360},
		"stream": {Codec: H264, Stream: ByteStream, CodecData: avcC, Width: 640, Height: 360},
		"data":   {Codec: H264, Stream: AVC, CodecData: avcC[1:], Width: 640, Height: 360},
		"width":  {Codec: H264, Stream: AVC, CodecData: avcC, Width: 641, Height: 360},
		"height": {Codec: H264, Stream: AVC, CodecData: avcC, Width: 640, Height: 361},
	} {
		if f.Equal(g) {
			t.Errorf("another %s is equal", name)
		}
	}
}
