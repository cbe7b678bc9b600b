package brokertest

import (
	"os/exec"
	"syscall"
)

// Signals that stop a process in its tracks and let it go on.
const (
	pauseSignal  = syscall.SIGSTOP
	resumeSignal = syscall.SIGCONT
)

// bind has the kernel kill a process when the thread that starts it ends.
func bind(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
