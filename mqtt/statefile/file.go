// Package statefile opens the files that the agent keeps in its state directory. Anything can be found there after a
// power cut, a bad flash block or a mistake: it only opens regular files of a known owner and of a bounded size, never
// waits for one and never follows a symbolic link. What cannot be used is moved aside (SetAside) and the caller
// starts with a new file.
package statefile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrDamaged means that a file is not what an agent has written: another kind of file, of another owner, too large,
// or with damaged content.
var ErrDamaged = errors.New("the file is damaged")

// ErrMissing means that a file which is in use was removed, most often with its directory.
var ErrMissing = errors.New("the file was removed while in use")

// Code names what a Damage is in events.
const Code = "storage.damaged"

// Damage is a file that was moved aside. It is an error only to its reader: the agent continues with a new file.
type Damage struct {
	Path  string // of the file
	Aside string // where it is now
	Err   error  // what was wrong
}

func (d *Damage) Error() string {
	return fmt.Sprintf("%s cannot be used and was moved to %s: %v", d.Path, filepath.Base(d.Aside), d.Err)
}

func (d *Damage) Unwrap() error { return d.Err }

// maxAside is how many damaged files of one name are kept, so that a disk that damages files is not filled with them.
const maxAside = 3

const asideMark = ".damaged-"

// SetAside renames a file, or whatever has its name, to name.damaged-<time> and removes the oldest ones of that kind.
// cause says what is wrong with it.
func SetAside(path string, cause error) (*Damage, error) {
	aside := path + asideMark + time.Now().UTC().Format("20060102T150405.000000Z")
	if err := os.Rename(path, aside); err != nil {
		return nil, fmt.Errorf("%s cannot be used (%w) and could not be moved aside: %w", path, cause, err)
	}
	removeOldest(path, filepath.Base(aside))
	return &Damage{Path: path, Aside: aside, Err: cause}, nil
}

// removeOldest bounds the number of files that were moved aside. The newest is named, because the box may have no
// clock yet. What cannot be removed stays.
func removeOldest(path, newest string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return
	}
	entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return e.Name() == newest || !strings.HasPrefix(e.Name(), filepath.Base(path)+asideMark)
	})
	for _, e := range entries[:max(0, len(entries)-(maxAside-1))] { // ReadDir sorts by name, which is by time
		_ = os.RemoveAll(filepath.Join(filepath.Dir(path), e.Name()))
	}
}

// open opens a regular file of at most limit bytes that belongs to this user or to the owner of its directory.
func open(path string, flag int, mode fs.FileMode, limit int64) (*os.File, error) {
	switch info, err := os.Lstat(path); { // first, because a device may act on being opened, and another's file refuses it
	case errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0:
	case err != nil:
		return nil, err
	default:
		if err := check(path, info, limit); err != nil {
			return nil, err
		}
	}
	f, err := openSafely(path, flag, mode)
	if isLink(err) {
		return nil, fmt.Errorf("%w: it is a symbolic link", ErrDamaged)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat() // it may be another file by now
	if err == nil {
		err = check(path, info, limit)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if flag&os.O_CREATE != 0 {
		hand(f, path)
	}
	return f, nil
}

func check(path string, info fs.FileInfo, limit int64) error {
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: it is not a regular file but %s", ErrDamaged, kind(info.Mode()))
	case info.Size() > limit:
		return fmt.Errorf("%w: it has %d bytes, the maximum is %d", ErrDamaged, info.Size(), limit)
	}
	return checkOwner(path, info)
}

// checkOwner accepts the owner of the directory too, who can replace every file in it: root may look into the state
// directory of an agent that runs as another user.
func checkOwner(path string, info fs.FileInfo) error {
	owner, self := owner(info), uint32(os.Geteuid())
	if owner == self {
		return nil
	}
	dir, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if self == 0 && owner == ownerOf(dir) {
		return nil
	}
	if self != ownerOf(dir) {
		return fmt.Errorf("it belongs to user %d, and this is user %d: run the program as that user", owner, self)
	}
	return foreign{owner, self}
}

// foreign is a file of another user in a directory of this one. What it says may be false, so it counts as damaged.
type foreign struct{ owner, self uint32 }

func (f foreign) Error() string {
	return fmt.Sprintf("it belongs to user %d, the agent is user %d", f.owner, f.self)
}

func (foreign) Is(target error) bool { return target == ErrDamaged }

// hand gives a file that root has made to the owner of the directory: the service that works there as another user could
// not use it. Where that cannot be done, the file stays as it is.
func hand(f *os.File, path string) {
	if os.Geteuid() != 0 {
		return
	}
	if dir, err := os.Stat(filepath.Dir(path)); err == nil && ownerOf(dir) != 0 {
		_ = f.Chown(int(ownerOf(dir)), -1)
	}
}

// owner is a variable because only root can make files of another user.
var owner = ownerOf

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeSymlink != 0:
		return "a symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// Open opens a file of at most limit bytes for reading and writing and creates it if need be. A file that cannot be
// used is moved aside.
func Open(path string, limit int64) (f *os.File, damage *Damage, err error) {
	f, err = open(path, os.O_RDWR|os.O_CREATE, 0o640, limit)
	if errors.Is(err, ErrDamaged) {
		if damage, err = SetAside(path, err); err == nil {
			f, err = open(path, os.O_RDWR|os.O_CREATE, 0o640, limit)
		}
	}
	return f, damage, err
}

// Read reads a file of at most limit bytes and hands its content to parse, whose error means that it is damaged.
// A file that cannot be used is moved aside, and damage says so. err wraps fs.ErrNotExist when there is none.
func Read(path string, limit int64, parse func([]byte) error) (damage *Damage, err error) {
	content, err := read(path, limit)
	if err == nil {
		if err = parse(content); err == nil {
			return nil, nil
		}
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if errors.Is(err, ErrDamaged) {
		return SetAside(path, err)
	}
	return nil, err
}

func read(path string, limit int64) ([]byte, error) {
	f, err := open(path, os.O_RDONLY, 0, limit)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var content bytes.Buffer
	n, err := io.Copy(&content, io.LimitReader(f, limit+1)) // it may grow while it is read
	if err == nil && n > limit {
		err = fmt.Errorf("%w: it has more than %d bytes", ErrDamaged, limit)
	}
	return content.Bytes(), err
}

// Replace writes a file whole or not at all. What it wrote is on the disk when it returns.
func Replace(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	hand(f, path)
	_, err = f.Write(content)
	if err = cmp.Or(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = folder.Sync() // not every file system can
	return folder.Close()
}

// Present tells whether an open file is still the one of its name.
func Present(f *os.File, path string) error {
	now, err := f.Stat()
	if err != nil {
		return err
	}
	if named, err := os.Lstat(path); err != nil || !os.SameFile(now, named) {
		return fmt.Errorf("%w: %s", ErrMissing, path)
	}
	return nil
}
