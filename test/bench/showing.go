package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// showingContest looks at how soon another stream is on the screen.
func (b *bench) showingContest() contest {
	s := &showing{bench: b}
	compared := fmt.Sprintf("From Show, in the process that pulls two live 1080p30 H.264 streams with B-frames and groups of %v, to a picture of the stream that was asked for on the "+
		"screen of a virtual X server (read every 2 ms), decoded in software: the kept group is decoded at once. %d turns, at all places in a group. "+
		"Not by MQTT, because a machine whose clock nobody keeps refuses the command.", clipGOP, b.turns)
	return contest{
		name: "showing", check: s.check,
		ours: side{ours, s.run},
		rows: []row{
			// 127 ms were measured on a quiet machine.
			{name: "show to picture, p50", figure: "p50", unit: "ms", most: 200, compared: compared},
			{name: fmt.Sprintf("show to picture, worst of %d", b.turns), figure: "worst", unit: "ms", most: 300, compared: "The same."},
		},
	}
}

type showing struct {
	*bench
	live *numbered
}

func (s *showing) check(ctx context.Context) (err error) {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		return err
	}
	s.live, err = s.numberedStream(ctx)
	return err
}

// run is the part of an agent that has to do with pictures: sessions and the renderer.
func (s *showing) run(ctx context.Context) (f figures, err error) {
	screen, err := startScreen(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, screen.close()) }()
	if err := os.Setenv("DISPLAY", screen.display); err != nil { // the renderer looks there, and so does its process
		return nil, err
	}
	build, err := exec.CommandContext(ctx, rendererBeside(s.agent), "--version").Output()
	if err != nil {
		return nil, err
	}
	_, decode.Build, _ = strings.Cut(strings.TrimSpace(string(build)), " ") // this process is an agent of that build
	service := newIngest(s.live.url)
	defer service.Close()
	said := newTranscript("")
	renderer := decode.New(decode.Config{
		Program: decode.NewProgram(rendererBeside(s.agent)), Sink: plan.X11, Latency: latency,
		Log: slog.New(slog.NewTextHandler(said, nil)),
	})
	first, other := s.input(renderer, streamName), s.input(renderer, otherStream)
	renderer.Show(first)
	ctx, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	defer working.Wait()
	defer stop()
	working.Go(func() { _ = renderer.Run(ctx) })
	working.Go(func() { newSession(service, streamName, feeder{first}).Run(ctx) })
	working.Go(func() { newSession(service, otherStream, feeder{other}).Run(ctx) })
	f, err = s.turnOften(ctx, screen, renderer, first, other)
	return f, said.explain(err)
}

func (s *showing) input(r *decode.Renderer, name string) *decode.Input {
	return r.Input(name, plan.Preference{Order: []plan.Family{plan.Software}})
}

// turnOften shows the one and the other in turn.
func (s *showing) turnOften(ctx context.Context, screen *screen, r *decode.Renderer, first, other *decode.Input) (figures, error) {
	if _, err := s.seen(ctx, screen, s.live.age); err != nil {
		return nil, err
	}
	if err := pause(ctx, clipGOP); err != nil {
		return nil, err
	}
	var took []time.Duration
	for i := range s.turns {
		in, age := other, s.live.ageOfOther
		if i%2 == 1 {
			in, age = first, s.live.age
		}
		if err := pause(ctx, clipGOP/2); err != nil {
			return nil, err
		}
		if err := s.live.await(ctx, clipGOP*time.Duration(i)/time.Duration(s.turns)); err != nil {
			return nil, err
		}
		since := time.Now()
		r.Show(in)
		at, err := s.seen(ctx, screen, age)
		if err != nil {
			return nil, err
		}
		took = append(took, at.Sub(since))
	}
	fmt.Fprintln(s.log, "showing took", took)
	slices.Sort(took)
	return figures{"p50": millis(took[len(took)/2]), "worst": millis(took[len(took)-1])}, nil
}

// seen is when there is a picture of a stream, which is told by its age: those of the other one seem to be half
// a clip older.
func (s *showing) seen(ctx context.Context, screen *screen, age func(int, time.Time) time.Duration) (at time.Time, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, backWithin, fmt.Errorf("no picture came within %v", backWithin))
	defer cancel()
	err = screen.follow(ctx, func(n int, now time.Time) bool {
		at = now
		return age(n, now) < otherAhead/2
	})
	if err != nil {
		err = context.Cause(ctx)
	}
	return at, err
}

// feeder is a sink that hands frames to a renderer, as the agent does.
type feeder struct{ in *decode.Input }

func (f feeder) Frame(_ context.Context, frame *ingest.Frame) {
	f.in.Push(frame.Frame, time.Duration(frame.Made.UnixNano()), frame.Discontinuity, frame.Received)
}
func (f feeder) Tracks(tracks []*mkv.Track) { f.in.SetTracks(tracks) }
func (f feeder) Fragment(mkv.Fragment)      {}
func (f feeder) Report(ingest.Report)       {}
