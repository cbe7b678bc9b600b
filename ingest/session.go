package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Times of a session.
const (
	// tagWait is how long the second tag of an error in the body is waited for: the service sends both at once.
	tagWait = 250 * time.Millisecond
	// repeatTime is how long a session may bring nothing but fragments that are not new.
	repeatTime = 10 * time.Second
	// idleTime is how long a session that brings nothing new lasts if the service waited for fragments: it does for 3
	// s.
	idleTime = 2 * time.Second
	// lookAfter is after how many sessions without fragments one looks at the newest fragment: about half a minute.
	lookAfter = 4
	// soonInterval is the least time between two attempts that are made soon: a connection that breaks more often is
	// not helped by that.
	soonInterval = time.Second
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
	handed  Frame // that the sink has; memory for one at a time

	calls    atomic.Int64
	progress bool          // frames came since the last failure
	attempt  int           // failures in a row
	idle     int           // sessions without new fragments in a row
	soon     time.Time     // the last attempt that was made soon
	made     time.Time     // Frame.Made of the last frame
	pace     time.Duration // between it and the one before
	interval time.Duration // the last pause but for its jitter
	waiting  bool          // it was one for new fragments

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
	past := start.Kind != Now && start.Kind != Resume
	s.lag = lagWatch{stay: s.stream.Stay, past: past, recorded: past}
	s.skipped, s.faulted, s.progress = nil, false, false
	s.attempt, s.interval, s.idle = 0, 0, 0
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
			State: Starting, Code: CodePosition, Message: "cannot read the resume position; starting at the newest fragment",
			Detail: map[string]any{"cause": err.Error()},
		})
	}
	s.place.last = p
}

// once is one straight attempt: call, and read the body to its end. Its error is never nil.
func (s *Session) once(ctx context.Context) error {
	if err := s.service.limit(s.stream).wait(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s.calls.Add(1)
	body, requestID, err := s.service.getMedia(ctx, cancel, s.stream, s.place.ask())
	if err != nil {
		return err
	}
	defer body.Close()
	w := watch(body, cancel)
	err = s.read(ctx, w)
	switch cause := context.Cause(ctx); cause {
	case nil:
	case errExpired:
		err = w.reason()
	default:
		err = cause
	}
	e := *asError(err)
	e.RequestID = readable(requestID, maxRequestID)
	return &e
}

// read hands on what the body holds, until it ends.
func (s *Session) read(ctx context.Context, body *watched) error {
	defer s.place.leave()
	r := mkv.NewReader(body, mkv.WithBudget(s.service.frames))
	defer r.Close()
	body.consumed = r.Offset
	began := time.Now()
	var tracks []*mkv.Track
	for fragments, frames := 0, 0; ; {
		ev, err := r.Next()
		if err != nil {
			return s.ended(err, fragments, frames, time.Since(began))
		}
		if ctx.Err() != nil { // whatever of the body has been read already
			return context.Cause(ctx)
		}
		if now := r.Tracks(); !slices.Equal(now, tracks) {
			tracks = now
			s.sink.Tracks(tracks)
		}
		switch ev := ev.(type) {
		case *mkv.Start:
			s.place.leave()
		case *mkv.Tags:
			if err := awaitTags(body, ev.Fragment); err != nil {
				return err
			}
			if s.place.note(ev.Fragment) {
				fragments++
				if err := s.fragment(ev.Fragment); err != nil {
					return err
				}
				body.note(s.pace)
			}
		case *mkv.Frame:
			frames++
			switch s.place.found() {
			case sameStream:
				return &Error{Code: CodeEnd, Message: "fragments are coming again"}
			case otherStream:
				s.reportGap("the stream has lower fragment numbers now")
			}
			if s.place.fresh() {
				s.frame(ctx, ev, body.last)
			} else if s.repeating(began) {
				return repeated("nothing but fragments that are not new came for " + repeatTime.String())
			}
			body.note(s.pace)
		case *mkv.End:
			if err := s.end(ev); err != nil {
				return err
			}
		}
	}
}

// awaitTags looks for an error of the service in tags, and ends the session: at once when both of its tags are
// there, otherwise when the other one has had time to come. The document may never end.
func awaitTags(body *watched, f *mkv.Fragment) error {
	if !f.Failed() {
		return nil
	}
	e := mediaError(f)
	if f.ErrorID != 0 && f.ErrorCode != "" {
		return e
	}
	body.expect(e, tagWait)
	return nil
}

// repeating says that the session has brought nothing new for too long.
func (s *Session) repeating(began time.Time) bool {
	return !s.place.session.advanced && time.Since(began) >= repeatTime
}

// ended says what the end of a body means.
func (s *Session) ended(err error, fragments, frames int, lasted time.Duration) error {
	var own *Error
	waited := s.place.skipped.fragments == 0 && (lasted >= idleTime || s.place.looking)
	switch {
	case errors.As(err, &own):
		return own
	case err == io.EOF && (frames == 0 || !s.place.session.advanced && waited):
		return &Error{Code: CodeIdle, Message: "the stream has no new fragments"}
	case err == io.EOF && !s.place.session.advanced:
		return repeated("the service sent nothing but fragments that are not new")
	case err == io.EOF:
		return &Error{Code: CodeEnd, Message: fmt.Sprintf("the service ended the session after %d fragments", fragments)}
	}
	return &Error{Code: CodeCut, Message: "the connection ended in the middle of a fragment", Err: err}
}

func repeated(message string) *Error { return &Error{Code: CodeRepeated, Message: message} }

// wallClock is the first time that is taken for a time of day: before it lie times that a producer counts from its
// own start.
var wallClock = time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)

