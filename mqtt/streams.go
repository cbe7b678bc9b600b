package mqtt

import (
	"slices"
	"sync"
)

// streams knows whose state the broker may retain, so that the state of a stream that
// is no longer configured does not stand there for ever. Safe for concurrent use.
type streams struct {
	store *store // may be nil: then a restart forgets

	mu       sync.Mutex
	present  []string
	retained []string // present and those not cleared yet; as in the store
}

// replace notes the present streams and returns those that are gone.
func (s *streams) replace(names []string) (gone []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present = slices.Clone(names)
	for _, name := range s.retained {
		if !slices.Contains(names, name) {
			gone = append(gone, name)
		}
	}
	s.note(append(slices.Clone(names), gone...))
	return gone
}

// cleared notes that the broker has forgotten a stream.
func (s *streams) cleared(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.present, name) { // it has come back meanwhile
		return
	}
	s.note(slices.DeleteFunc(slices.Clone(s.retained), func(n string) bool { return n == name }))
}

func (s *streams) note(names []string) {
	s.retained = names
	s.store.note(streamsKey, names)
}

// SetStreams names all the streams that there are. The state of others that were
// named or published before, also by an earlier run with the same StateDir, is
// cleared from the broker. The names must satisfy ValidName.
func (c *Client) SetStreams(names []string) {
	gone := c.streams.replace(names)
	c.tellStreams(names, gone)
	for _, name := range gone {
		c.pending.clear(c.topics.State(name), func() { c.streams.cleared(name) })
	}
	nudge(c.wake)
}
