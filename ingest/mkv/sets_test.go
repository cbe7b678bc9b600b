package mkv

import "testing"

func TestParameterSet(t *testing.T) {
	hevcSPS := unhex(t, "420101016000000300900000030000030078a002ac80301d796566924caf016808000003000800000300c840")
	for name, c := range map[string]struct {
		codec string
		nal   []byte
		kind  SetKind
		id    uint32
	}{
		"H.264 SPS":            {CodecH264, unhex(t, "6742c01fd90050057f88c044000003000400000300c83c60c920"), SPS, 0},
		"H.264 SPS 1":          {CodecH264, []byte{0x67, 0x42, 0xc0, 0x1f, 0b010_00000}, SPS, 1},
		"H.264 SPS, cut":       {CodecH264, []byte{0x67, 0x42}, SPS, 0},
		"H.264 PPS 2":          {CodecH264, []byte{0x68, 0b011_00000}, PPS, 2},
		"H.264 slice":          {CodecH264, []byte{0x65, 0x88}, NoSet, 0},
		"H.264 with a wild id": {CodecH264, []byte{0x68, 0, 0x40, 0, 0}, NoSet, 0},
		"H.265 VPS 1":          {CodecH265, []byte{32 << 1, 1, 0x1c}, VPS, 1},
		"H.265 SPS":            {CodecH265, hevcSPS, SPS, 0},
		"H.265 PPS 1":          {CodecH265, []byte{34 << 1, 1, 0b010_00000}, PPS, 1},
		"H.265, cut":           {CodecH265, []byte{34 << 1}, NoSet, 0},
		"sound":                {"A_AAC", []byte{0x67, 0x42}, NoSet, 0},
	} {
		if kind, id := ParameterSet(c.codec, c.nal); kind != c.kind || id != c.id {
			t.Errorf("%s: %d %d, want %d %d", name, kind, id, c.kind, c.id)
		}
	}
}

func TestSlice(t *testing.T) {
	for name, c := range map[string]struct {
		codec        string
		nal          []byte
		slice, first bool
	}{
		"H.264 IDR, first":    {CodecH264, []byte{0x65, 0x88}, true, true},
		"H.264 IDR, second":   {CodecH264, []byte{0x65, 0x00, 0x9a}, true, false},
		"H.264 slice, second": {CodecH264, []byte{0x41, 0x48}, true, false},
		"H.264 partition B":   {CodecH264, []byte{0x43, 0x80}, true, false},
		"H.264 SEI":           {CodecH264, []byte{0x06, 0x80}, false, false},
		"H.265 IDR, first":    {CodecH265, []byte{19 << 1, 1, 0x80}, true, true},
		"H.265 IDR, second":   {CodecH265, []byte{19 << 1, 1, 0x40}, true, false},
		"H.265 SEI":           {CodecH265, []byte{39 << 1, 1, 0x80}, false, false},
	} {
		if slice, first := Slice(c.codec, c.nal); slice != c.slice || first != c.first {
			t.Errorf("%s: %v %v, want %v %v", name, slice, first, c.slice, c.first)
		}
	}
}

func TestAuxiliary(t *testing.T) {
	for _, c := range []struct {
		codec string
		nal   byte
		want  bool
	}{
		{CodecH264, 0x67, true},
		{CodecH264, 0x09, true},
		{CodecH264, 0x0c, true},
		{CodecH264, 0x65, false},
		{CodecH264, 0x00, false},
		{CodecH265, 32 << 1, true},
		{CodecH265, 40 << 1, true},
		{CodecH265, 19 << 1, false},
		{CodecH265, 50 << 1, false},
		{"A_AAC", 0x67, false},
	} {
		if got := Auxiliary(c.codec, []byte{c.nal}); got != c.want {
			t.Errorf("%s %#x: %v", c.codec, c.nal, got)
		}
	}
}

// A recovery point may stand behind other messages; one in the payload of another message is none.
func TestRecoveryPoint(t *testing.T) {
	for name, c := range map[string]struct {
		codec string
		nal   []byte
		want  bool
	}{
		"H.264":                  {CodecH264, []byte{6, 6, 2, 0x84, 0x40, 0x80}, true},
		"behind buffering":       {CodecH264, []byte{6, 0, 3, 6, 6, 6, 6, 1, 0x84, 0x80}, true},
		"in another's payload":   {CodecH264, []byte{6, 5, 4, 6, 1, 0x84, 0x80, 0x80}, false},
		"behind a long message":  {CodecH264, append(append([]byte{6, 5, 0xff, 1}, make([]byte, 256)...), 6, 1, 0x84, 0x80), true},
		"a size beyond the end":  {CodecH264, []byte{6, 5, 0xff, 0xff, 6, 1}, false},
		"nothing":                {CodecH264, []byte{6}, false},
		"a slice":                {CodecH264, []byte{0x41, 6, 1, 0x84}, false},
		"H.265":                  {CodecH265, []byte{39 << 1, 1, 6, 1, 0x84, 0x80}, true},
		"H.265 behind a picture": {CodecH265, []byte{40 << 1, 1, 6, 1, 0x84, 0x80}, false},
	} {
		if got := IsRecoveryPoint(c.codec, c.nal); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestIsAnnexB(t *testing.T) {
	for name, c := range map[string]struct {
		data []byte
		want bool
	}{
		"three bytes":  {[]byte{0, 0, 1, 9}, true},
		"four":         {[]byte{0, 0, 0, 1, 9}, true},
		"five":         {[]byte{0, 0, 0, 0, 1, 9}, true},
		"one zero":     {[]byte{0, 1, 9}, false},
		"zeros only":   {[]byte{0, 0, 0, 0}, false},
		"a length":     {[]byte{0, 0, 2, 9}, false},
		"nothing":      {nil, false},
		"another byte": {[]byte{9, 0, 0, 1}, false},
	} {
		if IsAnnexB(c.data) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}
