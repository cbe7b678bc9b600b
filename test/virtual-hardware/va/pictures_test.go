//go:build hardware

package va

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"image"
	"image/png"
	"io"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

// recording is a clip of so many frames.
type recording struct {
	name   string
	frames int
	file   []byte
}

func h264(t *testing.T, name, size, frames string, options ...string) recording {
	return record(t, "H.264 "+name, size, frames, append([]string{"-c:v", "libx264", "-preset", "fast"}, options...))
}

// h265 has x265 work on one frame at a time, with two threads although there is one processor: in there it crashes with several
// frames and slices, with more than two slices, and, from 4.1 on, without threads.
func h265(t *testing.T, name, size, frames, parameters string) recording {
	return record(t, "H.265 "+name, size, frames, []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:frame-threads=1:pools=2:" + parameters})
}

func record(t *testing.T, name, size, frames string, encoder []string) recording {
	t.Helper()
	file := box.Clip(t, size, frames, encoder...)
	return recording{name: name, file: file, frames: len(read(t, file))}
}

// read gives the frames of a clip.
func read(t *testing.T, file []byte) []*mkv.Frame {
	t.Helper()
	var frames []*mkv.Frame
	reader := mkv.NewReader(bytes.NewReader(file))
	for {
		event, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := event.(*mkv.Frame); ok {
			kept := *f
			kept.Data = bytes.Clone(f.Data)
			frames = append(frames, &kept)
		}
	}
}

// render runs the agent's own renderer, which shows nowhere and as fast as it can, and gives what it is told to.
func render(t *testing.T, family plan.Family, c decode.Config) *decode.Renderer {
	t.Helper()
	said, err := exec.Command(box.Renderer(t), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, decode.Build, _ = strings.Cut(strings.TrimSpace(string(said)), " ") // this process is an agent of that build
	c.Program, c.DRM, c.Sandbox.User = decode.NewProgram(box.Renderer(t)), fstest.MapFS{}, "root"
	c.Sink, c.Unpaced, c.Prefer = plan.None, true, plan.Preference{Order: []plan.Family{family}}
	c.Patience = decode.DefaultPatience
	c.Patience.First, c.Patience.Next, c.Patience.Status, c.Patience.Still = box.Patience, box.Patience, box.Patience, 0 // 1080p is slow in there
	c.Limits = decode.Limits{Units: 10000, Bytes: 1 << 30}
	c.Report = func(r report.Report) { t.Errorf("%s: %s", r.Code, r.Message) }
	r := decode.New(c)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { _ = r.Run(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended })
	return r
}

// until polls until something is so.
func until(t *testing.T, r *decode.Renderer, what string, so func() bool) {
	t.Helper()
	deadline := time.After(box.Patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			t.Fatalf("%s: %+v", what, r.Stats())
		case <-tick.C:
		}
	}
}

// decodeWith decodes recordings one after the other and gives the checksums of each one's pictures.
func decodeWith(t *testing.T, family plan.Family, list []recording) [][]string {
	t.Helper()
	var mu sync.Mutex
	var pipelines [][]string
	r := render(t, family, decode.Config{Pictures: func(n uint32, sums []string) {
		mu.Lock()
		defer mu.Unlock()
		for int(n) > len(pipelines) {
			pipelines = append(pipelines, nil)
		}
		pipelines[n-1] = sums
	}})
	// The next recording makes a decoder give out all it has; behind the last one comes the first again.
	at := time.Duration(0)
	for _, clip := range append(slices.Clone(list), list[0]) {
		for _, f := range read(t, clip.file) {
			r.Push(f, at, false)
			at += 40 * time.Millisecond
		}
	}
	until(t, r, "not all recordings were decoded", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(pipelines) > len(list)
	})
	if used := r.Stats().Family; used != family {
		t.Fatalf("it was %s that decoded, not %s", used, family)
	}
	mu.Lock()
	defer mu.Unlock()
	return pipelines[:len(list)]
}

