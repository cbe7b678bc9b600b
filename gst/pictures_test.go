package gst

import (
	"bytes"
	"encoding/binary"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// size is that of the pictures of so many frames.
type size struct{ width, height, frames int }

// ffmpeg decodes a plain file without GStreamer and any of the agent: the same libavcodec as avdec_h264 and
// avdec_h265, read in another way.
func ffmpeg(codec format.Codec, plain, raw string) []string {
	container := map[format.Codec]string{format.H264: "h264", format.H265: "hevc"}[codec]
	return []string{
		"ffmpeg", "-v", "fatal", "-threads", "1", "-f", container, "-i", plain,
		"-fps_mode", "passthrough", "-noautoscale", "-f", "rawvideo", "-pix_fmt", "yuv420p", raw,
	}
}

// avdec decodes a plain file with the agent's decoder without the agent. What libavcodec conceals
// depends on how it is driven, so broken streams are compared with this one. One thread, as for live streams.
func avdec(codec format.Codec, plain, raw string) []string {
	return []string{
		"gst-launch-1.0", "-q", "filesrc", "location=" + plain, "!", string(codec) + "parse", "!",
		"avdec_" + string(codec), "max-threads=1", "!", "video/x-raw,format=I420", "!", "filesink", "location=" + raw,
	}
}

// reference gives the checksums of the pictures that a program makes of frames in a plain file. sizes are those
// of the pictures in their order.
func reference(t *testing.T, program func(codec format.Codec, plain, raw string) []string, frames []frame, sizes ...size) []string {
	t.Helper()
	folder := t.TempDir()
	plain, raw := filepath.Join(folder, "plain"), filepath.Join(folder, "raw")
	if err := os.WriteFile(plain, annexB(t, frames), 0o600); err != nil {
		t.Fatal(err)
	}
	command := program(formatOf(t, frames).Codec, plain, raw)
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skipf("%s is not installed: there is nothing to compare with", command[0])
	}
	if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command[0], err, out)
	}
	pictures, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	var sums []string
	for _, s := range sizes {
		for range s.frames {
			if len(pictures) == 0 {
				return sums
			}
			var sum uint64
			sum, pictures = checksum(t, pictures, s.width, s.height)
			sums = append(sums, strconv.FormatUint(sum, 16))
		}
	}
	if len(pictures) > 0 {
		t.Fatalf("%d bytes of pictures are more than expected", len(pictures))
	}
	return sums
}

// checksum is that of probe.c, of the first picture (I420) in raw.
func checksum(t *testing.T, raw []byte, width, height int) (uint64, []byte) {
	t.Helper()
	mix := func(h, word uint64) uint64 {
		h = (h ^ word) * 0x9e3779b97f4a7c15
		return h ^ h>>32
	}
	h := uint64(1)
	plane := func(width, height int) {
		if len(raw) < width*height {
			t.Fatalf("the last picture is cut: %d bytes", len(raw))
		}
		for y := range height {
			row := raw[y*width:][:width]
			for ; len(row) >= 8; row = row[8:] {
				h = mix(h, binary.LittleEndian.Uint64(row))
			}
			for _, b := range row {
				h = mix(h, uint64(b))
			}
		}
		raw = raw[width*height:]
	}
	plane(width, height)
	plane((width+1)/2, (height+1)/2)
	plane((width+1)/2, (height+1)/2)
	return h, raw
}

var startCode = []byte{0, 0, 0, 1}

// annexB is frames as a plain file: start codes in place of lengths, parameter sets before each key frame.
func annexB(t *testing.T, frames []frame) []byte {
	t.Helper()
	var file []byte
	for _, f := range frames {
		file = append(file, annexBFrame(t, f)...)
	}
	return file
}

