package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Times of a session.
const (
	// stallTimeout ends a body that brings no bytes. The service itself ends it after
	// 3 s without fragments, so what takes longer is the network.
	stallTimeout = 10 * time.Second
	// callInterval keeps the calls for one stream under the service's five a second.
	callInterval = 250 * time.Millisecond
)

// errMoved ends an attempt because Seek was called.
var errMoved = errors.New("the stream was told to go on elsewhere")

// Session pulls one stream. Run works on it; the methods that may be called from other
// goroutines say so.
type Session struct {
	stream    Stream
	service   *Service
	positions Positions
	sink      Sink

	state   State
	faulted bool // a fault was reported, and no frame has come since
	place   place
	lag     lagWatch
	skipped *skip // the jump that no frame has come after yet

	calls    atomic.Int64
	called   time.Time // the last GetMedia call
	progress bool      // frames came since the last failure
	attempt  int       // failures in a row
	pause    *backoff.ExponentialBackOff
	pauseFor string // the code that pause counts for

	maxLag atomic.Int64 // Stream.MaxLag, as it is now

	mu     sync.Mutex
	wanted *Selector               // of a Seek that was not followed yet
	cut    context.CancelCauseFunc // ends the present attempt or the pause after it
}

// NewSession makes the session of a stream. positions may be nil: then every start is
// a first start.
func NewSession(stream Stream, service *Service, positions Positions, sink Sink) *Session {
	s := &Session{stream: stream, service: service, positions: positions, sink: sink}
	s.SetMaxLag(stream.MaxLag)
	return s
}

// Run pulls the stream until ctx ends, and returns when everything of it is closed. What ends
// a single attempt, it reports, and tries again. It may be called again after it has returned, and
// then begins anew.
func (s *Session) Run(ctx context.Context) {
	s.begin(s.stream.Start)
	for ctx.Err() == nil {
		s.try(ctx)
	}
	s.report(Report{State: Stopped})
}

// begin forgets all that is known of the stream and makes the next call ask for start.
func (s *Session) begin(start Selector) {
	s.place = place{start: start, missing: true}
	s.lag = lagWatch{stay: s.stream.Stay, past: start.Kind != Now && start.Kind != Resume}
	s.skipped, s.faulted, s.progress = nil, false, false
	s.attempt, s.pauseFor = 0, ""
	s.restore()
	s.report(Report{State: Starting})
}

// try is one attempt and the pause after it. Seek cuts both short.
func (s *Session) try(ctx context.Context) {
	ctx, cut := context.WithCancelCause(ctx)
	defer cut(nil)
	if to, ok := s.move(cut); ok {
		s.begin(to)
	}
	err := s.once(ctx)
	if ctx.Err() == nil {
		sleep(ctx, s.judge(asError(err)))
	}
}

// Seek makes the session go on at another place, at once. What it knew of its place
// is forgotten, so that frames may come again. It may be called from any goroutine; before Run
// it says where Run begins. Of several calls the last counts.
func (s *Session) Seek(to Selector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = &to
	if s.cut != nil {
		s.cut(errMoved)
	}
}

// move gives the place that Seek asked for since the last call, and lets the next Seek call cut.
func (s *Session) move(cut context.CancelCauseFunc) (to Selector, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = cut
	if s.wanted == nil {
		return Selector{}, false
	}
	to, s.wanted = *s.wanted, nil
	return to, true
}

// SetMaxLag changes Stream.MaxLag from the next fragment on. It may be called from any goroutine.
func (s *Session) SetMaxLag(most time.Duration) { s.maxLag.Store(int64(most)) }

// Calls is how many sessions were asked of the service so far. It may be called from
// any goroutine.
func (s *Session) Calls() int64 { return s.calls.Load() }

