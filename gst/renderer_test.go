package gst

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// childEnv makes the test binary a renderer child.
const childEnv = "TEST_EDGE_AGENT_RENDERER"

// run starts a renderer with real children and returns it with its reports. It is stopped
// at the end of the test.
func run(t *testing.T, c decode.Config) (*decode.Renderer, chan report.Report) {
	t.Helper()
	reports := make(chan report.Report, 100)
	c.Program, c.Env = decode.NewProgram(os.Args[0]), append(c.Env, childEnv+"=1", "GORACE=atexit_sleep_ms=0")
	if c.Sandbox.User == "" {
		c.Sandbox.User = "root" // another user may not come to where go test puts its programs
	}
	c.DRM = fstest.MapFS{}
	c.Report = func(r report.Report) { reports <- r }
	if c.Patience == (decode.Patience{}) {
		c.Patience = decode.DefaultPatience
		c.Patience.Status = patience // a busy machine is no fault
	}
	r := decode.New(c)
	ctx, stop := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-end:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("Run does not return")
		}
	})
	return r, reports
}

func push(r *decode.Renderer, frames []frame) {
	for _, f := range frames {
		r.Push(mkvFrame(f), f.at, false)
	}
}

// stream pushes frames as they come from a camera, over and over, until the test ends: pictures that are late are left out,
// and others follow.
func stream(t *testing.T, r *decode.Renderer, frames []frame) {
	const step = time.Second / 30
	end := make(chan struct{})
	var work sync.WaitGroup
	work.Go(func() {
		tick := time.NewTicker(step)
		defer tick.Stop()
		for begin := time.Duration(0); ; begin += time.Duration(len(frames)) * step {
			for _, f := range frames {
				r.Push(mkvFrame(f), begin+f.at, false)
				select {
				case <-end:
					return
				case <-tick.C:
				}
			}
		}
	})
	t.Cleanup(func() {
		close(end)
		work.Wait()
	})
}

func mkvFrame(f frame) *mkv.Frame { return &mkv.Frame{Track: f.track, Data: f.data, Key: f.key} }

// snapshotColour is the colour in the middle of what is on the screen.
func snapshotColour(t *testing.T, r *decode.Renderer) color.RGBA {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := r.Snapshot(ctx, decode.Snapshot{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return color.RGBAModel.Convert(img.At(img.Bounds().Dx()/2, img.Bounds().Dy()/2)).(color.RGBA)
}

// await polls until ok says so; a report ends the test.
func await(t *testing.T, r *decode.Renderer, reports chan report.Report, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case report := <-reports:
			t.Fatalf("waiting for %s: %s: %s", what, report.Code, report.Message)
		case <-deadline:
			t.Fatalf("waiting for %s: %+v", what, r.Stats())
		case <-tick.C:
		}
	}
}

func TestRendererDecodesEveryFrame(t *testing.T) {
	frames := clip(t, "320x180", "300", x264...)
	r, reports := run(t, decode.Config{Sink: plan.None, Unpaced: true})
	push(r, frames)
	await(t, r, reports, "the pictures", func() bool { return r.Stats().Shown >= 298 }) // the decoder keeps two for B-frames
	if s := r.Stats(); s.Dropped != 0 || s.Restarts != 0 || s.Decoder != "avdec_h264" || s.FrameTime < frames[290].at {
		t.Errorf("%+v", s)
	}
}

func TestNewSizeInMidStream(t *testing.T) {
	r, reports := run(t, decode.Config{Sink: plan.None, Unpaced: true})
	push(r, clip(t, "320x180", "60", x264...))
	push(r, clip(t, "642x362", "60", x265...))
	await(t, r, reports, "the pictures", func() bool { return r.Stats().Shown >= 60+56 })
	if s := r.Stats(); s.Decoder != "avdec_h265" || s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := r.Snapshot(ctx, decode.Snapshot{PNG: true})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := png.DecodeConfig(bytes.NewReader(b)); err != nil || c.Width != 642 || c.Height != 362 {
		t.Errorf("snapshot: %+v, %v", c, err)
	}
}