// frame hands a frame on with its place in time.
func (s *Session) frame(ctx context.Context, f *mkv.Frame, received time.Time) {
	d := &s.place.open
	out := &s.handed
	*out = Frame{
		Frame: f, Fragment: d.number, Produced: d.produced, Received: received,
		Discontinuity: s.place.missing, Recorded: s.lag.recorded,
	}
	if !d.base.IsZero() {
		out.Made = d.base.Add(f.Time - f.ClusterTime)
		out.WallClock = d.base.After(wallClock)
		s.pace, s.made = out.Made.Sub(s.made), out.Made
	}
	s.place.missing = false
	s.playing()
	if s.skipped != nil {
		s.report(s.skipped.report(out))
		s.skipped = nil
	}
	s.reportSkipped()
	s.sink.Frame(ctx, out)
	*out = Frame{}
}

// reportSkipped tells of fragments that were skipped because they lie before the position that the service had
// accepted.
func (s *Session) reportSkipped() {
	skipped := s.place.takeSkipped()
	if skipped.fragments == 0 {
		return
	}
	s.report(Report{
		Code:    CodeRepeated,
		Message: fmt.Sprintf("skipped %d fragments that lie before the position to resume at", skipped.fragments),
		Detail: map[string]any{
			"fragments": skipped.fragments, "from_fragment": skipped.first, "to_fragment": skipped.last,
		},
	})
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
	message := "skipped a fragment that could not be read"
	if f.Frames == 0 && f.Number == "" {
		message = "skipped bytes that belong to no fragment"
	}
	s.report(Report{
		Code: CodeMalformed, Message: message,
		Detail: map[string]any{"fragment_number": f.Number, "cause": end.Err.Error()},
	})
	return nil
}

// mediaError is an error that the service sent in the body. Either tag may be missing.
func mediaError(f *mkv.Fragment) *Error {
	e := &Error{
		ErrorID: max(f.ErrorID, 0), ErrorCode: readable(f.ErrorCode, maxErrorCode),
		Fragment: readable(f.Number, maxFragmentNumber),
	}
	e.Code = prefixMedia + strconv.Itoa(e.ErrorID)
	if e.Message = e.ErrorCode; e.Message == "" {
		e.Message = "error " + strconv.Itoa(f.ErrorID) + " of the service"
	}
	return e
}

// Bounds on what the service writes into a body, in reports. A fragment number has 128 digits at most.
const (
	maxErrorCode      = 128
	maxFragmentNumber = 128
)

// judge reports the end of an attempt, does what it calls for, and gives the pause
// before the next one.
func (s *Session) judge(e *Error) time.Duration {
	if s.progress {
		s.attempt, s.interval, s.progress, s.idle = 0, 0, false, 0
	}
	if e.Code == CodeSkipped {
		s.skipped = &skip{from: s.place.last.Fragment, made: s.lag.made}
		s.place.jump()
	}
	if e.Code == CodeIdle {
		s.idle++
		s.place.look = s.idle%lookAfter == 0 && s.place.last.Fragment != "" && s.place.rung != byNow
	}
	remedy := remedyFor(e.Code)
	if e.Code != CodeRepeated {
		s.reportSkipped()
	}
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
	before := s.place.rung
	elsewhere := remedy.selector && s.place.refused() || e.Code == CodeRepeated && s.passed(e)
	if elsewhere {
		remedy = retry
		remedy.does = "starting at " + s.place.selector().String()
	}
	pause := s.nextPause(remedy)
	if s.place.rung != before {
		pause = 0 // another place may be all it takes; there are three of them
	}
	s.reportEnd(e, remedy, pause)
	if s.place.rung == byNow && before != byNow {
		s.reportGap(e.Code)
	}
	return pause
}

// passed gives up the position when the service accepts it and sends what lies before it: the stream has other
// numbers now, or the service does not know the position.
func (s *Session) passed(e *Error) bool {
	skipped := s.place.takeSkipped()
	if skipped.fragments == 0 {
		return false
	}
	e.Message = fmt.Sprintf("the service does not resume after fragment %s: it sent %d fragments from before, %s to %s",
		s.place.last.Fragment, skipped.fragments, skipped.first, skipped.last)
	s.place.jump()
	return true
}

// nextPause doubles with every failure since the last frame, within the bounds of the remedy. It is spread
// over ±50 %.
func (s *Session) nextPause(r remedy) time.Duration {
	if (r.credentials || r.clock) && s.attempt == 1 {
		return 0 // new credentials, or another time, may be all it takes
	}
	if r.soon > 0 && s.attempt == 1 && time.Since(s.soon) >= soonInterval {
		s.soon = time.Now()
		return r.soon/2 + rand.N(r.soon)
	}
	if waiting := r.state == Stalled; waiting != s.waiting { // a stream without fragments is not a failure
		s.waiting, s.interval = waiting, 0
	}
	s.interval = min(max(2*s.interval, r.base), r.limit)
	return s.interval/2 + rand.N(s.interval)
}

// reportEnd tells of a fault and what is done about it. That a stream has no new
// fragments is told once.
func (s *Session) reportEnd(e *Error, r remedy, pause time.Duration) {
	report := Report{State: r.state, Code: e.Code, Detail: e.detail()}
	report.Message = e.told() + "; " + r.does
	if pause > 0 {
		report.Message += fmt.Sprintf(" in %v", pause.Round(10*time.Millisecond))
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

// reportGap tells that the position to resume at is gone for good.
func (s *Session) reportGap(cause string) {
	s.report(Report{
		Code: CodeGap, Message: "resume position no longer available; continuing at the newest fragment",
		Detail: map[string]any{"after_fragment": s.place.last.Fragment, "cause": cause},
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
