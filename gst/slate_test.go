package gst

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

var testSlate = decode.Slate{
	Device: "gate-7", Stream: "entrance", State: "Not connected, trying again", Code: "ingest.unreachable",
	Message: "The service could not be reached.", Since: time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC), After: 3 * time.Second,
}

// shows says that a screen shows a slate, whatever its clock says.
func shows(screen image.Image, s decode.Slate) bool {
	size := plan.Mode{Width: 1280, Height: 720}
	want := drawSlate(s, size, time.Now())
	wrong := 0
	for y := 0; y < size.Height*8/10; y += 2 {
		for x := 0; x < size.Width; x += 2 {
			if !near(color.RGBAModel.Convert(screen.At(x, y)).(color.RGBA), want.RGBAAt(x, y)) {
				wrong++
			}
		}
	}
	return wrong < 500 // the pointer
}

func awaitScreen(t *testing.T, display, what string, ok func(image.Image) bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok(screenshot(t, display)) {
		if time.Now().After(deadline) {
			t.Fatalf("the screen never shows %s", what)
		}
	}
}

// The slate is there before anything came, goes with the first picture, and comes back with its new text
// when there are no more.
func TestSlateUnderX(t *testing.T) {
	display := virtualX(t, plan.Mode{Width: 1280, Height: 720})
	frames := clip(t, "640x360", "60", append([]string{"-vf", "drawbox=w=iw:h=ih:color=red:t=fill"}, x264...)...)
	t.Setenv("DISPLAY", display)
	r, reports := run(t, decode.Config{Sink: plan.X11})
	r.SetSlate(testSlate)
	awaitScreen(t, display, "the slate", func(i image.Image) bool { return shows(i, testSlate) })
	picture := func(i image.Image) bool {
		return near(color.RGBAModel.Convert(i.At(100, 360)).(color.RGBA), color.RGBA{254, 0, 0, 255})
	}
	push(r, frames)
	await(t, r, reports, "pictures", func() bool { return r.Stats().Shown > 0 })
	awaitScreen(t, display, "the picture", picture)
	another := testSlate
	another.State = "Connected, but nothing arrives"
	r.SetSlate(another)
	awaitScreen(t, display, "the slate again", func(i image.Image) bool { return shows(i, another) })
}

func TestWhenTheSlateIsDue(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1_000_000_000_000 + int64(ms)) }
	var l slates
	text := testSlate
	text.After = 500 * time.Millisecond
	step := func(what string, ms int, want bool) {
		t.Helper()
		if got := l.due(at(ms)); got != want {
			t.Errorf("%s, at %d ms: %v", what, ms, got)
		}
		if want {
			l.drew(l.text, at(ms))
		}
	}
	step("without a text", 0, false)
	l.set(text, at(0))
	step("at the start", 399, false)
	l.opening(at(300))
	step("a decoder has started", 799, false)
	step("and nothing comes", 800, true)
	step("drawn", 900, false)
	step("the clock", 1000, true)
	text.Code = ""
	l.set(text, at(1200))
	step("another text", 1200, true)
	l.picture(at(1300))
	step("a picture", 1400, false)
	l.picture(at(1300))
	step("still within the time", 1799, false)
	step("none for longer", 1800, true)
	l.picture(at(1900))
	l.cut(at(1950))
	step("another stream", 2600, false)
	step("which has no picture", 2650, true)
	l.cleared()
	step("another screen", 2660, true)

	l = slates{}
	text.Alive = true
	l.set(text, at(0))
	l.picture(at(100))
	step("one picture so far", 5000, false)
	l.frames(0, at(5000))
	step("a frame has come that is not seen", 5499, false)
	step("for too long", 5500, true)
	l.picture(at(5600))
	l.frames(5*time.Second, time.Time{})
	step("frames are rare", 12_000, false)
	text.Alive = false
	l.set(text, at(12_000))
	step("but the session does not play", 12_000, true)
	text.Alive = true
	l.set(text, at(12_100))
	l.picture(at(12_100))
	l.frames(100*time.Millisecond, time.Time{})
	step("frames are not rare", 12_700, true)
	l.picture(at(13_000))
	l.frames(5*time.Second, time.Time{})
	l.cut(at(13_000))
	step("it is a picture of another stream", 13_700, true)

	l = slates{}
	text.AtOnce = true
	l.set(text, at(0))
	l.opening(at(0))
	step("nothing came of the process before", 0, true)
}

// The text changes while the clock is drawn.
func TestSlatesAreDrawnAtTheSameTime(t *testing.T) {
	size := plan.Mode{Width: 320, Height: 180}
	want := drawSlate(testSlate, size, testSlate.Since)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				if !bytes.Equal(drawSlate(testSlate, size, testSlate.Since).Pix, want.Pix) {
					t.Error("a slate is drawn into another")
					return
				}
			}
		})
	}
	all.Wait()
}