// A driver's fault ends the child; the same decoder, of which there is none better, goes on where it was.
func TestFaultIsReportedWithItsSignal(t *testing.T) {
	frames := clip(t, "320x180", "60", "-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline")
	r, reports := run(t, decode.Config{Sink: plan.None, Unpaced: true})
	push(r, frames[:45])
	await(t, r, reports, "the pictures", func() bool { return r.Stats().Shown >= 40 })
	pid := childOf(t, os.Getpid())
	if err := syscall.Kill(pid, syscall.SIGSEGV); err != nil {
		t.Fatal(err)
	}
	crash := <-reports
	if crash.Code != report.CodeCrash || crash.Detail["signal"] != "segmentation fault" {
		t.Errorf("%+v", crash)
	}
	back := <-reports
	if back.Code != report.CodeRecovered || back.Detail["element"] != "avdec_h264" {
		t.Errorf("%+v", back)
	}
	push(r, frames[45:])
	await(t, r, reports, "the newest picture", func() bool { return r.Stats().FrameTime >= frames[58].at })
}

// childOf finds the only child process.
func childOf(t *testing.T, parent int) int {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		var pid int
		if n, _ := fmt.Sscan(string(b), &pid); n == 1 {
			return pid
		}
	}
	t.Fatal("there is no child")
	return 0
}

// The window fills the screen, whatever its size, and the picture keeps its aspect in it.
func TestWindowUnderX(t *testing.T) {
	frames := clip(t, "640x360", "30", append([]string{"-vf", "drawbox=x=0:y=0:w=320:h=ih:color=red:t=fill,drawbox=x=320:y=0:w=320:h=ih:color=blue:t=fill"}, x264...)...)
	red, blue, black := color.RGBA{254, 0, 0, 255}, color.RGBA{0, 0, 254, 255}, color.RGBA{0, 0, 0, 255}
	for _, c := range []struct {
		screen plan.Mode
		want   map[image.Point]color.RGBA
	}{
		{plan.Mode{Width: 1280, Height: 720}, map[image.Point]color.RGBA{{100, 360}: red, {1180, 700}: blue, {5, 5}: red}},
		{plan.Mode{Width: 1024, Height: 768}, map[image.Point]color.RGBA{{5, 384}: red, {1018, 384}: blue, {500, 40}: black, {700, 740}: black, {900, 110}: blue}},
	} {
		display := virtualX(t, c.screen)
		t.Setenv("DISPLAY", display)
		r, reports := run(t, decode.Config{Sink: plan.X11, Unpaced: true})
		push(r, frames)
		await(t, r, reports, "the window", func() bool { return r.Stats().Shown > 0 })
		if got := r.Stats().Mode; got != c.screen {
			t.Errorf("the screen is %v, not %v", got, c.screen)
		}
		screen := screenshot(t, display)
		for at, want := range c.want {
			if got := color.RGBAModel.Convert(screen.At(at.X, at.Y)).(color.RGBA); !near(got, want) {
				t.Errorf("%v: at %v the screen is %v, not %v", c.screen, at, got, want)
			}
		}
	}
}

func near(a, b color.RGBA) bool {
	d := func(x, y uint8) int { return max(int(x)-int(y), int(y)-int(x)) }
	return d(a.R, b.R) < 12 && d(a.G, b.G) < 12 && d(a.B, b.B) < 12
}

// virtualX starts an X server without a screen and returns its display.
func virtualX(t *testing.T, size plan.Mode) string {
	t.Helper()
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Skip("Xvfb is not installed: no window can be shown")
	}
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", fmt.Sprintf("%dx%dx24", size.Width, size.Height), "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{write}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	_ = read.SetReadDeadline(time.Now().Add(patience))
	number, err := io.ReadAll(read)
	if err != nil && len(number) == 0 {
		t.Fatalf("Xvfb does not come up: %v", err)
	}
	return ":" + strings.TrimSpace(string(number))
}

// screenshot takes what is on the X server's screen.
func screenshot(t *testing.T, display string) image.Image {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-v", "error", "-f", "x11grab", "-i", display, "-frames:v", "1", "-f", "image2pipe", "-c:v", "png", "-").Output()
	if err != nil {
		t.Fatalf("ffmpeg cannot grab the screen: %v", err)
	}
	img, err := png.Decode(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	return img
}
