package kvstest

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Fault is something that goes wrong with a session.
//
// It happens in front of a byte of the body or of a fragment, or at once where that byte has passed. Fail, Limit,
// Duplicate and Swap wait for the end of the fragment that the byte is in.
type Fault struct {
	Kind Kind
	// Fragment is which fragment of the session it happens to, counted from 1; 0 is for the body as a whole.
	Fragment int
	// At is the byte of the fragment or the body, counted from 0.
	At int64
	// For is how long a Stall, a Slow or a Flood lasts, and how long an Open body stays open; 0 is for good.
	For time.Duration
	// Rate is what a Slow leaves and how fast a Flood is, in bytes a second. 0 is a Flood as fast as a session may be.
	Rate int
	// Data is what Garbage consists of, and what a Flood repeats; GarbageOf, ZerosOf and Void make some.
	Data []byte
	// ID and Code are what a Fail says; a zero value is not sent.
	ID   int
	Code string
	// Bare leaves fragment number and timestamps out of a Fail, and Reversed has its tags in the opposite order.
	Bare, Reversed bool
	// Abrupt has a Fail not wait for the end of the fragment: the error stands in the middle of it, as in a block.
	Abrupt bool
	// Open leaves the body open and silent after the error of a Fail, until For is over.
	Open bool
}

// Kind is what a Fault does.
type Kind int

// The kinds of faults.
const (
	// Cut resets the connection. What the client has not read yet may be lost, as with a real reset.
	Cut Kind = iota + 1
	// Drop closes the connection without ending the body: every byte before arrives, and then it is missed.
	Drop
	// End ends the body cleanly, wherever it is.
	End
	// Limit ends the body cleanly after the fragment, as at the end of a session's time.
	Limit
	// Fail ends the body with an error in it, after the fragment.
	Fail
	// Stall sends nothing for a time.
	Stall
	// Slow sends no more than Rate bytes a second for a time.
	Slow
	// Garbage puts bytes in between.
	Garbage
	// Duplicate sends the fragment once more.
	Duplicate
	// Swap sends the two fragments after the fragment in the opposite order.
	Swap
	// Flood sends Data again and again, and nothing else, for a time.
	Flood

	// deletion ends the body cleanly, since the stream was deleted.
	deletion
)

// afterFragment says that a fault waits for the end of the fragment.
func (f Fault) afterFragment() bool {
	switch f.Kind {
	case Limit, Duplicate, Swap:
		return true
	case Fail:
		return !f.Abrupt
	}
	return false
}

// breaks says that a fault breaks the connection.
func (k Kind) breaks() bool { return k == Cut || k == Drop }

// ErrorCodes are the service's errors in a body. The ids are the API reference's, the names are ours: it gives none.
var ErrorCodes = map[int]string{
	3002: "STREAM_WRITE_ERROR",
	4000: "FRAGMENT_NOT_FOUND",
	4500: "KMS_KEY_ACCESS_DENIED",
	4501: "KMS_KEY_DISABLED",
	4502: "KMS_KEY_VALIDATION_ERROR",
	4503: "KMS_KEY_UNAVAILABLE",
	4504: "KMS_KEY_INVALID_USAGE",
	4505: "KMS_KEY_INVALID_STATE",
	4506: "KMS_KEY_NOT_FOUND",
	5000: "INTERNAL_ERROR",
}

// GarbageOf makes n bytes with which no Matroska element begins.
func GarbageOf(n int) []byte { return bytes.Repeat([]byte{0x01}, n) }

// ZerosOf makes n zeros.
func ZerosOf(n int) []byte { return make([]byte, n) }

// Void makes a Void element, which every reader of Matroska skips.
func Void() []byte { return spelling{}.element(idVoid, make([]byte, 14)) }

// Cut resets the connections of all open sessions, now.
func (s *Stream) Cut() { s.Inject(Fault{Kind: Cut}) }

// End ends the bodies of all open sessions cleanly, now.
func (s *Stream) End() { s.Inject(Fault{Kind: End}) }

// Fail ends all open sessions with an error in the body, after the fragment that is being sent.
func (s *Stream) Fail(id int) { s.Inject(Fault{Kind: Fail, ID: id, Code: ErrorCodes[id]}) }

// Stall sends nothing to the open sessions for a time; 0 is for good.
func (s *Stream) Stall(d time.Duration) { s.Inject(Fault{Kind: Stall, For: d}) }

// Inject lets a fault happen to all open sessions.
func (s *Stream) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, session := range s.sessions {
		session.inject(f)
	}
}

// Next lets faults happen to sessions to come, one each.
func (s *Stream) Next(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = append(s.next, faults...)
}

// Always lets faults happen to every session to come, all of them to each. Without any, it takes back all of them.
func (s *Stream) Always(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(faults) == 0 {
		s.always = nil
	}
	s.always = append(s.always, faults...)
}

// place is where in a body a session is.
type place struct {
	sent     int64 // bytes of the body
	fragment int   // that is being sent or was sent last, counted from 1
	began    int64 // byte at which that fragment began
}

// position is the byte of the body that a fault happens at, as far as one can tell at a place.
func (f Fault) position(p place) int64 {
	switch {
	case f.Fragment == 0:
		return f.At
	case f.Fragment > p.fragment:
		return math.MaxInt64
	case f.Fragment == p.fragment:
		return p.began + f.At
	}
	return 0 // that fragment is over
}

// phase is what a session is doing.
type phase uint8

const (
	within  phase = iota // a fragment, or before it
	behind               // a whole fragment has just been sent
	between              // the next fragment is waited for
)

// suits says whether a fault may happen now.
func (p phase) suits(f Fault) bool {
	switch {
	case f.Kind == Duplicate:
		return p == behind
	case f.afterFragment():
		return p == between
	}
	return true
}

// pending are the faults of one session that are to happen.
type pending struct {
	mu   sync.Mutex
	list []Fault
}

func (q *pending) add(f Fault) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.list = append(q.list, f)
}

// take takes the first fault whose time has come.
func (q *pending) take(at place, now phase) (Fault, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.IndexFunc(q.list, func(f Fault) bool { return f.position(at) <= at.sent && now.suits(f) })
	if i < 0 {
		return Fault{}, false
	}
	f := q.list[i]
	q.list = slices.Delete(q.list, i, i+1)
	return f, true
}

// distance is how many bytes there are until the next fault, but for those that wait for the end of a fragment.
func (q *pending) distance(at place) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := int64(math.MaxInt64)
	for _, f := range q.list {
		if !f.afterFragment() {
			n = min(n, f.position(at)-at.sent)
		}
	}
	return n
}

// failing is the end of a session by a fault.
type failing struct{ fault Fault }

func (f *failing) Error() string { return "kvstest: session over: a fault was injected" }

// errorTags are what a Fail says; about is what else is told of the fragment that would have come.
func (f Fault) errorTags(about []mkv.Tag) []mkv.Tag {
	var tags []mkv.Tag
	if !f.Bare {
		tags = append(tags, about...)
	}
	if f.Code != "" {
		tags = append(tags, mkv.Tag{Name: tagErrorCode, Value: f.Code})
	}
	if f.ID != 0 {
		tags = append(tags, mkv.Tag{Name: tagErrorID, Value: strconv.Itoa(f.ID)})
	}
	if f.Reversed {
		slices.Reverse(tags)
	}
	return tags
}
