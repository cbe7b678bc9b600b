package gst

import (
	"image"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-gst/go-gst/gst"
	"github.com/go-gst/go-gst/gst/app"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/timeline"
)

// blindScreen gives a display that nobody sees.
func blindScreen(t *testing.T) *screen {
	t.Helper()
	s, err := newScreen(decode.Screen{Display: plan.Display{Sink: plan.None}}, func() {}, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// hang makes a screen take nothing from its source until the answer is called. A paused pipeline would not do: from 1.26 on its
// source refuses what it is given.
func hang(t *testing.T, s *screen) (release func()) {
	t.Helper()
	source, err := s.pipeline.GetElementByName("source")
	if err != nil {
		t.Fatal(err)
	}
	pad := source.GetStaticPad("src")
	id := pad.AddProbe(gst.PadProbeTypeBlockDownstream, func(*gst.Pad, *gst.PadProbeInfo) gst.PadProbeReturn { return gst.PadProbeOK })
	return func() { pad.RemoveProbe(id) }
}

// A display that takes no more pictures keeps nobody waiting for longer than was asked for, also if that time is over already.
func TestDrainOfAScreenThatHangs(t *testing.T) {
	s := blindScreen(t)
	hang(t, s)
	img := image.NewRGBA(image.Rect(0, 0, 64, 64))
	if !s.slate(img, 0) {
		t.Fatal("the screen does not take a picture")
	}
	done := make(chan struct{})
	go func() { s.drain(-time.Second); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Error("it is waited for")
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
	<-done
}

// showOn gives a pipeline that decodes frames for a screen.
func showOn(t *testing.T, s *screen, frames []frame) *show {
	t.Helper()
	plans := plan.Choose(formatOf(t, frames), plan.Display{Sink: plan.None}, plan.Preference{}, plan.Known{Found: []string{"avdec_h264"}})
	show, err := newShow(decode.Open{Number: 1, Plan: plans[0], Latency: timeline.DefaultLatency}, s, decode.NewWriter(io.Discard), func() {})
	if err != nil {
		t.Fatal(err)
	}
	return show
}

// put decodes one frame, as of a recording: it is due when its time says so, also if it comes in a burst.
func put(show *show, number uint64, f frame) {
	m := decode.Message{Kind: decode.KindFrame, Flags: decode.FlagStored, Number: number, Time: int64(f.at), Payload: f.data}
	if f.key {
		m.Flags |= decode.FlagKey
	}
	show.frame(m)
}

// widths notes how wide what comes to a screen is, in its order.
func widths(t *testing.T, s *screen) func() []int {
	t.Helper()
	sink, err := s.pipeline.GetElementByName("sink")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var list []int
	sink.GetStaticPad("sink").AddProbe(gst.PadProbeTypeBuffer, func(pad *gst.Pad, _ *gst.PadProbeInfo) gst.PadProbeReturn {
		width, _ := pad.GetCurrentCaps().GetStructureAt(0).GetValue("width")
		mu.Lock()
		defer mu.Unlock()
		list = append(list, width.(int))
		return gst.PadProbeOK
	})
	return func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// fullSource fills the source of a screen that hangs, so that it says of each thing that is given to it, before it takes it.
func fullSource(t *testing.T, s *screen, asked func()) (release func()) {
	t.Helper()
	release = hang(t, s)
	element, err := s.pipeline.GetElementByName("source")
	if err != nil {
		t.Fatal(err)
	}
	source := app.SrcFromElement(element)
	source.SetCaps(gst.NewCapsFromString("video/x-raw,format=RGBx,width=8,height=8,framerate=0/1"))
	for range 2 { // it may take one of them in spite of that
		if ret := source.PushBuffer(gst.NewBufferFromBytes(make([]byte, 8*8*4))); ret != gst.FlowOK {
			t.Fatal(ret)
		}
	}
	if err := element.SetProperty("max-buffers", uint64(1)); err != nil {
		t.Fatal(err)
	}

	source.SetEmitSignals(true)
	if _, err := source.Connect("enough-data", func(*gst.Element) { asked() }); err != nil {
		t.Fatal(err)
	}
	return release
}

// A picture that comes while a slate is being given to the display is seen after it.
func TestAPictureThatComesDuringASlateIsSeenAfterIt(t *testing.T) {
	frames := clip(t, "160x90", "1", x264...)
	s := blindScreen(t)
	seen := widths(t, s)
	asked, slate := make(chan struct{}, 8), make(chan struct{})
	var first sync.Once
	release := fullSource(t, s, func() {
		held := false
		first.Do(func() { held = true })
		asked <- struct{}{}
		if held {
			<-slate
		}
	})
	given := make(chan bool)
	go func() { given <- s.slate(image.NewRGBA(image.Rect(0, 0, 64, 64)), 0) }()
	<-asked
	show := showOn(t, s, frames)
	put(show, 1, frames[0])
	show.player.endOfStream() // its decoder has only one frame
	until(t, "the picture is at the screen", func() bool { return show.status().Held || len(asked) > 0 })
	select {
	case <-asked: // it has overtaken the slate
	case <-time.After(100 * time.Millisecond): // it waits, of which nothing is to be seen
	}
	close(slate)
	if !<-given {
		t.Error("the slate is refused")
	}
	release()
	until(t, "all of it was seen", func() bool { return len(seen()) == 4 })
	if got := seen(); !slices.Equal(got, []int{8, 8, 64, 160}) {
		t.Errorf("what came to the screen was so wide: %v", got)
	}
	show.drain(patience)
	if _, err := show.close(report.DropLate, report.DropNoPicture); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// A slate without pixels is none.
func TestASlateWithoutPixels(t *testing.T) {
	s := blindScreen(t)
	for _, size := range []image.Rectangle{image.Rect(0, 0, 64, 0), image.Rect(0, 0, 0, 64)} {
		if s.slate(image.NewRGBA(size), 0) {
			t.Errorf("one of %v is taken", size)
		}
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// A slate that was decided on before a picture came does not go on top of it. It does if it is decided on after that.
func TestASlateOfAMomentAgoIsRefused(t *testing.T) {
	frames := clip(t, "160x90", "1", x264...)
	s := blindScreen(t)
	slate := image.NewRGBA(image.Rect(0, 0, 64, 64))
	before, at := s.pictures()
	if before != 0 || !at.IsZero() {
		t.Errorf("without a picture there are %d, the newest at %v", before, at)
	}
	show := showOn(t, s, frames)
	put(show, 1, frames[0])
	show.drain(patience)
	after, at := s.pictures()
	if after != 1 || at.IsZero() {
		t.Errorf("after one picture there are %d, the newest at %v", after, at)
	}
	if s.slate(slate, before) {
		t.Error("the slate goes on top of a picture that came later")
	}
	if !s.slate(slate, after) {
		t.Error("another slate is refused")
	}
	if _, err := show.close(report.DropLate, report.DropNoPicture); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// Whether a slate is due is decided with the newest picture, also if the agent has not been told of it yet.
func TestASlateIsNotDueRightAfterAPicture(t *testing.T) {
	frames := clip(t, "160x90", "1", x264...)
	s := blindScreen(t)
	show := showOn(t, s, frames)
	server := &server{screen: s, show: show}
	server.slates.set(testSlate, time.Now().Add(-time.Minute))
	put(show, 1, frames[0])
	show.drain(patience)
	if server.drawSlate(time.Now()); server.slates.up {
		t.Error("a slate is on top of a picture that is new")
	}
	if server.drawSlate(time.Now().Add(testSlate.After)); !server.slates.up {
		t.Error("there is no slate when no picture came for a while")
	}
	if _, err := show.close(report.DropLate, report.DropNoPicture); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// A slate does not go on top of a picture that the display has and holds back until it is due.
func TestASlateWaitsForAPictureThatIsDueSoon(t *testing.T) {
	frames := clip(t, "160x90", "2", append(slices.Clone(x264), "-bf", "0")...)
	s := blindScreen(t)
	slate := image.NewRGBA(image.Rect(0, 0, 64, 64))
	show := showOn(t, s, frames)
	put(show, 1, frames[0])
	until(t, "the first picture", func() bool { n, _ := s.pictures(); return n == 1 })
	later := frames[1]
	later.at += 300 * time.Millisecond
	put(show, 2, later)
	until(t, "the display has the second", func() bool {
		status := show.status()
		return status.Decoded == 2 && !status.Held
	})
	for n := uint64(1); n == 1; n, _ = s.pictures() {
		if s.slate(slate, 1) {
			t.Fatal("a slate is taken while a picture waits for its time")
		}
	}
	if _, err := show.close(report.DropLate, report.DropNoPicture); err != nil {
		t.Error(err)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// The first picture is shown also if a slate was in its way for so long that it is late: there may be no other.
func TestTheFirstPictureAfterASlowSlate(t *testing.T) {
	frames := clip(t, "160x90", "1", x264...)
	s := slowScreen(t, 400*time.Millisecond)
	if !s.slate(image.NewRGBA(image.Rect(0, 0, 64, 64)), 0) {
		t.Fatal("the slate is refused")
	}
	show := showOn(t, s, frames)
	show.frame(decode.Message{Kind: decode.KindFrame, Flags: decode.FlagKey, Number: 1, Payload: frames[0].data})
	show.drain(patience)
	last, err := show.close(report.DropLate, report.DropNoPicture)
	if err != nil {
		t.Error(err)
	}
	if len(last.Settled) != 1 || last.Settled[0].Reason != report.Shown {
		t.Errorf("what became of it: %v", last.Settled)
	}
	if err := s.close(); err != nil {
		t.Error(err)
	}
}

// Whatever a stream says of its pictures, a snapshot has a size: no side is 0, and none is too long for an image file.
func TestSnapshotsOfOddPictures(t *testing.T) {
	for _, c := range []struct {
		caps string
		size int // of the picture in bytes
		most int
		want image.Point
	}{
		{"format=RGBx,width=64,height=48,pixel-aspect-ratio=2/1", 64 * 48 * 4, 1920, image.Pt(128, 48)},
		{"format=RGBx,width=64,height=48,pixel-aspect-ratio=1/1", 64 * 48 * 4, 32, image.Pt(32, 24)},
		{"format=RGBx,width=64,height=48,pixel-aspect-ratio=2147483647/1", 64 * 48 * 4, 1920, image.Pt(1920, 1)},
		{"format=RGBx,width=64,height=48,pixel-aspect-ratio=100000000/1", 64 * 48 * 4, 1920, image.Pt(1920, 1)},
		{"format=RGBx,width=64,height=48,pixel-aspect-ratio=1/2147483647", 64 * 48 * 4, 1920, image.Pt(1, 48)},
		{"format=GRAY8,width=4,height=30000,pixel-aspect-ratio=30000/1", 4 * 30000, anyWidth, image.Pt(16383, 4095)},
	} {
		s := blindScreen(t)
		element, err := s.pipeline.GetElementByName("source")
		if err != nil {
			t.Fatal(err)
		}
		source := app.SrcFromElement(element)
		source.SetCaps(gst.NewCapsFromString("video/x-raw,framerate=0/1," + c.caps))
		if ret := source.PushBuffer(gst.NewBufferFromBytes(make([]byte, c.size))); ret != gst.FlowOK {
			t.Fatal(ret)
		}
		var img *image.RGBA
		until(t, "there is a picture of "+c.caps, func() bool { img, err = s.pictureWithin(patience, c.most); return err == nil })
		if got := img.Rect.Size(); got != c.want || len(img.Pix) != 4*got.X*got.Y {
			t.Errorf("%s, at most %d wide: %v, not %v; %d bytes", c.caps, c.most, got, c.want, len(img.Pix))
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}
}
