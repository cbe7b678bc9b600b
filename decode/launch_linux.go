package decode

import (
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// ofTheFile are errors of starting a program that are its own fault.
var ofTheFile = []error{syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ELIBBAD}

// bind has a process and what it starts be a group of its own, killed when the thread that starts it ends, and run as
// the account, unless that is nil.
func bind(cmd *exec.Cmd, who *account) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if who != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid, Groups: who.groups}
	}
}

// keepOpen opens a program for good. Its descriptor is above those that the start of a process fills for its child. It
// is not a high one: a table of descriptors that has to grow, from 64 on, makes the kernel wait 10 ms for all threads.
func keepOpen(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	high, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, ChildFD+1)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(high), path), nil
}

func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	file := os.NewFile(uintptr(fds[0]), "renderer")
	theirs = os.NewFile(uintptr(fds[1]), "agent")
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn.(*net.UnixConn), theirs, nil
}

// killGroup kills a process and everything it started.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// awaitEnd waits until a process of this one has ended, and leaves it to be reaped.
func awaitEnd(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			return
		}
	}
}
