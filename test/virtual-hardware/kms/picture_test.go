//go:build hardware

package kms

import (
	"image"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

// Whatever its size, a video is shown in the display's preferred mode, as large as can be, its aspect kept, the
// rest black, and to the last bit as GStreamer makes it. The sizes follow each other in one stream.
func TestSizes(t *testing.T) {
	x265 := []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "qp=20:no-wpp=1:log-level=error"}
	sizes := []struct {
		name, size      string
		encoder         []string
		parser, decoder string
		covers          image.Rectangle // of the screen
	}{
		{"smaller", "640x360", nil, "h264parse", "avdec_h264", image.Rect(0, 96, 1024, 672)},
		{"the screen's", "1024x768", nil, "h264parse", "avdec_h264", image.Rect(0, 0, 1024, 768)},
		{"larger", "1920x1080", nil, "h264parse", "avdec_h264", image.Rect(0, 96, 1024, 672)},
		{"upright", "360x640", nil, "h264parse", "avdec_h264", image.Rect(296, 0, 728, 768)},
		{"odd, H.265", "322x182", x265, "h265parse", "avdec_h265", image.Rect(0, 95, 1024, 673)},
		// 720x576 pixels that are wider than high: a picture of 4 to 3, as the screen.
		{"wide pixels", "720x576,setsar=16/15", nil, "h264parse", "avdec_h264", image.Rect(0, 0, 1024, 768)},
	}
	var clips []*kvstest.Source
	var pictures []*image.RGBA
	for _, tc := range sizes {
		clip := still(t, tc.size, tc.encoder...)
		source, err := kvstest.ReadSource(clip)
		if err != nil {
			t.Fatal(err)
		}
		want := rendered(t, clip, tc.parser, tc.decoder)
		if got := covered(want); distance(got, tc.covers) > 1 {
			t.Errorf("%s: the picture covers %v and should cover %v: %s", tc.name, got, tc.covers, keep(t, tc.size, want))
		}
		clips, pictures = append(clips, source), append(pictures, want)
	}
	b := start(t, box.Config{Clip: still(t, "320x240"), Settings: settings})
	screen := look(t)
	for i, tc := range sizes {
		if err := b.Stream.Change(clips[i]); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		t.Logf("%s: %s after %v", tc.name, tc.size, screen.shows(pictures[i]).Sub(at))
	}
	b.Info("the display", func(i contract.Info) bool {
		return len(i.Displays) == 1 && i.Displays[0] == contract.Display{Connector: connector, Sink: "kms", Width: mode.X, Height: mode.Y, Path: "copy"}
	})
	decodersWork(t, b)
}

// covered is the smallest rectangle outside of which all is black.
func covered(img *image.RGBA) image.Rectangle {
	var r image.Rectangle
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			if c := img.RGBAAt(x, y); c.R|c.G|c.B != 0 {
				r = r.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return r
}

// distance is by how many pixels edges of two rectangles differ, at most.
func distance(a, b image.Rectangle) int {
	most := 0
	for _, d := range []int{a.Min.X - b.Min.X, a.Min.Y - b.Min.Y, a.Max.X - b.Max.X, a.Max.Y - b.Max.Y} {
		most = max(most, d, -d)
	}
	return most
}

func named(connector string) string {
	return strings.Replace(settings, "[display]", "[display]\nconnector = \""+connector+"\"", 1)
}

// An output that is named is used, and one that is not there is told of with those that are.
func TestNamedConnector(t *testing.T) {
	clip := still(t, "640x360")
	want := rendered(t, clip, "h264parse", "avdec_h264")
	t.Run("there", func(t *testing.T) {
		b := start(t, box.Config{Clip: clip, Settings: named(connector)})
		look(t).shows(want)
		decodersWork(t, b)
	})
	t.Run("not there", func(t *testing.T) {
		b := start(t, box.Config{Clip: clip, Settings: named("HDMI-A-9")})
		if e := b.Event("display.connector"); e.Message != "there is no connector HDMI-A-9; there are Virtual-1" {
			t.Errorf("%q", e.Message)
		}
		b.Decoding("avdec_h264")
	})
}
