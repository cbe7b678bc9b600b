package decode

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// copyOfThis copies the test's executable, which can be a renderer.
func copyOfThis(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
}

// The first of the places counts, and what was opened there stays in use whatever becomes of the file: an upgrade does not
// mix two versions.
func TestProgramStaysTheSame(t *testing.T) {
	folder := t.TempDir()
	place := filepath.Join(folder, "second", RendererName)
	p := NewProgram(filepath.Join(folder, "first", RendererName), place)
	_, _, err := p.open()
	if r := reportOf(asError(err)); r.Code != report.CodeRenderer || !strings.Contains(r.Message, "first/") || !strings.Contains(r.Message, "second/") {
		t.Errorf("nowhere: %+v", r)
	}
	if err := os.Mkdir(filepath.Dir(place), 0o755); err != nil {
		t.Fatal(err)
	}
	copyOfThis(t, place)
	describe := func() error {
		s := &stage{launch: launch{program: p, sandbox: Sandbox{Off: true}, env: []string{fakeEnv + "=none"}}, limit: trialLimit, log: slog.New(slog.DiscardHandler)}
		_, _, err := s.describe(t.Context(), false, func([]string) []string { return nil })
		return err
	}
	if err := describe(); err != nil {
		t.Errorf("it is there now: %v", err)
	}
	if err := os.RemoveAll(filepath.Dir(place)); err != nil {
		t.Fatal(err)
	}
	if err := describe(); err != nil {
		t.Errorf("it was removed: %v", err)
	}
}

// What is wrong with the program is said, and is no fault of a decoder.
func TestProgramsThatCannotRun(t *testing.T) {
	folder := t.TempDir()
	file := func(name, text string, mode os.FileMode) *Program {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return NewProgram(path)
	}
	for name, c := range map[string]struct {
		program *Program
		env     string
		says    string
	}{
		"no program":         {file("text", "no program", 0o755), "", "exec format error"},
		"not executable":     {file("data", "no program", 0o644), "", "permission denied"},
		"a folder":           {NewProgram(folder), "", "permission denied"},
		"another build":      {NewProgram(os.Args[0]), fakeBuildEnv + "=1.2.3+abc", `of build "1.2.3+abc", the agent of build "dev"`},
		"without a library":  {programOf("/bin/sh", "-c", "echo 'a: error while loading shared libraries: libgstapp-1.0.so.0: cannot open shared object file: No such file or directory' >&2; exit 127"), "", "in Debian's package libgstreamer-plugins-base1.0-0"},
		"an unknown library": {programOf("/bin/sh", "-c", "echo 'a: error while loading shared libraries: libodd.so.1: file too short' >&2; exit 127"), "", "the library libodd.so.1: file too short"},
		"an old library":     {programOf("/bin/sh", "-c", "echo 'a: /lib/libc.so.6: version `GLIBC_9.9'\"'\"' not found (required by a)' >&2; exit 1"), "", "GLIBC_9.9"},
	} {
		r := start(t, "none", func(config *Config) {
			config.Program = c.program
			if c.env != "" {
				config.Env = append(config.Env, c.env)
			}
		})
		if report := r.report(report.CodeRenderer); !strings.Contains(report.Message, c.says) {
			t.Errorf("%s: %q", name, report.Message)
		}
		config := ProbeConfig{Program: c.program, Sandbox: Sandbox{Off: true}, Env: []string{fakeEnv + "=none", c.env}}
		if _, err := Probe(context.Background(), config); reportOf(err).Code != report.CodeRenderer || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: the probe says %v", name, err)
		}
	}
}

// The renderer of an installation stands beside the agent, or where packages put programs that no person calls.
func TestInstalledProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Dir(self)
	want := []string{filepath.Join(folder, "edge-agent-renderer"), filepath.Join(filepath.Dir(folder), "libexec/edge-agent/edge-agent-renderer")}
	kit.Expect(t, "places", strings.Join(InstalledProgram().places, " "), strings.Join(want, " "))
}
