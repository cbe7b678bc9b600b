package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// bareGetMedia is a client that calls again at once and looks at nothing but the frames.
const bareGetMedia = "bare GetMedia"

// backWithin is how long a picture may be away before the bench gives up.
const backWithin = 20 * time.Second

// returningContest looks at how soon the picture is back after a fault.
func (b *bench) returningContest() contest {
	r := &returning{bench: b, starting: &starting{bench: b}}
	until := "to the first picture of a frame that was captured after that, on the screen of a virtual X server (read every 2 ms): a live 1080p30 H.264 stream " +
		"with B-frames and groups of " + clipGOP.String() + ", decoded in software, with [display] latency = " + latency.String() + ", which is part of it. "
	return contest{
		name: "returning", check: r.check,
		ours:  side{ours, r.agentRun},
		peers: []side{{bareGetMedia, r.bare}, {"gst-launch-1.0", r.starting.peerDecodes}},
		rows: []row{
			{
				// As late as any picture, and as long after the one before as is allowed after a cut.
				name: "connection cut to picture", figure: "cut", unit: "ms", peer: bareGetMedia, most: millis(latency+frameTime) + gapAim,
				compared: "From the reset of the connection by the service " + until + "The peer, cut at the same moment, calls GetMedia again without any pause, and its time " +
					"ends when it has read such a frame, which is then neither decoded nor shown.",
			},
			{
				name: "renderer crash to picture, worst", figure: "crash", unit: "ms", peer: "gst-launch-1.0", than: "first", most: 1500, worst: true,
				compared: "From kill -SEGV of the renderer process " + until + "The peer's time is that from its start, in the middle of a group, to its first decoded picture.",
			},
		},
	}
}

type returning struct {
	*bench
	starting *starting
	live     *numbered
	barely   time.Duration // the peer's time for the last cut
}

func (r *returning) check(ctx context.Context) (err error) {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		return err
	}
	r.live, err = r.numberedStream(ctx)
	return err
}

func (r *returning) agentRun(ctx context.Context) (figures, error) {
	return r.runOnScreen(ctx, setup{service: r.live.service}, func(s *screen, agent *exec.Cmd) (figures, error) {
		return r.faults(ctx, s, agent.Process.Pid)
	})
}

// faults lets an agent that plays meet one fault after the other.
func (r *returning) faults(ctx context.Context, s *screen, agent int) (figures, error) {
	if _, err := r.back(ctx, s, time.Now()); err != nil {
		return nil, err
	}
	if err := pause(ctx, r.settle/3); err != nil {
		return nil, err
	}
	cut, err := r.cut(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("after a cut: %w", err)
	}
	if err := pause(ctx, r.settle/3); err != nil {
		return nil, err
	}
	renderer, err := rendererOf(agent)
	if err != nil {
		return nil, err
	}
	crashed := time.Now()
	if err := syscall.Kill(renderer, syscall.SIGSEGV); err != nil {
		return nil, err
	}
	crash, err := r.back(ctx, s, crashed)
	if err != nil {
		return nil, fmt.Errorf("after a crash: %w", err)
	}
	return figures{"cut": millis(cut), "crash": millis(crash)}, nil
}

// back is how long after a moment there is a picture on the screen that was captured after it.
func (r *returning) back(ctx context.Context, s *screen, since time.Time) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, backWithin, fmt.Errorf("no picture came within %v", backWithin))
	defer cancel()
	err = s.follow(ctx, func(n int, now time.Time) bool {
		took = now.Sub(since)
		return r.live.age(n, now) < took
	})
	if err != nil {
		err = context.Cause(ctx)
	}
	return took, err
}

// cut resets the connections of the agent and of the peer, and gives the agent's time.
func (r *returning) cut(ctx context.Context, s *screen) (time.Duration, error) {
	body, err := getMedia(ctx, r.live.url, streamName, "NOW")
	if err != nil {
		return 0, err
	}
	since := time.Now()
	if err := r.live.inject(faultCut); err != nil {
		return 0, errors.Join(err, body.Close())
	}
	again := make(chan error, 1)
	go func() {
		var err error
		r.barely, err = r.again(ctx, body.Close, mkv.NewReader(body), since)
		again <- err
	}()
	took, err := r.back(ctx, s, since)
	return took, errors.Join(err, <-again)
}

// again reads a body to its end and, in another one, the first frame that was captured after a moment.
func (r *returning) again(ctx context.Context, closeFirst func() error, first *mkv.Reader, since time.Time) (time.Duration, error) {
	defer closeFirst()
	for {
		if _, err := first.Next(); err != nil {
			break // as it was to be
		}
	}
	body, err := getMedia(ctx, r.live.url, streamName, "NOW")
	if err != nil {
		return 0, err
	}
	defer body.Close()
	var produced time.Time
	for reader := mkv.NewReader(body); ; {
		event, err := reader.Next()
		if err != nil {
			return 0, err
		}
		switch event := event.(type) {
		case *mkv.Tags:
			produced = event.Fragment.ProducerTime
		case *mkv.Frame:
			if produced.Add(event.Time - event.ClusterTime).After(since) {
				return time.Since(since), nil
			}
		}
	}
}

func (r *returning) bare(context.Context) (figures, error) {
	return figures{"cut": millis(r.barely)}, nil
}

// rendererOf is the renderer process of an agent: not one in which a decoder is tried out.
func rendererOf(agent int) (int, error) {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", agent))
	if err != nil {
		return 0, err
	}
	for _, file := range lists {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended since
		}
		for _, child := range strings.Fields(string(text)) {
			line, err := os.ReadFile("/proc/" + child + "/cmdline")
			if err == nil && strings.HasSuffix(string(line), decode.RendererName+"\x00") {
				var pid int
				_, err := fmt.Sscan(child, &pid)
				return pid, err
			}
		}
	}
	return 0, errors.New("the agent has no renderer process")
}
