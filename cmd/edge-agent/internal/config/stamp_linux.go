package config

import "golang.org/x/sys/unix"

// Stamp changes whenever a file does, or may be read by others than before.
type Stamp struct {
	missing  bool
	inode    uint64
	size     int64
	modified unix.Timespec
	changed  unix.Timespec
}

// StampOf is the stamp of a file as it is now.
func StampOf(path string) Stamp {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return Stamp{missing: true}
	}
	return Stamp{inode: s.Ino, size: s.Size, modified: s.Mtim, changed: s.Ctim}
}
