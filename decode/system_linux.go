package decode

import (
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the time of the clock that all processes of a machine share and nobody sets. Go's own
// monotonic times begin anew in every process.
func Monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it cannot fail: the clock exists
	return time.Duration(now.Nano())
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
