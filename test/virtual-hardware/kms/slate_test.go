//go:build hardware

package kms

import (
	"image/color"
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

// Before there is a picture the slate is on the screen, and again when there are no more.
func TestSlate(t *testing.T) {
	clip := still(t, "640x360")
	want := rendered(t, clip, "h264parse", "avdec_h264")
	screen := look(t)
	b := start(t, box.Config{Clip: clip, Settings: settings, Offline: true})
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
}
