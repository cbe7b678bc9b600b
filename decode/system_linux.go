package decode

import (
	"io/fs"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What only Linux has. The agent builds for other systems too, for those of its commands that need no renderer.

// Monotonic is the time of the clock that all processes of a machine share and nobody sets. Go's own
// monotonic times begin anew in every process.
func Monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it cannot fail: the clock exists
	return time.Duration(now.Nano())
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

// ofTheFile are errors of starting a program that are its own fault.
var ofTheFile = []error{syscall.ENOENT, syscall.EACCES, syscall.ENOEXEC, syscall.ELIBBAD}

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

// bind has a process and what it starts be a group of its own, killed when the thread that starts it ends, and run as
// the account, unless that is nil.
func bind(cmd *exec.Cmd, who *account) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if who != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: who.uid, Gid: who.gid, Groups: who.groups}
	}
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

// mayUse says that this user may read and write a file.
func mayUse(path string) bool { return unix.Access(path, unix.R_OK|unix.W_OK) == nil }

// ownerOf gives a file's user and group.
func ownerOf(info fs.FileInfo) (uid, gid uint32) {
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Uid, stat.Gid
}

// mapMemory takes memory outside of Go's heap.
func mapMemory(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

func unmapMemory(memory []byte) { _ = unix.Munmap(memory) } // fails only for memory that was not mapped

// getConnector is struct drm_mode_get_connector of the kernel's drm_mode.h. To ask for no modes means to have it look.
type getConnector struct {
	_  [4]uint64
	_  [4]uint32
	id uint32
	_  [7]uint32
}

// requestConnector is DRM_IOCTL_MODE_GETCONNECTOR: read and write, size, 'd', number.
const requestConnector = 3<<30 | unsafe.Sizeof(getConnector{})<<16 | 'd'<<8 | 0xa7

// ask has the kernel look at an output of a card.
func ask(card string, connector int) error {
	file, err := os.OpenFile(card, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	request := getConnector{id: uint32(connector)}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), requestConnector, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
