package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
)

// What is printed is read as what was printed.
func TestConfigPrint(t *testing.T) {
	for _, args := range [][]string{{"--config", "internal/config/testdata/full.toml"}, {"--defaults"}} {
		status, out, stderr := run(append([]string{"config", "print"}, args...)...)
		again, err := config.Parse("printed", out)
		want := config.Defaults()
		if args[0] == "--config" {
			want, _ = config.Load("internal/config/testdata/full.toml")
		}
		if err != nil || status != exitOK || again.Hash() != want.Hash() {
			t.Errorf("%v: %d %s %v", args, status, stderr, err)
		}
	}
	if status, out, _ := run("config", "check", "--config", "internal/config/testdata/full.toml"); status != exitOK || out != "internal/config/testdata/full.toml is valid; streams: 2\n" {
		t.Errorf("check: %d %s", status, out)
	}
	if status, _, stderr := run("config", "check", "--config", "internal/config/testdata/bad/unknown-keys.toml"); status != exitFailed || !strings.Contains(stderr, "config.unknown_key") {
		t.Errorf("check: %d %s", status, stderr)
	}
	if status, out, _ := run("config", "schema"); status != exitOK || !json.Valid([]byte(out)) {
		t.Errorf("schema: %d", status)
	}
}
