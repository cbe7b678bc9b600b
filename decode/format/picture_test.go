package format_test

import (
	"testing"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/format/formattest"
)

// What cannot be read is nothing, and no fault.
func TestPicture(t *testing.T) {
	for name, tc := range map[string]struct {
		format        format.Format
		width, height int
		profile       byte
	}{
		"nothing":    {format: format.Format{Codec: format.H264, Stream: format.ByteStream}},
		"no codec":   {},
		"damaged":    {format: format.Format{Codec: format.H265, Stream: format.HVC1, CodecData: []byte{1, 2, 3}}},
		"no picture": {format: format.Format{Codec: format.H264, Stream: format.AVC, CodecData: formattest.AVCC}, profile: 0x42},
		"H.264":      {format.Format{Codec: format.H264, Stream: format.ByteStream, CodecData: formattest.SPS("h264", 110, 3840, 2160)}, 3840, 2160, 110},
		"H.265":      {format.Format{Codec: format.H265, Stream: format.ByteStream, CodecData: formattest.SPS("h265", 2, 1920, 1080)}, 1920, 1080, 2},
	} {
		w, h, p := tc.format.Picture()
		if w != tc.width || h != tc.height || p != tc.profile {
			t.Errorf("%s: %dx%d, profile %d", name, w, h, p)
		}
	}
}
