package agent

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"sync"

	bolt "go.etcd.io/bbolt"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// positionStore keeps, in a file that survives a power cut, behind which fragment each
// stream goes on. Positions wait in memory until Flush writes those of all streams at once, so
// that many streams wear the flash no more than one. Without the file the agent works
// all the same: then every start is a first start.
type positionStore struct {
	db     *statefile.DB
	damage *statefile.Damage // found at the start
	err    error             // why there is no file

	mu      sync.Mutex
	known   map[string]ingest.Position // what the file holds or will hold
	waiting map[string]bool            // of these, what it does not hold yet
}

var positionBucket = []byte("positions")

// maxPositions bounds the file of positions, in bytes; each has a few hundred.
const maxPositions = 16 << 20

// OpenPositions opens the file in dir, which is made if need be.
func OpenPositions(dir string) *positionStore {
	p := &positionStore{known: make(map[string]ingest.Position), waiting: make(map[string]bool)}
	var held map[string]ingest.Position
	p.db, p.damage, p.err = statefile.OpenDB(statefile.Options{
		Path: filepath.Join(dir, "state.db"), MaxSize: maxPositions, Buckets: [][]byte{positionBucket},
		Load: func(tx *bolt.Tx) error {
			held = make(map[string]ingest.Position)
			return readPositions(tx, held)
		},
	})
	if p.err == nil {
		p.known = held
	}
	if errors.Is(p.err, statefile.ErrInUse) {
		p.err = errors.New("another agent uses " + dir + "; give each its own [agent] state_dir")
	}
	return p
}

func readPositions(tx *bolt.Tx, into map[string]ingest.Position) error {
	return tx.Bucket(positionBucket).ForEach(func(stream, text []byte) error {
		var position ingest.Position
		err := json.Unmarshal(text, &position)
		into[string(stream)] = position
		return err
	})
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

// Load gives the position of a stream; the zero Position when none is stored, as when there is no file.
func (p *positionStore) Load(stream string) (ingest.Position, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[stream], nil
}

// Save takes the position of a stream, to be written with the next Flush.
func (p *positionStore) Save(stream string, position ingest.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[stream], p.waiting[stream] = position, true
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
		for stream := range p.waiting {
			v, err := json.Marshal(p.known[stream])
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

// Renew starts a new file, with all positions in it, when the old one was damaged or removed while in use. What
// happened is in found, nil when the file is in order; err is why there is no new file yet.
func (p *positionStore) Renew() (found, err error) {
	if p.err != nil {
		return nil, nil
	}
	found = p.db.Check()
	if found == nil {
		return nil, nil
	}
	damage, err := p.db.Renew()
	if damage != nil {
		found = damage
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for stream := range p.known {
		p.waiting[stream] = true
	}
	return found, err
}
