package agent

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/web"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// stream is what the agent knows of one stream: the sink of its session, and the
// source of its state and telemetry. Its session's goroutine writes, the agent's
// reads.
type stream struct {
	name    string
	agent   *Agent
	seeking atomic.Bool // a seek was asked for, and the session has not begun there yet
	session *ingest.Session
	input   *decode.Input

	// Of start and stop, which agent.Run calls before and after all commands, and
	// commands in between.
	end   context.CancelFunc // of the session; nil when it is stopped
	ended chan struct{}

	mu       sync.Mutex
	gone     bool          // no longer configured: nothing more is published
	whole    string        // number of the newest fragment
	report   ingest.Report // the newest
	pulling  condition     // of the session with the service
	overload overload
	since    time.Time      // of the present state
	wrong    condition      // as last looked at; see conditions.worst
	wrongAt  time.Time      // since when
	sent     contract.State // as last published
	window   window
	counted  report.FrameCounts // at window.from
	last     contract.Telemetry
	earlier  counts // before the window
	history  history
	retries  map[string]int64 // attempts to connect again, by the code of what came before
	audio    *mkv.Track
	noClock  bool // the producer's timestamps are not of a clock; see isClock

	onScreen time.Time // when the picture of the newest local lag was shown
	compared time.Time // when that lag was taken
}

// newStream makes a stream, which does nothing before start. It takes over the input of the stream in whose place it
// comes, if there is one, and so the picture.
func (a *Agent) newStream(cfg config.Config, sc config.Stream, before *stream) (*stream, error) {
	start, err := ingest.ParseSelector(sc.Start)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s := &stream{name: sc.Name, agent: a, since: now, window: window{from: now}}
	s.report.State = ingest.Starting // start follows: until then nobody has asked for a stop
	if before != nil {
		s.input = before.input
	} else {
		s.input = a.renderer.Input(sc.Name, streamPreference(cfg, sc))
		s.input.SelectTrack(string(sc.VideoTrack))
	}
	s.session = ingest.NewSession(ingest.Stream{
		Name: sc.Name, StreamName: sc.StreamName, StreamARN: sc.StreamARN,
		Start: start, MaxLag: time.Duration(sc.MaxLag), Stay: sc.OnLag == config.LagStay,
	}, a.service, a.positions, s)
	return s, nil
}

// start lets the session work until stop or the end of ctx; false when it does already.
func (s *stream) start(ctx context.Context) bool {
	if s.end != nil {
		return false
	}
	ctx, s.end = context.WithCancel(ctx)
	s.ended = make(chan struct{})
	go func() {
		defer close(s.ended)
		s.session.Run(ctx)
	}()
	return true
}

// stop ends the session, if it works, and waits for it.
func (s *stream) stop() {
	if s.end == nil {
		return
	}
	s.end()
	<-s.ended
	s.end = nil
}

// shown says that the stream is the one on the display.
func (s *stream) shown() bool { return s.input.Shown() }

// StreamStatus is how a stream stands, for people at this machine.
type StreamStatus struct {
	State                 contract.State
	Telem                 contract.Telemetry // the newest
	received              counts             // since the start
	Fragments, Reconnects int64              // since the start
	retries               map[string]int64
	history               []web.Point
	Frames                report.FrameCounts
	wrongSince            time.Time // since when state.Code is what it is
}

func (s *stream) status() StreamStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	received := s.earlier.plus(s.window.counts)
	return StreamStatus{
		State: s.state(), Telem: s.last, Frames: s.input.Counts(), wrongSince: s.wrongAt,
		received: received, Fragments: received.fragments, Reconnects: max(0, s.session.Calls()-1),
		retries: maps.Clone(s.retries), history: s.history.points(),
	}
}

// counts add up what was received.
type counts struct {
	fragments, bytes        int64
	audioFrames, audioBytes int64
}

func (c counts) plus(more counts) counts {
	return counts{
		c.fragments + more.fragments, c.bytes + more.bytes,
		c.audioFrames + more.audioFrames, c.audioBytes + more.audioBytes,
	}
}

// window is what has happened since the last telemetry.
type window struct {
	from                     time.Time
	counts                   counts
	service, producer, local ingest.Window
	calls                    int64 // of the session, at from
}

