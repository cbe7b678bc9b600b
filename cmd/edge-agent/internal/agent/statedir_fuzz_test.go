package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// stateOf opens all that an agent keeps in its state directory, as at a start, and leaves something in it. It gives what was found
// damaged, and what was logged.
func stateOf(t testing.TB, dir string) (damaged int, log string) {
	t.Helper()
	var text bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&text, nil))
	positions := OpenPositions(dir)
	if positions.err != nil {
		t.Fatal(positions.err)
	}
	if positions.damage != nil {
		damaged++
	}
	if _, err := positions.Load("gate"); err != nil {
		t.Error(err)
	}
	positions.Save("gate", ingest.Position{Token: "t", Fragment: strings.Repeat("9", 47), Server: time.Unix(1700000000, 0)})
	if err := positions.Close(); err != nil {
		t.Error(err)
	}
	if _, damage := decode.LastProbe(filepath.Join(dir, "decoders.json")); damage != nil {
		damaged++
	}
	if _, err := readDesired(dir, "box"); err != nil {
		damaged++
	}
	client, err := mqtt.New(mqtt.Config{Broker: mqtt.Broker{URL: "mqtt://127.0.0.1:1"}, AgentID: "box", StateDir: dir, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	client.SetStreams([]string{"gate"})
	client.Event(contract.Event{Code: "agent.started", Message: "for the file"})
	ended, end := context.WithCancel(context.Background())
	end()
	if err := client.Run(ended); err != nil {
		t.Error(err)
	}
	if strings.Contains(text.String(), "code=mqtt.storage") {
		t.Errorf("events are not kept:\n%s", &text)
	}
	return damaged + strings.Count(text.String(), "code="+statefile.Code), text.String()
}

// Whatever is damaged in the state directory: the agent starts, says what it has lost, and the next start finds all in order.
func FuzzStateDirectory(f *testing.F) {
	seed := filepath.Join(f.TempDir(), "seed")
	stateOf(f, seed)
	report, err := json.Marshal(decode.ProbeReport{GStreamer: "1.22.0", Candidates: []decode.Candidate{{Codec: format.H264, Element: "avdec_h264", Result: decode.Passed}}})
	if err != nil {
		f.Fatal(err)
	}
	desired := desiredConfig{Thing: "box", Version: 3, Config: json.RawMessage(`{"log":{"level":"debug"}}`)}
	if err := os.WriteFile(filepath.Join(seed, "decoders.json"), report, 0o600); err != nil {
		f.Fatal(err)
	}
	if err := desired.keep(seed); err != nil {
		f.Fatal(err)
	}
	if n, log := stateOf(f, seed); n > 0 {
		f.Fatalf("%d files of the seed are damaged: %s", n, log)
	}
	files, err := filepath.Glob(filepath.Join(seed, "*"))
	if err != nil || len(files) < 5 {
		f.Fatalf("%q, %v", files, err)
	}
	slices.Sort(files)
	for i := range files {
		f.Add(uint8(i), uint32(0), []byte("damage"), false)
		f.Add(uint8(i), uint32(40), []byte{0xff, 0, 0xff}, false)
		f.Add(uint8(i), uint32(4096+16), bytes.Repeat([]byte{0x80}, 8), false)
		f.Add(uint8(i), uint32(100), []byte(nil), true)
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint32, with []byte, cut bool) {
		dir := t.TempDir()
		for i, name := range files {
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if i == int(which)%len(files) && len(content) > 0 {
				place := int(at) % len(content)
				copy(content[place:], with)
				if cut {
					content = content[:place]
				}
			}
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		stateOf(t, dir)
		if n, log := stateOf(t, dir); n > 0 {
			t.Errorf("the next start finds %d damaged: %s", n, log)
		}
	})
}
