package gst

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-gst/go-gst/gst"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// disposable says that no other picture refers to a frame of H.264: nal_ref_idc (7.4.1) of its slices is 0.
func disposable(f frame) bool {
	for nal := range mkv.Units(f.data, 4) {
		if slice, _ := mkv.Slice(mkv.CodecH264, nal); slice && nal[0]&0x60 != 0 {
			return false
		}
	}
	return true
}

// A decoder that takes longer for a frame than the frame lasts gets fewer of those that no other refers to. All others are
// shown, so never more than a few pictures in a row are missing.
func TestASlowDecoderDoesWithoutDisposableFrames(t *testing.T) {
	const step = time.Second / 30
	frames := clip(t, "160x90", "120", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-x264-params", "b-adapt=0:b-pyramid=none:scenecut=0")
	a := serve(t)
	defer a.close()
	a.openEdited("avdec_h264", formatOf(t, frames), plan.Display{Sink: plan.None}, func(p *plan.Plan) {
		p.Element = "identity sleep-time=38000 ! avdec_h264" // microseconds for each frame
	})
	a.until(decode.KindOpened)
	clock := time.NewTicker(step)
	defer clock.Stop()
	for i := range frames {
		a.sendUnits(frames[i:i+1], func(_ int, u *decode.Unit) { u.Disposable = disposable(frames[i]) })
		<-clock.C
	}
	if err := a.out.Raw(decode.KindDrain, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	a.until(decode.KindDrained)
	fates := a.fates()
	if fates[report.DropOverload] == 0 || fates[report.DropLate] > fates[report.DropOverload]/2 || fates[report.Shown] < len(frames)*6/10 {
		t.Errorf("of %d frames became %v", len(frames), fates)
	}
	for i, f := range frames {
		if reason := a.settled[uint64(i+1)]; reason == report.DropOverload && !disposable(f) {
			t.Errorf("frame %d, to which others refer, was left out", i)
		}
	}
	order := slices.Clone(frames)
	slices.SortFunc(order, func(x, y frame) int { return int(x.at - y.at) })
	missing := 0
	for _, f := range order {
		number := uint64(slices.IndexFunc(frames, func(g frame) bool { return g.at == f.at }) + 1)
		if missing++; a.settled[number] == report.Shown {
			missing = 0
		}
		if missing > 6 {
			t.Fatalf("at %v, %d pictures in a row are missing: %v", f.at, missing, fates)
		}
	}
}

// slowScreen gives a display whose pipeline takes so long for each picture.
func slowScreen(t *testing.T, each time.Duration) *screen {
	t.Helper()
	s := blindScreen(t)
	sink, err := s.pipeline.GetElementByName("sink")
	if err != nil {
		t.Fatal(err)
	}
	sink.GetStaticPad("sink").AddProbe(gst.PadProbeTypeBuffer, func(*gst.Pad, *gst.PadProbeInfo) gst.PadProbeReturn {
		time.Sleep(each)
		return gst.PadProbeOK
	})
	return s
}

// playOn decodes frames in real time and shows them on a screen. It tells what became of each.
func playOn(t *testing.T, s *screen, frames []frame, step time.Duration) map[report.Reason]int {
	t.Helper()
	show := showOn(t, s, frames)
	clock := time.NewTicker(step)
	defer clock.Stop()
	for i, f := range frames {
		m := decode.Message{Kind: decode.KindFrame, Number: uint64(i + 1), Time: int64(f.at) * int64(step) / int64(time.Second/30), Payload: f.data}
		if f.key {
			m.Flags |= decode.FlagKey
		}
		if disposable(f) {
			m.Flags |= decode.FlagDisposable
		}
		show.frame(m)
		<-clock.C
	}
	show.drain(patience)
	last, err := show.close(report.DropLate, report.DropNoPicture)
	if err := errors.Join(err, s.close()); err != nil {
		t.Fatal(err)
	}
	fates := map[report.Reason]int{}
	for _, f := range last.Settled {
		fates[f.Reason]++
	}
	return fates
}

// A display that takes longer for a picture than it lasts is spared the pictures that no other refers to, before they are decoded
// for nothing.
func TestASlowScreenDoesWithoutDisposableFrames(t *testing.T) {
	frames := clip(t, "160x90", "150", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-x264-params", "b-adapt=0:b-pyramid=none:scenecut=0")
	fates := playOn(t, slowScreen(t, 40*time.Millisecond), frames, time.Second/30)
	if fates[report.DropOverload] == 0 || fates[report.DropLate] > fates[report.DropOverload]/2 || fates[report.Shown] < len(frames)*6/10 {
		t.Errorf("of %d frames became %v", len(frames), fates)
	}
}

// On a display for which every picture is late, some are shown all the same.
func TestAScreenForWhichEveryPictureIsLate(t *testing.T) {
	frames := clip(t, "160x90", "60", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0")
	fates := playOn(t, slowScreen(t, 350*time.Millisecond), frames, time.Second/15)
	if fates[report.Shown] < 4 || fates[report.Shown]+fates[report.DropLate]+fates[report.DropOverload] != len(frames) {
		t.Errorf("of %d frames became %v", len(frames), fates)
	}
}
