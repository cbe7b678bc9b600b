package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/test/kit"
)

// bareRoot makes the root of a system that has edge-agent, the C library and nothing of GStreamer. inside runs a command there:
// its first argument is that root.
func bareRoot(t *testing.T) (root string, inside []string) {
	t.Helper()
	root = t.TempDir()
	inside = []string{"unshare", "--map-root-user", "--mount", "--", "sh", "-c", `mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec chroot "$0" "$@"`, root}
	if os.Getuid() == 0 {
		inside = append(inside[:1:1], inside[2:]...)
	}
	for _, folder := range []string{"proc", "dev", "tmp", "etc"} {
		if err := os.Mkdir(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-race=false", "-o", root+"/", ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	renderer := filepath.Join(filepath.Dir(self), decode.RendererName)
	install(t, root, renderer, "/"+decode.RendererName)
	for _, library := range append(needed(t, renderer), "libc.so.6") {
		if path := pathOf(renderer, library); path != "" && !strings.Contains(library, "gst") {
			install(t, root, path, path)
		}
	}
	if out, err := exec.Command(inside[0], append(inside[1:], "/edge-agent", "version")...).CombinedOutput(); err != nil {
		t.Skipf("nothing can be run in a root of its own here: %v: %s", err, out)
	}
	return root, inside
}

func install(t *testing.T, root, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, to)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
}

// needed are the libraries and the dynamic linker that a program names.
func needed(t *testing.T, program string) []string {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err != nil {
				t.Fatal(err)
			}
			all = append(all, strings.TrimRight(string(name), "\x00"))
		}
	}
	return all
}

// pathOf is where the dynamic linker finds a library; "" when it does not.
func pathOf(program, library string) string {
	if filepath.IsAbs(library) {
		return library
	}
	out, _ := exec.Command("ldd", program).Output()
	for line := range strings.Lines(string(out)) {
		var name, path string
		if n, _ := fmt.Sscanf(strings.TrimSpace(line), "%s => %s", &name, &path); n == 2 && name == library {
			return path
		}
	}
	return ""
}

// A box without GStreamer is a box that says so: the agent runs, pulls, and reports which package is missing.
func TestAgentWithoutGStreamer(t *testing.T) {
	s := newSite(t, clip.H264())
	w := s.watch()
	root, inside := bareRoot(t)
	config := s.config("none", cameraStream)
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	kit.ReplaceFile(t, filepath.Join(root, "etc/config.toml"), strings.Replace(string(text), filepath.Dir(config), "/tmp", 1))

	p := startProgram(t, inside, nil, "/edge-agent", "run", "--config", "/etc/config.toml")
	const library, deb = "libgst", "in Debian's package libgst"
	event, state, pulls := false, false, false
	w.until("what is missing, and frames that are pulled", func(m mqtt.Message, f map[string]any) bool {
		message, _ := f["message"].(string)
		named := f["code"] == report.CodeRenderer && strings.Contains(message, library) && strings.Contains(message, deb)
		event = event || m.Topic == w.topics.Events() && named
		state = state || m.Topic == w.topics.State("gate") && named
		frames, _ := f["frames"].(float64)
		pulls = pulls || m.Topic == w.topics.Telemetry("gate") && frames > 0
		return event && state && pulls
	})
	p.cmd.Process.Signal(os.Interrupt)
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}

	p = startProgram(t, inside, nil, "/edge-agent", "probe", "--config", "/etc/config.toml")
	if status := p.wait(); status != exitFailed || !strings.Contains(p.output(), report.CodeRenderer) || !strings.Contains(p.output(), deb) {
		t.Errorf("probe: exit status %d", status)
	}
	p = startProgram(t, inside, nil, "/edge-agent", "check", "--config", "/etc/config.toml")
	if status := p.wait(); status != exitFailed || !strings.Contains(p.output(), "PROBLEM  renderer       "+report.CodeRenderer) ||
		!strings.Contains(p.output(), deb) || !strings.Contains(p.output(), "ok       stream gate    comes; frames received: ") {
		t.Errorf("check: exit status %d", status)
	}
	s.server.Close()
	p = startProgram(t, inside, nil, "/edge-agent", "check", "--config", "/etc/config.toml")
	if status := p.wait(); status != exitFailed || !strings.Contains(p.output(), "PROBLEM  stream gate    ingest.unreachable: ") {
		t.Errorf("check without the service: exit status %d", status)
	}
	if err := os.Remove(filepath.Join(root, decode.RendererName)); err != nil {
		t.Fatal(err)
	}
	p = startProgram(t, inside, nil, "/edge-agent", "probe", "--config", "/etc/config.toml")
	if status := p.wait(); status != exitFailed || !strings.Contains(p.output(), "there is no /edge-agent-renderer and no /libexec/edge-agent/edge-agent-renderer") {
		t.Errorf("probe without a renderer: exit status %d", status)
	}
}
