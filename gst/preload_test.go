package gst

import (
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// A renderer that is told so loads the software decoders' libraries before anything is asked of it, and no other does.
func TestPreload(t *testing.T) {
	if !slices.Contains(Elements(), "avdec_h264") {
		t.Skip("gstreamer1.0-libav is not installed: there is nothing to load")
	}
	pid := greeted(t, decode.PreloadEnv+"=1")
	for end := time.Now().Add(patience); !mapped(t, pid, "libgstlibav"); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatal("the library of the decoders is not loaded")
		}
	}
	if mapped(t, greeted(t), "libgstlibav") {
		t.Error("the library of the decoders is loaded without having been asked for")
	}
}

// greeted starts a renderer and waits until it has said hello. Nothing is said to it.
func greeted(t *testing.T, env ...string) (pid int) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "renderer"), os.NewFile(uintptr(fds[1]), "agent")
	conn, err := net.FileConn(ours)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), childEnv+"=1"), env...)
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = conn.Close()
		_ = cmd.Wait() // what it had to say, nobody has read: that is not its fault
	})
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if m, err := decode.NewReader(conn, decode.FromRenderer).Next(); err != nil || m.Kind != decode.KindHello {
		t.Fatalf("it did not say hello: %v %v", m.Kind, err)
	}
	return cmd.Process.Pid
}

// mapped says that a process has a library loaded.
func mapped(t *testing.T, pid int, library string) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), library)
}