// Frame takes a frame from the session.
func (s *stream) Frame(ctx context.Context, f *ingest.Frame) {
	now := time.Now()
	input := s.input
	if f.Recorded {
		input.PushStored(ctx, f.Frame, at(f), f.Discontinuity)
	} else {
		input.Push(f.Frame, at(f), f.Discontinuity, f.Received)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.counts.bytes += int64(len(f.Data))
	switch f.Track.Type {
	case mkv.Audio:
		s.audio = f.Track
		s.window.counts.audioFrames++
		s.window.counts.audioBytes += int64(len(f.Data))
	case mkv.Video:
		if f.Produced && f.WallClock && !s.noClock {
			s.window.producer.Add(now.Sub(f.Made))
		}
		if input.Shown() {
			s.addLocalLag(now, time.Second)
		}
	}
}

// addLocalLag takes the time from the reception of a frame to its picture on the screen: of every picture that the
// renderer has reported, and of the same one again after some time, so that a frozen picture is seen to fall behind.
// s.mu is held.
func (s *stream) addLocalLag(now time.Time, again time.Duration) {
	lag, shown, ok := s.input.ScreenLag(now)
	if !ok || shown.Equal(s.onScreen) && now.Sub(s.compared) < again {
		return
	}
	s.onScreen, s.compared = shown, now
	s.window.local.Add(lag)
}

// maxClockError is how far a producer's clock may be off and still be a clock: time zones and a lost day are errors of
// clocks.
const maxClockError = 48 * time.Hour

// isClock says whether a producer's timestamp is of a clock, by that of the service for the same fragment. Some
// producers send timestamps that count from their start, or from a date of their own, which say nothing of a lag.
func isClock(producer, server time.Time) bool {
	return server.IsZero() || producer.Sub(server).Abs() <= maxClockError
}

// at is a frame's place on the line that the renderer shows pictures by: wall-clock time
// where the producer or the service gives it, else the media's own time.
func at(f *ingest.Frame) time.Duration {
	if f.Made.IsZero() {
		return f.Time
	}
	return time.Duration(f.Made.UnixNano())
}

// Tracks takes from the session what tracks the frames that follow are of.
func (s *stream) Tracks(tracks []*mkv.Track) {
	s.input.SetTracks(tracks)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audio = nil
	if i := slices.IndexFunc(tracks, func(t *mkv.Track) bool { return t.Type == mkv.Audio }); i >= 0 {
		s.audio = tracks[i]
	}
}

// Fragment takes a whole fragment from the session.
func (s *stream) Fragment(f mkv.Fragment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.counts.fragments++
	s.whole = f.Number
	s.noClock = !f.ProducerTime.IsZero() && !isClock(f.ProducerTime, f.ServerTime)
	if f.HasBehind {
		s.window.service.Add(f.Behind)
	}
	s.agent.log.Debug("a fragment has come", "stream", s.name, "fragment_number", f.Number, "frames", f.Frames, "behind", f.Behind)
}

// Report takes from the session what happens.
func (s *stream) Report(r ingest.Report) {
	if r.State == ingest.Starting && s.seeking.Swap(false) {
		s.input.Restart()
	}
	s.mu.Lock()
	if r.State != s.report.State {
		s.since = time.Now()
	}
	s.report = r
	if again := r.State == ingest.Backoff || r.State == ingest.Failed; r.Code == ingest.CodeEnd || again && r.Code != ingest.CodeGap {
		if s.retries == nil {
			s.retries = make(map[string]int64)
		}
		s.retries[r.Code]++
	}
	switch {
	case r.State != ingest.Playing, r.Code == ingest.CodeLagHigh:
		s.pulling = condition{r.Code, r.Message}
	case r.Code == ingest.CodePlaying, r.Code == ingest.CodeResumed, r.Code == ingest.CodeLagNormal:
		s.pulling = condition{}
	}
	s.mu.Unlock()
	s.publishState()
	if r.Code != "" {
		s.agent.event(r.Code, s.name, r.Message, r.Detail)
	}
}

// watchOverload looks, about once a second, whether much less is shown than received, and reports when that begins.
func (s *stream) watchOverload(now time.Time) {
	s.mu.Lock()
	before := s.overload.code
	display, picture := s.agent.conditions(s.name)
	if s.shown() && display.code == "" && picture.code == "" { // or those are to blame
		s.overload.note(s.input.Counts(), now)
	} else {
		s.overload.restart()
	}
	begun := s.overload.condition
	s.mu.Unlock()
	if begun.code != "" && before == "" {
		s.agent.event(begun.code, s.name, begun.message, nil)
	}
}

// publishState publishes the state when it differs from what was published last.
func (s *stream) publishState() {
	if s.agent.mqtt == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := s.state(); state != s.sent && !s.gone {
		s.sent = state
		s.agent.mqtt.SetState(s.name, state)
	}
}

// state is how the stream stands: the state is that of the session, its code and message are about the picture. s.mu is
// held.
func (s *stream) state() contract.State {
	c := conditions{state: contract.StreamState(s.report.State), session: s.pulling, blocked: conditionOf(s.input.Blocked())}
	if s.shown() {
		c.display, c.picture = s.agent.conditions(s.name)
		c.slow = s.overload.condition
	}
	wrong := c.worst()
	if wrong.code != s.wrong.code || s.wrongAt.IsZero() {
		s.wrongAt = time.Now()
	}
	s.wrong = wrong
	return contract.State{
		State: c.state, Since: contract.Time{Time: s.since},
		Code: wrong.code, Message: wrong.message, Attempt: s.report.Attempt,
		Decoder: s.decoder(), FragmentNumber: s.report.Fragment,
	}
}

// decoder is the element that makes the stream's pictures, or "".
func (s *stream) decoder() string {
	if !s.shown() {
		return ""
	}
	return s.agent.renderer.Stats().Decoder
}

// publishTelemetry sums up the time since the last call.
func (s *stream) publishTelemetry(clock contract.Clock) {
	t, ok := s.takeTelemetry(time.Now(), clock)
	if ok && s.agent.mqtt != nil {
		s.agent.mqtt.Telemetry(s.name, t)
	}
}

// takeTelemetry sums up a window and begins the next; false once the stream is gone, when another one has its counts.
func (s *stream) takeTelemetry(now time.Time, clock contract.Clock) (contract.Telemetry, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return contract.Telemetry{}, false
	}
	if s.shown() { // the frames of some streams are rare, and the newest picture came after the newest frame
		s.addLocalLag(now, math.MaxInt64)
	}
	w := &s.window
	calls := s.session.Calls()
	elapsed := now.Sub(w.from).Seconds()
	t := contract.Telemetry{
		From: contract.Time{Time: w.from}, To: contract.Time{Time: now},
		Fragments: w.counts.fragments, Bytes: w.counts.bytes,
		BitrateBPS: int64(float64(w.counts.bytes) * 8 / elapsed),
		Reconnects: max(0, calls-max(w.calls, 1)), // the first call connects
		Decoder:    s.decoder(), Clock: clock,
		Lag: contract.Lag{
			Service: distribution(w.service.Take()), Producer: distribution(w.producer.Take()), Local: distribution(w.local.Take()),
		},
		Audio: s.audioFigures(),
	}
	counts := s.input.Counts()
	countFrames(&t, s.counted, counts)
	t.FPS = math.Round(float64(t.Frames)/elapsed*10) / 10
	s.counted = counts
	s.earlier = s.earlier.plus(w.counts)
	*w = window{
		from: now, calls: calls,
		service: w.service, producer: w.producer, local: w.local, // their memory is used again
	}
	s.last = t
	s.history.add(now, t.Lag)
	return t, true
}

