package gst

import (
	"bytes"
	"cmp"
	"flag"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

var (
	update     = flag.Bool("update", false, "write the golden files of slates")
	slateFiles = flag.String("slates", "", "write pictures of all slates to this folder, to look at them")
)

// sizes are those of common screens.
var sizes = []plan.Mode{
	{Width: 1920, Height: 1080}, {Width: 1080, Height: 1920}, {Width: 1024, Height: 600}, {Width: 3840, Height: 2160}, {Width: 640, Height: 480},
}

// slateNow is when the slates of these tests are looked at.
var slateNow = time.Date(2026, 1, 31, 8, 15, 0, 0, time.UTC)

// exampleSlates are slates of all kinds, as the agent fills them in, and some with too much text.
func exampleSlates() map[string]decode.Slate {
	box := decode.Slate{
		Device: "gate-7", Stream: "entrance", After: 3 * time.Second, Since: slateNow.Add(-42 * time.Second),
		Version: "edge-agent 1.2.3", Address: "192.168.17.104 (eth0)", Broker: "MQTT connected",
	}
	with := func(change func(*decode.Slate)) decode.Slate {
		s := box
		change(&s)
		return s
	}
	return map[string]decode.Slate{
		"connecting": with(func(s *decode.Slate) { s.State = "Connecting" }),
		"no-stream": with(func(s *decode.Slate) {
			s.Stream, s.State, s.Since = "", "No stream is configured", time.Time{}
			s.Action = "Add [[streams]] to the configuration file and reload it, or restart the agent."
		}),
		"stopped": with(func(s *decode.Slate) {
			s.State, s.Picture = "Stopped on request", slateNow.Add(-50*time.Second)
			s.Action = "The command start starts it again."
		}),
		"stalled": with(func(s *decode.Slate) {
			s.State, s.Code, s.Broker = "Connected, but nothing arrives", "ingest.idle", "MQTT not connected: mqtt.unreachable"
			s.Since, s.Picture = slateNow.Add(-125*time.Minute), slateNow.Add(-126*time.Minute)
			s.Message = "The session is open, but the service has no new fragments."
			s.Action = "Check whether the producer is sending: its power, its network and its clock."
		}),
		"unreachable": with(func(s *decode.Slate) {
			s.State, s.Code = "Not connected, trying again (attempt 12)", "ingest.unreachable"
			s.Since, s.Picture = slateNow.Add(-50*time.Hour), slateNow.Add(-50*time.Hour)
			s.Message = "The service could not be reached."
			s.Action = "Check the network cable or the wireless network, the gateway and the name server. The agent tries again."
			s.Address, s.Broker = "no address in the network", "MQTT off"
		}),
		"no-decoder": with(func(s *decode.Slate) {
			s.State, s.Code = "Connected, but no picture can be shown", report.CodeNoDecoder
			s.Message = "No decoder for the stream's codec is installed."
			s.Action = "Install the GStreamer plugins for the box's hardware, or gstreamer1.0-libav to decode in software."
		}),
		"configuration": with(func(s *decode.Slate) {
			s.Stream, s.State, s.Code = "", "The configuration is not valid", "config.unknown_key"
			s.Message = `/etc/edge-agent/config.toml:17: mqtt.brokre unknown key. Did you mean "broker"?`
			s.Action = "Correct the file; the agent starts as soon as it is valid. Faults: 3; `edge-agent run` on a terminal lists all."
		}),
		"long-names": with(func(s *decode.Slate) {
			s.Device, s.Stream = strings.Repeat("w", 64), strings.Repeat("camera-", 9)+"7"
			s.State, s.Code = "Not connected, trying again (attempt 1234)", "kvs.http.ResourceNotFoundExceptionThatIsLong"
			s.Address = "2001:0db8:85a3:0000:0000:8a2e:0370:7334 (enx0123456789ab)"
			s.Message = "There is no such stream in this account and region."
			s.Action = "Check the stream's name and the region."
		}),
		"long-text": with(func(s *decode.Slate) {
			s.State, s.Code = "Not connected, trying again", "ingest.tls"
			s.Message = strings.Repeat("something went wrong and ", 20)
			s.Action = strings.Repeat("somebody has to do something about it ", 20)
		}),
	}
}

// inUTC has times of a slate written the same on every machine.
func inUTC(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
}

// The lines of every slate on every screen are as in the golden files.
func TestSlateLines(t *testing.T) {
	inUTC(t)
	for name, s := range exampleSlates() {
		var b strings.Builder
		for _, size := range sizes {
			fmt.Fprintf(&b, "%dx%d\n", size.Width, size.Height)
			drawing.Lock()
			lines := layOut(slateParagraphs(s, slateNow), size)
			drawing.Unlock()
			for _, l := range topDown(lines) {
				fmt.Fprintf(&b, "  %4d %s\n", l.y, l.text)
			}
		}
		golden(t, filepath.Join("testdata", "slates", name+".txt"), []byte(b.String()))
	}
}

// topDown sorts lines.
func topDown(lines []slateLine) []slateLine {
	slices.SortStableFunc(lines, func(a, b slateLine) int { return cmp.Compare(a.y, b.y) })
	return lines
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s\nIf that is meant: go test ./gst -run SlateLines -update", path, got)
	}
}

