package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/edge-agent/edge-agent/ingest"
)

// positionStore keeps, in a file that survives a power cut, behind which fragment each
// stream goes on. Positions wait in memory until Flush writes those of all streams at once, so
// that many streams wear the flash no more than one. Without the file the agent works
// all the same: then every start is a first start.
type positionStore struct {
	db  *bolt.DB
	err error // why there is no file

	mu      sync.Mutex
	waiting map[string]ingest.Position
}

var positionBucket = []byte("positions")

// lockTimeout is how long another agent may hold the file, as one that is just stopping does.
const lockTimeout = 3 * time.Second

// openPositions opens the file in dir, which is made if need be.
func openPositions(dir string) *positionStore {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return &positionStore{err: err}
	}
	db, err := bolt.Open(filepath.Join(dir, "state.db"), 0o640, &bolt.Options{Timeout: lockTimeout})
	if errors.Is(err, bolterrors.ErrTimeout) {
		err = errors.New("another agent uses " + dir + "; give each its own [agent] state_dir")
	}
	if err != nil {
		return &positionStore{err: err}
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(positionBucket)
		return err
	})
	return &positionStore{db: db, err: err}
}

// Err is why positions are not kept, or nil.
func (p *positionStore) Err() error { return p.err }

// Close writes what waits. The store is not used after it.
func (p *positionStore) Close() error {
	if p.err != nil {
		return nil
	}
	return errors.Join(p.Flush(), p.db.Close())
}

// Load gives the position of a stream; the zero Position when none is stored.
func (p *positionStore) Load(stream string) (ingest.Position, error) {
	var out ingest.Position
	if p.err != nil {
		return out, p.err
	}
	p.mu.Lock()
	waiting, ok := p.waiting[stream]
	p.mu.Unlock()
	if ok {
		return waiting, nil
	}
	err := p.db.View(func(tx *bolt.Tx) error {
		v := tx.Bucket(positionBucket).Get([]byte(stream))
		if v == nil {
			return nil
		}
		return json.Unmarshal(v, &out)
	})
	return out, err
}

// Save takes the position of a stream, to be written with the next Flush.
func (p *positionStore) Save(stream string, position ingest.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == nil {
		p.waiting = make(map[string]ingest.Position)
	}
	p.waiting[stream] = position
}

// Flush writes the positions that wait, in one transaction. Those that cannot be written
// wait on. Without a file it does nothing: that was told at the start.
func (p *positionStore) Flush() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil || len(p.waiting) == 0 {
		return nil
	}
	err := p.db.Update(func(tx *bolt.Tx) error {
		for stream, position := range p.waiting {
			v, err := json.Marshal(position)
			if err != nil {
				return err
			}
			if err := tx.Bucket(positionBucket).Put([]byte(stream), v); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		clear(p.waiting)
	}
	return err
}
