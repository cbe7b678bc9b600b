package kvstest

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/edge-agent/edge-agent/ingest/mkv"
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
	EndGone   Ending = "deleted"       // the stream was deleted
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
	stream  *Stream
	feed    feed // of the stream as it was when the session began
	clock   *clock
	record  *record
	out     http.ResponseWriter
	control *http.ResponseController
	rate    *rate.Limiter
	slow    slowness

	started, active time.Time // active: when something was last sent
	place           place
	coming          []mkv.Tag // what is told of the next chunk
	again           bool      // the chunk that was just sent is to be sent once more
	ahead           int64     // how many chunks after the next one is sent instead: 1, and then -1, if two are swapped

	faults pending
	woken  chan struct{} // holds one
}

// burst is how many bytes may be sent at once, above the rate.
const burst = 64 << 10

func newSession(ctx context.Context, stream *Stream, feed feed, call *record, w http.ResponseWriter) *session {
	return &session{
		ctx: ctx, stream: stream, feed: feed, clock: stream.clock, record: call,
		out: w, control: http.NewResponseController(w),
		rate:  rate.NewLimiter(rate.Limit(float64(stream.service.Limits.Bandwidth)*stream.clock.speed), burst),
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
	tags, ok := s.errorTags(err)
	if !ok {
		return err
	}
	if pushed := s.push(s.stream.config.Layout.errorDocument(tags, uint64(s.place.sent))); pushed != nil {
		return pushed
	}
	if fault := (*failing)(nil); errors.As(err, &fault) && fault.fault.Open {
		return s.keepOpen(fault)
	}
	return err
}

// keepOpen sends nothing more until the time of a fault is over or another fault ends the body.
func (s *session) keepOpen(failed *failing) error {
	if err := s.stall(failed.fault.For); err != nil {
		return err
	}
	if err := s.obey(within); err != nil {
		return err
	}
	return failed
}

// errorTags are what the body says of its end, if it does.
func (s *session) errorTags(err error) ([]mkv.Tag, bool) {
	var fault *failing
	switch {
	case errors.Is(err, errNoFragment):
		return Fault{ID: 4000, Code: ErrorCodes[4000]}.errorTags(nil), true
	case errors.As(err, &fault) && fault.fault.Kind == Fail:
		return fault.fault.errorTags(s.coming), true
	}
	return nil, false
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
	for {
		c, err := s.await(i)
		if err != nil {
			return err
		}
		for s.again = true; s.again; {
			s.again = false
			if err := s.send(c); err != nil {
				return err
			}
		}
		i = s.after(i)
	}
}

// after is the chunk to send after chunk i+s.ahead, which was sent instead of chunk i if two are swapped.
func (s *session) after(i int64) int64 {
	switch s.ahead {
	case 1: // now the one that should have come first
		s.ahead = -1
		return i + 1
	case -1: // and then the one after both
		s.ahead = 0
		return i + 1
	}
	return i + 1
}

// await waits for a chunk to begin. Between fragments is where a session times out, meets its limit or fails.
func (s *session) await(i int64) (chunk, error) {
	limits := s.stream.service.Limits
	for {
		c, ok := s.feed.chunk(i + s.ahead)
		s.coming = c.tags
		swapped := s.ahead
		if err := s.obey(between); err != nil {
			return c, err
		}
		if s.ahead != swapped {
			continue
		}
		now := s.clock.now()
		if now.Sub(s.started) >= limits.Session {
			return c, EndLimit
		}
		if ok && !now.Before(c.start) {
			return c, nil
		}
		until := s.active.Add(limits.Idle)
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
	s.place.fragment++
	s.place.began = s.place.sent
	for _, p := range c.parts {
		if err := s.sendAt(p.at, func(time.Time) []byte { return p.data }); err != nil {
			return err
		}
	}
	if err := s.sendAt(c.end, c.closing); err != nil {
		return err
	}
	s.record.update(func(call *Call) {
		call.Fragments++
		call.Last = c.number
	})
	return s.obey(behind)
}

func (s *session) sendAt(at time.Time, data func(now time.Time) []byte) error {
	for {
		if err := s.obey(within); err != nil {
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
		if err := s.obey(within); err != nil {
			return err
		}
		most, until := s.slow.allows(s.clock.now())
		n := int(min(int64(len(data)), burst, int64(most), s.faults.distance(s.place)))
		if n <= 0 { // it is too early, or a fault was injected just now
			if err := s.wait(until); err != nil {
				return err
			}
			continue
		}
		if err := s.rate.WaitN(s.ctx, n); err != nil {
			return EndClient
		}
		if err := s.push(data[:n]); err != nil {
			return err
		}
		s.slow.sent(n, s.clock.now())
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
	s.place.sent += int64(n)
	s.active = s.clock.now()
	s.record.update(func(call *Call) { call.Bytes = s.place.sent })
	if err == nil {
		return nil
	}
	if fault := s.obey(within); fault != nil { // it is what broke the connection
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
	s.faults.add(f)
	if f.Kind.breaks() && f.At == 0 && f.Fragment == 0 {
		// A writer that knows no deadlines is not one that a client holds up.
		_ = s.control.SetWriteDeadline(time.Unix(1, 0))
	}
	s.wake()
}

// obey carries out the faults that are due; one that ends the session is returned as an error.
func (s *session) obey(now phase) error {
	for {
		f, ok := s.faults.take(s.place, now)
		if !ok {
			return nil
		}
		if err := s.suffer(f); err != nil {
			return err
		}
	}
}

func (s *session) suffer(f Fault) error {
	switch f.Kind {
	case Stall:
		return s.stall(f.For)
	case Slow:
		s.slow = newSlowness(f, s.clock.now())
		return nil
	case Garbage:
		return s.push(f.Data)
	case Duplicate:
		s.again = true
		return nil
	case Swap:
		if s.ahead == 0 {
			s.ahead = 1
		}
		return nil
	case Flood:
		return s.flood(f)
	case Limit:
		return EndLimit
	case deletion:
		return EndGone
	}
	return &failing{f}
}

// stall sends nothing for a time; 0 is for good. Another fault ends it.
func (s *session) stall(d time.Duration) error {
	if d == 0 {
		d = forGood
	}
	for until := s.clock.now().Add(d); s.clock.now().Before(until) && s.faults.distance(s.place) > 0; {
		if err := s.wait(until); err != nil {
			return err
		}
	}
	s.active = s.clock.now()
	return nil
}

// flood sends the data of a fault again and again, whole at the end unless another fault ends it.
func (s *session) flood(f Fault) error {
	if f.For == 0 {
		f.For = forGood
	}
	if len(f.Data) == 0 {
		f.Data = ZerosOf(1)
	}
	now := s.clock.now()
	until, pace := now.Add(f.For), slowness{rate: f.Rate, until: now.Add(forGood), next: now}
	data := bytes.Repeat(f.Data, 1+4096/len(f.Data)) // not a write for a few bytes
	for at := 0; s.clock.now().Before(until) || at%len(f.Data) > 0; {
		most, again := pace.allows(s.clock.now())
		n := int(min(int64(len(data)-at), int64(most), s.faults.distance(s.place)))
		switch {
		case s.faults.distance(s.place) <= 0:
			return nil
		case n == 0:
			if err := s.wait(again); err != nil {
				return err
			}
			continue
		case s.rate.WaitN(s.ctx, n) != nil:
			return EndClient
		}
		if err := s.push(data[at : at+n]); err != nil {
			return err
		}
		pace.sent(n, s.clock.now())
		at = (at + n) % len(data)
	}
	return nil
}

// slowness is a Slow that is going on; the zero value is none.
type slowness struct {
	rate  int       // bytes a second
	until time.Time // it is over
	next  time.Time // something may be sent again
}

func newSlowness(f Fault, now time.Time) slowness {
	until := now.Add(f.For)
	if f.For == 0 {
		until = now.Add(forGood)
	}
	return slowness{rate: max(1, f.Rate), until: until, next: now}
}

// allows is how many bytes may be sent now or, if none, at what time to ask again.
func (s *slowness) allows(now time.Time) (n int, again time.Time) {
	switch {
	case s.rate == 0 || !now.Before(s.until):
		return burst, now
	case now.Before(s.next):
		return 0, s.next
	}
	return max(1, s.rate/10), now
}

func (s *slowness) sent(n int, now time.Time) {
	if s.rate > 0 {
		s.next = now.Add(time.Duration(n) * time.Second / time.Duration(s.rate))
	}
}