func TestWrap(t *testing.T) {
	fits := func(s string) bool { return utf8.RuneCountInString(s) <= 7 }
	for text, want := range map[string][]string{
		"":                        nil,
		"one":                     {"one"},
		"one two three":           {"one two", "three"},
		"one two three four five": {"one two", "three …"},
		"immeasurable x":          {"immeasu", "rable x"},
		"one immeasurable":        {"one", "immea …"},
		"edge-west/stream":        {"edge-", "west/ …"},
	} {
		if got := wrap(text, 2, fits); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Noise is what compresses worst.
func TestJPEGFits(t *testing.T) {
	noise := func(width int) (*image.RGBA, error) {
		width = min(width, 1920)
		img := image.NewRGBA(image.Rect(0, 0, width, width*9/16))
		random := rand.New(rand.NewPCG(1, 2))
		for i := range img.Pix {
			img.Pix[i] = byte(random.Uint32())
		}
		return img, nil
	}
	for _, most := range []int{0, 128 << 10, 16 << 10} {
		b, err := encodeJPEG(noise, most)
		if err != nil || most > 0 && len(b) > most {
			t.Fatalf("%d bytes, %v; at most %d were asked for", len(b), err, most)
		}
		if _, err := jpeg.Decode(bytes.NewReader(b)); err != nil {
			t.Error(err)
		}
	}
	broken := errors.New("no picture")
	if _, err := encodeJPEG(func(int) (*image.RGBA, error) { return nil, broken }, 0); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestAnotherProgramHoldsTheDisplay(t *testing.T) {
	for errno, busy := range map[syscall.Errno]bool{0: false, syscall.EBUSY: true, syscall.EACCES: true, syscall.EINVAL: false, syscall.ENOTTY: false} {
		if got := errors.Is(masterError(errno), errBusy); got != busy {
			t.Errorf("%v: %v", errno, got)
		}
	}
	if f := displayFailure(masterError(syscall.EBUSY)); f.Code != report.CodeBusy {
		t.Errorf("%+v", f)
	}
	if _, err := openCard("/does/not/exist"); displayFailure(err).Code != report.CodeNoDisplay {
		t.Errorf("%v", err)
	}
}

// Switching shows the kept group of the other stream at once.
func TestShowSwitches(t *testing.T) {
	red := clip(t, "320x180", "60", append([]string{"-vf", "drawbox=w=iw:h=ih:color=red:t=fill"}, x264...)...)
	blue := clip(t, "640x360", "50", append([]string{"-vf", "drawbox=w=iw:h=ih:color=blue:t=fill"}, x265...)...)
	r, reports := run(t, decode.Config{Sink: plan.None})
	other := r.Input("other", plan.Preference{})
	for _, f := range blue {
		other.Push(mkvFrame(f), f.at, false, time.Time{})
	}
	push(r, red)
	await(t, r, reports, "the first stream", func() bool { return r.Stats().Shown > 0 && r.Stats().Fed == 60 })
	if got := snapshotColour(t, r); !near(got, color.RGBA{254, 0, 0, 255}) {
		t.Errorf("the first stream is %v", got)
	}
	r.Show(other)
	await(t, r, reports, "the newest of the other stream", func() bool { return r.Stats().FrameTime >= blue[40].at })
	if got := snapshotColour(t, r); !near(got, color.RGBA{0, 0, 254, 255}) {
		t.Errorf("the other stream is %v", got)
	}
	group := 0 // frames of the last
	for _, f := range blue {
		if group++; f.key {
			group = 1
		}
	}
	s := r.Stats()
	if s.Fed <= uint64(len(red)) || s.Fed > uint64(len(red)+group) || s.Restarts != 0 || s.Decoder != "avdec_h265" { // its last group
		t.Errorf("%+v", s)
	}
}

// Where decoding the kept group takes long, that is seen instead of waited for.
func TestCatchingUpIsSeen(t *testing.T) {
	frames := clip(t, "1920x1080", "120", "-vf", "noise=alls=10:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "10M", "-bf", "0", "-g", "1000")
	r, reports := run(t, decode.Config{Sink: plan.None})
	in := r.Input("kept", plan.Preference{})
	for _, f := range frames {
		in.Push(mkvFrame(f), f.at, false, time.Time{})
	}
	r.Show(in)
	var seen []time.Duration
	await(t, r, reports, "the newest picture", func() bool {
		s := r.Stats()
		if !s.Wall.IsZero() && (len(seen) == 0 || s.FrameTime != seen[len(seen)-1]) {
			seen = append(seen, s.FrameTime)
		}
		return s.FrameTime >= frames[118].at
	})
	if len(seen) < 2 || !slices.IsSorted(seen) {
		t.Errorf("pictures of %v were seen", seen)
	}
}
