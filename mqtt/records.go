package mqtt

import (
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

const (
	// maxRecords is more than the ids that can be valid at a time: a lifetime's worth of
	// commands at their rate. So a command whose id is forgotten has expired.
	maxRecords = 1000
	// maxKept bounds the data of a response that is kept, in bytes.
	maxKept = 16 << 10
)

// record is a command that was admitted, with the newest response to it.
type record struct {
	At       time.Time         `json:"at"`
	Verb     contract.Verb     `json:"verb"`
	Response contract.Response `json:"response"`
}

// records remembers commands, so that none is carried out twice, also after a
// restart if there is a store. It belongs to one goroutine.
type records struct {
	store *store // may be nil
	byID  map[string]record
	order []string // ids, oldest first
}

func newRecords(s *store, held []record) *records {
	r := &records{store: s, byID: make(map[string]record)}
	slices.SortFunc(held, func(a, b record) int { return a.At.Compare(b.At) })
	for _, rec := range held {
		r.remember(rec)
	}
	return r
}

func (r *records) find(id string) (record, bool) {
	rec, ok := r.byID[id]
	return rec, ok
}

// put adds a record or replaces it. It returns once the file has it; the
// error means that only the memory has.
func (r *records) put(rec record) error {
	if len(rec.Response.Data) > maxKept {
		rec.Response.Data = nil
		rec.Response.Reason += " (the data was too large to keep)"
	}
	forgotten := r.remember(rec)
	if r.store == nil {
		return nil
	}
	return r.store.saveRecord(rec, forgotten)
}

func (r *records) remember(rec record) (forgotten []string) {
	id := rec.Response.ID
	if _, known := r.byID[id]; !known {
		r.order = append(r.order, id)
	}
	r.byID[id] = rec
	for len(r.order) > maxRecords {
		delete(r.byID, r.order[0])
		forgotten = append(forgotten, r.order[0])
		r.order = r.order[1:]
	}
	return forgotten
}

// unfinished are the commands that the end of the agent has cut off.
func (r *records) unfinished() (cut []record) {
	for _, id := range r.order {
		if rec := r.byID[id]; rec.Response.Status == contract.StatusInProgress {
			cut = append(cut, rec)
		}
	}
	return cut
}
