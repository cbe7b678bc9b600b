package kvstest

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// StreamConfig is how a stream is produced and kept. The zero value is a stream that begins now, with one fragment for
// each group of pictures. None of it matters to a capture.
type StreamConfig struct {
	// History is for how long the stream was produced before it was added.
	History time.Duration
	// Fragment is the least duration of a fragment; they end before key frames only.
	Fragment time.Duration
	// Delay is the time from a frame's being captured to its being available: the server timestamps are this much later
	// than the producer's.
	Delay time.Duration
	// Retention is how long fragments are kept; 0 means a day.
	Retention time.Duration
	// Layout is how the producer writes.
	Layout Layout
}

// Stream is one stream of a Server. Its methods may be called from any goroutine; faults.go has more of them.
type Stream struct {
	name, arn string
	limits    Limits
	clock     *clock
	feed      feed

	// Calls to come have to pass these.
	media, location *rate.Limiter // of GetMedia and of GetDataEndpoint

	mu        sync.Mutex
	sessions  []*session
	next      []Fault      // for sessions to come, one each
	refused   []*Exception // for GetMedia calls to come, one each
	unlocated []*Exception // for GetDataEndpoint calls to come, one each
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

// ARN is the StreamARN.
func (s *Stream) ARN() string { return s.arn }

// Sessions is how many GetMedia sessions are open.
func (s *Stream) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// Stop ends production after the fragment that is being produced: sessions run dry and end. A capture does not mind.
func (s *Stream) Stop() {
	if l, ok := s.feed.(*live); ok {
		l.stop(s.clock.now())
	}
	s.wake()
}

// Produce goes on with production after Stop, with the next fragment number and a gap in the timestamps.
func (s *Stream) Produce() {
	if l, ok := s.feed.(*live); ok {
		l.produce(s.clock.now())
	}
	s.wake()
}

// wake has every session look again at what there is to send.
func (s *Stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		session.wake()
	}
}

// enter adds a session unless there are as many as there may be, and gives it the fault that waits for the next one.
func (s *Stream) enter(session *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= s.limits.Connections {
		return false
	}
	s.sessions = append(s.sessions, session)
	if len(s.next) > 0 {
		session.inject(s.next[0])
		s.next = s.next[1:]
	}
	return true
}

func (s *Stream) leave(gone *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = slices.DeleteFunc(s.sessions, func(one *session) bool { return one == gone })
}
