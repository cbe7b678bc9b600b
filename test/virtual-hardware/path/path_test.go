//go:build hardware

// Package path tests how pictures get from a decoder to the screen, with the whole agent and a virtual display whose planes take
// the formats of video and scale. The kernel's parameters are in kernel.args.
package path

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/scanout"
)

const card = "/dev/dri/card1" // in the mode that vkms prefers, 1024x768

// config is a [display] with these settings and decoders.
func config(display, order string) string {
	return fmt.Sprintf("[display]\nsink = \"kms\"\nslate_after = \"1s\"\n%s\n[decode]\norder = [%q]\ntrusted_elements = [\"v4l2slh264dec\"]\n", display, order)
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

// now is what is on the screen; nil: it is dark.
func (m *monitor) now() *image.RGBA {
	m.t.Helper()
	s, err := m.card.Screen()
	if errors.Is(err, scanout.ErrDark) {
		return nil
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return s.RGBA
}

// until looks until what is wanted is seen. A picture that never is kept for people.
func (m *monitor) until(what string, wanted func(*image.RGBA) bool) *image.RGBA {
	m.t.Helper()
	deadline := time.After(box.Patience)
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		img := m.now()
		if img != nil && wanted(img) {
			return img
		}
		select {
		case <-again.C:
		case <-deadline:
			m.t.Fatalf("%s was not to be seen; the last picture is %s", what, keep(m.t, img))
		}
	}
}

func keep(t *testing.T, img *image.RGBA) string {
	if img == nil {
		return "none"
	}
	path := filepath.Join(os.Getenv("VIRTUAL_HARDWARE_OUT"), strings.ReplaceAll(t.Name(), "/", "-")+".png")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := png.Encode(file, img); err != nil {
		t.Fatal(err)
	}
	return path
}

// corners are the colours of a clip's quarters: top left, top right, bottom left, bottom right.
type corners [4]color.RGBA

var (
	red, green, blue, white = color.RGBA{255, 0, 0, 255}, color.RGBA{0, 255, 0, 255}, color.RGBA{0, 0, 255, 255}, color.RGBA{255, 255, 255, 255}
	four                    = corners{red, green, blue, white}
)

// quarters is a clip whose four quarters have four colours, in these colorimetry and range, as ffmpeg converts them.
func quarters(t *testing.T, size, matrix, scope string) []byte {
	t.Helper()
	source := "color=red:size=" + size + ":rate=5,format=gbrp," +
		"geq=r='255*(lt(X,W/2)*lt(Y,H/2)+gte(X,W/2)*gte(Y,H/2))':g='255*gte(X,W/2)':b='255*gte(Y,H/2)'," +
		"scale=out_color_matrix=" + matrix + ":out_range=" + scope + ",format=yuv420p"
	named := map[string]string{"bt601": "smpte170m", "bt709": "bt709"}[matrix]
	return box.ClipOf(t, source, "4", "-c:v", "libx264", "-preset", "ultrafast", "-qp", "4", "-g", "5",
		"-colorspace", named, "-color_primaries", named, "-color_trc", named, "-color_range", scope)
}

// How far colours may be from those of ffmpeg. GStreamer's own conversion, on the path copy, reckons in few bits and makes 251 of full green.
const (
	ofPlane = 2
	ofCopy  = 4
)

// has says whether the quarters of a rectangle of the screen have these colours, within so much.
func has(img *image.RGBA, where image.Rectangle, want corners, within int) bool {
	for i, c := range want {
		x, y := where.Min.X+where.Dx()*(1+2*(i%2))/4, where.Min.Y+where.Dy()*(1+2*(i/2))/4
		got := img.RGBAAt(x, y)
		for _, d := range []int{int(got.R) - int(c.R), int(got.G) - int(c.G), int(got.B) - int(c.B)} {
			if d > within || d < -within {
				return false
			}
		}
	}
	return true
}

// path waits until pictures take a path, and gives why they take no better one.
func path(b *box.Box, wanted string) []string {
	var passed []string
	b.Info("the path "+wanted, func(i contract.Info) bool {
		passed = i.PassedOver
		return len(i.Displays) == 1 && i.Displays[0].Path == wanted
	})
	return passed
}

// black says that nothing is to be seen.
func black(img *image.RGBA) bool {
	for i := 0; i < len(img.Pix); i += 4 {
		if img.Pix[i]|img.Pix[i+1]|img.Pix[i+2] != 0 {
			return false
		}
	}
	return true
}

// Colours are right by every matrix and range that a stream names, and the aspect is kept: the plane is told, for the sink does not.
func TestColoursOnThePlane(t *testing.T) {
	screen := look(t)
	for _, tc := range []struct {
		matrix, scope, size string
		where               image.Rectangle
	}{
		{"bt601", "tv", "640x480", image.Rect(0, 0, 1024, 768)},
		{"bt709", "tv", "1280x720", image.Rect(0, 96, 1024, 672)},
		{"bt601", "pc", "360x640", image.Rect(296, 0, 728, 768)},
		{"bt709", "pc", "640x360", image.Rect(0, 96, 1024, 672)},
	} {
		t.Run(tc.matrix+" "+tc.scope, func(t *testing.T) {
			screen := &monitor{t, screen.card}
			b := box.Start(t, box.Config{Clip: quarters(t, tc.size, tc.matrix, tc.scope), Settings: config("", "software")})
			path(b, "plane")
			screen.until("the four colours", func(img *image.RGBA) bool {
				return has(img, tc.where, four, ofPlane) && img.RGBAAt(tc.where.Min.X/2, tc.where.Min.Y/2) != (color.RGBA{})
			})
		})
	}
}

// By a plane that can, else by the processor, and the slate with it.
func TestRotation(t *testing.T) {
	for degrees, tc := range map[int]struct {
		path  string
		where image.Rectangle
		want  corners
	}{
		180: {"plane", image.Rect(0, 96, 1024, 672), corners{white, blue, green, red}},
		90:  {"copy", image.Rect(296, 0, 728, 768), corners{blue, red, white, green}},
		270: {"copy", image.Rect(296, 0, 728, 768), corners{green, white, red, blue}},
	} {
		t.Run(strconv.Itoa(degrees), func(t *testing.T) {
			b := box.Start(t, box.Config{Clip: quarters(t, "640x360", "bt601", "tv"), Settings: config(fmt.Sprintf("rotate = %d", degrees), "software")})
			passed := path(b, tc.path)
			if (tc.path == "plane") != !slices.ContainsFunc(passed, func(s string) bool { return strings.HasPrefix(s, "plane: ") }) {
				t.Errorf("passed over: %q", passed)
			}
			look(t).until("the picture, rotated", func(img *image.RGBA) bool { return has(img, tc.where, tc.want, ofCopy) })
		})
	}
}

// Between slate and picture, and when a stream changes its size, the screen is never black.
func TestNeverBlack(t *testing.T) {
	screen := look(t)
	b := box.Start(t, box.Config{Clip: quarters(t, "640x480", "bt601", "tv"), Offline: true, Settings: config("", "software")})
	screen.until("the slate", func(img *image.RGBA) bool { return !black(img) })
	frames := 0
	bright := func(wanted func(*image.RGBA) bool) func(*image.RGBA) bool {
		return func(img *image.RGBA) bool {
			frames++
			if black(img) {
				t.Error("the screen was black")
			}
			return wanted(img)
		}
	}
	b.Online()
	screen.until("the picture", bright(func(img *image.RGBA) bool { return has(img, img.Rect, four, ofPlane) }))
	wide, err := kvstest.ReadSource(quarters(t, "640x360", "bt601", "tv"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Stream.Change(wide); err != nil {
		t.Fatal(err)
	}
	screen.until("the other size", bright(func(img *image.RGBA) bool { return has(img, image.Rect(0, 96, 1024, 672), four, ofCopy) }))
	b.Stream.Stop()
	screen.until("the slate again", bright(func(img *image.RGBA) bool { return !has(img, image.Rect(0, 96, 1024, 672), four, ofCopy) }))
	t.Logf("%d looks", frames)
}

// set sets a parameter of the display's driver, until the end of the test.
func set(t *testing.T, parameter, value string) {
	t.Helper()
	file := "/sys/module/vkms/parameters/" + parameter
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(file, before, 0) })
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// A card whose planes cannot scale is found out before the first picture.
func TestPlaneThatCannotScale(t *testing.T) {
	set(t, "enable_scaling", "0")
	for _, wanted := range []string{"auto", "plane"} {
		t.Run(wanted, func(t *testing.T) {
			b := box.Start(t, box.Config{Clip: quarters(t, "640x360", "bt601", "tv"), Settings: config("path = \""+wanted+"\"", "software")})
			passed := path(b, "copy")
			if !slices.ContainsFunc(passed, func(s string) bool { return strings.Contains(s, "cannot scale") }) {
				t.Errorf("passed over: %q", passed)
			}
			if wanted == "plane" {
				b.Event("display.path")
			}
			look(t).until("the picture", func(img *image.RGBA) bool { return has(img, image.Rect(0, 96, 1024, 672), four, ofCopy) })
		})
	}
}

// A plane that refuses a picture later on is left, with a report, and the picture comes back another way. Neither decoder nor display
// is blamed.
func TestPlaneThatFailsLater(t *testing.T) {
	screen := look(t)
	b := box.Start(t, box.Config{Clip: quarters(t, "640x480", "bt601", "tv"), Settings: config("", "software")})
	path(b, "plane")
	screen.until("the picture", func(img *image.RGBA) bool { return has(img, img.Rect, four, ofPlane) })
	set(t, "enable_scaling", "0")
	wide, err := kvstest.ReadSource(quarters(t, "640x360", "bt601", "tv"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Stream.Change(wide); err != nil {
		t.Fatal(err)
	}
	e := b.Event("display.path")
	t.Log(e.Message)
	path(b, "copy")
	screen.until("the other size", func(img *image.RGBA) bool { return has(img, image.Rect(0, 96, 1024, 672), four, ofCopy) })
	for _, e := range b.Events() {
		if strings.HasPrefix(e.Code, "decode.") || e.Code == "display.lost" {
			t.Errorf("%s: %s", e.Code, e.Message)
		}
	}
}

// looks is how often the process that shows has looked at a picture in the decoder's memory, as the kernel has counted. Those that
// try decoders out look at every one.
func looks(t *testing.T) (n int) {
	t.Helper()
	shows := renderer(t)
	list, err := os.ReadFile("/sys/kernel/debug/picture_maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line) // process, its name, what, of which memory, how often
		if len(f) == 5 && f[0] == shows && f[2] == "sync" && f[3] == "videobuf2_vmalloc" {
			count, _ := strconv.Atoi(f[4])
			n += count / 2 // a look begins and ends
		}
	}
	return n
}

// renderer is the number of the process that shows.
func renderer(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		line, _ := os.ReadFile(file) // it may have ended
		if strings.Contains(string(line), "edge-agent-renderer") && !strings.Contains(string(line), "trial") {
			return filepath.Base(filepath.Dir(file))
		}
	}
	t.Fatal("no renderer runs")
	return ""
}

// On the way from a hardware decoder to a plane nobody touches a picture, but for the look now and then that finds frozen ones. That
// the kernel counts who does, the group plane shows with a converter.
func TestNobodyTouchesPicturesOnTheWay(t *testing.T) {
	clip := box.Clip(t, "640x360", "90", "-c:v", "libx264", "-preset", "ultrafast")
	b := box.Start(t, box.Config{Clip: clip, Settings: config("", "v4l2-stateless")})
	b.Decoding("v4l2slh264dec")
	path(b, "plane")
	before := looks(t)
	pictures := shown(b, 100)
	each := float64(looks(t)-before) / float64(pictures)
	t.Logf("%.2f looks for each of %d pictures", each, pictures)
	if each == 0 || each > 0.5 {
		t.Error("none would find no frozen pictures, and more than a few each second cost what the plane saves")
	}
}

// shown waits until so many more pictures have been on the screen.
func shown(b *box.Box, more int64) (n int64) {
	b.Telemetry("pictures", func(m contract.Telemetry) bool { n += m.ShownFrames; return n >= more })
	return n
}
