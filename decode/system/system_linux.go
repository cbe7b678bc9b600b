// Package system has what only Linux has. The agent builds for other systems too, for those of its commands that need no
// renderer; there it does nothing.
package system

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

// MayUse says that this user may read and write a file.
func MayUse(path string) bool { return unix.Access(path, unix.R_OK|unix.W_OK) == nil }

// OwnerOf gives a file's user and group.
func OwnerOf(info fs.FileInfo) (uid, gid uint32) {
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Uid, stat.Gid
}

// MapMemory takes memory outside of Go's heap.
func MapMemory(size int) ([]byte, error) {
	return unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
}

// UnmapMemory gives it back.
func UnmapMemory(memory []byte) { _ = unix.Munmap(memory) } // fails only for memory that was not mapped
