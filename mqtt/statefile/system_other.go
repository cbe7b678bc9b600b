//go:build !unix

package statefile

import (
	"errors"
	"io/fs"
	"os"
)

// What system_unix.go has, where no agent runs and nothing is kept.

func openSafely(path string, _ int, _ fs.FileMode) (*os.File, error) {
	return nil, &os.PathError{Op: "open", Path: path, Err: errors.ErrUnsupported}
}

func isLink(error) bool { return false }

func tryLock(*os.File) (taken bool, err error) { return false, errors.ErrUnsupported }

func ownerOf(fs.FileInfo) uint32 { return 0 }
