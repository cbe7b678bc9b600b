package gst

import (
	"slices"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
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
	a.openEdited("avdec_h264", formatOf(t, frames), decode.Display{Sink: decode.None}, func(p *decode.Plan) {
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
	if fates[decode.DropOverload] == 0 || fates[decode.DropLate] > fates[decode.DropOverload]/2 || fates[decode.Shown] < len(frames)*6/10 {
		t.Errorf("of %d frames became %v", len(frames), fates)
	}
	for i, f := range frames {
		if reason := a.settled[uint64(i+1)]; reason == decode.DropOverload && !disposable(f) {
			t.Errorf("frame %d, to which others refer, was left out", i)
		}
	}
	order := slices.Clone(frames)
	slices.SortFunc(order, func(x, y frame) int { return int(x.at - y.at) })
	missing := 0
	for _, f := range order {
		number := uint64(slices.IndexFunc(frames, func(g frame) bool { return g.at == f.at }) + 1)
		if missing++; a.settled[number] == decode.Shown {
			missing = 0
		}
		if missing > 6 {
			t.Fatalf("at %v, %d pictures in a row are missing: %v", f.at, missing, fates)
		}
	}
}
