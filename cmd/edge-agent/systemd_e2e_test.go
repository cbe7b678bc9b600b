package main

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/test/kit"
)

// A service manager is told of a whole agent, which neither service nor broker can stop from feeding the watchdog.
func TestServiceManagerIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t, clip.H264())
	config := s.config("none", cameraStream)
	s.broker.Stop()
	s.server.Close()
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	p := start(t, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=6000000"}, "run", "--config", config)
	var got []string
	next := func() string {
		t.Helper()
		_ = manager.SetReadDeadline(time.Now().Add(kit.Patience))
		text := make([]byte, 4096)
		n, err := manager.Read(text)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got = append(got, string(text[:n]))
		return got[len(got)-1]
	}
	if first := next(); !strings.HasPrefix(first, "READY=1\nSTATUS=0 of 1 streams play") {
		t.Errorf("first it said %q", first)
	}
	for range 2 {
		for next() != "WATCHDOG=1" {
		}
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	for next() != "STOPPING=1" {
	}
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}
