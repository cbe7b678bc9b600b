package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// latency is what the agent is given between a frame's delivery by the decoder and its picture.
const (
	frameTime = time.Second / clipFPS
	latency   = 200 * time.Millisecond
)

// budget is how old a picture of the usual form may be: a frame more than latency, and what B-frames take before. Until
// one is sent, the frames after it that it refers to have to be captured; until it is delivered, as many have to be
// decoded.
var budget = latency + frameTime*time.Duration(2*usualForm.bFrames+1)

// budgetName is the side that is no program: what lag is allowed to be.
const budgetName = "latency, B-frames, frame"

// watchingContest looks at how old a frame is when it is on the screen.
func (b *bench) watchingContest() contest {
	w := &watching{bench: b}
	compared := "From the moment at which a frame was captured to that at which its number is on the screen of a virtual X server (read every " +
		"2 ms), of a live 1080p30 H.264 stream with B-frames, decoded in software and scaled to 1280x720; "
	return contest{
		name: "watching", check: w.check,
		ours: side{ours, w.agentRun},
		peers: []side{{budgetName, func(context.Context) (figures, error) {
			return figures{"p50": millis(budget), "p95": millis(budget)}, nil
		}}},
		rows: []row{
			{name: "glass lag, p50", figure: "p50", unit: "ms", peer: budgetName, aim: 1, compared: compared + "against [display] latency = " + latency.String() + ", what the stream's B-frames take before it in encoder and decoder, and one frame."},
			{name: "glass lag, p95", figure: "p95", unit: "ms", peer: budgetName, aim: 1, compared: "The same."},
		},
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type watching struct {
	*bench
	live *numbered
}

// check makes what is watched.
func (w *watching) check(ctx context.Context) (err error) {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		return err
	}
	w.live, err = w.numberedStream(ctx)
	return err
}

func (w *watching) agentRun(ctx context.Context) (figures, error) {
	return w.runOnScreen(ctx, setup{service: w.live.service}, func(s *screen, _ *exec.Cmd) (figures, error) { return w.watch(ctx, s) })
}

// watch gives the lag of the frames that come to a screen, once it has settled.
func (w *watching) watch(ctx context.Context, s *screen) (figures, error) {
	if _, err := w.lags(ctx, s, time.Now().Add(w.settle)); err != nil {
		return nil, err
	}
	lags, err := w.lags(ctx, s, time.Now().Add(w.window))
	if err != nil {
		return nil, err
	}
	if few := int(w.window.Seconds()*clipFPS) * 8 / 10; len(lags) < few && w.off < few {
		return nil, fmt.Errorf("%w: %d frames were seen", errBusy, len(lags))
	}
	if len(lags) == 0 {
		return nil, errors.New("no frame was seen on the screen")
	}
	slices.Sort(lags)
	return figures{"p50": millis(lags[len(lags)/2]), "p95": millis(lags[len(lags)*95/100])}, nil
}

// lags looks at a screen until a time and gives the lag of each frame that comes to it.
func (w *watching) lags(ctx context.Context, s *screen, until time.Time) (lags []time.Duration, err error) {
	looking, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	first := true // it may have been there before
	err = s.follow(looking, func(n int, now time.Time) bool {
		if !first {
			lags = append(lags, w.live.age(n, now))
		}
		first = false
		return false
	})
	if ctx.Err() == nil {
		err = nil
	}
	return lags, err
}
