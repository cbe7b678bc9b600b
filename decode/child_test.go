package decode

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/kit"
)

// A child that is gone leaves no descriptor behind.
// programOf is a program with arguments.
func programOf(path string, args ...string) *Program {
	return &Program{places: []string{path}, args: args}
}

func TestChildLeavesNothing(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	sleep := programOf("/bin/sleep", "60")
	life := func() {
		c, err := startChild(launch{program: sleep, sandbox: Sandbox{Off: true}})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			c.copyLog(slog.New(slog.NewTextHandler(io.Discard, nil)))
		}()
		c.stop(0)
		<-done
	}
	life()
	before := descriptors()
	for range 50 {
		life()
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after 50 children", before, after)
	}
	if _, err := startChild(launch{program: programOf("/does/not/exist"), sandbox: Sandbox{Off: true}}); err == nil {
		t.Error("a program that does not exist starts")
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after a child that did not start", before, after)
	}
}

// A process that does not go, because a driver holds it in the kernel, is left behind.
func TestChildThatCannotBeKilled(t *testing.T) {
	c, err := startChild(launch{program: programOf("/bin/sleep", "60"), sandbox: Sandbox{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	gone := c.exited
	stuck := &child{cmd: c.cmd, conn: c.conn, log: c.log, logged: make(chan struct{}), exited: make(chan struct{})} // exited is never closed
	read := make(chan struct{})
	go func() {
		defer close(read)
		stuck.copyLog(slog.New(slog.DiscardHandler))
	}()
	stuck.stop(0)
	<-read
	<-gone
}

// Memory is looked at once a second, however often it is asked for.
func TestMemoryIsWeighedOnceASecond(t *testing.T) {
	c := &child{cmd: exec.Command("true")}
	c.cmd.Process = &os.Process{Pid: os.Getpid()}
	start := time.Now()
	for i, want := range []bool{true, false, false, true, false} {
		now := start.Add(time.Duration(i) * 400 * time.Millisecond)
		if got := c.overweight(0, now) != nil; got != want {
			t.Errorf("at %v: weighed %v, want %v", now.Sub(start), got, want)
		}
	}
}

// What a child has started ends with it, also when nobody stops it, and before its process id can be another's.
func TestChildTakesItsGroupAlong(t *testing.T) {
	c, err := startChild(launch{program: programOf("/bin/sh", "-c", "sleep 600 & echo $! >&2"), sandbox: Sandbox{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		c.copyLog(slog.New(slog.DiscardHandler)) // until nobody has its log open
	}()
	select {
	case <-logged:
	case <-time.After(20 * time.Second):
		t.Error("what the child has started lives on")
		_ = c.log.SetReadDeadline(time.Now())
		<-logged
		if pid, err := strconv.Atoi(string(c.lastLine)); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	<-c.exited
}

// A process id of which nothing is known any more is left alone: it may be that of another process.
func TestStopLeavesOthersAlone(t *testing.T) {
	other, err := startChild(launch{program: programOf("/bin/sleep", "600"), sandbox: Sandbox{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		other.copyLog(slog.New(slog.DiscardHandler))
	}()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	write.Close()
	gone := &child{cmd: other.cmd, conn: ours, log: read, exited: make(chan struct{}), reaped: true}
	close(gone.exited)
	gone.stop(0)
	if err := gone.overweight(0, time.Now()); err != nil {
		t.Error(err)
	}
	if gone.atWork() {
		t.Error("a process that is gone is at work")
	}
	if state := processState(other.cmd.Process.Pid); state == "gone" || state == "dead" {
		t.Errorf("the process that has its id is %s", state)
	}
	other.stop(0)
	<-logged
	if state := other.cmd.ProcessState.Sys().(syscall.WaitStatus); state.Signal() != syscall.SIGKILL {
		t.Errorf("%+v", state)
	}
}

func TestLogLimit(t *testing.T) {
	var l logLimit
	now := time.Unix(1000, 0)
	count := func(lines int) (let int, dropped uint64) {
		for range lines {
			before, ok := l.allow(now)
			if ok {
				let++
			}
			dropped += before
		}
		return let, dropped
	}
	let, _ := count(10 * logBurst)
	kit.Expect(t, "of a burst", let, logBurst)
	now = now.Add(3*logEvery + logEvery/2)
	let, dropped := count(100)
	kit.Expect(t, "a moment later", let, 3)
	kit.Expect(t, "dropped", dropped, 9*logBurst)
	now = now.Add(logEvery / 2)
	let, dropped = count(1)
	kit.Expect(t, "halves add up", let, 1)
	kit.Expect(t, "dropped then", dropped, 97)
	now = now.Add(time.Hour)
	let, _ = count(10 * logBurst)
	kit.Expect(t, "of another burst", let, logBurst)
}

// A child that logs without end is not held up and costs few lines; all that it logged is counted.
func TestLogOfAChildIsLimited(t *testing.T) {
	const lines = 200_000
	c, err := startChild(launch{program: programOf("/bin/sh", "-c", fmt.Sprintf("yes 0123456789 | head -n %d >&2; head -c 100000 /dev/zero | tr '\\0' x >&2; echo >&2; echo the last >&2", lines)), sandbox: Sandbox{Off: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.conn.Close()
	var out bytes.Buffer
	began := time.Now()
	c.copyLog(slog.New(slog.NewTextHandler(&out, nil)))
	<-c.exited
	let, dropped := 0, 0
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "renderer says") {
			let++
		}
		if _, n, ok := strings.Cut(line, "lines="); ok {
			n, _ := strconv.Atoi(strings.TrimSpace(n))
			dropped += n
		}
	}
	if most := logBurst + int(time.Since(began)/logEvery) + 1; let > most || let < logBurst {
		t.Errorf("%d lines were logged; %d to %d may be", let, logBurst, most)
	}
	kit.Expect(t, "lines", let+dropped, lines+2) // one of them is long
	kit.Expect(t, "the last", string(c.lastLine), "the last")
}
