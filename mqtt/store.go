package mqtt

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

const (
	storeName  = "events.db"
	ledgerName = "events.count"
	// maxStoreSize bounds the file: 4 MiB of events in pages that are partly free,
	// and 1,000 responses of at most 16 KiB.
	maxStoreSize = 32 << 20
)

var (
	eventBucket   = []byte("events")   // seq, 8 bytes big endian -> Event
	commandBucket = []byte("commands") // id -> record
	aboutBucket   = []byte("about")
	totalsKey     = []byte("totals")  // in aboutBucket -> totals
	streamsKey    = []byte("streams") // in aboutBucket -> names whose state may be retained
	toldKey       = []byte("told")    // in aboutBucket -> topic where Home Assistant was told of us, or ""
)

// store is what a Client keeps over a restart: events, commands and counts. Every
// change is one transaction, so that the file survives a power cut.
type store struct {
	db      *statefile.DB
	notes   notes
	changed chan struct{} // has room for one: there is something to save
}

// stored is what a store held when it was opened.
type stored struct {
	fresh   bool // it was made just now
	events  []entry
	totals  totals
	records []record
	streams []string
	told    string
}

// openStore opens the files in dir, which is made if need be. A damaged file is moved
// aside and a new one started; damaged says which.
func openStore(dir string) (s *store, l *ledger, held stored, damaged []*statefile.Damage, err error) {
	note := func(d *statefile.Damage) {
		if d != nil {
			damaged = append(damaged, d)
		}
	}
	db, damage, err := statefile.OpenDB(statefile.Options{
		Path: filepath.Join(dir, storeName), MaxSize: maxStoreSize, Buckets: [][]byte{eventBucket, commandBucket, aboutBucket},
		Load: func(tx *bolt.Tx) error {
			held = stored{}
			return held.read(tx, time.Now())
		},
	})
	note(damage)
	switch {
	case errors.Is(err, statefile.ErrInUse):
		return nil, nil, stored{}, damaged, errors.New("another agent uses " + dir + "; give each its own [agent] state_dir")
	case err != nil:
		return nil, nil, stored{}, damaged, err
	}
	held.fresh = db.Fresh()
	l, damage, err = openLedger(filepath.Join(dir, ledgerName))
	note(damage)
	if err != nil {
		db.Close()
		return nil, nil, stored{}, damaged, err
	}
	if held.fresh { // what the ledger counted went with the old file
		_, seq := l.read()
		l.set(0, seq)
	}
	s = &store{db: db}
	s.notes.set(streamsKey, held.streams)
	s.notes.set(toldKey, held.told)
	s.notes.saved(s.notes.unsaved())
	return s, l, held, damaged, nil
}

func (h *stored) read(tx *bolt.Tx, now time.Time) error {
	return errors.Join(
		unmarshalKey(tx, totalsKey, &h.totals),
		unmarshalKey(tx, streamsKey, &h.streams),
		unmarshalKey(tx, toldKey, &h.told),
		tx.Bucket(commandBucket).ForEach(func(_, text []byte) error {
			var r record
			err := json.Unmarshal(text, &r)
			h.records = append(h.records, r)
			return err
		}),
		tx.Bucket(eventBucket).ForEach(func(key, text []byte) error {
			var e contract.Event
			if err := json.Unmarshal(text, &e); err != nil {
				return err
			}
			h.events = append(h.events, entry{
				seq: binary.BigEndian.Uint64(key), payload: append([]byte(nil), text...), count: e.Count, sum: isSum(e),
				first: e.FirstTS.Time, last: e.LastTS.Time, born: born(e.LastTS.Time, now),
			})
			return nil
		}),
	)
}

func unmarshalKey(tx *bolt.Tx, key []byte, into any) error {
	text := tx.Bucket(aboutBucket).Get(key)
	if text == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// born is when the age of a stored event began. A box without a clock of its own
// begins in 1970: such a date says nothing about the age.
func born(ts, now time.Time) time.Time {
	if ts.Year() < 2020 || ts.After(now) {
		return now
	}
	return now.Add(-now.Sub(ts))
}

// note has the file keep a value under a key of aboutBucket. It is written with the next changes of the outbox, so
// nobody waits for the disk. A nil store does nothing.
func (s *store) note(key []byte, value any) {
	if s != nil {
		s.notes.set(key, value)
		nudge(s.changed)
	}
}

// save writes the changes of the outbox, and what was noted since the last time.
func (s *store) save(c changes) error {
	unsaved := s.notes.unsaved()
	err := s.write(c, unsaved)
	if err == nil {
		s.notes.saved(unsaved)
	}
	return err
}

func (s *store) write(c changes, noted map[string][]byte) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		for key, text := range noted {
			if err := tx.Bucket(aboutBucket).Put([]byte(key), text); err != nil {
				return err
			}
		}
		events := tx.Bucket(eventBucket)
		events.FillPercent = 0.9 // keys only go up
		for _, seq := range c.removed {
			if err := events.Delete(eventKey(seq)); err != nil {
				return err
			}
		}
		for _, e := range c.added {
			if err := events.Put(eventKey(e.seq), e.payload); err != nil {
				return err
			}
		}
		return marshalKey(tx, totalsKey, c.totals)
	})
}

func eventKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(nil, seq) }

func marshalKey(tx *bolt.Tx, key []byte, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return tx.Bucket(aboutBucket).Put(key, text)
}

// saveRecord writes the record of a command and deletes those that are to be forgotten.
func (s *store) saveRecord(r record, forget []string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return s.db.Update(func(tx *bolt.Tx) error {
		commands := tx.Bucket(commandBucket)
		for _, id := range forget {
			if err := commands.Delete([]byte(id)); err != nil {
				return err
			}
		}
		return commands.Put([]byte(r.Response.ID), text)
	})
}
