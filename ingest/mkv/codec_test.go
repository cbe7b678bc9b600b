package mkv

import (
	"bytes"
	"reflect"
	"testing"
	"time"
)

// bitmapInfo is a BITMAPINFOHEADER of a video with this four-character code.
func bitmapInfo(fourCC string, extra ...byte) []byte {
	b := make([]byte, bitmapInfoSize, bitmapInfoSize+len(extra))
	b[0] = byte(bitmapInfoSize + len(extra)) // as FFmpeg writes it
	copy(b[16:], fourCC)
	return append(b, extra...)
}

func TestCodecAndConfiguration(t *testing.T) {
	avcC := []byte{1, 0x42, 0xC0, 0x1E, 0xFF}
	for name, tc := range map[string]struct {
		id            string
		private       []byte
		codec         string
		configuration []byte
	}{
		"H.264":                {CodecH264, avcC, CodecH264, avcC},
		"H.265":                {CodecH265, avcC, CodecH265, avcC},
		"another codec":        {"V_VP9", avcC, "V_VP9", avcC},
		"VFW H264":             {codecVFW, bitmapInfo("H264", avcC...), CodecH264, avcC},
		"VFW h264":             {codecVFW, bitmapInfo("h264", avcC...), CodecH264, avcC},
		"VFW X264":             {codecVFW, bitmapInfo("X264"), CodecH264, nil},
		"VFW AVC1":             {codecVFW, bitmapInfo("AVC1"), CodecH264, nil},
		"VFW avc1":             {codecVFW, bitmapInfo("avc1"), CodecH264, nil},
		"VFW DAVC":             {codecVFW, bitmapInfo("DAVC"), CodecH264, nil},
		"VFW HEVC":             {codecVFW, bitmapInfo("HEVC", 1), CodecH265, []byte{1}},
		"VFW H265":             {codecVFW, bitmapInfo("H265"), CodecH265, nil},
		"VFW HVC1":             {codecVFW, bitmapInfo("HVC1"), CodecH265, nil},
		"VFW hvc1":             {codecVFW, bitmapInfo("hvc1"), CodecH265, nil},
		"VFW hev1":             {codecVFW, bitmapInfo("hev1"), CodecH265, nil},
		"VFW X265":             {codecVFW, bitmapInfo("X265"), CodecH265, nil},
		"VFW MJPG":             {codecVFW, bitmapInfo("MJPG"), codecVFW, nil},
		"VFW, a short header":  {codecVFW, bitmapInfo("H264")[:39], codecVFW, nil},
		"VFW without a header": {codecVFW, nil, codecVFW, nil},
	} {
		t.Run(name, func(t *testing.T) {
			track := &Track{CodecID: tc.id, CodecPrivate: tc.private}
			if got := track.Codec(); got != tc.codec {
				t.Errorf("codec %q, want %q", got, tc.codec)
			}
			if got := track.Configuration(); !bytes.Equal(got, tc.configuration) {
				t.Errorf("configuration %x, want %x", got, tc.configuration)
			}
			if n := testing.AllocsPerRun(100, func() { track.Codec(); track.Configuration() }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// Tracks are equal when all of their fields are, including fields that are added later.
func TestTrackEqual(t *testing.T) {
	whole := func() *Track {
		return &Track{
			Number: 1, Type: Video, Name: "video", CodecID: CodecH264, CodecPrivate: []byte{1}, DefaultDuration: time.Second,
			Width: 640, Height: 360, SampleRate: 8000, Channels: 1, BitDepth: 16, Encoded: true,
		}
	}
	if !whole().Equal(whole()) {
		t.Error("equal tracks differ")
	}
	for i := range reflect.TypeFor[Track]().NumField() {
		o := whole()
		reflect.ValueOf(o).Elem().Field(i).SetZero()
		if reflect.DeepEqual(o, whole()) {
			t.Fatalf("field %s is not set in the test", reflect.TypeFor[Track]().Field(i).Name)
		}
		if whole().Equal(o) || o.Equal(whole()) {
			t.Errorf("field %s is not compared", reflect.TypeFor[Track]().Field(i).Name)
		}
	}
	if whole().Equal(nil) || (*Track)(nil).Equal(whole()) || !(*Track)(nil).Equal(nil) {
		t.Error("nil is equal to a track")
	}
}
