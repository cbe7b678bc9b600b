package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt"
)

// A state directory that cannot be used has one cause, and so one warning, whatever would be kept in it.
func TestAnUnusableStateDirectoryIsReportedOnce(t *testing.T) {
	for name, dir := range map[string]string{"cannot be made": "/proc/none", "is a file": "/dev/null", "in use": filepath.Join(t.TempDir(), "state")} {
		t.Run(name, func(t *testing.T) {
			if name == "in use" {
				other := agent.OpenPositions(dir)
				defer other.Close()
			}
			s := newSite(t, clip.H264())
			path := s.config("none", cameraStream)
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, regexp.MustCompile(`state_dir = .*`).ReplaceAll(text, fmt.Appendf(nil, "state_dir = %q", dir)), 0o600); err != nil {
				t.Fatal(err)
			}
			w := s.watch()
			p := start(t, nil, "run", "--config", path)
			w.event(agent.CodeStateUnusable)
			w.until("decoders that were tried out", func(m mqtt.Message, f map[string]any) bool {
				all, _ := f["decoders"].([]any)
				return m.Topic == w.topics.Info() && len(all) > 0 && !strings.Contains(string(m.Payload), string(decode.Untried))
			})
			p.cmd.Process.Signal(syscall.SIGTERM)
			p.wait()
			overload := strings.Count(p.output(), "code=decode.dropped") // of a busy machine
			if n := strings.Count(p.output(), "level=WARN") - overload; n != 1 {
				t.Errorf("%d warnings:\n%s", n, p.output())
			}
		})
	}
}
