//go:build hardware

package stateful

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

// x265 is made to work on one frame at a time: with several it crashes in there.
const x265 = "log-level=error:frame-threads=1:pools=2:no-wpp=1:"

// save writes a clip into a file.
func save(t *testing.T, clip []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clip.mkv")
	if err := os.WriteFile(file, clip, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// launch decodes a file with an element of GStreamer, and gives the pictures.
func launch(t *testing.T, file, codec, element string) []byte {
	t.Helper()
	return run(t, "filesrc location="+file+" ! matroskademux ! "+codec+"parse ! "+element+
		" ! videoconvert ! video/x-raw,format=I420")
}

// run gives what comes out of a pipeline.
func run(t *testing.T, pipeline string) []byte {
	t.Helper()
	to := filepath.Join(t.TempDir(), "out")
	args := strings.Fields("-s KILL 60 gst-launch-1.0 -q " + pipeline + " ! filesink location=" + to)
	if out, err := exec.Command("timeout", args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", pipeline, err, out)
	}
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// GStreamer decodes with the driver to the same pictures as with the processor. The size is one that needs no padding,
// because filesink would write it.
func TestPicturesAreThoseOfTheProcessor(t *testing.T) {
	const size, bytesOfOne = "640x368", 640 * 368 * 3 / 2
	for _, c := range []struct {
		name, codec string
		encoder     []string
	}{
		{"H.264", "h264", []string{"-c:v", "libx264", "-bf", "0"}},
		{
			"H.264 with B-frames", "h264",
			[]string{"-c:v", "libx264", "-bf", "3", "-x264-params", "b-pyramid=normal:open-gop=1"},
		},
		{"H.264 baseline", "h264", []string{"-c:v", "libx264", "-profile:v", "baseline"}},
		{"H.265", "h265", []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", x265 + "bframes=0"}},
		{"H.265 with B-frames", "h265", []string{"-c:v", "libx265", "-preset", "fast", "-x265-params", x265 + "bframes=4"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := save(t, box.Clip(t, size, "60", c.encoder...))
			want, got := launch(t, file, c.codec, "avdec_"+c.codec), launch(t, file, c.codec, "v4l2"+c.codec+"dec")
			if len(want) != 60*bytesOfOne || !bytes.Equal(got, want) {
				t.Errorf("%d pictures and %d of the processor, which differ", len(got)/bytesOfOne, len(want)/bytesOfOne)
			}
		})
	}
}

// twoSizes is a raw stream that changes its size after half of it. Each half begins with its own parameter sets.
func twoSizes(t *testing.T, bFrames string) []byte {
	t.Helper()
	folder := t.TempDir()
	var whole []byte
	for _, size := range []string{"640x368", "320x176"} {
		half := filepath.Join(folder, size)
		out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=30:size="+size,
			"-frames:v", "30", "-g", "30", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-bf", bFrames, "-f", "h264", half).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		b, err := os.ReadFile(half)
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, b...)
	}
	return whole
}

// Told by nobody but the driver, GStreamer goes along with a change of size, and no picture is missing. capssetter hides
// the change from it.
func TestDriverTellsOfAChangeOfSize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clip")
	if err := os.WriteFile(file, twoSizes(t, "2"), 0o600); err != nil {
		t.Fatal(err)
	}
	decode := func(element string) []byte {
		return run(t, "filesrc location="+file+" ! h264parse ! "+element+" ! video/x-raw,format=I420")
	}
	want, got := decode("avdec_h264"), decode("capssetter caps=video/x-h264,width=640,height=368 ! v4l2h264dec")
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes of pictures, and %d of the processor, which differ", len(got), len(want))
	}
}

// Without the event GStreamer goes on with the old size.
func TestDriverKeepsAChangeOfSizeToItself(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clip")
	if err := os.WriteFile(file, twoSizes(t, "0"), 0o600); err != nil {
		t.Fatal(err)
	}
	breakDriver(t, "source 2 forever skip")
	got := run(t, "filesrc location="+file+" ! h264parse ! capssetter caps=video/x-h264,width=640,height=368 ! "+
		"v4l2h264dec ! video/x-raw,format=I420")
	if want := 60 * 640 * 368 * 3 / 2; len(got) != want {
		t.Errorf("%d bytes of pictures, want %d", len(got), want)
	}
	struck(t)
}

// frames decodes with ffmpeg and gives a checksum of each picture.
func frames(t *testing.T, file string, decoder ...string) string {
	t.Helper()
	args := append([]string{"-s", "KILL", "60", "ffmpeg", "-nostdin", "-v", "error"}, decoder...)
	args = append(args, "-i", file, "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "framemd5", "-")
	out, err := exec.Command("timeout", args...).Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", decoder, err, out)
	}
	var sums []string
	for line := range strings.Lines(string(out)) {
		if fields := strings.Split(line, ","); !strings.HasPrefix(line, "#") && len(fields) == 6 {
			sums = append(sums, strings.TrimSpace(fields[5]))
		}
	}
	return strings.Join(sums, "\n")
}

// A last buffer that is late holds up the end, and no picture is missing.
func TestLateEnd(t *testing.T) {
	file := save(t, box.Clip(t, "320x176", "30", "-c:v", "libx264", "-bf", "2"))
	want := launch(t, file, "h264", "avdec_h264")
	breakDriver(t, "last 1 forever sleep 2000")
	began := time.Now()
	if got := launch(t, file, "h264", "v4l2h264dec"); !bytes.Equal(got, want) {
		t.Errorf("%d bytes of pictures, want %d", len(got), len(want))
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

// ffmpeg is another client of the interface: it waits for the event before it sets up pictures, and drains.
func TestAnotherClient(t *testing.T) {
	file := save(t, box.Clip(t, "640x368", "60", "-c:v", "libx264", "-bf", "2"))
	want, got := frames(t, file), frames(t, file, "-c:v", "h264_v4l2m2m")
	if strings.Count(want, "\n") != 59 || got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
