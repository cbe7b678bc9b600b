package main

import (
	"context"
	"errors"
	"time"
)

// GStreamer's decoders say this once, when their first picture has left them and been taken by the next element. It is
// heard on both sides.
const (
	firstPicture    = "First buffer since flush took"
	sayFirstPicture = "GST_DEBUG=videodecoder:4"
)

// startingContest looks at how long it takes to the first decoded picture.
func (b *bench) startingContest() contest {
	s := &starting{b}
	return contest{
		name:  "starting",
		ours:  side{ours, s.agentRun},
		peers: []side{{"gst-launch-1.0", s.gstreamer}},
		rows: []row{{
			name: "start to first picture", figure: "first", unit: "ms", peer: "gst-launch-1.0", aim: 1,
			compared: "Time from before the process is started until its decoder (avdec_h264) says that the first picture has left it. " +
				"Both join the live 1080p30 stream in the middle of a group of pictures of " + clipGOP.String() + ". " +
				"edge-agent run with calls to the service and all, against gst-launch-1.0 with the body of a GetMedia session " +
				"that is open already when it starts.",
		}},
	}
}

type starting struct{ *bench }

func (s *starting) agentRun(ctx context.Context) (f figures, err error) {
	cmd, err := s.agentCommand(ctx, setup{service: s.service, env: []string{sayFirstPicture}})
	if err != nil {
		return nil, err
	}
	stderr := newTranscript(firstPicture)
	cmd.Stderr = stderr
	if err := s.service.await(ctx, clipGOP/2); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stderr.explain(end(cmd))) }()
	return stderr.first(ctx, start)
}

func (s *starting) gstreamer(ctx context.Context) (f figures, err error) {
	cmd := launch(ctx, decodeElements, "-q", "fakesink")
	cmd.Env = append(cmd.Environ(), sayFirstPicture)
	stderr := newTranscript(firstPicture)
	cmd.Stderr = stderr
	if err := s.service.await(ctx, clipGOP/2); err != nil {
		return nil, err
	}
	live, err := s.feedLive(ctx, cmd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stderr.explain(live.stop())) }()
	return stderr.first(ctx, live.started)
}

// first gives the time of the first picture.
func (t *transcript) first(ctx context.Context, start time.Time) (figures, error) {
	select {
	case <-ctx.Done():
		return nil, t.explain(errors.New("there was no picture"))
	case at := <-t.said:
		return figures{"first": float64(at.Sub(start).Microseconds()) / 1000}, nil
	}
}
