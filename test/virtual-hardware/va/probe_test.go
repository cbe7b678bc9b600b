//go:build hardware

package va

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

// candidate is one line of edge-agent probe --json.
type candidate struct {
	Type string
	decode.Candidate
}

// probe runs edge-agent probe with a state folder.
func probe(t *testing.T, state string, more ...string) []candidate {
	t.Helper()
	config := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[agent]\nstate_dir = %q\n%s", state, box.AsRoot(settings)), 0o600); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd := exec.Command(box.Program(t), append([]string{"probe", "--json", "--config", config}, more...)...)
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("probe: %v: %s", err, &said)
	}
	var list []candidate
	for _, line := range bytes.Split(bytes.TrimSpace(out), []byte("\n")) {
		var c candidate
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if c.Type == "candidate" {
			list = append(list, c)
		}
	}
	return list
}

// What a probe with a driver that works found out, and what it left in the state folder.
var (
	candidates []candidate
	known      []byte
)

// probed is the state of a box that has tried out its decoders.
func probed(t *testing.T) map[string][]byte {
	t.Helper()
	if known == nil {
		state := t.TempDir()
		candidates = probe(t, state)
		var err error
		if known, err = os.ReadFile(filepath.Join(state, "decoders.json")); err != nil {
			t.Fatal(err)
		}
	}
	return map[string][]byte{"decoders.json": known}
}

// find gives an element's candidate for its codec.
func find(t *testing.T, element string) decode.Candidate {
	t.Helper()
	for _, c := range candidates {
		if c.Element == element {
			return c.Candidate
		}
	}
	t.Fatalf("%s is not among %+v", element, candidates)
	return decode.Candidate{}
}

func TestProbe(t *testing.T) {
	probed(t)
	for va, software := range map[string]string{"vah264dec": "avdec_h264", "vah265dec": "avdec_h265"} {
		got, want := find(t, va), find(t, software)
		if got.Family != plan.VA || got.Device != node || got.Result != decode.Passed || got.Pictures != 90 || got.Checksum == "" || got.Checksum != want.Checksum {
			t.Errorf("%+v\nand the processor's %+v", got, want)
		}
		for _, first := range candidates {
			if first.Codec == got.Codec {
				if first.Element != va {
					t.Errorf("%s comes before %s", first.Element, va)
				}
				break
			}
		}
	}
}
