package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
)

// GStreamer's decoders say this once, when their first picture has left them and been taken by the next element. It is
// heard on both sides.
const (
	firstPicture    = "First buffer since flush took"
	sayFirstPicture = "GST_DEBUG=videodecoder:4"
)

// curlAndGStreamer is the peer that has to open a connection too.
const curlAndGStreamer = "curl | gst-launch-1.0"

// startingContest looks at how long it takes to the first decoded picture, and to the first on the screen.
func (b *bench) startingContest() contest {
	s := &starting{bench: b}
	both := "Both join the live 1080p30 stream in the middle of a group of pictures of " + clipGOP.String() + ". edge-agent run with calls to the service and all, " +
		"against curl --aws-sigv4 with a call to GetMedia alone and gst-launch-1.0 behind it, which are started at the same time."
	return contest{
		name: "starting", check: s.check,
		ours:  side{ours, s.agentRun},
		peers: []side{{curlAndGStreamer, s.peer}},
		rows: []row{
			{
				name: "start to first decoded picture", figure: "first", unit: "ms", peer: curlAndGStreamer, aim: 1.1,
				compared: "Time from before the process is started until its decoder (avdec_h264) says that the first picture has left it; nothing is shown. " + both,
			},
			{
				name: "start to first picture on the screen", figure: "seen", unit: "ms", peer: curlAndGStreamer, aim: 1.3,
				compared: "Time from before the process is started until the first frame number is on the screen of a virtual X server (read every 2 ms), scaled to " +
					"1280x720, by ximagesink on both sides. " + both,
			},
		},
	}
}

type starting struct {
	*bench
	live *numbered // that is shown on a screen; it has B-frames
}

func (s *starting) check(ctx context.Context) (err error) {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		return err
	}
	s.live, err = s.numberedStream(ctx)
	return err
}

// both joins the figures of a run that shows nothing and of one on a screen.
func both(decoded, shown func() (figures, error)) (figures, error) {
	f, err := decoded()
	if err != nil {
		return nil, err
	}
	seen, err := shown()
	if err != nil {
		return nil, err
	}
	f["seen"] = seen["seen"]
	return f, nil
}

func (s *starting) agentRun(ctx context.Context) (figures, error) {
	return both(func() (figures, error) { return s.agentDecodes(ctx) }, func() (figures, error) { return s.agentShows(ctx) })
}

func (s *starting) agentDecodes(ctx context.Context) (f figures, err error) {
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

func (s *starting) agentShows(ctx context.Context) (f figures, err error) {
	screen, err := startScreen(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, screen.close()) }()
	cmd, err := s.agentCommand(ctx, setup{service: s.live.service, display: screen.display})
	if err != nil {
		return nil, err
	}
	stderr := newTranscript("")
	cmd.Stderr = stderr
	if err := s.live.await(ctx, clipGOP/2); err != nil {
		return nil, err
	}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stderr.explain(end(cmd))) }()
	return screen.first(ctx, start)
}

func (s *starting) peer(ctx context.Context) (figures, error) {
	return both(func() (figures, error) { return s.peerDecodes(ctx) }, func() (figures, error) { return s.peerShows(ctx) })
}

func (s *starting) peerDecodes(ctx context.Context) (f figures, err error) {
	cmd := launch(ctx, decodeElements, "-q", "fakesink")
	cmd.Env = append(cmd.Environ(), sayFirstPicture)
	stderr := newTranscript(firstPicture)
	cmd.Stderr = stderr
	if err := s.service.await(ctx, clipGOP/2); err != nil {
		return nil, err
	}
	start := time.Now()
	stop, err := curlInto(ctx, s.service, cmd)
	if err != nil {
		return nil, err
	}
	defer stop()
	return stderr.first(ctx, start)
}

// showElements is the peer's way from a GetMedia body to the screen.
const showElements = decodeElements + " ! videoconvertscale ! video/x-raw,width=1280,height=720"

func (s *starting) peerShows(ctx context.Context) (f figures, err error) {
	screen, err := startScreen(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, screen.close()) }()
	cmd := launch(ctx, showElements, "-q", "ximagesink")
	cmd.Env = append(cmd.Environ(), "DISPLAY="+screen.display)
	stderr := newTranscript("")
	cmd.Stderr = stderr
	if err := s.live.await(ctx, clipGOP/2); err != nil {
		return nil, err
	}
	start := time.Now()
	stop, err := curlInto(ctx, s.live.service, cmd)
	if err != nil {
		return nil, err
	}
	defer stop()
	f, err = screen.first(ctx, start)
	return f, stderr.explain(err)
}

// curlCommand gets a live stream without an end.
func curlCommand(ctx context.Context, of *service, stream string, options ...string) *exec.Cmd {
	known := kvstest.Credentials()
	return command(ctx, curl, append(strings.Fields("-s -f -N"), append(options,
		"--aws-sigv4", "aws:amz:"+region+":kinesisvideo", "--user", known.AccessKeyID+":"+known.SecretAccessKey,
		"-H", "Content-Type: application/json",
		"-d", fmt.Sprintf(`{"StreamName":%q,"StartSelector":{"StartSelectorType":"NOW"}}`, stream),
		of.url+"/getMedia")...)...)
}

// curlInto starts curl and a process that reads the live stream from it. stop ends both.
func curlInto(ctx context.Context, of *service, cmd *exec.Cmd) (stop func(), err error) {
	client := curlCommand(ctx, of, streamName)
	if cmd.Stdin, err = client.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := client.Start(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		_ = end(client)
		return nil, err
	}
	return func() {
		_ = client.Process.Kill()
		_ = client.Wait()
		_ = cmd.Process.Kill() // it would play to the end of what it got
		_ = cmd.Wait()
	}, nil
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

// first gives the time of the first picture with a frame number.
func (s *screen) first(ctx context.Context, start time.Time) (f figures, err error) {
	err = s.follow(ctx, func(_ int, now time.Time) bool {
		f = figures{"seen": millis(now.Sub(start))}
		return true
	})
	return f, err
}
