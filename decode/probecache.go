package decode

import (
	"cmp"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// LastProbe is the report that was kept in a file, of whichever hardware; an empty one when there is none that can be read.
func LastProbe(cache string) ProbeReport {
	r, err := readCache(cache)
	if err != nil {
		return ProbeReport{}
	}
	return r
}

// readCache gives the report that was kept; an empty one when there is none that can be used.
func (c *ProbeConfig) readCache() ProbeReport {
	r, err := readCache(c.Cache)
	if err != nil {
		c.Log.Warn("what was known of the decoders cannot be read; they are tried again", "file", c.Cache, "cause", err)
		return ProbeReport{}
	}
	return r
}

func readCache(file string) (r ProbeReport, err error) {
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) { // also without a name
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// writeCache keeps the report. That it cannot be kept costs time at the next start, no more.
func (c *ProbeConfig) writeCache(r ProbeReport) {
	if c.Cache == "" {
		return
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = replaceFile(c.Cache, append(b, '\n'))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without a folder nothing is to be kept
		c.Log.Warn("what is known of the decoders cannot be kept", "file", c.Cache, "cause", err)
	}
}

// replaceFile writes a file whole or not at all. What it wrote is on the disk when it returns: the box may go down next.
func replaceFile(name string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".probe-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err = cmp.Or(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	_ = folder.Sync() // not every file system can
	return folder.Close()
}