func annexBFrame(t *testing.T, f frame) []byte {
	t.Helper()
	if f.track.CodecPrivate == nil {
		return f.data
	}
	var out []byte
	if f.key {
		for _, set := range parameterSets(t, f.track) {
			out = append(append(out, startCode...), set...)
		}
	}
	for rest := f.data; len(rest) >= 4; {
		n := min(int(binary.BigEndian.Uint32(rest)), len(rest)-4) // of a truncated unit what is there
		out = append(append(out, startCode...), rest[4:4+n]...)
		rest = rest[4+n:]
	}
	return out
}

func parameterSets(t *testing.T, track *mkv.Track) [][]byte {
	t.Helper()
	if track.CodecID == mkv.CodecH264 {
		c, err := mkv.ParseAVCC(track.CodecPrivate)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Concat(c.SPS, c.PPS)
	}
	c, err := mkv.ParseHVCC(track.CodecPrivate)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat(c.VPS, c.SPS, c.PPS)
}

// inBand is frames of a producer that writes Annex B, with the parameter sets in the stream: nothing
// outside tells of a new size.
func inBand(t *testing.T, frames []frame, track *mkv.Track) []frame {
	t.Helper()
	var list []frame
	for _, f := range frames {
		list = append(list, frame{track, annexBFrame(t, f), f.at, f.key})
	}
	return list
}

// through decodes frames on the agent's own way, renderer and child, and gives the checksums of
// each pipeline's pictures. A clip of another codec behind them makes the decoder give out all it has.
func through(t *testing.T, frames []frame) [][]string {
	t.Helper()
	pipelines := 1
	for i, f := range frames {
		if i > 0 && f.track != frames[i-1].track {
			pipelines++
		}
	}
	return throughPipelines(t, frames, pipelines)
}

// throughPipelines is through for frames that take so many pipelines.
func throughPipelines(t *testing.T, frames []frame, want int) [][]string {
	t.Helper()
	behind := clip(t, "64x64", "2", other(frames)...)
	var mu sync.Mutex
	var pipelines [][]string
	r, reports := run(t, decode.Config{Sink: plan.None, Unpaced: true, Pictures: func(n uint32, sums []string) {
		mu.Lock()
		defer mu.Unlock()
		for int(n) > len(pipelines) {
			pipelines = append(pipelines, nil)
		}
		pipelines[n-1] = sums
	}})
	push(r, frames)
	push(r, behind)
	last := "avdec_" + string(formatOf(t, behind).Codec)
	opened := func() int { // pipelines that have been drained, and one
		mu.Lock()
		defer mu.Unlock()
		return len(pipelines)
	}
	await(t, r, reports, "the end", func() bool { return r.Stats().Decoder == last && opened() > want })
	mu.Lock()
	defer mu.Unlock()
	return pipelines[:want]
}

func other(frames []frame) []string {
	if frames[0].track.CodecID == mkv.CodecH264 {
		return x265
	}
	return x264
}

// compare wants the pictures of the agent to be those of the plain file: the same, in order, none twice, none missing.
func compare(t *testing.T, got, want []string) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("picture %d differs (it is picture %d of the plain file); %d pictures came, the plain file has %d",
				i, slices.Index(want, got[i]), len(got), len(want))
		}
	}
	t.Fatalf("%d pictures came, the plain file has %d", len(got), len(want))
}

// inOrder wants the pictures of the agent to be some of the plain file: in order, none twice.
func inOrder(t *testing.T, got, want []string) {
	t.Helper()
	last := -1
	for i, sum := range got {
		at := slices.Index(want, sum)
		if at <= last {
			t.Fatalf("picture %d is picture %d of the plain file, the one before is %d", i, at, last)
		}
		last = at
	}
}