// restore finds where to begin when that is behind what was seen last.
func (s *Session) restore() {
	if s.place.start.Kind != Resume {
		return
	}
	s.place.start = Selector{Kind: Now}
	if s.positions == nil {
		return
	}
	p, err := s.positions.Load(s.stream.Name)
	if err != nil {
		s.report(Report{
			State: Starting, Code: CodePosition, Message: "the place to resume at cannot be read; starting at the newest fragment",
			Detail: map[string]any{"cause": err.Error()},
		})
	}
	s.place.last = p
}

// once is one straight attempt: call, and read the body to its end. Its error is never nil.
func (s *Session) once(ctx context.Context) error {
	sleep(ctx, time.Until(s.called.Add(callInterval)))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.called = time.Now()
	s.calls.Add(1)
	body, requestID, err := s.service.getMedia(ctx, s.stream, s.place.selector())
	if err != nil {
		return err
	}
	defer body.Close()
	err = s.read(watch(body, stallTimeout, cancel))
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	e := asError(err)
	e.RequestID = requestID
	return e
}

// read hands on what the body holds, until it ends.
func (s *Session) read(body *watched) error {
	defer s.place.leave()
	r := mkv.NewReader(body, mkv.WithBudget(s.service.frames))
	defer r.Close()
	var tracks []*mkv.Track
	for fragments, frames := 0, 0; ; {
		ev, err := r.Next()
		if err != nil {
			return ended(err, fragments, frames)
		}
		if now := r.Tracks(); !slices.Equal(now, tracks) {
			tracks = now
			s.sink.Tracks(tracks)
		}
		switch ev := ev.(type) {
		case *mkv.Start:
			s.place.leave()
		case *mkv.Tags:
			if s.place.note(ev.Fragment) {
				fragments++
				if err := s.fragment(ev.Fragment); err != nil {
					return err
				}
			}
		case *mkv.Frame:
			frames++
			if s.place.fresh() {
				s.frame(ev, body.last)
			}
		case *mkv.End:
			if err := s.end(ev); err != nil {
				return err
			}
		}
	}
}

// ended says what the end of a body means.
func ended(err error, fragments, frames int) error {
	switch {
	case err == io.EOF && frames == 0:
		return &Error{Code: CodeIdle, Message: "the stream has no new fragments"}
	case err == io.EOF:
		return &Error{Code: CodeEnd, Message: fmt.Sprintf("the service ended the session after %d fragments", fragments)}
	}
	return &Error{Code: CodeCut, Message: "the connection ended in the middle of a fragment", Err: err}
}

// frame hands a frame on with its place in time.
func (s *Session) frame(f *mkv.Frame, received time.Time) {
	d := &s.place.open
	out := Frame{Frame: f, Fragment: d.number, Produced: d.produced, Received: received, Discontinuity: s.place.missing, Recorded: s.lag.recorded()}
	if !d.base.IsZero() {
		out.Made = d.base.Add(f.Time - f.ClusterTime)
	}
	s.place.missing = false
	s.playing()
	if s.skipped != nil {
		s.report(s.skipped.report(&out))
		s.skipped = nil
	}
	s.sink.Frame(&out)
}

// playing notes that frames come, and says so after they did not.
func (s *Session) playing() {
	s.progress = true
	if s.state == Playing {
		return
	}
	r := Report{State: Playing, Code: CodePlaying, Message: "frames are coming"}
	if s.faulted {
		r.Code, r.Message = CodeResumed, "frames are coming again"
		r.Detail = map[string]any{"attempts": s.attempt}
	}
	s.faulted, s.attempt = false, 0
	s.report(r)
}

// fragment hands on a fragment that came whole.
func (s *Session) fragment(f *mkv.Fragment) error {
	if s.positions != nil {
		s.positions.Save(s.stream.Name, s.place.last)
	}
	s.sink.Fragment(*f)
	s.lag.most = time.Duration(s.maxLag.Load())
	r, jump := s.lag.note(f, time.Now())
	if r.Code != "" {
		s.report(r)
	}
	if !jump {
		return nil
	}
	return &Error{Code: CodeSkipped, Message: "too far behind", Fragment: f.Number}
}

