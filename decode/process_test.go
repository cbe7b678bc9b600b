package decode

import (
	"bufio"
	"os/exec"
	"syscall"
	"testing"
)

// A process that computes is at work; one that was stopped or is gone is not.
func TestAtWork(t *testing.T) {
	start := func(script string) *exec.Cmd {
		cmd := exec.Command("sh", "-c", "echo begun; "+script)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	busy := start("while :; do :; done")
	if pid := busy.Process.Pid; !atWork(pid) || processState(pid) != "computing" {
		t.Error("a process that computes is", processState(pid))
	}
	stop(t, busy.Process.Pid)
	if pid := busy.Process.Pid; atWork(pid) || processState(pid) != "stopped by a signal" {
		t.Error("a stopped process is", processState(pid))
	}
	_ = busy.Process.Kill()
	_ = busy.Wait()
	if pid := busy.Process.Pid; atWork(pid) || processState(pid) != "gone" {
		t.Error("a process that ended is", processState(pid))
	}
}

// stop stops a child and waits until it is.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatal(status, err)
	}
}
