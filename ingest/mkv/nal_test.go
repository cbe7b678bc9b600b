package mkv

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// avcC as x264 writes it, for each way in which an SPS can spell a size.
var avcConfigs = map[string]struct {
	avcC          string
	width, height int
}{
	"baseline, cropped":         {"0142c01fffe1001a6742c01fd90050057f88c044000003000400000300c83c60c92001000568cb83cb20", 1280, 674},
	"high, cropped on the side": {"01640020ffe1001b67640020acd94056061e6f011000000300100000030320f183196001000668ebe3cb22c0fdf8f800", 1366, 768},
	"interlaced":                {"0164001effe100186764001eacd940b424d8088000000300800000190f8a14cb01000668fba3cb22c0fdf8f800", 720, 576},
	"scaling matrices":          {"0164000dffe100196764000dacd94141fb011000000300100000030320f142996001000768ebe3cb3002c0fdf8f800", 320, 240},
	"4:2:2, 10 bits":            {"017a000dffe1001b677a000db6cd94150879a2f011000003000100000300320f14299601000668ebe3cb22c0fefafa00", 326, 246},
	"4:4:4":                     {"01f4000dffe1001a67f4000d919b282a10f1f1f808800000030080000019078a14cb01000668ebe3c44844fff8f800", 322, 242},
}

func TestAVCC(t *testing.T) {
	for name, tc := range avcConfigs {
		t.Run(name, func(t *testing.T) {
			raw := unhex(t, tc.avcC)
			c, err := ParseAVCC(raw)
			if err != nil {
				t.Fatal(err)
			}
			if c.Width != tc.width || c.Height != tc.height || c.LengthSize != 4 || len(c.SPS) != 1 || len(c.PPS) != 1 {
				t.Errorf("%+v, want %dx%d", c, tc.width, tc.height)
			}
			pps := bytes.LastIndex(raw, c.PPS[0]) + len(c.PPS[0])
			for n := range pps {
				if _, err := ParseAVCC(raw[:n]); err == nil {
					t.Errorf("cut to %d bytes: accepted", n)
				}
			}
		})
	}
	for name, bad := range map[string]string{
		"version 0":            "0042c01fffe1001a6742c01fd90050057f88c044000003000400000300c83c60c92001000568cb83cb20",
		"no parameter sets":    "0142c01fffe000",
		"a slice for an SPS":   "0142c01fffe1000165010001",
		"Annex B in its place": "000000016742c01fd90050057f88c0440000030004",
	} {
		if c, err := ParseAVCC(unhex(t, bad)); err == nil {
			t.Errorf("%s: accepted as %+v", name, c)
		}
	}
}

func TestHEVCSize(t *testing.T) {
	for name, tc := range map[string]struct {
		sps           string
		width, height int
	}{
		"main, cropped":        {"420101016000000300900000030000030078a002ac80301d796566924caf016808000003000800000300c840", 1366, 768},
		"4:2:2, 10 bits":       {"4201010408000003009d0800000300003fb005120171c93b65959a4932bc05a02000000300200000030321", 642, 362},
		"cut in the middle":    {"420101016000000300900000", 0, 0},
		"nothing but its type": {"4201", 0, 0},
	} {
		if w, h := hevcSize(unhex(t, tc.sps)); w != tc.width || h != tc.height {
			t.Errorf("%s: %dx%d, want %dx%d", name, w, h, tc.width, tc.height)
		}
	}
}

func TestHVCC(t *testing.T) {
	set := func(kind byte, nal ...byte) []byte {
		return join([]byte{kind, 0, 1, 0, byte(len(nal))}, nal)
	}
	head := append([]byte{1, 1}, make([]byte, 20)...)
	head[hevcLengthSizeAt] = 3
	sps := unhex(t, "420101016000000300900000030000030078a002ac80301d796566924caf016808000003000800000300c840")
	whole := join(head, []byte{3}, set(0x80|hevcVPS, 0x40, 1), set(0x80|hevcSPS, sps...), set(0x80|hevcPPS, 0x44, 1))
	c, err := ParseHVCC(whole)
	if err != nil {
		t.Fatal(err)
	}
	if c.LengthSize != 4 || c.Width != 1366 || len(c.VPS)+len(c.SPS)+len(c.PPS) != 3 {
		t.Errorf("%+v", c)
	}
	for n := range whole {
		if _, err := ParseHVCC(whole[:n]); err == nil {
			t.Errorf("cut to %d bytes: accepted", n)
		}
	}
}

// Key frames are judged by what they are, not by what the producer's flag says.
func TestKeyFrames(t *testing.T) {
	avc := &Track{CodecID: CodecH264, CodecPrivate: unhex(t, avcConfigs["interlaced"].avcC)}
	hevc := &Track{CodecID: CodecH265}
	lengths := func(nals ...[]byte) (out []byte) {
		for _, n := range nals {
			out = append(append(out, 0, 0, byte(len(n)>>8), byte(len(n))), n...)
		}
		return out
	}
	annexB := func(nals ...[]byte) (out []byte) {
		for _, n := range nals {
			out = append(append(out, 0, 0, 0, 1), n...)
		}
		return out
	}
	sei, idr := []byte{6, 1, 2}, []byte{0x65, 0x88, 0x80}
	interSlice := []byte{0x41, 0b1_00110_00} // first_mb 0, slice_type 5 (P)
	intra := []byte{0x41, 0b1_0001000}       // first_mb 0, slice_type 7 (I)
	// Their lengths begin like a start code; what follows would be an IDR picture.
	ambiguous := append([]byte{0x41, 0b1_00110_00}, make([]byte, 0x165-2)...)
	ambiguousHEVC := append([]byte{1 << 1, 1, 0}, make([]byte, 0x126-3)...)
	cra, trail := []byte{21 << 1, 1, 0}, []byte{1 << 1, 1, 0}
	for name, tc := range map[string]struct {
		track *Track
		data  []byte
		flag  bool
		want  bool
	}{
		"IDR without flag":          {avc, lengths(sei, idr), false, true},
		"IDR, Annex B":              {avc, annexB(sei, idr), false, true},
		"P slice with flag":         {avc, lengths(interSlice), true, false},
		"I slice with flag":         {avc, lengths(sei, intra), true, true},
		"I slice without flag":      {avc, lengths(sei, intra), false, false},
		"lengths that lie, flag":    {avc, []byte{9, 9, 9, 9, 1}, true, true},
		"lengths that lie, no flag": {avc, []byte{9, 9, 9, 9, 1}, false, false},
		"length like a start code":  {avc, lengths(ambiguous), false, false},
		"the same, H.265":           {hevc, lengths(ambiguousHEVC), false, false},
		"recovery point":            {avc, lengths([]byte{6, 6, 2, 0x84, 0x80}, interSlice), false, true},
		"recovery point, H.265":     {hevc, lengths([]byte{39 << 1, 1, 6, 2, 0x84, 0x80}, trail), false, true},
		"5-byte start code":         {avc, join([]byte{0}, annexB(idr)), false, true},
		"nothing":                   {avc, nil, true, true},
		"start codes only":          {avc, []byte{0, 0, 1, 0, 0, 1, 0, 0, 1}, false, false},
		"H.265 CRA":                 {hevc, lengths(cra), false, true},
		"H.265 trailing picture":    {hevc, annexB(trail), true, false},
		"sound keeps its flag":      {&Track{CodecID: "A_AAC"}, []byte{1}, true, true},
	} {
		if got := isKey(tc.track, tc.data, tc.flag); got != tc.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
