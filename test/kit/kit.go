// Package kit has what tests of several packages use: golden files, waiting, and the renderer program.
package kit

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Golden compares what a test got with the file of that name in testdata, which -update writes.
func Golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test -update writes it anew)\n--- got\n%s--- want\n%s", path, got, want)
	}
}

// Updating says that golden files are being written.
func Updating() bool { return *update }

// Patience is how long a test waits for what must come; it only passes when something is wrong.
const Patience = 60 * time.Second

// Await waits until something is so.
func Await(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.NewTimer(Patience)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !so() {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("waiting for %s", what)
		}
	}
}

// ReplaceFile puts a text in place of a file at once, so that nobody reads half of it.
func ReplaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// BuildRenderer builds the renderer program beside this executable, with the race detector if that has it.
func BuildRenderer() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	race := false
	if info, ok := debug.ReadBuildInfo(); ok {
		race = slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
	}
	const name = "edge-agent-renderer"
	program := filepath.Join(filepath.Dir(self), name)
	out, err := exec.Command("go", "build", fmt.Sprintf("-race=%v", race), "-o", program, "github.com/edge-agent/edge-agent/cmd/"+name).CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	return nil
}

// Expect compares what a test got with what it wants.
func Expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
