package kvstest

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Ending is why the body of a GetMedia call ended.
type Ending string

// The endings.
const (
	EndIdle   Ending = "idle"          // no fragment came for the time a session waits
	EndLimit  Ending = "session limit" // cleanly, after a fragment
	EndClient Ending = "client"        // it went away, or the server was closed
	EndFault  Ending = "fault"         // one that was injected
	EndError  Ending = "error"         // a fragment that was asked for is not there: error 4000 in the body
)

func (e Ending) Error() string { return "kvstest: session over: " + string(e) }

// errNoFragment says that a FRAGMENT_NUMBER selector names a fragment that is not there.
var errNoFragment = errors.New("kvstest: no such fragment")

// session is one GetMedia call that was accepted. It runs on the goroutine of its HTTP handler:
//
//	             chunk i is there          all parts sent
//	    await ──────────────────▶ send ──────────────────▶ await chunk i+1
//	      │                        │
//	idle, limit, fault           fault
//	      ▼                        ▼
//	      └───────── over ─────────┘
type session struct {
	ctx     context.Context // over when the client has gone or the server closes
	clock   *clock
	limits  Limits
	feed    feed
	record  *record
	out     http.ResponseWriter
	control *http.ResponseController
	rate    *rate.Limiter

	started, active time.Time // active: when something was last sent
	sent            int64     // bytes of the body

	mu     sync.Mutex
	faults []Fault
	woken  chan struct{} // holds one
}

// burst is how many bytes may be sent at once, above the rate.
const burst = 64 << 10

func newSession(ctx context.Context, clock *clock, stream *Stream, call *record, w http.ResponseWriter) *session {
	return &session{
		ctx: ctx, clock: clock, limits: stream.limits, feed: stream.feed, record: call,
		out: w, control: http.NewResponseController(w),
		rate:  rate.NewLimiter(rate.Limit(float64(stream.limits.Bandwidth)*clock.speed), burst),
		woken: make(chan struct{}, 1),
	}
}

// begin runs the session, from chunk i on. With errNoFragment there is nothing to run and the body says so.
func (s *session) begin(i int64, missing error) error {
	if s.control.Flush() != nil { // the status line goes out at once
		return EndClient
	}
	err := missing
	if err == nil {
		err = s.run(i)
	}
	document := errorDocumentOf(err)
	if document == nil {
		return err
	}
	if pushed := s.push(document); pushed != nil {
		return pushed
	}
	return err
}

// errorDocumentOf is what the body says of its end, or nil.
func errorDocumentOf(err error) []byte {
	var fault *failing
	switch {
	case errors.Is(err, errNoFragment):
		return (&failing{fault: Fault{ID: 4000, Code: ErrorCodes[4000]}}).document()
	case errors.As(err, &fault) && fault.fault.Kind == Fail:
		return fault.document()
	}
	return nil
}

// ending is what a record says of a session's end.
func ending(err error) Ending {
	var e Ending
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, errNoFragment):
		return EndError
	default:
		return EndFault
	}
}

// run sends chunk after chunk, from chunk i on, until something ends it.
func (s *session) run(i int64) error {
	s.started = s.clock.now()
	s.active = s.started
	for ; ; i++ {
		c, err := s.await(i)
		if err != nil {
			return err
		}
		if err := s.send(c); err != nil {
			return err
		}
		s.record.update(func(call *Call) {
			call.Fragments++
			call.Last = c.number
		})
	}
}

// await waits for a chunk to begin. Between fragments is where a session times out, meets its limit or fails.
func (s *session) await(i int64) (chunk, error) {
	for {
		c, ok := s.feed.chunk(i)
		if err := s.obey(&c); err != nil {
			return c, err
		}
		now := s.clock.now()
		if now.Sub(s.started) >= s.limits.Session {
			return c, EndLimit
		}
		if ok && !now.Before(c.start) {
			return c, nil
		}
		until := s.active.Add(s.limits.Idle)
		if !now.Before(until) {
			return c, EndIdle
		}
		if ok && c.start.Before(until) {
			until = c.start
		}
		if err := s.wait(until); err != nil {
			return c, err
		}
	}
}

