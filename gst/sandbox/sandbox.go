// Package sandbox takes from the renderer process what it does not need. What a camera sends is parsed there by much
// code in C: whoever gets hold of that code is to reach no file, no network and no other process by it.
//
// [Enter] is called by the renderer itself, before it has read anything: landlock leaves it the files of GStreamer, of
// drivers and of the display (paths.go), seccomp takes the system calls that lead elsewhere (calls.go), and
// capabilities go. All of it holds for every thread and for what the process starts, and cannot be taken back. The
// agent sees to the rest when it starts the process: its environment and its user (decode/environment.go, account.go).
//
// What the kernel lacks is said, and is no reason not to show a picture.
package sandbox

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"
)

// box is what the sandbox of one process depends on.
type box struct {
	getenv func(name string) string // its environment
	paths  []string                 // further files and folders that may be read and written
}

// Enter takes from this process what a renderer does not need. getenv gives its environment, and paths are files and
// folders that it may read and write besides. It returns, in words, what could not be taken; nil when all is in place.
func Enter(getenv func(name string) string, paths []string) (missing []string) {
	b := box{getenv, paths}
	for _, step := range []struct {
		what string
		take func() error
	}{
		{"core dumps", denyCoreDumps},
		{"capabilities", dropCapabilities},
		{"landlock (files)", b.restrictFiles},
		{"seccomp (network and system calls)", b.restrictCalls},
	} {
		if err := step.take(); err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", step.what, err))
		}
	}
	return missing
}

// denyCoreDumps keeps pictures out of files that others may read. A limit of 0 would still hand dumps to a program that
// the box has for them (core(5)).
func denyCoreDumps() error {
	return unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1, Max: 1})
}

// dropCapabilities leaves a process of root what it needs where its files belong to other users, such as the cookie of
// an X server: landlock says which files those may be.
func dropCapabilities() error {
	if syscall.Geteuid() != 0 {
		return nil
	}
	keep := cap.NewSet()
	had, err := cap.GetProc().GetFlag(cap.Permitted, cap.DAC_OVERRIDE)
	if err != nil {
		return err
	}
	if had {
		if err := errors.Join(
			keep.SetFlag(cap.Permitted, true, cap.DAC_OVERRIDE), keep.SetFlag(cap.Effective, true, cap.DAC_OVERRIDE),
		); err != nil {
			return err
		}
	}
	return keep.SetProc()
}

// tcpPort is the port of an X server that is reached over TCP, 0 for one that is not.
func tcpPort(display string) uint16 {
	colon := strings.LastIndexByte(display, ':')
	if colon < 0 || strings.HasPrefix(display, "/") {
		return 0
	}
	if host := display[:colon]; host == "" || host == "unix" {
		return 0
	}
	number, _, _ := strings.Cut(display[colon+1:], ".")
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n > 1<<16-1-6000 {
		return 0
	}
	return uint16(6000 + n)
}
