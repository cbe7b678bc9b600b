package gst

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// silentX is the socket of an X server that accepts connections and is silent, but for the setup of this very process if that
// is to be answered. It returns its DISPLAY.
func silentX(t *testing.T, answerThis bool) string {
	t.Helper()
	listener, display := xSocket(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if answerThis && peer(conn.(*net.UnixConn)) == os.Getpid() {
				_, _ = conn.Write([]byte{1, 0, 11, 0, 0, 0, 0, 0}) // success; nothing follows
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		all.Wait()
		for _, conn := range conns { // whoever waits for an answer gives up
			_ = conn.Close()
		}
	})
	return display
}

// xSocket listens where clients look for an X server.
func xSocket(t *testing.T) (listener net.Listener, display string) {
	t.Helper()
	const folder = "/tmp/.X11-unix"
	if err := os.MkdirAll(folder, 0o1777); err != nil {
		t.Fatal(err)
	}
	for number := 200; ; number++ {
		listener, err := net.Listen("unix", fmt.Sprintf("%s/X%d", folder, number))
		if err == nil {
			return listener, fmt.Sprintf(":%d", number)
		}
		if number > 300 {
			t.Fatal(err)
		}
	}
}

// peer is the process at the other end.
func peer(conn *net.UnixConn) (pid int) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// A display server that never answers is given up, and the process goes on with another display.
func TestDisplayServerThatNeverAnswers(t *testing.T) {
	t.Setenv("DISPLAY", silentX(t, false))
	frames := clip(t, "320x180", "30", x264...)
	a := serve(t)
	defer a.close()
	screened := func(number uint32, sink plan.Sink) (s decode.Screened) {
		t.Helper()
		if err := a.out.JSON(decode.KindScreen, decode.Screen{Number: number, Display: plan.Display{Sink: sink}, Unpaced: true}); err != nil {
			t.Fatal(err)
		}
		if err := a.until(decode.KindScreened).Decode(&s); err != nil || s.Number != number {
			t.Fatalf("%+v, %v", s, err)
		}
		return s
	}
	if s := screened(5, plan.X11); s.Failure == nil || s.Failure.Code != report.CodeHang || !strings.Contains(s.Failure.Message, "did not answer") {
		t.Errorf("%+v", s.Failure)
	}
	if s := screened(6, plan.None); s.Failure != nil {
		t.Errorf("%+v", s.Failure)
	}
	a.open("avdec_h264", formatOf(t, frames), plan.Display{Sink: plan.None}, true)
	a.send(frames)
	a.shown()
}

// The display is blamed for that, no decoder, and pictures go to the next display.
func TestSilentDisplayServerIsBlamed(t *testing.T) {
	t.Setenv("DISPLAY", silentX(t, true)) // the agent's own look is answered
	t.Setenv("WAYLAND_DISPLAY", "")
	frames := clip(t, "320x180", "30", x264...)
	r, reports := run(t, decode.Config{Sink: plan.Auto, Unpaced: true})
	stream(t, r, frames)
	var lost report.Report
	select {
	case lost = <-reports:
	case <-time.After(patience):
		t.Fatalf("nothing is reported: %+v", r.Stats())
	}
	if lost.Code != report.CodeDisplayLost || !strings.Contains(lost.Message, "x11: the display did not answer") {
		t.Errorf("%+v", lost)
	}
	await(t, r, reports, "pictures on the next display", func() bool { return r.Stats().Shown > 0 })
	if s := r.Stats(); len(s.Denied) != 0 || s.Restarts != 0 || s.Display.Sink != plan.None {
		t.Errorf("%+v", s)
	}
}

// The card of a sink that is frozen stays open when nothing refers to it any more.
func TestFrozenCardStaysOpen(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(file.Fd())
	keepOpen(file)
	keepOpen(nil)
	file = nil
	for range 3 {
		runtime.GC()
	}
	var info syscall.Stat_t
	if err := syscall.Fstat(fd, &info); err != nil {
		t.Error(err)
	}
	openCards.mu.Lock()
	defer openCards.mu.Unlock()
	for _, file := range openCards.files {
		_ = file.Close()
	}
	openCards.files = nil
}

func TestPixelBytes(t *testing.T) {
	for _, c := range []struct{ width, height, want int64 }{
		{1920, 1080, 1920 * 1080 * 4},
		{7680, 4320, 7680 * 4320 * 4},
		{1, 1, 4},
		{0, 10, 0},
		{10, 0, 0},
		{-1, -1, 0},
		{1 << 15, 1 << 15, 0},
		{1<<31 - 1, 1<<31 - 1, 0},
		{1 << 62, 4, 0},
	} {
		got, err := pixelBytes(c.width, c.height)
		if got != c.want || (err == nil) != (c.want > 0) {
			t.Errorf("%d×%d: %d, %v", c.width, c.height, got, err)
		}
	}
	if sendable(decode.MaxPicture) != nil || sendable(decode.MaxPicture+1) == nil {
		t.Error("the limit of a message is not that of pictures")
	}
}

// An X server that refuses connections for a moment is asked for its size again: a window of another size would stay in a corner.
func TestSizeOfAnXScreenIsAskedAgain(t *testing.T) {
	size := plan.Mode{Width: 1024, Height: 600}
	server := "/tmp/.X11-unix/X" + strings.TrimPrefix(virtualX(t, size), ":")
	listener, display := xSocket(t)
	var all sync.WaitGroup
	all.Go(func() {
		for n := 0; ; n++ {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			if n < 2 {
				_ = client.Close()
				continue
			}
			real, err := net.Dial("unix", server)
			if err != nil {
				_ = client.Close()
				continue
			}
			all.Go(func() { relay(client, real) })
		}
	})
	defer all.Wait()
	defer listener.Close()
	t.Setenv("DISPLAY", display)
	if got, err := xScreen(); err != nil || got != size {
		t.Errorf("%v, %v", got, err)
	}
}

// relay joins two connections until one of them ends.
func relay(a, b net.Conn) {
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() { _, _ = io.Copy(way[0], way[1]); done <- struct{}{} }()
	}
	<-done
	_, _ = a.Close(), b.Close()
	<-done
}

// An X server that cannot be asked is no display.
func TestSizeOfAnXScreenThatCannotBeAsked(t *testing.T) {
	t.Setenv("DISPLAY", ":987")
	if _, err := newScreen(decode.Screen{Display: plan.Display{Sink: plan.X11}}, func() {}, func(error) {}); err == nil || !strings.Contains(err.Error(), "size of its screen") {
		t.Error(err)
	}
}
