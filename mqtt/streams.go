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
func (s *streams) replace(names []string) (gone []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.present = slices.Clone(names)
	for _, name := range s.retained {
		if !slices.Contains(names, name) {
			gone = append(gone, name)
		}
	}
	return gone, s.save(append(slices.Clone(names), gone...))
}

// cleared notes that the broker has forgotten a stream.
func (s *streams) cleared(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.present, name) { // it has come back meanwhile
		return nil
	}
	return s.save(slices.DeleteFunc(slices.Clone(s.retained), func(n string) bool { return n == name }))
}

func (s *streams) save(names []string) error {
	same := slices.Equal(s.retained, names)
	s.retained = names
	if s.store == nil || same {
		return nil
	}
	return s.store.saveStreams(names)
}

// saveAgain writes the names into a file that has none.
func (s *streams) saveAgain() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.store.saveStreams(s.retained)
}

// SetStreams names all the streams that there are. The state of others that were
// named or published before, also by an earlier run with the same StateDir, is
// cleared from the broker. The names must satisfy ValidName.
func (c *Client) SetStreams(names []string) {
	gone, err := c.streams.replace(names)
	c.tellStreams(names, gone)
	for _, name := range gone {
		c.pending.clear(c.topics.State(name), func() {
			if err := c.streams.cleared(name); err != nil {
				c.noteStorage("the names of the streams cannot be written to the disk", err)
			}
		})
	}
	if err != nil {
		c.noteStorage("the names of the streams cannot be written to the disk", err)
	}
	nudge(c.wake)
}
