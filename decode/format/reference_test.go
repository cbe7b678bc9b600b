package format

import (
	"slices"
	"testing"

	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/test/kit"
)

func TestDisposable(t *testing.T) {
	avc := Format{Codec: H264, Stream: AVC, LengthSize: 4}
	annexB := Format{Codec: H264, Stream: ByteStream}
	hevc := Format{Codec: H265, Stream: HVC1, LengthSize: 4, Layers: 1}
	layered := Format{Codec: H265, Stream: HVC1, LengthSize: 4, Layers: 2}
	unknown := Format{Codec: H265, Stream: HVC1, LengthSize: 4}
	for name, c := range map[string]struct {
		format Format
		units  [][]byte
		want   bool
	}{
		"no frame":                          {avc, nil, false},
		"no slice":                          {avc, [][]byte{{0x09, 0xf0}}, false},
		"H.264 IDR":                         {avc, [][]byte{{0x65, 0x88}}, false},
		"H.264 referred to":                 {avc, [][]byte{{0x41, 0x9a}}, false},
		"H.264 not referred to":             {avc, [][]byte{{0x01, 0x9e}}, true},
		"H.264 with delimiter, SEI, filler": {avc, [][]byte{{0x09, 0xf0}, {0x06, 0x01}, {0x01, 0x9e}, {0x0c, 0xff}}, true},
		"H.264 several slices":              {avc, [][]byte{{0x01, 0x9e}, {0x01, 0x9e}}, true},
		"H.264 one field referred to":       {avc, [][]byte{{0x41, 0x9a}, {0x01, 0x9e}}, false},
		"H.264 with parameters":             {avc, [][]byte{{0x67, 0x42}, {0x01, 0x9e}}, false},
		"H.264 of another view":             {avc, [][]byte{{0x01, 0x9e}, {0x14, 0x00}}, false},
		"H.264 Annex B":                     {annexB, [][]byte{{0x01, 0x9e}}, true},
		"H.265 IDR":                         {hevc, [][]byte{{19 << 1, 1}}, false},
		"H.265 referred to":                 {hevc, [][]byte{{1 << 1, 1}}, false},
		"H.265 not referred to":             {hevc, [][]byte{{0 << 1, 1}}, true},
		"H.265 leading, not referred to":    {hevc, [][]byte{{35 << 1, 1}, {8 << 1, 1}}, true},
		"H.265 layer below the highest":     {layered, [][]byte{{0 << 1, 1}}, false},
		"H.265 highest layer":               {layered, [][]byte{{2 << 1, 2}}, true},
		"H.265 layers not known":            {unknown, [][]byte{{0 << 1, 1}}, false},
		"H.265 reserved":                    {hevc, [][]byte{{24 << 1, 1}}, false},
		"H.265 cut":                         {hevc, [][]byte{{0 << 1}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var frame []byte
			for _, unit := range c.units {
				if c.format.LengthSize == 0 {
					frame = append(frame, 0, 0, 1)
				} else {
					frame = append(frame, 0, 0, 0, byte(len(unit)))
				}
				frame = append(frame, unit...)
			}
			before := slices.Clone(frame)
			kit.Expect(t, "disposable", c.format.disposable(frame), c.want)
			kit.Expect(t, "changed", string(frame), string(before))
		})
	}
}

func TestLayers(t *testing.T) {
	kit.Expect(t, "of one layer", layers([]byte{0x42, 0x01, 0x01}), 1)
	kit.Expect(t, "of three", layers([]byte{0x42, 0x01, 0x05}), 3)
	kit.Expect(t, "of a cut SPS", layers([]byte{0x42, 0x01}), 0)
}

func FuzzDisposable(f *testing.F) {
	f.Add(formattest.Lengths, 4, true)
	f.Add(formattest.AnnexB, 0, false)
	f.Fuzz(func(_ *testing.T, frame []byte, lengthSize int, h264 bool) {
		format := Format{Codec: H265, LengthSize: lengthSize & 7 % 5, Layers: 1}
		if h264 {
			format.Codec = H264
		}
		format.disposable(frame) // does not panic
	})
}
