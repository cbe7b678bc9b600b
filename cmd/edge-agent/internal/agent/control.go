package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // of snapshots
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// CodeFailed is the code of a command that was carried out and failed, when there is none that says more.
const CodeFailed = "control.failed"

// Execute carries out a command that has been admitted. mqtt.Client calls it, for one command at
// a time, and after Run has started the streams. explain it answers itself.
func (a *Agent) Execute(ctx context.Context, c contract.Command) (any, error) {
	a.carrying.Lock()
	defer a.carrying.Unlock()
	data, err := a.execute(ctx, c)
	if err != nil {
		return nil, asResponse(err)
	}
	return data, nil
}

func (a *Agent) execute(ctx context.Context, c contract.Command) (any, error) {
	switch args := c.Args.(type) {
	case *contract.StatusArgs:
		return a.statusOf(args.Stream)
	case *contract.StreamArgs:
		return a.turn(c.Verb, args.Stream)
	case *contract.SeekArgs:
		return a.seek(args)
	case *contract.ShowArgs:
		return a.showOn(args)
	case *contract.SetArgs:
		return a.set(args)
	case *contract.SnapshotArgs:
		return a.sendSnapshot(ctx, args.Stream)
	case *contract.ProbeArgs:
		return a.probe(ctx)
	case *contract.ReloadArgs:
		return a.reload()
	}
	return nil, fmt.Errorf("nobody carries out %s", c.Verb)
}

// asResponse gives an error the code that its response is to have.
func asResponse(err error) *contract.Error {
	if faults, ok := errors.AsType[config.Errors](err); ok {
		return &contract.Error{Code: faults[0].Code, Message: faults.Error()}
	}
	f := failure.Of(err)
	return &contract.Error{Code: f.Code, Message: f.Message}
}

// statusOf tells how the agent stands, and one stream or, for "", all of them.
func (a *Agent) statusOf(name string) (any, error) {
	streams := a.all()
	if name != "" {
		s, err := a.find(name)
		if err != nil {
			return nil, err
		}
		streams = []*stream{s}
	}
	out := a.statusData()
	for _, s := range streams {
		out.Streams = append(out.Streams, s.status().data(s.name, out.Clock))
	}
	return out, nil
}

// statusData tells how the agent stands, but for its streams.
func (a *Agent) statusData() contract.StatusData {
	out := contract.StatusData{
		Version: build.Version, SessionID: a.session, StartedAt: contract.Time{Time: a.began},
		Clock: contract.Clock(ReadClock()), Shown: a.shown(),
	}
	if a.mqtt == nil {
		return out
	}
	link := a.mqtt.Status()
	out.MQTT = contract.LinkStatus{
		QueuedEvents: link.Queued, DroppedEvents: link.DroppedEvents, DroppedTelemetry: link.DroppedTelemetry,
	}
	if link.Connected {
		out.MQTT.ConnectedSince.Time = link.Since
	}
	return out
}

// data is the status as commands give it; clock is what telemetry says of it, before the first.
func (s StreamStatus) data(name string, clock contract.Clock) contract.StreamStatus {
	if s.Telem.Clock == "" {
		s.Telem.Clock = clock
	}
	return contract.StreamStatus{Name: name, State: s.State, Telemetry: s.Telem}
}

// turn starts, stops or restarts a stream. A stream that is started begins where it is configured to.
func (a *Agent) turn(v contract.Verb, name string) (any, error) {
	s, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if v != contract.VerbStart {
		s.stop()
	}
	if v == contract.VerbStop {
		return contract.StreamData{Stream: name, State: contract.Stopped}, nil
	}
	if s.start(a.working) {
		return contract.StreamData{Stream: name, State: contract.Starting}, nil
	}
	return contract.StreamData{Stream: name, State: s.status().State.State}, nil
}

func (a *Agent) seek(args *contract.SeekArgs) (any, error) {
	s, err := a.find(args.Stream)
	if err != nil {
		return nil, err
	}
	to, err := ingest.ParseSelector(args.To)
	if err != nil {
		return nil, &failure.Failure{Code: CodeFailed, Message: err.Error(), Err: err}
	}
	if s.end == nil {
		return nil, &failure.Failure{Code: CodeFailed, Message: args.Stream + " is stopped; start it first"}
	}
	s.mu.Lock()
	from := s.whole
	s.mu.Unlock()
	s.seeking.Store(true)
	s.session.Seek(to)
	return contract.SeekData{Stream: args.Stream, From: from, To: to.String()}, nil
}

