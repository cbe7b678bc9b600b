package gst

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// While nothing is on the screen the first picture is shown at once, also when newer frames wait behind it.
func TestTheFirstPictureIsShownAtOnceOnABlankScreen(t *testing.T) {
	frames := clip(t, "160x90", "20", append(slices.Clone(x264), "-bf", "0")...)
	a := serve(t)
	defer a.close()
	a.openEdited("avdec_h264", formatOf(t, frames), decode.Display{Sink: decode.None}, slow(10*time.Millisecond))
	a.sendUnits(frames, func(i int, u *decode.Unit) { u.Replay = i < len(frames)-1 })
	if err := a.out.Raw(decode.KindDrain, 0, 0, nil); err != nil {
		t.Fatal(err)
	}
	a.until(decode.KindDrained)
	if first, ok := a.settled[1]; !ok || first != decode.Shown {
		t.Errorf("the first frame is settled as %q (%v): %v", first, ok, a.fates())
	}
}

// Where there is no hardware that could decode, the software decoder's library is loaded before there is a stream.
func TestPreloadWithoutHardware(t *testing.T) {
	r, reports := run(t, decode.Config{Sink: decode.None, Dev: t.TempDir()})
	await(t, r, reports, "a child", func() bool { return r.Stats().GStreamer != "" })
	maps := fmt.Sprintf("/proc/%d/maps", childOf(t, os.Getpid()))
	await(t, r, reports, "the library of avdec_h264", func() bool {
		mapped, err := os.ReadFile(maps)
		return err == nil && strings.Contains(string(mapped), "libgstlibav")
	})
}
