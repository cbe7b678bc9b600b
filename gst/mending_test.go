package gst

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/kvstest/forms"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// formed makes a moving test picture with ffmpeg, with a key frame every group frames, and rewrites it in a form.
func formed(t *testing.T, frames, group int, form func(forms.Clip) forms.Clip, encoder ...string) forms.Clip {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed: no clip can be made")
	}
	file := filepath.Join(t.TempDir(), "clip.mkv")
	args := []string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=30:size=320x180", "-frames:v", strconv.Itoa(frames), "-pix_fmt", "yuv420p"}
	args = append(append(args, encoder...), "-g", strconv.Itoa(group), file)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := forms.Read(body)
	if err != nil {
		t.Fatal(err)
	}
	return form(c)
}

// broadcast pushes the blocks of a clip as a camera sends them: each at its time. before is called with each
// access unit's number, counted from 1. Times begin at base.
func broadcast(t *testing.T, in *decode.Input, c forms.Clip, base time.Duration, before func(frame int)) {
	t.Helper()
	started, frame, last := time.Now(), 0, time.Duration(-1)
	var highest time.Duration
	for _, b := range c.Blocks {
		if b.Time != last {
			frame++
			last = b.Time
			highest = max(highest, b.Time)
			if wait := time.Until(started.Add(highest)); wait > 0 {
				<-time.After(wait)
			}
			before(frame)
		}
		in.Push(&mkv.Frame{Track: &c.Tracks[0], Data: bytes.Clone(b.Data), Key: b.Key}, base+b.Time, false, time.Now())
	}
}

// After a renderer's death in mid-group every frame that comes later is settled within the group, and is shown.
func TestLiveStreamAfterADeathInMidGroup(t *testing.T) {
	same := func(c forms.Clip) forms.Clip { return c }
	apart := func(c forms.Clip) forms.Clip { return forms.SetsApart(c, false) }
	annexB := func(c forms.Clip) forms.Clip { return forms.AnnexB(c, 0) }
	h265 := func(options string) []string {
		return []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:keyint=150:min-keyint=150:scenecut=0:" + options}
	}
	x264 := []string{"-c:v", "libx264", "-preset", "ultrafast", "-sc_threshold", "0"}
	for name, c := range map[string]struct {
		form    func(forms.Clip) forms.Clip
		encoder []string
	}{
		"H.264, B-frames":             {same, append(x264[:len(x264):len(x264)], "-bf", "2")},
		"H.264":                       {same, append(x264[:len(x264):len(x264)], "-bf", "0")},
		"H.264, Annex B":              {annexB, append(x264[:len(x264):len(x264)], "-bf", "2")},
		"H.264, parameter sets apart": {apart, append(x264[:len(x264):len(x264)], "-bf", "2")},
		"H.265":                       {same, h265("bframes=2")},
		"H.265, Annex B":              {annexB, h265("bframes=2")},
	} {
		t.Run(name, func(t *testing.T) {
			const frames, killed = 110, 40
			film := formed(t, frames, 150, c.form, c.encoder...)
			r, reports := run(t, decode.Config{Sink: plan.None})
			in := r.Input("live", plan.Preference{})
			r.Show(in)
			broadcast(t, in, film, time.Hour, func(frame int) {
				addUp(t, in)
				if frame == killed {
					kill(t)
				}
			})
			until(t, "the frames are settled", func() bool { // but for those that the decoder keeps for B-frames
				counts := addUp(t, in)
				return counts.Received >= frames-1 && counts.Queued <= 4
			})
			counts := in.Counts()
			if counts.Shown == 0 || counts.Dropped[report.DropNoPicture] > 0 || counts.Dropped[report.DropDecoderFailed] > 0 {
				t.Errorf("%+v", counts)
			}
			if newest, wanted := r.Stats().FrameTime, time.Hour+frames*time.Second/30-200*time.Millisecond; newest < wanted {
				t.Errorf("the newest picture is of %v, not of %v at the least: %+v", newest, wanted, counts)
			}
			if crash := <-reports; crash.Code != report.CodeCrash {
				t.Errorf("%+v", crash)
			}
		})
	}
}

// kill kills the renderer.
func kill(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(childOf(t, os.Getpid()), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// addUp wants every frame of an input to be accounted for.
func addUp(t *testing.T, in *decode.Input) report.FrameCounts {
	t.Helper()
	counts := in.Counts()
	if counts.Received != counts.Shown+counts.Hidden+counts.DroppedSum()+counts.Queued {
		t.Fatalf("%+v do not add up", counts)
	}
	return counts
}

// Whatever happens to a renderer and to what it shows, every frame of every stream is accounted for at every
// moment, and in the end it is known of each what became of it.
func TestFramesAddUpOverFaults(t *testing.T) {
	const frames = 60
	encoder := []string{"-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"}
	same := func(c forms.Clip) forms.Clip { return c }
	films := []forms.Clip{
		formed(t, frames, 25, same, encoder...),
		formed(t, frames, 25, func(c forms.Clip) forms.Clip { return forms.SetsApart(c, true) }, encoder...),
		formed(t, frames, 25, same, append(encoder[:len(encoder):len(encoder)], "-s", "416x240")...),
		formed(t, frames, 25, same, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=2:keyint=25"),
	}
	for seed := range uint64(3) {
		t.Run("seed "+strconv.FormatUint(seed, 10), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 10))
			r, reports := run(t, decode.Config{Sink: plan.None})
			none := r.Input("none", plan.Preference{})
			streams := []*decode.Input{r.Input("first", plan.Preference{}), r.Input("second", plan.Preference{})}
			shown := streams[0]
			r.Show(shown)
			until(t, "there is a child", func() bool { return r.Stats().GStreamer != "" })
			stopped := 0 // the process that is stopped
			resume := func() {
				if stopped != 0 {
					_ = syscall.Kill(stopped, syscall.SIGCONT)
					stopped = 0
				}
			}
			t.Cleanup(resume)
			faults := []func(){
				func() { resume(); kill(t) },
				func() { shown = streams[random.IntN(len(streams))]; r.Show(shown) },
				func() { // the decoder gets no CPU for a while
					resume()
					stopped = childOf(t, os.Getpid())
					_ = syscall.Kill(stopped, syscall.SIGSTOP)
				},
				resume,
			}
			for turn := range 3 {
				film := films[random.IntN(len(films))] // another format, mostly
				other := films[random.IntN(len(films))]
				base := time.Hour + time.Duration(turn)*frames*time.Second/30
				broadcast(t, streams[0], film, base, func(frame int) {
					if frame <= len(other.Blocks) {
						b := other.Blocks[frame-1]
						streams[1].Push(&mkv.Frame{Track: &other.Tracks[0], Data: b.Data, Key: b.Key}, base+b.Time, false, time.Now())
					}
					if random.IntN(12) == 0 && len(childrenOf(os.Getpid())) == 1 {
						faults[random.IntN(len(faults))]()
					}
					for _, in := range streams {
						addUp(t, in)
					}
					for len(reports) > 0 {
						<-reports
					}
				})
			}
			resume()
			r.Show(none)
			for _, in := range streams {
				until(t, "every frame is settled", func() bool { return addUp(t, in).Queued <= 1 }) // the newest may still be shown
			}
			for _, in := range streams {
				in.Close()
				if counts := addUp(t, in); counts.Queued != 0 || counts.Received == 0 {
					t.Errorf("%+v", counts)
				}
			}
		})
	}
}
