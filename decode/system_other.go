//go:build !linux

package decode

import (
	"io/fs"
	"time"
)

// What system_linux.go has, where there is no Linux and no renderer.

var began = time.Now()

// Monotonic is a time of this process.
func Monotonic() time.Duration { return time.Since(began) }

func mayUse(string) bool { return false }

func ownerOf(fs.FileInfo) (uid, gid uint32) { return 0, 0 }

func mapMemory(size int) ([]byte, error) { return make([]byte, size), nil }

func unmapMemory([]byte) {}
