package kvstest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// StreamConfig is how a stream is produced and kept. The zero value is a stream that begins now, with one fragment for
// each group of pictures. None of it matters to a capture.
type StreamConfig struct {
	// Absent adds a stream that does not exist yet: Create creates it.
	Absent bool
	// History is for how long the stream was produced before it was added. One that Create creates has none.
	History time.Duration
	// Fragment is the least duration of a fragment; they end before key frames only.
	Fragment time.Duration
	// Delay is the time from a frame's being captured to its being available: the server timestamps are this much later
	// than the producer's.
	Delay time.Duration
	// Retention is how long fragments are kept; 0 means a day.
	Retention time.Duration
	// Ahead is how far the producer's clock is ahead of the service's. More than Delay, and fragments reach the service
	// before they were made.
	Ahead time.Duration
	// Numbers is how the service numbers the fragments.
	Numbers Numbers
	// OpaqueTokens makes continuation tokens that are not fragment numbers. In captures of the service the two are the
	// same, which the API reference does not promise.
	OpaqueTokens bool
	// Layout is how the producer writes.
	Layout Layout
	// Changes are the clips that the producer goes on with, in the order of their fragments.
	Changes []Change
}

// Change is where a producer goes on with another clip.
type Change struct {
	Fragment int64 // the first that shows it, counted from 0 since the stream's beginning
	Source   *Source
}

// check says what cannot be produced.
func (c StreamConfig) check() error {
	if c.History < 0 || c.Fragment < 0 || c.Retention < 0 {
		return errors.New("kvstest: history, fragment and retention of a stream cannot be negative")
	}
	var last int64
	for _, change := range c.Changes {
		if change.Fragment <= last {
			return fmt.Errorf("kvstest: a change at fragment %d: they are in order, from 1 on", change.Fragment)
		}
		if change.Source.capture != nil {
			return errors.New("kvstest: a stream cannot go on with a capture")
		}
		last = change.Fragment
	}
	if err := c.Numbers.check(); err != nil {
		return err
	}
	return c.Layout.check()
}

// Stream is a stream name of a Server, and the stream that exists under it, if any does. Its methods may be called from
// any goroutine; lifecycle.go, producer.go, faults.go and mishap.go have more of them. Faults belong to the name: they
// outlive a stream that is deleted.
type Stream struct {
	name    string
	source  *Source
	service *Config
	clock   *clock
	config  StreamConfig

	media, location *gate // of GetMedia and of GetDataEndpoint

	mu       sync.Mutex
	current  *incarnation // nil when there is no such stream
	last     time.Time    // when the latest one was created
	sessions []*session
	left     chan struct{} // closed and replaced when a session leaves
	next     []Fault       // for sessions to come, one each
	always   []Fault       // for every session to come
}

// feed is where the chunks of a stream come from. Chunks are counted from 0.
type feed interface {
	// first finds the chunk that a session begins with; errNoFragment or an Exception if it is not there.
	first(s Selector, now time.Time) (int64, error)
	// chunk describes a chunk; false if it is not there nor about to come.
	chunk(i int64) (chunk, bool)
}

// chunk is one fragment as it is sent: its parts, then what closing makes.
type chunk struct {
	number  string    // of the fragment; may be "" in a capture
	tags    []mkv.Tag // the service's about it, but for the closing ones
	start   time.Time // when its first part is there
	parts   []part
	end     time.Time // when closing can be sent
	closing func(now time.Time) []byte
}

// part is what becomes available at one time.
type part struct {
	at   time.Time
	data []byte
}

// Name is the StreamName.
func (s *Stream) Name() string { return s.name }

// Sessions is how many GetMedia sessions are open.
func (s *Stream) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// wake has every session look again at what there is to send.
func (s *Stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		session.wake()
	}
}

// leaving is how long a session may need to notice that its client has gone. A client that closes one connection and
// opens another at once does what it should, and is not refused for it.
const leaving = 50 * time.Millisecond

// enter adds a session, or refuses it: there are as many as there may be, or the stream was deleted meanwhile.
func (s *Stream) enter(session *session) *Exception {
	timer := time.NewTimer(leaving)
	defer timer.Stop()
	for {
		e, left := s.tryEnter(session)
		if e != ConnectionLimitExceeded {
			return e
		}
		select {
		case <-left:
		case <-timer.C:
			return e
		}
	}
}

// tryEnter adds a session if there is room, and gives it the faults that wait for it; else it gives what is closed when
// another one leaves.
func (s *Stream) tryEnter(session *session) (e *Exception, left <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.current == nil || s.current.feed != session.feed:
		return ResourceNotFound, nil
	case len(s.sessions) >= s.service.Limits.Connections:
		return ConnectionLimitExceeded, s.left
	}
	s.sessions = append(s.sessions, session)
	for _, f := range s.always {
		session.inject(f)
	}
	if len(s.next) > 0 {
		session.inject(s.next[0])
		s.next = s.next[1:]
	}
	return nil, nil
}

func (s *Stream) leave(gone *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.left)
	s.left = make(chan struct{})
	s.sessions = slices.DeleteFunc(s.sessions, func(one *session) bool { return one == gone })
}
