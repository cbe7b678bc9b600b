package kvstest

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Call is what became of one call.
type Call struct {
	Operation string // GetDataEndpoint, DescribeStream, ListStreams or GetMedia; "" if it is none of them
	Time      time.Time
	Host      string // that the client called
	Path      string
	Stream    string // its name; "" if the call named none that is there
	Selector  Selector
	RequestID string
	Status    int    // 0 as long as nothing was answered
	ErrorType string // of a refusal

	// Of the body of GetMedia:
	Bytes     int64  // so far
	Fragments int    // sent whole, so far
	Last      string // number of the last of them
	Ending    Ending // "" as long as it runs
}

// keptCalls bounds the records: the oldest are forgotten.
const keptCalls = 1024

// records are the calls a Server got.
type records struct {
	mu      sync.Mutex
	list    []*record
	changed chan struct{} // closed and replaced at every change
}

// record is the record of one call, which goes on while the call does.
type record struct {
	all  *records
	call Call
}

func (r *records) open(c Call) *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := &record{all: r, call: c}
	if len(r.list) == keptCalls {
		r.list = slices.Delete(r.list, 0, 1)
	}
	r.list = append(r.list, one)
	r.notify()
	return one
}

func (r *record) update(change func(*Call)) {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	change(&r.call)
	r.all.notify()
}

// get is the call as it stands.
func (r *record) get() Call {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	return r.call
}

func (r *records) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *records) snapshot() ([]Call, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := make([]Call, len(r.list))
	for i, one := range r.list {
		calls[i] = one.call
	}
	return calls, r.changed
}

// Calls are the calls so far, at most the last 1024, oldest first.
func (s *Server) Calls() []Call {
	calls, _ := s.records.snapshot()
	return calls
}

// Wait returns when the calls are as a test wants them; an error only when ctx is over before.
func (s *Server) Wait(ctx context.Context, done func([]Call) bool) error {
	for {
		calls, changed := s.records.snapshot()
		if done(calls) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