func TestPicturesAreThoseOfThePlainFile(t *testing.T) {
	h264 := func(options ...string) []string {
		return append([]string{"-c:v", "libx264", "-preset", "fast"}, options...)
	}
	h265 := func(options string) []string {
		return []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:" + options}
	}
	for name, c := range map[string]struct {
		width, height int
		encoder       []string
	}{
		"H.264, B-frames":        {320, 180, h264("-bf", "3", "-refs", "4")},
		"H.264, B-pyramid":       {320, 180, h264("-bf", "7", "-x264-params", "b-pyramid=normal:open-gop=1")},
		"H.264, slices":          {320, 180, h264("-x264-params", "slices=4:bframes=2")},
		"H.264, baseline":        {320, 180, h264("-profile:v", "baseline")},
		"H.264, interlaced":      {720, 576, h264("-flags", "+ildct+ilme", "-x264-params", "tff=1:bframes=2")},
		"H.264, 1280x674":        {1280, 674, h264("-preset", "ultrafast", "-bf", "2")},
		"H.264, 1366x768":        {1366, 768, h264("-preset", "ultrafast", "-bf", "2")},
		"H.264, one key frame":   {320, 180, h264("-g", "1000", "-bf", "2")},
		"H.264, key frames only": {320, 180, h264("-g", "1")},
		"H.265, B-frames":        {320, 180, h265("bframes=4:b-adapt=0")},
		"H.265, open GOP":        {320, 180, h265("bframes=4:open-gop=1:keyint=10:min-keyint=10")},
		"H.265, slices":          {320, 180, h265("slices=3:bframes=2")},
		"H.265, interlaced":      {320, 180, h265("interlace=tff:bframes=2")},
		"H.265, 1280x674":        {1280, 674, h265("bframes=2")},
		"H.265, 1366x768":        {1366, 768, h265("bframes=2")},
	} {
		t.Run(name, func(t *testing.T) {
			frames := clip(t, strconv.Itoa(c.width)+"x"+strconv.Itoa(c.height), "45", c.encoder...)
			want := reference(t, ffmpeg, frames, size{c.width, c.height, 45})
			if len(want) != 45 || len(slices.Compact(slices.Sorted(slices.Values(want)))) != 45 {
				t.Fatalf("the plain file has %d pictures, or some of them are the same", len(want))
			}
			compare(t, through(t, frames)[0], want)
		})
	}
}

// kept keeps frames in an input that is not shown, shows it, and gives the checksums of the pictures that are decoded.
func kept(t *testing.T, frames []frame) []string {
	t.Helper()
	behind := clip(t, "64x64", "1", other(frames)...) // makes the decoder give out all it has
	var mu sync.Mutex
	pipelines := map[uint32][]string{}
	r, reports := run(t, decode.Config{Sink: plan.None, Unpaced: true, Pictures: func(n uint32, sums []string) {
		mu.Lock()
		defer mu.Unlock()
		pipelines[n] = sums
	}})
	in := r.Input("kept", plan.Preference{})
	for _, f := range frames {
		in.Push(mkvFrame(f), f.at, false, time.Time{})
	}
	r.Show(in)
	in.Push(mkvFrame(behind[0]), behind[0].at, false, time.Time{})
	await(t, r, reports, "another pipeline", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(pipelines) == 2
	})
	mu.Lock()
	defer mu.Unlock()
	return pipelines[slices.Min(slices.Collect(maps.Keys(pipelines)))]
}

