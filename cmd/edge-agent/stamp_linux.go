package main

import "golang.org/x/sys/unix"

// stamp changes whenever a file does, or may be read by others than before.
type stamp struct {
	missing  bool
	inode    uint64
	size     int64
	modified unix.Timespec
	changed  unix.Timespec
}

func fileStamp(path string) stamp {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return stamp{missing: true}
	}
	return stamp{inode: s.Ino, size: s.Size, modified: s.Mtim, changed: s.Ctim}
}
