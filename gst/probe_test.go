package gst

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-gst/go-gst/gst"

	"github.com/edge-agent/edge-agent/decode"
)

// The same picture has the same checksum in whatever order its planes lie; in tiles it is known to have another. Its size is one of
// whole pairs of tiles: what lies in the rest of others is left to chance.
func TestChecksumsOfFormats(t *testing.T) {
	initOnce()
	sums := map[string]decode.Status{}
	for _, format := range []string{"I420", "NV12", "NV12_64Z32"} {
		pipeline, err := gst.NewPipelineFromString(fmt.Sprintf(
			"videotestsrc num-buffers=2 pattern=blue ! video/x-raw,format=I420,width=384,height=256 ! videoconvert ! video/x-raw,format=%s ! identity name=decoder ! fakesink", format))
		if err != nil {
			t.Skipf("no %s here: %v", format, err)
		}
		s := twoPictures(t, pipeline)
		if s.Checksums[0] == "" || s.Fresh != 1 {
			t.Errorf("%s: %+v", format, s)
		}
		sums[format] = s
	}
	i420, nv12, tiled := sums["I420"], sums["NV12"], sums["NV12_64Z32"]
	if i420.Opaque || nv12.Opaque || i420.Checksums[0] != nv12.Checksums[0] {
		t.Errorf("I420 %+v, NV12 %+v", i420, nv12)
	}
	if !tiled.Opaque || tiled.Checksums[0] == i420.Checksums[0] {
		t.Errorf("in tiles %+v", tiled)
	}
}

// twoPictures runs a pipeline and looks at its pictures, of which there are two.
func twoPictures(t *testing.T, pipeline *gst.Pipeline) decode.Status {
	t.Helper()
	p := &player{pipeline: pipeline}
	seen := newPictures(p, true)
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	seenOf := func() (s decode.Status) {
		seen.counts(&s)
		return s
	}
	until(t, "both pictures came", func() bool { return len(seenOf().Checksums) == 2 })
	if err := setState(pipeline, gst.StateNull, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	s := seenOf()
	seen.close()
	return s
}

// A buffer with one field has half the lines of the frame. Its checksum is that of a picture that is half as high: nothing that
// lies behind the field goes into it.
func TestChecksumsOfFields(t *testing.T) {
	initOnce()
	sums := map[string]decode.Status{}
	for what, text := range map[string]string{
		"fields":   "num-buffers=2 ! video/x-raw,format=%s,width=62,height=68,framerate=50/1 ! interlace field-pattern=1:1 ! video/x-raw(format:Interlaced),interlace-mode=alternate",
		"pictures": "num-buffers=2 ! video/x-raw,format=%s,width=62,height=34,framerate=50/1",
	} {
		for _, format := range []string{"I420", "NV12"} {
			pipeline, err := gst.NewPipelineFromString("videotestsrc pattern=blue " + fmt.Sprintf(text, format) + " ! identity name=decoder ! fakesink")
			if err != nil {
				t.Fatal(err)
			}
			sums[what+" of "+format] = twoPictures(t, pipeline)
		}
	}
	want := sums["pictures of I420"].Checksums[0]
	for what, s := range sums {
		if s.Opaque || s.Fresh != 1 || s.Checksums[0] != want || s.Checksums[1] != want {
			t.Errorf("%s: %+v, not %s", what, s, want)
		}
	}
}

// What GStreamer finds while devices are closed is kept apart from what it finds later.
func TestRegistryWhileDevicesAreClosed(t *testing.T) {
	t.Setenv("GST_REGISTRY", "/cache/registry.bin")
	registryWith := func(closed ...string) string {
		t.Setenv("GST_REGISTRY", "/cache/registry.bin")
		setRegistry(closed)
		return os.Getenv("GST_REGISTRY")
	}
	if got := registryWith(); got != "/cache/registry.bin" {
		t.Errorf("with all devices open it is %s", got)
	}
	if a, b := registryWith("/dev/video0"), registryWith("/dev/video0", "/dev/media0"); a == b || a == "/cache/registry.bin" {
		t.Errorf("%s with one device closed, %s with two", a, b)
	}
}

// A picture that changes between the rows that are looked at first is another one. One that stays is not, whatever is
// looked at.
func TestSmallChangesAreSeen(t *testing.T) {
	initOnce()
	const width, height, size = 64, 64, 64 * 64 * 3 / 2
	for what, tc := range map[string]struct {
		changes  bool
		from, to uint64 // pictures that differ
	}{"changes": {true, 10, 60}, "stays": {false, 2, 2}} {
		var raw []byte
		for i := range 60 {
			picture := make([]byte, size)
			if tc.changes {
				picture[3*width+5] = byte(i)
			}
			raw = append(raw, picture...)
		}
		last := make([]byte, size)
		last[0] = 1 // in the first row: that the end was reached
		file := filepath.Join(t.TempDir(), "raw")
		if err := os.WriteFile(file, append(raw, last...), 0o600); err != nil {
			t.Fatal(err)
		}
		pipeline, err := gst.NewPipelineFromString(fmt.Sprintf("filesrc location=%s blocksize=%d ! "+
			"rawvideoparse format=i420 width=%d height=%d ! identity name=decoder ! fakesink", file, size, width, height))
		if err != nil {
			t.Fatal(err)
		}
		p := &player{pipeline: pipeline}
		seen := newPictures(p, false)
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		fresh := func() uint64 {
			var s decode.Status
			seen.counts(&s)
			return s.Fresh
		}
		until(t, what, func() bool { return fresh() >= tc.from })
		if err := setState(pipeline, gst.StateNull, 20*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := fresh(); got < tc.from || got > tc.to {
			t.Errorf("%s: %d pictures differ", what, got)
		}
		seen.close()
	}
}