// Decoding is exact, so VA-API's pictures are those of the processor, whatever the encoder made use of.
func TestPicturesAreThoseOfTheProcessor(t *testing.T) {
	list := []recording{
		h264(t, "baseline with slices", "320x180", "20", "-profile:v", "baseline", "-x264-params", "slices=3"),
		h264(t, "B-pyramid, open GOP, temporal direct", "320x180", "40", "-bf", "5", "-refs", "4", "-g", "12", "-x264-params", "b-pyramid=normal:open-gop=1:direct=temporal:weightb=1:weightp=2"),
		h264(t, "interlaced", "720x576", "12", "-flags", "+ildct+ilme", "-x264-params", "tff=1:bframes=2"),
		h264(t, "scaling matrices, CAVLC", "320x180", "20", "-x264-params", "cqm=jvt:cabac=0:8x8dct=1:bframes=2"),
		h264(t, "intra refresh", "320x180", "30", "-x264-params", "intra-refresh=1:bframes=0"),
		h264(t, "1080p", "1920x1080", "6", "-preset", "ultrafast", "-bf", "2"),
		h264(t, "1366x768", "1366x768", "6", "-preset", "ultrafast", "-bf", "2"),
		h265(t, "B-frames, slices, open GOP", "320x180", "40", "bframes=4:slices=2:keyint=12:open-gop=1"),
		h265(t, "scaling lists, weights, reordered references", "320x180", "20", "scaling-list=default:bframes=4:b-adapt=0:ref=5:weightp=1:weightb=1"),
		h265(t, "interlaced", "320x180", "20", "interlace=tff:bframes=2"),
		h265(t, "no wavefront, small blocks", "320x180", "20", "no-wpp=1:ctu=16:bframes=3:tskip=1:sao=1:amp=1:rect=1"),
		h265(t, "1080p", "1920x1080", "6", "bframes=2"),
		h265(t, "1366x768", "1366x768", "6", "bframes=2"),
	}
	got, want := decodeWith(t, plan.VA, list), decodeWith(t, plan.Software, list)
	for i, clip := range list {
		switch {
		case len(want[i]) != clip.frames && len(want[i])*2 != clip.frames: // two fields may come as two frames
			t.Errorf("%s: the processor made %d pictures of %d frames", clip.name, len(want[i]), clip.frames)
		case len(slices.Compact(slices.Sorted(slices.Values(want[i])))) != len(want[i]) || slices.Contains(want[i], ""):
			t.Errorf("%s: pictures are the same, or cannot be seen: %v", clip.name, want[i])
		case !slices.Equal(got[i], want[i]):
			t.Errorf("%s: VA-API made\n%v\nand the processor\n%v", clip.name, got[i], want[i])
		}
	}
}

// What is shown is the driver's own picture, and the newest: it says which one it is.
func TestPictureIsTheNewest(t *testing.T) {
	frames := read(t, h264(t, "numbered", "640x360", "30", "-tune", "zerolatency").file)
	r := render(t, plan.VA, decode.Config{Env: []string{"LIBVA_VIRTUAL_MODE=pattern"}})
	for i, f := range frames {
		r.Push(f, time.Duration(i)*40*time.Millisecond, false)
	}
	const kept = 1 // in the decoder, until the next frame tells that it is whole
	until(t, r, "not all pictures were shown", func() bool { return r.Stats().Shown >= uint64(len(frames)-kept) })
	b, err := r.Snapshot(t.Context(), decode.Snapshot{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	newest := int(r.Stats().Shown) - 1
	if number := cells(img, 0); number != uint32(newest) {
		t.Errorf("the picture on the screen is number %d, and the newest %d", number, newest)
	}
	if got, want := cells(img, 1), sliceSum(frames[newest].Data); got != want {
		t.Errorf("it is of slices with the checksum %08x, and the newest frame's is %08x", got, want)
	}
}

// cells reads a row of the pattern: 32 cells of 16 pixels, bright for 1.
func cells(img image.Image, row int) (word uint32) {
	for i := range 32 {
		if r, _, _, _ := img.At(16*i+8, 16*row+8).RGBA(); r > 0x8000 {
			word |= 1 << (31 - i)
		}
	}
	return word
}

// sliceSum is the pattern's checksum of a frame of H.264, whose NAL units have their lengths before them.
func sliceSum(frame []byte) uint32 {
	const nonIDR, idr = 1, 5
	h := fnv.New32a()
	for len(frame) > 4 {
		n := binary.BigEndian.Uint32(frame)
		nal := frame[4 : 4+n]
		if kind := nal[0] & 31; kind == nonIDR || kind == idr {
			h.Write(nal)
		}
		frame = frame[4+n:]
	}
	return h.Sum32()
}
