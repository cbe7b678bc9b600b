package decode

import (
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// maxCache bounds the file, in bytes; a report of a box with many decoders has some 20 KB.
const maxCache = 1 << 20

// LastProbe is the report that was kept in a file, of whichever hardware; an empty one when there is none that can be
// read. damage says that the file was damaged and moved aside.
func LastProbe(cache string) (r ProbeReport, damage *statefile.Damage) {
	r, damage, err := readCache(cache)
	if err != nil {
		return ProbeReport{}, damage
	}
	return r, damage
}

// readCache gives the report that was kept; an empty one when there is none that can be used.
func (c *ProbeConfig) readCache() ProbeReport {
	r, damage, err := readCache(c.Cache)
	if damage != nil {
		c.Log.Warn(damage.Error(), "code", statefile.Code)
	}
	if err != nil {
		c.Log.Warn("what was known of the decoders cannot be read; they are tried again", "file", c.Cache, "cause", err)
		return ProbeReport{}
	}
	return r
}

func readCache(file string) (r ProbeReport, damage *statefile.Damage, err error) {
	damage, err = statefile.Read(file, maxCache, func(b []byte) error { return json.Unmarshal(b, &r) })
	if damage != nil {
		return ProbeReport{}, damage, nil
	}
	if errors.Is(err, fs.ErrNotExist) { // also without a name
		err = nil
	}
	return r, nil, err
}

// writeCache keeps the report. That it cannot be kept costs time at the next start, no more.
func (c *ProbeConfig) writeCache(r ProbeReport) {
	if c.Cache == "" {
		return
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = statefile.Replace(c.Cache, append(b, '\n'))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // without a folder nothing is to be kept
		c.Log.Warn("what is known of the decoders cannot be kept", "file", c.Cache, "cause", err)
	}
}