// send sends one chunk, part by part as they become available.
func (s *session) send(c chunk) error {
	for _, p := range c.parts {
		if err := s.sendAt(p.at, func(time.Time) []byte { return p.data }); err != nil {
			return err
		}
	}
	return s.sendAt(c.end, c.closing)
}

func (s *session) sendAt(at time.Time, data func(now time.Time) []byte) error {
	for {
		if err := s.obey(nil); err != nil {
			return err
		}
		now := s.clock.now()
		if !now.Before(at) {
			return s.write(data(now))
		}
		if err := s.wait(at); err != nil {
			return err
		}
	}
}

// write sends bytes no faster than the service does, and stops at the byte where a fault is to happen.
func (s *session) write(data []byte) error {
	for len(data) > 0 {
		if err := s.obey(nil); err != nil {
			return err
		}
		n := int(min(int64(len(data)), burst, s.untilFault()))
		if n <= 0 {
			continue // one was injected just now
		}
		if err := s.rate.WaitN(s.ctx, n); err != nil {
			return EndClient
		}
		if err := s.push(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// push puts bytes on the wire. A client that does not read holds it up.
func (s *session) push(data []byte) error {
	n, err := s.out.Write(data)
	if err == nil {
		err = s.control.Flush()
	}
	s.sent += int64(n)
	s.active = s.clock.now()
	s.record.update(func(call *Call) { call.Bytes = s.sent })
	if err == nil {
		return nil
	}
	if fault := s.obey(nil); fault != nil { // it is what broke the connection
		return fault
	}
	return EndClient
}

// wait returns at a time, or earlier when there may be something to do.
func (s *session) wait(until time.Time) error {
	timer := s.clock.timer(until.Sub(s.clock.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.woken:
	case <-s.ctx.Done():
		return EndClient
	}
	return nil
}

func (s *session) wake() {
	select {
	case s.woken <- struct{}{}:
	default: // it has not yet slept since the last time
	}
}

// inject adds a fault. If it is to break a connection that a client holds up, the write in progress fails.
func (s *session) inject(f Fault) {
	s.mu.Lock()
	s.faults = append(s.faults, f)
	s.mu.Unlock()
	if f.At == 0 && (f.Kind == Cut || f.Kind == Drop) {
		// A writer that knows no deadlines is not one that a client holds up.
		_ = s.control.SetWriteDeadline(time.Unix(1, 0))
	}
	s.wake()
}

// obey carries out the faults that are due; one that ends the session is returned as an error. The next chunk is given
// where the session is between fragments, the only place where it can fail in band.
func (s *session) obey(next *chunk) error {
	for {
		f, ok := s.due(next != nil)
		switch {
		case !ok:
			return nil
		case f.Kind == Stall:
			if err := s.stall(f.For); err != nil {
				return err
			}
		case f.Kind == Fail:
			return &failing{f, next.tags}
		default:
			return &failing{fault: f}
		}
	}
}

// stall sends nothing for a time; 0 is for good. Another fault ends it.
func (s *session) stall(d time.Duration) error {
	if d == 0 {
		d = math.MaxInt64 / 4
	}
	for until := s.clock.now().Add(d); s.clock.now().Before(until) && s.untilFault() > 0; {
		if err := s.wait(until); err != nil {
			return err
		}
	}
	s.active = s.clock.now()
	return nil
}

// due takes the first fault that has its time or its byte.
func (s *session) due(between bool) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.faults, func(f Fault) bool { return f.At <= s.sent && (between || f.Kind != Fail) })
	if i < 0 {
		return Fault{}, false
	}
	f := s.faults[i]
	s.faults = slices.Delete(s.faults, i, i+1)
	return f, true
}

// untilFault is how many bytes there are until the next fault, but for those that wait for the end of the fragment.
func (s *session) untilFault() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := int64(math.MaxInt64)
	for _, f := range s.faults {
		if f.Kind != Fail {
			n = min(n, f.At-s.sent)
		}
	}
	return n
}
