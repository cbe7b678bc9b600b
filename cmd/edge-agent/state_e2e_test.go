package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/kvstest/forms"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// code waits for a state with a code, and gives its fields.
func (w *watcher) code(code string) map[string]any {
	w.t.Helper()
	var state map[string]any
	w.until(fmt.Sprintf("a state with the code %q", code), func(m mqtt.Message, f map[string]any) bool {
		state = f
		return m.Topic == w.topics.State("gate") && f["state"] == string(contract.Playing) && f["code"] == code
	})
	return state
}

// A stream without video is connected and shows nothing: the retained state says so, with the names of its tracks, to whoever comes
// later too.
func TestStateOfAStreamWithoutVideo(t *testing.T) {
	s := newSite(t, forms.AudioOnly().Capture())
	w := s.watch()
	start(t, nil, "run", "--config", s.config("none", cameraStream+"start = \"earliest\"\non_lag = \"stay\"\n"))
	state, event, sound := false, false, false
	w.until("state, event and telemetry", func(m mqtt.Message, f map[string]any) bool {
		text, _ := f["message"].(string)
		audio, _ := f["audio"].(map[string]any)
		named := f["code"] == "decode.no_video" && strings.Contains(text, "AUDIO_FROM_CUSTOMER")
		state = state || m.Topic == w.topics.State("gate") && named
		event = event || m.Topic == w.topics.Events() && named
		sound = sound || m.Topic == w.topics.Telemetry("gate") && audio["codec"] == "A_AAC" && f["frames"] == 0.0
		return state && event && sound
	})
	later := s.watch()
	later.until("the retained state", func(m mqtt.Message, f map[string]any) bool {
		return m.Topic == w.topics.State("gate") && f["code"] == "decode.no_video"
	})
}

// A producer whose clock is days off has no lag that means anything. The local lag does not depend on it.
func TestLagsOfAProducerWithoutAClock(t *testing.T) {
	s := newSiteWith(t, clip.H264(), kvstest.StreamConfig{Ahead: 72 * time.Hour})
	w := s.watch()
	start(t, nil, "run", "--config", s.config("none", cameraStream))
	fragments := 0.0
	w.until("lags", func(m mqtt.Message, f map[string]any) bool {
		lag, _ := f["lag"].(map[string]any)
		if m.Topic != w.topics.Telemetry("gate") {
			return false
		}
		n, _ := f["fragments"].(float64)
		known := fragments > 0 // then the times of a fragment could be compared
		fragments += n
		if known && lag["producer_ms"] != nil {
			t.Fatalf("the lag behind the producer is %v", lag["producer_ms"])
		}
		local, _ := lag["local_ms"].(map[string]any)
		if local == nil || !known {
			return false
		}
		if last, _ := local["last"].(float64); last < 0 || last > float64(kit.Patience.Milliseconds()) {
			t.Fatalf("the local lag is %v", local)
		}
		return true
	})
}

// cookies is a file with a cookie for an X server on this machine; see xauth(1).
func cookies(t *testing.T, cookie byte) string {
	t.Helper()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	entry := []byte{1, 0} // a server on this machine
	for _, field := range []string{host, "", "MIT-MAGIC-COOKIE-1", string(bytes.Repeat([]byte{cookie}, 16))} {
		entry = append(binary.BigEndian.AppendUint16(entry, uint16(len(field))), field...)
	}
	path := filepath.Join(t.TempDir(), "cookies")
	if err := os.WriteFile(path, entry, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An X server that refuses access is named, and neither cable nor decoder is blamed.
func TestStateOfAnXServerThatRefusesAccess(t *testing.T) {
	right := cookies(t, 1)
	display := startXvfb(t, "-auth", right)
	s := newSite(t, clip.H264())
	for _, sink := range []string{"x11", "auto"} {
		t.Run(sink, func(t *testing.T) {
			s.t = t
			w := s.watch()
			p := start(t, []string{"DISPLAY=" + display, "XAUTHORITY=" + cookies(t, 2)}, "run", "--config", s.config(sink, cameraStream))
			state := w.code("display.access")
			if text, _ := state["message"].(string); !strings.Contains(text, "refuses access; set XAUTHORITY") {
				t.Errorf("state %v", state)
			}
			if out := p.output(); strings.Contains(out, "display.lost") || strings.Contains(out, "decode.error") {
				t.Error("something else is blamed")
			}
		})
	}
	t.Run("with its cookie", func(t *testing.T) {
		s.t = t
		w := s.watch()
		start(t, []string{"DISPLAY=" + display, "XAUTHORITY=" + right}, "run", "--config", s.config("x11", cameraStream))
		w.code("")
		w.shown()
	})
}

// While the display is lost the state says so, and no longer once there is one again.
func TestStateOfALostDisplay(t *testing.T) {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Skip("Xvfb is not installed (Debian package xvfb)")
	}
	x, display := startXvfbProcess(t)
	s := newSite(t, clip.H264())
	w := s.watch()
	start(t, []string{"DISPLAY=" + display}, "run", "--config", s.config("x11", cameraStream))
	w.code("")
	w.shown()
	x.Process.Signal(syscall.SIGKILL)
	x.Wait()
	w.until("a state of a lost display", func(m mqtt.Message, f map[string]any) bool {
		code, _ := f["code"].(string)
		return m.Topic == w.topics.State("gate") && strings.HasPrefix(code, "display.")
	})
	startXvfbProcess(t, display)
	w.code("")
	w.shown()
}
