package statefile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

var bucket, inline = []byte("many"), []byte("few")

func options(path string) Options {
	return Options{Path: path, MaxSize: 8 << 20, Buckets: [][]byte{bucket, inline}, Load: func(tx *bolt.Tx) error {
		for _, name := range [][]byte{bucket, inline} {
			err := tx.Bucket(name).ForEach(func(_, v []byte) error {
				if !bytes.HasPrefix(v, []byte("value")) {
					return errors.New("not a value")
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	}}
}

func open1(t *testing.T, path string) *DB {
	t.Helper()
	d, damage, err := OpenDB(options(path))
	if err != nil || damage != nil {
		t.Fatal(damage, err)
	}
	return d
}

// fill writes branch pages, leaves, an inline bucket, values that overflow a page, and free pages.
func fill(t *testing.T, d *DB) {
	t.Helper()
	put := func(from, to int, size int) func(tx *bolt.Tx) error {
		return func(tx *bolt.Tx) error {
			for i := from; i < to; i++ {
				if err := tx.Bucket(bucket).Put(fmt.Appendf(nil, "key %05d", i), []byte("value"+strings.Repeat("x", size))); err != nil {
					return err
				}
			}
			return tx.Bucket(inline).Put([]byte("k"), []byte("value"))
		}
	}
	must(t, d.Update(put(0, 200, 100)))
	must(t, d.Update(put(300, 302, 9000)))
	must(t, d.Update(func(tx *bolt.Tx) error {
		for i := 50; i < 150; i++ {
			if err := tx.Bucket(bucket).Delete(fmt.Appendf(nil, "key %05d", i)); err != nil {
				return err
			}
		}
		return nil
	}))
}

func sample(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.db")
	d := open1(t, path)
	fill(t, d)
	must(t, d.Close())
	content, err := os.ReadFile(path)
	must(t, err)
	return content
}

// startOver opens a file with this content, changes it and closes it: whatever it was, that has to work.
func startOver(t *testing.T, path string, content []byte) *Damage {
	t.Helper()
	must(t, os.WriteFile(path, content, 0o600))
	d, damage, err := OpenDB(options(path))
	if err != nil {
		t.Fatal(err)
	}
	if damage != nil {
		isAside(t, damage, path)
	}
	fill(t, d)
	again, err := d.Renew() // what bbolt finds only while it writes
	if err != nil || again != nil && damage != nil {
		t.Fatal(again, err)
	}
	must(t, d.Update(func(tx *bolt.Tx) error { return tx.Bucket(inline).Put([]byte("last"), []byte("value")) }))
	must(t, d.Close())
	must(t, open1(t, path).Close())
	return damage
}

func TestAWholeFileIsNotMovedAside(t *testing.T) {
	if damage := startOver(t, filepath.Join(t.TempDir(), "x.db"), sample(t)); damage != nil {
		t.Error(damage)
	}
}

// Whatever the disk or a power cut makes of the file, the agent starts, knows of it or does not have to, and continues.
func TestDamageAnywhereIsSurvived(t *testing.T) {
	whole := sample(t)
	path := filepath.Join(t.TempDir(), "x.db")
	random := rand.New(rand.NewPCG(11, 3))
	found := 0
	for i := range 100 {
		content := bytes.Clone(whole)
		at := random.IntN(len(content))
		if i%3 > 0 { // headers of pages, where damage is worst
			at = random.IntN(len(content)/os.Getpagesize())*os.Getpagesize() + random.IntN(200)
		}
		switch i % 5 {
		case 0:
			content[at] ^= 1 << random.IntN(8)
		case 1:
			content[at] = byte(random.IntN(256))
		case 2:
			clear(content[at:min(len(content), at+1+random.IntN(5000))])
		case 3:
			for j := at; j < min(len(content), at+8); j++ {
				content[j] = byte(random.IntN(256))
			}
		case 4:
			content = content[:at]
		}
		if startOver(t, path, content) != nil {
			found++
		}
	}
	t.Logf("of 100 damaged files %d were moved aside", found)
	if found < 25 { // the others have their damage in a value or in a page that is not in use
		t.Errorf("only %d were found damaged", found)
	}
}

func FuzzDamage(f *testing.F) {
	path := filepath.Join(f.TempDir(), "seed.db")
	d, _, err := OpenDB(options(path))
	if err != nil {
		f.Fatal(err)
	}
	d.Close()
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add(content[:5000])
	f.Add([]byte("no database"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<20 {
			return
		}
		startOver(t, filepath.Join(t.TempDir(), "x.db"), content)
	})
}

// The checksum of a meta page that names what does not exist may be right.
func TestAValidMetaPageIsNotTrusted(t *testing.T) {
	for name, at := range map[string]int{"root": 16, "freelist": 32, "pages": 40} {
		for _, value := range []uint64{0, 1, 1 << 20, 1 << 40, 1<<64 - 1} {
			content := sample(t)
			for i := range 2 {
				b := content[i*os.Getpagesize()+pageHeader:]
				order.PutUint64(b[at:], value)
				order.PutUint64(b[metaSize-8:], checksum(b[:metaSize-8]))
			}
			if damage := startOver(t, filepath.Join(t.TempDir(), "x.db"), content); damage == nil {
				t.Errorf("%s = %d is accepted", name, value)
			}
		}
	}
}

func TestOneMetaPageIsEnough(t *testing.T) {
	for i := range 2 {
		content := sample(t)
		clear(content[i*os.Getpagesize():][:os.Getpagesize()])
		if damage := startOver(t, filepath.Join(t.TempDir(), "x.db"), content); damage != nil {
			t.Errorf("without meta page %d: %v", i, damage)
		}
	}
}

func TestDBStartsOverInPlaceOfWhatIsNotAFile(t *testing.T) {
	for name, put := range unfit {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			put(t, path)
			d, damage, err := OpenDB(options(path))
			must(t, err)
			isAside(t, damage, path)
			fill(t, d)
			must(t, d.Close())
		})
	}
}

// The file is cut short, damaged or removed while transactions of several goroutines run.
func TestDamageWhileInUseIsSurvived(t *testing.T) {
	page := int64(os.Getpagesize())
	for name, test := range map[string]struct {
		do   func(path string) error
		want error
	}{
		"cut to nothing":       {func(p string) error { return os.Truncate(p, 0) }, ErrDamaged},
		"cut in the meta page": {func(p string) error { return os.Truncate(p, 100) }, ErrDamaged},
		"cut behind it":        {func(p string) error { return os.Truncate(p, 2*page) }, ErrDamaged},
		"wiped": {func(p string) error {
			f, err := os.OpenFile(p, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			info, _ := f.Stat()
			_, err = f.WriteAt(make([]byte, info.Size()-2*page), 2*page)
			return errors.Join(err, f.Close())
		}, ErrDamaged},
		"removed":           {os.Remove, ErrMissing},
		"directory removed": {func(p string) error { return os.RemoveAll(filepath.Dir(p)) }, ErrMissing},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "dir", "x.db")
			d := open1(t, path)
			defer d.Close()
			fill(t, d)
			must(t, test.do(path))
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					err := d.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put([]byte("key 00001"), []byte("value")) })
					if !errors.Is(err, test.want) {
						t.Errorf("err %v, want %v", err, test.want)
					}
				})
			}
			all.Wait()
			if err := d.View(func(*bolt.Tx) error { return nil }); !errors.Is(err, test.want) {
				t.Errorf("View: %v", err)
			}
			damage, err := d.Renew()
			must(t, err)
			if test.want == ErrDamaged {
				isAside(t, damage, path)
			}
			fill(t, d)
		})
	}
}

// A fault in the mapping itself, which the check before a transaction came too early for.
func TestAFaultInTheMappingIsNotACrash(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	d := open1(t, path)
	defer d.Close()
	fill(t, d)
	err := d.Update(func(tx *bolt.Tx) error {
		must(t, os.Truncate(path, int64(os.Getpagesize())))
		return tx.Bucket(bucket).Put([]byte("key 00001"), []byte("value"))
	})
	if !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	damage, err := d.Renew()
	must(t, err)
	isAside(t, damage, path)
	fill(t, d)
}

func TestAFileInUseIsNotMovedAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	defer open1(t, path).Close()
	if d, damage, err := OpenDB(options(path)); !errors.Is(err, ErrInUse) || damage != nil {
		t.Errorf("%v, %v, %v", d, damage, err)
	}
}
