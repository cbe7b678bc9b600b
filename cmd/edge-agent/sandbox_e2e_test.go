package main

import (
	"fmt"
	"os"
	"os/user"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// statusOf gives the fields of a process's status.
func statusOf(t *testing.T, pid int) map[string]string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		fields[name] = strings.TrimSpace(value)
	}
	return fields
}

// The process that shows a picture has none of the agent's keys, no privileges, and no user of the agent's where that is root.
func TestRendererIsConfined(t *testing.T) {
	display := startXvfb(t)
	s := newSite(t, clip.H264())
	w := s.watch()
	p := start(t, []string{"DISPLAY=" + display}, "run", "--config", s.config("x11", cameraStream))
	w.shown()
	frameOnScreen(t, display)
	child := childOf(t, p.cmd.Process.Pid)
	status := statusOf(t, child)
	for field, want := range map[string]string{"NoNewPrivs": "1", "Seccomp": "2"} {
		if status[field] != want {
			t.Errorf("%s: %s", field, status[field])
		}
	}
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Fatal(err)
		}
		if uid, _, _ := strings.Cut(status["Uid"], "\t"); uid != nobody.Uid {
			t.Errorf("the user is %s", status["Uid"])
		}
		if status["CapEff"] != strings.Repeat("0", 16) {
			t.Errorf("capabilities %s", status["CapEff"])
		}
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", child))
	if err != nil || len(env) == 0 || strings.Contains(string(env), "AWS_") {
		t.Errorf("%q, %v", env, err)
	}
}
