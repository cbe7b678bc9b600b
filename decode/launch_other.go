//go:build !linux

package decode

import (
	"errors"
	"net"
	"os"
	"os/exec"
)

// What launch_linux.go has, where there is no Linux and no renderer.

func keepOpen(path string) (*os.File, error) {
	return nil, &os.PathError{Op: "start", Path: path, Err: errors.ErrUnsupported}
}

var ofTheFile []error

func socketPair() (*net.UnixConn, *os.File, error) { return nil, nil, errors.ErrUnsupported }

func bind(*exec.Cmd, *account) {}

func killGroup(int) {}

func awaitEnd(int) {}
