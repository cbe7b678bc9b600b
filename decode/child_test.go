package decode

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"
)

// A child that is gone leaves no descriptor behind.
func TestChildLeavesNothing(t *testing.T) {
	descriptors := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	life := func() {
		c, err := startChild([]string{"/bin/sleep", "60"}, nil)
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
	if _, err := startChild([]string{"/does/not/exist"}, nil); err == nil {
		t.Error("a program that does not exist starts")
	}
	if after := descriptors(); after != before {
		t.Errorf("%d descriptors before, %d after a child that did not start", before, after)
	}
}

// A process that does not go, because a driver holds it in the kernel, is left behind.
func TestChildThatCannotBeKilled(t *testing.T) {
	c, err := startChild([]string{"/bin/sleep", "60"}, nil)
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
