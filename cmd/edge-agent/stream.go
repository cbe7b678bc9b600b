package main

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/mqtt"
)

// stream is what the agent knows of one stream: the sink of its session, and the
// source of its state and telemetry. Its session's goroutine writes, the agent's
// reads.
type stream struct {
	name    string
	agent   *agent
	session *ingest.Session
	input   *decode.Input

	// Of start and stop, which agent.Run calls before and after all commands, and
	// commands in between.
	end   context.CancelFunc // of the session; nil when it is stopped
	ended chan struct{}

	mu      sync.Mutex
	gone    bool          // no longer configured: nothing more is published
	newest  time.Duration // presentation time of the newest frame; see at
	whole   string        // number of the newest fragment
	report  ingest.Report // the newest
	why     ingest.Report // of the present state; empty when all is well
	since   time.Time     // of the present state
	sent    mqtt.State    // as last published
	window  window
	last    mqtt.Telemetry
	earlier int64 // fragments before the window
	settled decode.Stats

	onScreen time.Time // when the picture of the newest local lag was shown
	compared time.Time // when that lag was taken
}

// newStream makes a stream, which does nothing before start. It takes over the input of the stream in whose place it
// comes, if there is one, and so the picture.
func (a *agent) newStream(cfg Config, sc StreamConfig, before *stream) (*stream, error) {
	start, err := ingest.ParseSelector(sc.Start)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s := &stream{name: sc.Name, agent: a, since: now, window: window{from: now}, settled: a.renderer.Stats()}
	s.report.State = ingest.Stopped
	if before != nil {
		s.input = before.input
	} else {
		s.input = a.renderer.Input(sc.Name, streamPreference(cfg, sc))
	}
	s.session = ingest.NewSession(ingest.Stream{
		Name: sc.Name, StreamName: sc.StreamName, StreamARN: sc.StreamARN,
		Start: start, MaxLag: time.Duration(sc.MaxLag), Stay: sc.OnLag == lagStay,
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

// streamStatus is how a stream stands, for people at this machine.
type streamStatus struct {
	state                 mqtt.State
	telem                 mqtt.Telemetry // the newest
	fragments, reconnects int64          // since the start
}

func (s *stream) status() streamStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return streamStatus{
		state: s.state(), telem: s.last,
		fragments: s.earlier + s.window.counts.fragments, reconnects: max(0, s.session.Calls()-1),
	}
}

// counts add up what came.
type counts struct {
	fragments, frames, bytes int64
}

// window is what has happened since the last telemetry.
type window struct {
	from                     time.Time
	counts                   counts
	service, producer, local ingest.Window
	shown, dropped           uint64 // pictures; see settle
	calls                    int64  // of the session, at from
}

// Frame takes a frame from the session.
func (s *stream) Frame(f *ingest.Frame) {
	now := time.Now()
	input := s.input
	if f.Recorded {
		input.PushStored(f.Frame, at(f), f.Discontinuity)
	} else {
		input.Push(f.Frame, at(f), f.Discontinuity, f.Received)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.counts.frames++
	s.window.counts.bytes += int64(len(f.Data))
	if f.Track.Type != mkv.Video {
		return
	}
	s.newest = at(f)
	if f.Produced {
		s.window.producer.Add(now.Sub(f.Made))
	}
	if input.Shown() {
		s.addLocalLag(now)
	}
}

// addLocalLag compares the newest frame with the one that is on the screen: whenever the renderer
// has told of a new one, and at least every second, so that a picture that stands still
// is seen to fall behind.
func (s *stream) addLocalLag(now time.Time) {
	stats := s.agent.renderer.Stats()
	if stats.Wall.IsZero() || stats.Wall.Equal(s.onScreen) && now.Sub(s.compared) < time.Second {
		return
	}
	s.onScreen, s.compared = stats.Wall, now
	s.window.local.Add(s.newest - stats.FrameTime)
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
func (s *stream) Tracks(tracks []*mkv.Track) { s.input.SetTracks(tracks) }

// Fragment takes a whole fragment from the session.
func (s *stream) Fragment(f mkv.Fragment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window.counts.fragments++
	s.whole = f.Number
	if f.HasBehind {
		s.window.service.Add(f.Behind)
	}
	s.agent.log.Debug("a fragment has come", "stream", s.name, "fragment_number", f.Number, "frames", f.Frames, "behind", f.Behind)
}

// Report takes from the session what happens.
func (s *stream) Report(r ingest.Report) {
	s.mu.Lock()
	if r.State != s.report.State {
		s.since = time.Now()
	}
	s.report = r
	switch {
	case r.State != ingest.Playing, r.Code == ingest.CodeLagHigh:
		s.why = r
	case r.Code == ingest.CodePlaying, r.Code == ingest.CodeResumed, r.Code == ingest.CodeLagNormal:
		s.why = ingest.Report{}
	}
	s.mu.Unlock()
	s.publishState()
	if r.Code != "" {
		s.agent.event(r.Code, s.name, r.Message, r.Detail)
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

// state is how the stream stands. s.mu is held.
func (s *stream) state() mqtt.State {
	return mqtt.State{
		State: mqtt.StreamState(s.report.State), Since: mqtt.Time{Time: s.since},
		Code: s.why.Code, Message: s.why.Message, Attempt: s.report.Attempt,
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

// publishTelemetry sums up the time since the last call and begins anew.
func (s *stream) publishTelemetry(clock mqtt.Clock) {
	t := s.takeTelemetry(time.Now(), clock)
	if s.agent.mqtt != nil {
		s.agent.mqtt.Telemetry(s.name, t)
	}
}

func (s *stream) takeTelemetry(now time.Time, clock mqtt.Clock) mqtt.Telemetry {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.window
	s.settle(s.agent.renderer.Stats(), s.shown())
	calls := s.session.Calls()
	elapsed := now.Sub(w.from).Seconds()
	t := mqtt.Telemetry{
		From: mqtt.Time{Time: w.from}, To: mqtt.Time{Time: now},
		Fragments: w.counts.fragments, Frames: w.counts.frames, Bytes: w.counts.bytes,
		BitrateBPS:  int64(float64(w.counts.bytes) * 8 / elapsed),
		FPS:         math.Round(float64(w.counts.frames)/elapsed*10) / 10,
		ShownFrames: int64(w.shown), DroppedFrames: int64(w.dropped),
		Reconnects: calls - max(w.calls, 1), // the first call connects
		Decoder:    s.decoder(), Clock: clock,
		Lag: mqtt.Lag{
			Service: distribution(w.service.Take()), Producer: distribution(w.producer.Take()), Local: distribution(w.local.Take()),
		},
	}
	t.Reconnects = max(t.Reconnects, 0)
	*w = window{
		from: now, calls: calls,
		service: w.service, producer: w.producer, local: w.local, // their memory is used again
	}
	s.earlier += t.Fragments
	s.last = t
	return t
}

// settle puts down to the stream what the renderer has done since the last call, if it was shown.
// s.mu is held.
func (s *stream) settle(stats decode.Stats, shown bool) {
	before := s.settled
	s.settled = stats
	if !shown {
		return
	}
	s.window.shown += stats.Shown - before.Shown
	s.window.dropped += stats.Lost() - before.Lost()
}

func distribution(d *ingest.Distribution) *mqtt.Distribution {
	if d == nil {
		return nil
	}
	ms := func(d time.Duration) mqtt.Millis { return mqtt.Millis(d.Milliseconds()) }
	return &mqtt.Distribution{Last: ms(d.Last), Min: ms(d.Min), P50: ms(d.P50), P95: ms(d.P95), Max: ms(d.Max)}
}