// end looks at how a document ended: an error of the service ends the session, a malformed
// fragment is left out.
func (s *Session) end(end *mkv.End) error {
	f := &end.Fragment
	if f.Failed() {
		return mediaError(f)
	}
	if end.Err == nil {
		return nil
	}
	if e, ok := end.Err.(*mkv.Error); ok && e.Kind == mkv.Truncated {
		return nil // the body ends here, as Next says next
	}
	s.place.lost()
	message := "a fragment could not be read and was left out"
	if f.Frames == 0 {
		message = "bytes that belong to no fragment were passed over"
	}
	s.report(Report{
		Code: CodeMalformed, Message: message,
		Detail: map[string]any{"fragment_number": f.Number, "cause": end.Err.Error()},
	})
	return nil
}

// mediaError is an error that the service sent in the body. Either tag may be missing.
func mediaError(f *mkv.Fragment) error {
	e := &Error{ErrorID: f.ErrorID, ErrorCode: f.ErrorCode, Fragment: f.Number, Message: f.ErrorCode}
	e.Code = prefixMedia + fmt.Sprint(f.ErrorID)
	return e
}

// judge reports the end of an attempt, does what it calls for, and gives the pause
// before the next one.
func (s *Session) judge(e *Error) time.Duration {
	if s.progress {
		s.attempt, s.pauseFor, s.progress = 0, "", false
	}
	if e.Code == CodeSkipped {
		s.skipped = &skip{from: s.place.last.Fragment, made: s.lag.made}
		s.place.jump()
	}
	remedy := remedyFor(e.Code)
	if remedy.routine {
		return 0
	}
	s.attempt++
	if remedy.endpoint {
		s.service.forgetEndpoint(s.stream)
	}
	if remedy.credentials {
		s.service.forgetCredentials()
	}
	elsewhere := remedy.selector && s.place.refused()
	if elsewhere {
		remedy = retry
		remedy.does = "starting at " + s.place.selector().String()
	}
	pause := s.nextPause(e.Code, remedy)
	s.reportEnd(e, remedy, pause)
	if elsewhere && s.place.rung == byNow {
		s.reportGap(e)
	}
	return pause
}

// nextPause grows with every failure of the same kind.
func (s *Session) nextPause(code string, r remedy) time.Duration {
	if r.credentials && s.attempt == 1 {
		return 0 // new credentials may be all it takes
	}
	if s.pauseFor != code {
		s.pauseFor, s.pause = code, backoff.NewExponentialBackOff()
		s.pause.InitialInterval, s.pause.MaxInterval, s.pause.Multiplier = r.base, r.limit, 2
		s.pause.Reset()
	}
	return s.pause.NextBackOff()
}

// reportEnd tells of a fault and what is done about it. That a stream has no new
// fragments is told once.
func (s *Session) reportEnd(e *Error, r remedy, pause time.Duration) {
	report := Report{State: r.state, Code: e.Code, Detail: e.detail()}
	report.Message = e.told() + "; " + r.does
	if pause > 0 {
		report.Message += fmt.Sprintf(" in %v", pause.Round(100*time.Millisecond))
	}
	if e.Code == CodeIdle {
		if s.state == Stalled {
			return
		}
	} else {
		s.faulted = true
	}
	s.report(report)
}

// reportGap tells that the place to go on at is gone for good.
func (s *Session) reportGap(e *Error) {
	s.report(Report{
		Code: CodeGap, Message: "the place to resume at is gone; going on at the newest fragment",
		Detail: map[string]any{"after_fragment": s.place.last.Fragment, "cause": e.Code},
	})
}

// report completes a report and passes it on.
func (s *Session) report(r Report) {
	if r.State == "" {
		r.State = s.state
	}
	s.state = r.State
	r.Attempt, r.Fragment = s.attempt, s.place.last.Fragment
	s.sink.Report(r)
}
