package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// gstOnScreen is the peer, which has no budget: it began in the middle of a group of pictures and stays that far
// behind.
const gstOnScreen = "gst-launch-1.0"

// pacedForms are the streams and what latency their pictures have to be even with.
var pacedForms = []struct {
	form    numberedForm
	latency time.Duration
}{
	{numberedForm{gop: clipGOP, bFrames: 2}, 50 * time.Millisecond},
	{numberedForm{gop: clipGOP}, 20 * time.Millisecond},
}

// pacingContest looks at how even the pictures come.
func (b *bench) pacingContest() contest {
	p := &pacing{b}
	c := contest{
		name: "pacing", check: p.check,
		ours:  side{ours, p.agentRun},
		peers: []side{{gstOnScreen, p.peerRun}},
	}
	const frame = 1000.0 / clipFPS // ms
	for _, paced := range pacedForms {
		c.rows = append(c.rows, row{
			name:   fmt.Sprintf("frame interval p99, latency %v, %d B-frames", paced.latency, paced.form.bFrames),
			figure: paced.latency.String(), unit: "ms", peer: gstOnScreen, most: 1.5 * frame,
			compared: fmt.Sprintf("The time between two pictures on the screen of a virtual X server (read every 2 ms), over %v, of a live 1080p30 H.264 stream with at most %d B-frames in a row, "+
				"decoded in software, with [display] latency = %v. A frame time is %.1f ms. The peer has no such budget: it stays as far behind as it was when it began, in the middle of a group. "+
				"What it does is what the machine can do.", b.window, paced.form.bFrames, paced.latency, frame),
		})
	}
	return c
}

type pacing struct{ *bench }

func (p *pacing) check(ctx context.Context) error {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		return err
	}
	for _, paced := range pacedForms {
		if _, err := p.numberedOf(ctx, paced.form); err != nil {
			return err
		}
	}
	return nil
}

// each runs a side with all streams.
func (p *pacing) each(ctx context.Context, run func(live *numbered, latency time.Duration) (figures, error)) (figures, error) {
	all := figures{}
	for _, paced := range pacedForms {
		live, err := p.numberedOf(ctx, paced.form)
		if err != nil {
			return nil, err
		}
		f, err := run(live, paced.latency)
		if err != nil {
			return nil, err
		}
		all[paced.latency.String()] = f["p99"]
	}
	return all, nil
}

func (p *pacing) agentRun(ctx context.Context) (figures, error) {
	return p.each(ctx, func(live *numbered, latency time.Duration) (figures, error) {
		return p.runOnScreen(ctx, setup{service: live.service, latency: latency}, func(s *screen, _ *exec.Cmd) (figures, error) {
			return p.pace(ctx, live, s)
		})
	})
}

func (p *pacing) peerRun(ctx context.Context) (figures, error) {
	return p.each(ctx, func(live *numbered, _ time.Duration) (f figures, err error) {
		screen, err := startScreen(ctx, p.dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, screen.close()) }()
		// That it may be late, or on a busy machine it shows nothing any more.
		cmd := launch(ctx, showElements, "-q", "ximagesink qos=false max-lateness=-1")
		cmd.Env = append(cmd.Environ(), "DISPLAY="+screen.display)
		if err := live.await(ctx, clipGOP/2); err != nil {
			return nil, err
		}
		stop, err := curlInto(ctx, live.service, cmd)
		if err != nil {
			return nil, err
		}
		defer stop()
		return p.pace(ctx, live, screen)
	})
}

// pace looks at a screen once it plays evenly.
func (p *pacing) pace(ctx context.Context, live *numbered, s *screen) (figures, error) {
	looking, stop := context.WithTimeout(ctx, p.settle/3+p.window)
	defer stop()
	seen, began := &viewing{of: live}, time.Now()
	seen.look(looking, s)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	from := began.Add(p.settle / 3)
	times := intervals(seen.between(from, time.Now()))
	if few := int(p.window.Seconds()*clipFPS) / 2; len(times) == 0 || p.strict && len(times) < few {
		return nil, fmt.Errorf("%w: %d intervals were seen", errBusy, len(times))
	}
	return figures{"p99": millis(times[len(times)*99/100])}, nil
}
