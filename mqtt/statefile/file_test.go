package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// unfit are ways to make something that no agent has written, in the place of a file.
var unfit = map[string]func(t *testing.T, path string){
	"endless file": func(t *testing.T, path string) { must(t, os.Symlink("/dev/zero", path)) },
	"link to nothing": func(t *testing.T, path string) {
		must(t, os.Symlink(filepath.Join(t.TempDir(), "absent"), path))
	},
	"link to a file": func(t *testing.T, path string) {
		other := filepath.Join(t.TempDir(), "other")
		must(t, os.WriteFile(other, []byte("7"), 0o600))
		must(t, os.Symlink(other, path))
	},
	"FIFO": func(t *testing.T, path string) { must(t, syscall.Mkfifo(path, 0o600)) },
	"directory": func(t *testing.T, path string) {
		must(t, os.Mkdir(path, 0o700))
		must(t, os.WriteFile(filepath.Join(path, "x"), nil, 0o600))
	},
	"large file": func(t *testing.T, path string) {
		must(t, os.WriteFile(path, nil, 0o600))
		must(t, os.Truncate(path, 1<<40))
	},
	"socket": func(t *testing.T, path string) {
		s, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		must(t, err)
		t.Cleanup(func() { syscall.Close(s) })
		t.Chdir(filepath.Dir(path)) // the name in a socket's address is short
		must(t, syscall.Bind(s, &syscall.SockaddrUnix{Name: filepath.Base(path)}))
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// isAside checks that something was moved aside and returns nothing in its old place.
func isAside(t *testing.T, damage *Damage, path string) {
	t.Helper()
	if damage == nil || damage.Path != path || !errors.Is(damage, ErrDamaged) || !strings.HasPrefix(damage.Aside, path+asideMark) {
		t.Fatalf("damage %v", damage)
	}
	if _, err := os.Lstat(damage.Aside); err != nil {
		t.Error(err)
	}
}

func TestReadMovesAsideWhatIsNotAFile(t *testing.T) {
	for name, put := range unfit {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "decoders.json")
			put(t, path)
			damage, err := Read(path, 1<<20, func([]byte) error { t.Error("it was read"); return nil })
			must(t, err)
			isAside(t, damage, path)
			if damage, err = Read(path, 1<<20, nil); damage != nil || !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("again: %v, %v", damage, err)
			}
		})
	}
}

func TestOpenStartsANewFile(t *testing.T) {
	for name, put := range unfit {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "events.count")
			put(t, path)
			f, damage, err := Open(path, 20)
			must(t, err)
			defer f.Close()
			isAside(t, damage, path)
			if info, err := f.Stat(); err != nil || info.Size() != 0 || !info.Mode().IsRegular() {
				t.Errorf("the new file: %v, %v", info, err)
			}
			if err := Present(f, path); err != nil {
				t.Error(err)
			}
		})
	}
}

// A file that cannot be opened for another reason is left alone.
func TestReadLeavesWhatItCannotJudge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent", "x")
	if damage, err := Read(path, 1, nil); damage != nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", damage, err)
	}
}

func TestReadMovesAsideDamagedContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(path, []byte(`{"a":`), 0o600))
	damage, err := Read(path, 100, func(b []byte) error { var v any; return json.Unmarshal(b, &v) })
	must(t, err)
	isAside(t, damage, path)
}

func TestAnotherOwnersFileIsNotUsed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(path, []byte("1"), 0o600))
	defer func(was func(fs.FileInfo) uint32) { owner = was }(owner)
	owner = func(fs.FileInfo) uint32 { return uint32(os.Geteuid()) + 1 }
	damage, err := Read(path, 100, func([]byte) error { t.Error("it was read"); return nil })
	must(t, err)
	isAside(t, damage, path)
}

// A disk that damages a file at every start is not filled with copies; other files are not touched.
func TestFilesAsideAreBounded(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.db")
	must(t, os.WriteFile(filepath.Join(dir, "other.db.damaged-1"), nil, 0o600))
	must(t, os.Mkdir(path+".damaged-99990101T000000.000000Z", 0o700)) // of a clock that was wrong
	var last *Damage
	for range 3 * maxAside {
		must(t, os.WriteFile(path, nil, 0o600))
		var err error
		last, err = SetAside(path, ErrDamaged)
		must(t, err)
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	if len(entries) != maxAside+1 {
		t.Errorf("%v", entries)
	}
	isAside(t, last, path)
}

func TestReplaceWritesWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	must(t, os.Symlink("/dev/full", path))
	must(t, Replace(path, []byte("new")))
	var got string
	damage, err := Read(path, 3, func(b []byte) error { got = string(b); return nil })
	if damage != nil || err != nil || got != "new" {
		t.Errorf("%q, %v, %v", got, damage, err)
	}
}

func TestPresentFindsARemovedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	f, _, err := Open(path, 1)
	must(t, err)
	defer f.Close()
	must(t, os.Remove(path))
	if err := Present(f, path); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	must(t, os.WriteFile(path, nil, 0o600))
	if err := Present(f, path); !errors.Is(err, ErrMissing) {
		t.Errorf("another file of the same name: %v", err)
	}
}

// What root makes in the directory of a service that runs as another user, that user can use afterwards.
func TestRootHandsOverWhatItMakes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of another user")
	}
	dir := t.TempDir()
	const service = 65534
	must(t, os.Chown(dir, service, -1))
	must(t, Replace(filepath.Join(dir, "replaced"), []byte("new")))
	f, _, err := Open(filepath.Join(dir, "opened"), 1)
	must(t, err)
	f.Close()
	db, _, err := OpenDB(Options{Path: filepath.Join(dir, "db")})
	must(t, err)
	must(t, db.Close())
	for _, name := range []string{"replaced", "opened", "db"} {
		info, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if got := ownerOf(info); got != service {
			t.Errorf("%s belongs to user %d", name, got)
		}
	}
}

// A file of another user is moved aside only in a directory of one's own: elsewhere it is what belongs there.
func TestAFileOfAnotherUser(t *testing.T) {
	before := owner
	t.Cleanup(func() { owner = before })
	owner = func(fs.FileInfo) uint32 { return 4711 }
	path := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(path, []byte("here"), 0o600))
	damage, err := Read(path, 10, func([]byte) error { return nil })
	if err != nil || damage == nil || !strings.HasSuffix(damage.Error(), fmt.Sprintf(": it belongs to user 4711, the agent is user %d", os.Geteuid())) {
		t.Errorf("in a directory of one's own: %v, %v", damage, err)
	}
	if os.Geteuid() != 0 {
		return // only root can make a directory of another user
	}
	must(t, os.Chown(filepath.Dir(path), 65534, -1))
	must(t, os.WriteFile(path, []byte("here"), 0o600))
	if damage, err := Read(path, 10, func([]byte) error { return nil }); damage != nil || err == nil || !strings.Contains(err.Error(), "run the program as that user") {
		t.Errorf("in a directory of another user: %v, %v", damage, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