func (a *Agent) showOn(args *contract.ShowArgs) (any, error) {
	display := args.Display
	if now := a.renderer.Stats().Display.Connector; display == "" {
		display = now
	} else if display != now {
		if err := a.renderer.CheckConnector(display); err != nil {
			return nil, err
		}
	}
	before := a.shown()
	if err := a.Show(args.Stream); err != nil {
		return nil, err
	}
	if args.Display != "" {
		a.mu.Lock()
		a.cfg.Display.Connector = args.Display
		a.mu.Unlock()
		a.renderer.SetConnector(args.Display)
	}
	return contract.ShowData{Stream: args.Stream, Before: before, Display: display}, nil
}

// set changes the configuration in effect, and tells what each setting was before.
func (a *Agent) set(args *contract.SetArgs) (any, error) {
	next := a.config()
	next.Streams = slices.Clone(next.Streams)
	var out contract.SetData
	note := func(name, stream string, old, now any) {
		out.Changed = append(out.Changed, contract.Change{Name: name, Stream: stream, Old: old, New: now})
	}
	if args.LogLevel != "" {
		if a.level == nil {
			return nil, &failure.Failure{Code: CodeFailed, Message: "the log of this agent has no level"}
		}
		note("log_level", "", next.Log.Level, args.LogLevel)
		next.Log.Level = args.LogLevel
	}
	if args.DecodeOrder != nil {
		for _, family := range args.DecodeOrder {
			if !slices.Contains(config.KnownFamilies, family) {
				return nil, &failure.Failure{Code: CodeFailed, Message: fmt.Sprintf("decode_order: %q is no decoder family. %s", family, config.DidYouMean(family, config.KnownFamilies))}
			}
		}
		note("decode_order", "", next.Decode.Order, args.DecodeOrder)
		next.Decode.Order = args.DecodeOrder
	}
	if args.MaxLag != nil {
		if _, err := a.find(args.Stream); args.Stream != "" && err != nil {
			return nil, err
		}
		for i := range next.Streams {
			if s := &next.Streams[i]; args.Stream == "" || s.Name == args.Stream {
				note("max_lag_ms", s.Name, millis(s.MaxLag), *args.MaxLag)
				s.MaxLag = duration(*args.MaxLag)
			}
		}
	}
	if args.TelemetryInterval != nil {
		note("telemetry_interval_ms", "", millis(next.MQTT.TelemetryInterval), *args.TelemetryInterval)
		next.MQTT.TelemetryInterval = duration(*args.TelemetryInterval)
	}
	_, err := a.apply(next)
	return out, err
}

func millis(d config.Duration) contract.Millis {
	return contract.Millis(time.Duration(d).Milliseconds())
}

func duration(m contract.Millis) config.Duration {
	return config.Duration(time.Duration(m) * time.Millisecond)
}

// snapshotWait is how long a snapshot waits for the first picture of a stream. Until then that of the
// stream before is on the display.
const snapshotWait = 5 * time.Second

// sendSnapshot publishes what is on the display, if that is the stream that was asked for.
func (a *Agent) sendSnapshot(ctx context.Context, name string) (any, error) {
	s, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if !s.shown() {
		return nil, &failure.Failure{Code: CodeFailed, Message: fmt.Sprintf("%s is not on the display, so it is not decoded; %s is. Show it first", name, cmp.Or(a.shown(), "none"))}
	}
	WaitFor(ctx, func() bool { return !a.renderer.Stats().Wall.IsZero() }, snapshotWait)
	jpeg, err := a.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	size, _, err := image.DecodeConfig(bytes.NewReader(jpeg))
	if err != nil {
		return nil, err
	}
	if err := a.mqtt.Snapshot(name, jpeg); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(jpeg)
	return contract.SnapshotData{
		Stream: name, Bytes: len(jpeg), SHA256: hex.EncodeToString(sum[:]), Width: size.Width, Height: size.Height,
	}, nil
}

// probe tries out all decoders anew.
func (a *Agent) probe(ctx context.Context) (any, error) {
	report, err := a.prober.probe(ctx)
	if err != nil {
		return nil, err
	}
	stats := a.renderer.Stats()
	return contract.ProbeData{
		GStreamer: report.GStreamer, Decoders: decoders(stats.Decoders, report), Displays: displays(stats),
	}, nil
}