// A stream that is put on the screen is decoded from its last key frame on, without the frames that no other refers
// to. That must not be seen in those that are decoded.
func TestPicturesOfAKeptGroup(t *testing.T) {
	for name, c := range map[string]struct {
		encoder []string
		most    int // of 45 frames, so many are decoded at the most
	}{
		"H.264, B-frames":    {[]string{"-c:v", "libx264", "-bf", "2", "-x264-params", "b-adapt=0:b-pyramid=none"}, 20},
		"H.264, B-pyramid":   {[]string{"-c:v", "libx264", "-bf", "7", "-x264-params", "b-adapt=0:b-pyramid=normal"}, 30},
		"H.264, slices":      {[]string{"-c:v", "libx264", "-bf", "2", "-x264-params", "b-adapt=0:b-pyramid=none:slices=4"}, 20},
		"H.264, interlaced":  {[]string{"-c:v", "libx264", "-bf", "2", "-flags", "+ildct+ilme", "-x264-params", "tff=1:b-adapt=0:b-pyramid=none"}, 20},
		"H.264, no B-frames": {[]string{"-c:v", "libx264", "-bf", "0"}, 45},
		"H.265, B-frames":    {[]string{"-c:v", "libx265", "-x265-params", "log-level=error:b-adapt=0:bframes=3"}, 30},
		"H.265, layers":      {[]string{"-c:v", "libx265", "-x265-params", "log-level=error:b-adapt=0:bframes=3:temporal-layers=3"}, 30},
	} {
		t.Run(name, func(t *testing.T) {
			frames := clip(t, "320x180", "45", append(c.encoder, "-preset", "fast", "-g", "100")...)
			want, got := reference(t, ffmpeg, frames, size{320, 180, 45}), kept(t, frames)
			if len(got) > c.most || len(got) < 45/8 {
				t.Errorf("of 45 frames %d were decoded", len(got))
			}
			inOrder(t, got, want)
			if !slices.Contains(got, want[44]) {
				t.Error("the last picture is missing")
			}
		})
	}
}

func TestPicturesOfChangingStreams(t *testing.T) {
	for name, c := range map[string][]string{"H.264": x264, "H.265": x265} {
		t.Run(name, func(t *testing.T) {
			small, large := clip(t, "320x180", "40", c...), clip(t, "642x362", "40", c...)
			sizes := []size{{320, 180, 40}, {642, 362, 40}, {320, 180, 40}}

			// Each size with a track of its own.
			again := slices.Clone(small)
			for i := range again {
				track := *again[i].track
				again[i].track = &track
				if i > 0 {
					again[i].track = again[0].track
				}
			}
			frames := slices.Concat(small, large, again)
			want := reference(t, ffmpeg, frames, sizes...)
			compare(t, slices.Concat(through(t, frames)...), want)

			// All in one track, which says nothing of it: parameter sets of another size in band open another decoder.
			track := &mkv.Track{Number: 1, Type: mkv.Video, CodecID: small[0].track.CodecID}
			compare(t, slices.Concat(throughPipelines(t, inBand(t, frames, track), len(sizes))...), want)
		})
	}
}

// What is broken on the way must not break more.
func TestPicturesOfBrokenStreams(t *testing.T) {
	for codec, encoder := range map[string][]string{
		"H.264": append(slices.Clone(x264), "-sc_threshold", "0"),
		"H.265": {"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=2:scenecut=0:keyint=30:min-keyint=30:open-gop=0"},
	} {
		whole := clip(t, "320x180", "90", encoder...)
		keys := []int{}
		for i, f := range whole {
			if f.key {
				keys = append(keys, i)
			}
		}
		if len(keys) != 3 {
			t.Fatalf("key frames at %v", keys)
		}
		t.Run(codec+", a key frame is missing", func(t *testing.T) {
			frames := slices.Delete(slices.Clone(whole), keys[1], keys[1]+1)
			compare(t, through(t, frames)[0], reference(t, avdec, frames, size{320, 180, 90}))
		})
		t.Run(codec+", the first key frame is missing", func(t *testing.T) {
			compare(t, through(t, whole[1:])[0], reference(t, avdec, whole[keys[1]:], size{320, 180, 90}))
		})
		t.Run(codec+", a NAL unit is truncated", func(t *testing.T) {
			frames := slices.Clone(whole)
			cut := &frames[keys[1]+5]
			cut.data = bytes.Clone(cut.data[:len(cut.data)*2/3])
			got, want := through(t, frames)[0], reference(t, avdec, frames, size{320, 180, 90})
			compare(t, got[:keys[1]], want[:keys[1]])
			n := 90 - keys[2] // from the next key frame on all is well
			compare(t, got[len(got)-n:], want[len(want)-n:])
			if len(got) < 88 {
				t.Errorf("of 90 frames, one of them truncated, only %d became pictures", len(got))
			}
		})
	}
}
