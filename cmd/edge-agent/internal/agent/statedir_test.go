package agent

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A state directory that disappears under a running agent is reported and made again.
func TestARemovedStateDirectoryIsReported(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var log bytes.Buffer
	a := &Agent{log: slog.New(slog.NewTextHandler(&log, nil)), positions: OpenPositions(dir)}
	defer a.positions.Close()
	a.checkStateDir()
	if log.Len() > 0 {
		t.Errorf("in order: %s", &log)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	a.checkStateDir()
	if !strings.Contains(log.String(), codeStateMissing) {
		t.Errorf("the log has %q", &log)
	}
	if _, err := os.Stat(filepath.Join(dir, "state.db")); err != nil {
		t.Error(err)
	}
}
