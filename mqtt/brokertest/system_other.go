//go:build !linux

package brokertest

import (
	"os/exec"
	"syscall"
)

// What system_linux.go has; elsewhere a broker cannot be paused.
const (
	pauseSignal  = syscall.Signal(0)
	resumeSignal = syscall.Signal(0)
)

func bind(*exec.Cmd) {}
