package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// The clip is what a good camera sends: 1080p30, about 5 Mbit/s, no B-frames.
const (
	clipFPS = 30
	clipGOP = 2 * time.Second
)

// makeClip encodes a clip: a detailed picture under a moving camera, something that
// moves across it, and sensor noise, because noise is what fills the bits of real ones.
func makeClip(ctx context.Context, dir string, length time.Duration) (file string, err error) {
	still, file := filepath.Join(dir, "still.png"), filepath.Join(dir, "clip.mkv")
	if err := ffmpeg(ctx, "-f", "lavfi", "-i", "mandelbrot=size=2560x1440:rate=1:start_scale=0.3:maxiter=200", "-frames:v", "1", still); err != nil {
		return "", err
	}
	scene := strings.Join([]string{
		"[0:v]crop=1920:1080:x='320+320*sin(n/40)':y='180+180*cos(n/55)',format=yuv420p[camera]",
		"[camera][1:v]overlay=x='720+600*sin(n/35)':y='400+300*cos(n/25)',noise=alls=6:allf=t[out]",
	}, ";")
	gop := strconv.Itoa(int(clipGOP.Seconds() * clipFPS))
	err = ffmpeg(ctx,
		"-loop", "1", "-framerate", strconv.Itoa(clipFPS), "-i", still,
		"-f", "lavfi", "-i", "testsrc2=size=480x270:rate="+strconv.Itoa(clipFPS),
		"-filter_complex", scene, "-map", "[out]", "-frames:v", strconv.Itoa(int(length.Seconds()*clipFPS)),
		"-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-pix_fmt", "yuv420p",
		"-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-b:v", "5M", "-maxrate", "7M", "-bufsize", "5M", file)
	return file, err
}

func ffmpeg(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, "ffmpeg", append([]string{"-v", "error", "-nostdin", "-y"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd, err, out)
	}
	return nil
}

// capture is a file of GetMedia documents, one after the other.
type capture struct {
	file      string
	bytes     int64
	documents int
	frames    int
}

// makeCapture records a GetMedia session of at least size bytes, to the end of a document. The service is in
// this process and its time runs fast: the stream was produced long ago and comes as fast as it can be read.
func makeCapture(ctx context.Context, clip, file string, size int64) (c capture, err error) {
	server, err := newServer(clip, kvstest.Config{Speed: 1000}, kvstest.StreamConfig{History: 23 * time.Hour, Layout: layout})
	if err != nil {
		return c, err
	}
	defer server.Close()
	body, err := getMedia(ctx, server.URL(), streamName, "EARLIEST")
	if err != nil {
		return c, err
	}
	defer body.Close()
	out, err := os.Create(file)
	if err != nil {
		return c, err
	}
	defer out.Close()
	c.file = file
	if err := c.record(io.TeeReader(body, out), size); err != nil {
		return c, err
	}
	return c, out.Truncate(c.bytes) // the reader has read ahead
}

// record reads whole documents until they have size bytes.
func (c *capture) record(body io.Reader, size int64) error {
	r := mkv.NewReader(body)
	for c.bytes < size {
		event, err := r.Next()
		if err != nil {
			return fmt.Errorf("the simulated stream: %w", err)
		}
		if end, ok := event.(*mkv.End); ok {
			c.bytes = end.Fragment.Offset + end.Fragment.Bytes
			c.documents++
			c.frames += end.Fragment.Frames
		}
	}
	return nil
}

// makeCapture makes the one that is called name.
func (b *bench) makeCapture(ctx context.Context, name string, size int64) (capture, error) {
	return makeCapture(ctx, b.clip, filepath.Join(b.dir, name), size)
}
