//go:build hardware

// Package kms tests what is on a screen, pixel by pixel, with the whole agent and the virtual display of
// the vkms driver.
package kms

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/scanout"
)

const (
	card      = "/dev/dri/card1"
	connector = "Virtual-1"
	cable     = "/sys/class/drm/card1-Virtual-1/status"
)

// mode is what vkms prefers.
var mode = image.Pt(1024, 768)

// keepMaps makes the display as fast as it is on real hardware: see keepmaps/keepmaps.c.
var keepMaps = filepath.Join(os.Getenv("VIRTUAL_HARDWARE_OUT"), "keepmaps.so")

func TestMain(m *testing.M) {
	if out, err := exec.Command("gcc", "-O2", "-shared", "-fPIC", "-o", keepMaps, "keepmaps/keepmaps.c").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "keepmaps.c cannot be built: %v\n%s", err, out)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// start runs a gateway whose renderer keeps its maps.
func start(t *testing.T, c box.Config) *box.Box {
	t.Helper()
	c.Env = append(c.Env, "LD_PRELOAD="+keepMaps)
	return box.Start(t, c)
}

// settings make the agent show on the display, decoded by the processor: it is not the decoder that is tested here.
const settings = `
[display]
sink = "kms"
slate_after = "1s"
[decode]
order = ["software"]
`

// plug pulls the cable ("off") or puts it in ("on"). After the test it is in.
func plug(t *testing.T, status string) time.Time {
	t.Helper()
	t.Cleanup(func() { writeCable(t, "detect") })
	writeCable(t, status)
	return time.Now()
}

func writeCable(t *testing.T, status string) {
	t.Helper()
	if err := os.WriteFile(cable, []byte(status), 0); err != nil {
		t.Fatal(err)
	}
}

// still is a clip of one picture, twice a second, each encoded by itself: it costs little, and whenever it is looked at
// it is the same.
func still(t *testing.T, size string, encoder ...string) []byte {
	t.Helper()
	if len(encoder) == 0 {
		encoder = []string{"-c:v", "libx264", "-preset", "ultrafast", "-qp", "20"}
	}
	return box.ClipOf(t, "testsrc2=rate=2:size="+size+",trim=end_frame=1,loop=-1:1", "4", append([]string{"-g", "1"}, encoder...)...)
}

// rendered is the picture of a still clip as the screen must show it: scaled to the mode with its aspect kept, by
// GStreamer, but without the agent and without a display.
func rendered(t *testing.T, clip []byte, parser, decoder string) *image.RGBA {
	t.Helper()
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.mkv"), filepath.Join(dir, "out.rgba")
	if err := os.WriteFile(in, clip, 0o600); err != nil {
		t.Fatal(err)
	}
	launch := exec.Command("gst-launch-1.0", "-q", "filesrc", "location="+in, "!", "matroskademux", "!", parser, "!", decoder, "!",
		"videoconvertscale", "!", "video/x-raw,format=BGRx,width=1024,height=768,pixel-aspect-ratio=1/1", "!",
		"videoconvert", "!", "video/x-raw,format=RGBA", "!", "filesink", "location="+out)
	if text, err := launch.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	pixels, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	img := image.NewRGBA(image.Rectangle{Max: mode})
	if len(pixels) < len(img.Pix) {
		t.Fatalf("GStreamer made %d bytes", len(pixels))
	}
	copy(img.Pix, pixels)
	return img
}

// monitor is what stands on the wall.
type monitor struct {
	t    *testing.T
	card *scanout.Card
}

func look(t *testing.T) *monitor {
	t.Helper()
	c, err := scanout.Open(card)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &monitor{t, c}
}

// until looks until what is wanted is seen, and when that was. A picture that never is kept for people.
func (m *monitor) until(what string, wanted func(scanout.Picture) bool) (scanout.Picture, time.Time) {
	m.t.Helper()
	deadline := time.After(box.Patience)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	var p scanout.Picture
	for {
		at := time.Now()
		now, err := m.card.Read()
		if err != nil && !errors.Is(err, scanout.ErrDark) {
			m.t.Fatal(err)
		}
		if err == nil {
			p = now
			if wanted(p) {
				return p, at
			}
		}
		select {
		case <-again.C:
		case <-deadline:
			m.t.Fatalf("%s was not to be seen; the last picture is %s", what, keep(m.t, "seen", p.RGBA))
		}
	}
}

// shows waits for exactly this picture, in the screen's preferred mode.
func (m *monitor) shows(want *image.RGBA) time.Time {
	m.t.Helper()
	_, at := m.until("the picture "+keep(m.t, "wanted", want), func(p scanout.Picture) bool {
		return p.Mode == mode && p.Rect == want.Rect && bytes.Equal(p.Pix, want.Pix)
	})
	return at
}

// keep writes a picture where people find it.
func keep(t *testing.T, name string, img *image.RGBA) string {
	t.Helper()
	if img == nil {
		return "none"
	}
	path := filepath.Join(os.Getenv("VIRTUAL_HARDWARE_OUT"), strings.ReplaceAll(t.Name(), "/", "-")+"-"+name+".png")
	var file bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	if err := encoder.Encode(&file, img); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// decodersWork fails when the agent has blamed a decoder for what happened to the display.
func decodersWork(t *testing.T, b *box.Box) {
	t.Helper()
	for _, e := range b.Events() {
		if strings.HasPrefix(e.Code, "decode.") {
			t.Errorf("%s: %s", e.Code, e.Message)
		}
	}
}
