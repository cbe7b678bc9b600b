//go:build hardware

package kms

import (
	"bytes"
	"image/color"
	"os"
	"path/filepath"
	"testing"

	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/scanout"
)

// Colours of the slate, as gst/slate.go has them.
var (
	slateGround = color.RGBA{0x16, 0x2b, 0x45, 0xff}
	slateText   = color.RGBA{0xff, 0xff, 0xff, 0xff}
	slateWrong  = color.RGBA{0xff, 0xb0, 0x30, 0xff}
	slateWell   = color.RGBA{0x4a, 0xa3, 0xdf, 0xff}
)

// slate says that a picture is the slate: the bar at the left in the colour, writing, and nothing else at the right.
func slate(bar color.RGBA) func(scanout.Picture) bool {
	return func(p scanout.Picture) bool {
		written := 0
		for y := range mode.Y {
			if p.RGBAAt(0, y) != bar || p.RGBAAt(mode.X-1, y) != slateGround {
				return false
			}
			for x := range mode.X {
				if p.RGBAAt(x, y) == slateText {
					written++
				}
			}
		}
		return p.Mode == mode && written > 1000
	}
}

// Before there is a picture the slate is on the screen, and again when there are no more. In between it is never black.
func TestSlate(t *testing.T) {
	clip := still(t, "640x360")
	want := rendered(t, clip, "h264parse", "avdec_h264")
	screen := look(t)
	log := filepath.Join(t.TempDir(), "gst.log")
	b := start(t, box.Config{
		Clip: clip, Settings: settings, Offline: true,
		Env: []string{"GST_DEBUG=kmssink:4", "GST_DEBUG_NO_COLOR=1", "GST_DEBUG_FILE=" + log + ".%p"},
	})
	_, first := screen.until("the slate", func(p scanout.Picture) bool { return slate(slateWell)(p) || slate(slateWrong)(p) })
	t.Logf("on the screen %v after the agent was started", first.Sub(b.Began))
	p, _ := screen.until("the slate with an error", slate(slateWrong))
	keep(t, "offline", p.RGBA)

	b.Online()
	screen.shows(want)

	b.Stream.Stop()
	p, _ = screen.until("the slate", func(p scanout.Picture) bool { return slate(slateWell)(p) || slate(slateWrong)(p) })
	keep(t, "lost", p.RGBA)
	b.Stream.Produce()
	screen.shows(want)
	decodersWork(t, b)
	if n := modesSet(t, log); n != 1 {
		t.Errorf("the mode was set %d times, and the screen black as often", n)
	}
}

// modesSet counts in what kmssink has logged, whichever process it was in.
func modesSet(t *testing.T, log string) int {
	t.Helper()
	files, err := filepath.Glob(log + ".*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n += bytes.Count(text, []byte("configuring mode setting"))
	}
	return n
}