// On no screen a slate's text reaches the edge, and lines do not overlap.
func TestSlateFitsTheScreen(t *testing.T) {
	inUTC(t)
	more := append([]plan.Mode{{Width: 320, Height: 240}, {Width: 480, Height: 800}, {Width: 3840, Height: 1080}, {Width: 1, Height: 1}}, sizes...)
	for name, s := range exampleSlates() {
		for _, size := range more {
			img := drawSlate(s, size, slateNow)
			writeSlate(t, fmt.Sprintf("%s-%dx%d.png", name, size.Width, size.Height), img)
			if size.Height < 400 {
				continue // nobody expects all of it there
			}
			if x, y, ok := textAtTheEdge(img); ok {
				t.Errorf("%s, %v: there is text at the edge, at %d,%d", name, size, x, y)
			}
			drawing.Lock()
			lines := topDown(layOut(slateParagraphs(s, slateNow), size))
			drawing.Unlock()
			for i := 1; i < len(lines); i++ {
				if height := lines[i].face.Metrics().Ascent.Ceil() * 9 / 10; lines[i].y-lines[i-1].y < height {
					t.Errorf("%s, %v: %q is over %q", name, size, lines[i].text, lines[i-1].text)
				}
			}
		}
	}
}

func textAtTheEdge(img *image.RGBA) (x, y int, found bool) {
	size := img.Rect.Size()
	for y := range size.Y {
		for x := size.X - 3; x < size.X; x++ {
			if img.RGBAAt(x, y) != slateGround {
				return x, y, true
			}
		}
	}
	for x := size.X / 10; x < size.X; x++ {
		for _, y := range []int{0, 1, size.Y - 2, size.Y - 1} {
			if img.RGBAAt(x, y) != slateGround {
				return x, y, true
			}
		}
	}
	return 0, 0, false
}

// writeSlate writes a picture of a slate for whoever wants to look at it.
func writeSlate(t *testing.T, name string, img image.Image) {
	if *slateFiles == "" {
		return
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*slateFiles, name), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A slate says everything that a technician needs, and nothing twice.
func TestSlateSaysAll(t *testing.T) {
	inUTC(t)
	for name, s := range exampleSlates() {
		text := ""
		for _, p := range slateParagraphs(s, slateNow) {
			text += strings.ReplaceAll(p.text, firm, " ") + "\n"
		}
		for _, want := range []string{s.Device, s.Stream, s.State, s.Code, s.Message, s.Action, s.Version, s.Address, s.Broker, "2026-01-31 08:15:00 UTC"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in\n%s", name, want, text)
			}
		}
		if n := strings.Count(text, s.Device); n != 1 {
			t.Errorf("%s: the device is named %d times", name, n)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", time.Minute: "1 min", 59*time.Minute + 59*time.Second: "59 min",
		2*time.Hour + 5*time.Minute: "2 h 5 min", 49 * time.Hour: "2 d 1 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

// What the table of codes says of each fits every common screen, with everything else that a slate may say.
func TestEveryCodeFitsTheScreen(t *testing.T) {
	for _, code := range contract.Codes() {
		s := exampleSlates()["unreachable"]
		s.Code, s.Message, s.Action, s.State = code.Code, code.Summary, code.Action, "Connected, but no picture can be shown (attempt 12)"
		s.Address, s.Broker = "192.168.117.104 (enp0s31f6)", "MQTT not connected: mqtt.unreachable"
		for _, size := range sizes {
			drawing.Lock()
			lines := layOut(slateParagraphs(s, slateNow), size)
			drawing.Unlock()
			var said strings.Builder
			for _, l := range topDown(lines) {
				said.WriteString(l.text + " ")
			}
			for _, text := range []string{code.Summary, code.Action} {
				if !strings.Contains(said.String(), text) {
					t.Errorf("%s on %dx%d: %q is cut: %s", code.Code, size.Width, size.Height, text, &said)
				}
			}
		}
	}
}