// countFrames sets what became of the frames between two snapshots, which add up: so does their difference.
func countFrames(t *contract.Telemetry, before, now report.FrameCounts) {
	t.Frames = int64(now.Received - before.Received)
	t.ShownFrames = int64(now.Shown - before.Shown)
	t.HiddenFrames = int64(now.Hidden - before.Hidden)
	t.QueuedFrames = int64(now.Queued)
	t.DroppedBy = contract.Reasons{}
	for why, n := range now.Dropped {
		if n -= before.Dropped[why]; n > 0 {
			t.DroppedBy[string(why)] = int64(n)
			t.DroppedFrames += int64(n)
		}
	}
}

// audioFigures are those of the window; nil when the stream has no sound. s.mu is held.
func (s *stream) audioFigures() *contract.Audio {
	if s.audio == nil {
		return nil
	}
	c := s.window.counts
	return &contract.Audio{
		Frames: c.audioFrames, Bytes: c.audioBytes,
		Codec: s.audio.CodecID, SampleRate: s.audio.SampleRate, Channels: s.audio.Channels,
	}
}

// takeOver continues the counts of the stream in whose place this one comes, which is gone: they have one input.
func (s *stream) takeOver(before *stream) {
	before.mu.Lock()
	counted, earlier := before.counted, before.earlier.plus(before.window.counts)
	retries, history := before.retries, before.history
	before.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted, s.earlier, s.retries, s.history = counted, earlier, retries, history
}

func distribution(d *ingest.Distribution) *contract.Distribution {
	if d == nil {
		return nil
	}
	ms := func(d time.Duration) contract.Millis { return contract.Millis(d.Milliseconds()) }
	return &contract.Distribution{Last: ms(d.Last), Min: ms(d.Min), P50: ms(d.P50), P95: ms(d.P95), Max: ms(d.Max)}
}
