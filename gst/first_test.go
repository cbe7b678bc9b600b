package gst

import (
	"slices"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// While nothing is on the screen the first picture is shown at once, also when newer frames wait behind it.
func TestTheFirstPictureIsShownAtOnceOnABlankScreen(t *testing.T) {
	frames := clip(t, "160x90", "20", append(slices.Clone(x264), "-bf", "0")...)
	a := serve(t)
	defer a.close()
	a.openEdited("avdec_h264", formatOf(t, frames), plan.Display{Sink: plan.None}, slow(10*time.Millisecond))
	a.sendUnits(frames, func(i int, u *decode.Unit) { u.Replay = i < len(frames)-1 })
	if err := a.out.Raw(decode.KindDrain, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	a.until(decode.KindDrained)
	if first, ok := a.settled[1]; !ok || first != report.Shown {
		t.Errorf("the first frame is settled as %q (%v): %v", first, ok, a.fates())
	}
}
