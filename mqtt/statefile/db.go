package statefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// DB is a bbolt file that cannot crash the agent. bbolt maps the file into memory and trusts it: damaged bytes make it
// panic, a file that was cut short raises SIGBUS. So the whole structure is checked, without a mapping, before bbolt
// opens the file (verify), and every transaction recovers from both (transact), for what happens to the file later.
//
// Safe for concurrent use; one transaction at a time.
type DB struct {
	options Options

	mu    sync.Mutex
	file  *os.File
	db    *bolt.DB
	fresh bool  // the file was new when it was opened
	bad   error // why it cannot be used any more, until Renew
}

// Options say what a DB is.
type Options struct {
	Path    string
	MaxSize int64    // of the file, in bytes
	Buckets [][]byte // that have to exist

	// Load reads the content when the file is opened; its error means that the file is damaged. It is called again with
	// the new file.
	Load func(*bolt.Tx) error
}

// lockTimeout is how long another agent may hold the file, as one that is just stopping does.
const lockTimeout = 3 * time.Second

// growth is how much larger than its maximum bbolt may make a file, in bytes: it grows in steps of this size.
const growth = 16 << 20

// ErrInUse means that another process has the file open.
var ErrInUse = errors.New("another agent uses the file; give each its own [agent] state_dir")

// OpenDB opens a file, which is created with its directory if need be. A damaged file is moved aside and a new one
// started.
func OpenDB(o Options) (d *DB, damage *Damage, err error) {
	d = &DB{options: o}
	damage, err = d.open()
	if err != nil {
		return nil, damage, err
	}
	return d, damage, nil
}

func (d *DB) open() (damage *Damage, err error) {
	path := d.options.Path
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	err = d.openFile()
	if !errors.Is(err, ErrDamaged) {
		return nil, err
	}
	if damage, err = SetAside(path, err); err == nil {
		err = d.openFile()
	}
	return damage, err
}

func (d *DB) openFile() (err error) {
	file, err := openLocked(d.options.Path, d.options.MaxSize+growth)
	if err != nil {
		return err
	}
	d.file, d.db, d.bad = file, nil, nil
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if err := verify(file); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	err = d.guard(func() (err error) {
		d.db, err = bolt.Open(d.options.Path, 0o640, &bolt.Options{
			Timeout: lockTimeout, MaxSize: int(d.options.MaxSize), NoStatistics: true,
			OpenFile: func(string, int, os.FileMode) (*os.File, error) { return file, nil },
		})
		return err
	})
	if err != nil {
		return err
	}
	if err := d.transact(d.makeBuckets, (*bolt.DB).Update); err != nil {
		return err
	}
	if d.options.Load == nil {
		return nil
	}
	return d.transact(func(tx *bolt.Tx) error {
		if err := d.options.Load(tx); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	}, (*bolt.DB).View)
}

// openLocked opens the file and locks it, so that nobody writes it while it is checked. bbolt locks the same open
// file again, which has no effect.
func openLocked(path string, limit int64) (*os.File, error) {
	deadline := time.Now().Add(lockTimeout)
	for {
		file, err := open(path, os.O_RDWR|os.O_CREATE, 0o640, limit)
		if err != nil {
			return nil, err
		}
		err = lock(file, deadline)
		if err == nil && Present(file, path) == nil {
			return file, nil
		}
		file.Close()
		if err != nil {
			return nil, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("%w: %s", ErrMissing, path)
		}
	}
}

func lock(file *os.File, deadline time.Time) error {
	for {
		if taken, err := tryLock(file); taken || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return ErrInUse
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (d *DB) makeBuckets(tx *bolt.Tx) error {
	d.fresh = true
	for _, name := range d.options.Buckets {
		d.fresh = d.fresh && tx.Bucket(name) == nil
		if _, err := tx.CreateBucketIfNotExists(name); errors.Is(err, bolterrors.ErrIncompatibleValue) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// Fresh tells whether the file was new when it was opened.
func (d *DB) Fresh() bool { return d.fresh }

// Update runs fn in a transaction that writes.
func (d *DB) Update(fn func(*bolt.Tx) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.transact(fn, (*bolt.DB).Update)
}

// NoSync leaves it to the kernel when changes get to the disk, until the file is opened again. Tests that write often
// use it.
func (d *DB) NoSync() { d.db.NoSync = true }

// View runs fn in a transaction that reads.
func (d *DB) View(fn func(*bolt.Tx) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.transact(fn, (*bolt.DB).View)
}

// Check tells whether the file can be used: ErrDamaged after a transaction found it damaged, ErrMissing when it was
// removed. Renew helps against both.
func (d *DB) Check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.check()
}

// check looks at the size too, which costs nothing and finds a file that was cut short before bbolt reads behind its
// end.
func (d *DB) check() error {
	if d.bad == nil {
		d.bad = Present(d.file, d.options.Path)
	}
	if d.bad == nil {
		err := verifySize(d.file)
		if info, e := d.file.Stat(); e == nil && info.Size() == 0 {
			err = errors.New("it is empty")
		}
		if err != nil {
			d.bad = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return d.bad
}

func (d *DB) transact(fn func(*bolt.Tx) error, in func(*bolt.DB, func(*bolt.Tx) error) error) error {
	if err := d.check(); err != nil {
		return err
	}
	return d.guard(func() error { return in(d.db, fn) })
}

// guard runs f. Panics of bbolt and faults in its mapping, which it also raises as panics, mean that the file is
// damaged. They leave bbolt's own locks as they were, therefore the file is not used again.
func (d *DB) guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, fault)
			d.bad = err
		}
	}()
	err = f()
	for _, e := range []error{bolterrors.ErrInvalid, bolterrors.ErrChecksum, bolterrors.ErrVersionMismatch} {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return err
}

// Renew starts a new file in the place of one that Check found unusable. The content of the old one is lost to the
// caller; Load has read the new file. damage is nil when the file was removed.
func (d *DB) Renew() (damage *Damage, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	cause := d.check()
	if cause == nil {
		return nil, nil
	}
	d.close()
	if errors.Is(cause, ErrDamaged) {
		damage, err = SetAside(d.options.Path, cause)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // an earlier Renew has moved it
			return nil, err
		}
	}
	again, err := d.open()
	if again != nil {
		damage = again
	}
	if err != nil {
		d.bad = errors.Join(cause, err)
	}
	return damage, err
}

// Close ends the use of the file.
func (d *DB) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.close()
}

// close leaves the mapping of a damaged file, at most twice its size of address space: bbolt would wait for its own
// locks.
func (d *DB) close() error {
	if d.file == nil {
		return nil
	}
	file, db := d.file, d.db
	d.file, d.db = nil, nil
	if db == nil || errors.Is(d.bad, ErrDamaged) {
		return file.Close()
	}
	return d.guard(db.Close)
}
