package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"sync/atomic"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// decodeElements is the peer's way from a GetMedia body to pictures.
const decodeElements = "matroskademux ! h264parse ! avdec_h264"

// Where the stream is joined, and how long a process has played before it is looked at. Early in a fragment there is
// little to catch up, which the agent would do in its own time, and the peer at once.
const (
	joinAt = 50 * time.Millisecond
	warmUp = 2 * time.Second
)

// playingContest looks at the CPU and the memory that a live stream takes once it plays.
func (b *bench) playingContest() contest {
	p := &playing{bench: b}
	what := "Of everything that was started (agent and renderer; gst-launch-1.0) while one live stream, 1080p30 H.264 of about 5 Mbit/s, " +
		"is decoded in software and shown nowhere: %s " +
		"edge-agent run with MQTT against gst-launch-1.0 -q fdsrc ! " + decodeElements + " ! fakesink, which gets the body of GetMedia through a pipe. " +
		"It is checked that both keep up."
	return contest{
		name: "playing", check: p.check,
		ours:  side{ours, p.agentRun},
		peers: []side{{"gst-launch-1.0", p.gstreamer}},
		rows: []row{
			{
				name: "1080p30 stream: CPU", figure: "cpu", unit: "%", peer: "gst-launch-1.0", aim: 1.08,
				compared: fmt.Sprintf(what, "CPU time over "+b.window.String()+" once it plays, in per cent of one core."),
			},
			{
				name: "1080p30 stream: memory, RSS", figure: "rss", unit: "MB", peer: "gst-launch-1.0", aim: 1.1,
				compared: fmt.Sprintf(what, "resident memory at the end; what two processes share, such as GStreamer, counts for both."),
			},
			{
				name: "1080p30 stream: memory, PSS", figure: "pss", unit: "MB", peer: "gst-launch-1.0", aim: 1.1,
				compared: "The same, with what processes share divided among them: the memory that is really taken.",
			},
		},
	}
}

type playing struct{ *bench }

// check sees that the peer's pipeline makes a picture of every frame.
func (p *playing) check(ctx context.Context) error {
	c, err := p.makeCapture(ctx, "decode.mkv", 4<<20)
	if err != nil {
		return err
	}
	return checkFrames(ctx, c, decodeElements)
}

// look measures a process from now on until wait returns, which says how many pictures there were.
func (p *playing) look(cmd *exec.Cmd, wait func() (pictures int, err error)) (figures, error) {
	before, err := usageOf(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	pictures, err := wait()
	if err != nil {
		return nil, err
	}
	elapsed := time.Since(start).Seconds()
	after, err := usageOf(cmd.Process.Pid)
	if err != nil {
		return nil, err
	}
	if math.Abs(float64(pictures)-elapsed*clipFPS) > float64(p.off) {
		return nil, fmt.Errorf("it %w: %d pictures in %.1f s", errBusy, pictures, elapsed)
	}
	return figures{
		"cpu": 100 * (after.cpu - before.cpu).Seconds() / elapsed,
		"rss": float64(after.full) / 1e6,
		"pss": float64(after.share) / 1e6,
	}, nil
}

func (p *playing) agentRun(ctx context.Context) (figures, error) {
	return p.runHeard(ctx, setup{service: p.service, joins: joinAt}, func(told telemetry, agent *exec.Cmd) (figures, error) {
		if err := told.playing(ctx); err != nil {
			return nil, err
		}
		return p.look(agent, func() (int, error) { return told.pictures(ctx, p.window) })
	})
}

func (p *playing) gstreamer(ctx context.Context) (f figures, err error) {
	cmd := launch(ctx, decodeElements, "-q", "fakesink")
	stderr := newTranscript("")
	cmd.Stderr = stderr
	if err := p.service.await(ctx, joinAt); err != nil {
		return nil, err
	}
	live, err := p.feedLive(ctx, cmd)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stderr.explain(live.stop())) }()
	if _, err := live.count(ctx, warmUp); err != nil {
		return nil, err
	}
	return p.look(cmd, func() (int, error) { return live.count(ctx, p.window) })
}

// live is a process with the body of a GetMedia session on a pipe as its standard input.
type live struct {
	cmd     *exec.Cmd
	body    io.Closer
	started time.Time // just before it was
	frames  atomic.Int64
	fed     chan error // holds one: why feeding has ended
}

// feedLive joins the stream and then starts the process: the bytes are there before it is.
func (b *bench) feedLive(ctx context.Context, cmd *exec.Cmd) (*live, error) {
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	body, err := getMedia(ctx, b.service.url, streamName, "NOW")
	if err != nil {
		return nil, err
	}
	l := &live{cmd: cmd, body: body, started: time.Now(), fed: make(chan error, 1)}
	if err := cmd.Start(); err != nil {
		_ = body.Close()
		return nil, err
	}
	go func() {
		l.fed <- l.feed(io.TeeReader(body, stdin))
		_ = stdin.Close()
	}()
	return l, nil
}

// feed reads what it passes on, to count the frames.
func (l *live) feed(body io.Reader) error {
	r := mkv.NewReader(body)
	for {
		event, err := r.Next()
		if err != nil {
			return err
		}
		if _, ok := event.(*mkv.Frame); ok {
			l.frames.Add(1)
		}
	}
}

// count is how many frames pass in a time.
func (l *live) count(ctx context.Context, d time.Duration) (int, error) {
	before := l.frames.Load()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case err := <-l.fed:
		l.fed <- err
		return 0, fmt.Errorf("feeding it ended: %w", err)
	case <-time.After(d):
		return int(l.frames.Load() - before), nil
	}
}

// stop ends the session; the process plays to the end of what it got and ends by itself.
func (l *live) stop() error {
	_ = l.body.Close()
	<-l.fed
	return waitFor(l.cmd, stopTimeout)
}
