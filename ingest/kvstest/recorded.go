package kvstest

import (
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// recorded is the feed of a capture: all of it is there from the beginning, and no more comes.
type recorded struct {
	capture   []byte
	documents []mkv.Fragment
}

func (r *recorded) first(s Selector, _ time.Time) (int64, error) {
	find := func(is func(mkv.Fragment) bool) int64 {
		for i, f := range r.documents {
			if is(f) {
				return int64(i)
			}
		}
		return -1
	}
	switch s.Type {
	case FragmentNumber:
		i := find(func(f mkv.Fragment) bool { return f.Number == s.AfterFragmentNumber })
		if i < 0 {
			return 0, errNoFragment
		}
		return i + 1, nil
	case Continuation:
		i := find(func(f mkv.Fragment) bool { return f.Token == s.ContinuationToken })
		if i < 0 {
			return 0, staleToken
		}
		return i + 1, nil
	case ServerTimestamp:
		return r.since(s.start(), func(f mkv.Fragment) time.Time { return f.ServerTime }), nil
	case ProducerTime:
		return r.since(s.start(), func(f mkv.Fragment) time.Time { return f.ProducerTime }), nil
	}
	return 0, nil
}

// since finds the last document that begins at a time or before it.
func (r *recorded) since(t time.Time, of func(mkv.Fragment) time.Time) int64 {
	for i := len(r.documents) - 1; i > 0; i-- {
		if !of(r.documents[i]).After(t) {
			return int64(i)
		}
	}
	return 0
}

func (r *recorded) chunk(i int64) (chunk, bool) {
	if i >= int64(len(r.documents)) {
		return chunk{}, false
	}
	// Whatever stands before the first document or after the last is served with it.
	begin, end := r.documents[i].Offset, int64(len(r.capture))
	if i == 0 {
		begin = 0
	}
	if i+1 < int64(len(r.documents)) {
		end = r.documents[i+1].Offset
	}
	return chunk{
		number:  r.documents[i].Number,
		parts:   []part{{data: r.capture[begin:end]}},
		closing: func(time.Time) []byte { return nil },
	}, true
}
