package kvstest

import (
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Fault is something that goes wrong with a session.
type Fault struct {
	Kind Kind
	// At is the byte of the body, counted from 0, in front of which it happens; 0 is at once. Fail waits for the fragment
	// to be over.
	At int64
	// For is how long a Stall lasts; 0 is for good.
	For time.Duration
	// ID and Code are what a Fail says; a zero value is not sent. Fail finds the Code of a known ID.
	ID   int
	Code string
	// Bare leaves fragment number and timestamps out of a Fail.
	Bare bool
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
	// Fail ends the body with an error in it, after the fragment that is being sent.
	Fail
	// Stall sends nothing.
	Stall
)

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

// RefuseMedia refuses the next n GetMedia calls.
func (s *Stream) RefuseMedia(n int, e *Exception) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = append(s.refused, slices.Repeat([]*Exception{e}, n)...)
}

// RefuseEndpoint refuses the next n GetDataEndpoint calls.
func (s *Stream) RefuseEndpoint(n int, e *Exception) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unlocated = append(s.unlocated, slices.Repeat([]*Exception{e}, n)...)
}

// refusal takes the first of a list of refusals, s.refused or s.unlocated; nil if there is none.
func (s *Stream) refusal(list *[]*Exception) *Exception {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(*list) == 0 {
		return nil
	}
	e := (*list)[0]
	*list = (*list)[1:]
	return e
}

// failing is the end of a session by a fault.
type failing struct {
	fault Fault
	tags  []mkv.Tag // of the fragment that would have come next
}

func (f *failing) Error() string { return "kvstest: session over: a fault was injected" }

// document is the error document of a Fail.
func (f *failing) document() []byte {
	var tags []mkv.Tag
	if !f.fault.Bare {
		tags = append(tags, f.tags...)
	}
	if f.fault.Code != "" {
		tags = append(tags, mkv.Tag{Name: tagErrorCode, Value: f.fault.Code})
	}
	if f.fault.ID != 0 {
		tags = append(tags, mkv.Tag{Name: tagErrorID, Value: strconv.Itoa(f.fault.ID)})
	}
	return errorDocument(tags)
}

// breakConnection ends an HTTP/1 connection in the middle of a body. Where that is not possible net/http is asked to.
func breakConnection(w http.ResponseWriter, reset bool) {
	control := http.NewResponseController(w)
	flushed := control.Flush()
	conn, _, err := control.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	// Linger of 0 makes a reset of what would be an ordinary end. So it does where a client holds up the bytes in front.
	if tcp, ok := conn.(*net.TCPConn); ok && (reset || flushed != nil) {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
