//go:build !linux

package decode

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"time"
)

// What system_linux.go has, where there is no Linux and no renderer.

var began = time.Now()

// Monotonic is a time of this process.
func Monotonic() time.Duration { return time.Since(began) }

func keepOpen(path string) (*os.File, error) {
	return nil, &os.PathError{Op: "start", Path: path, Err: errors.ErrUnsupported}
}

var ofTheFile []error

func socketPair() (*net.UnixConn, *os.File, error) { return nil, nil, errors.ErrUnsupported }

func bind(*exec.Cmd, *account) {}

func killGroup(int) {}

func awaitEnd(int) {}

func mayUse(string) bool { return false }

func ownerOf(fs.FileInfo) (uid, gid uint32) { return 0, 0 }

func mapMemory(size int) ([]byte, error) { return make([]byte, size), nil }

func unmapMemory([]byte) {}

func ask(string, int) error { return errors.ErrUnsupported }
