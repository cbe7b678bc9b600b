package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// readingContest feeds one capture to everybody through a pipe and looks at the CPU they take.
func (b *bench) readingContest() contest {
	r := &reading{bench: b}
	size := fmt.Sprintf("%d MB", b.capture>>20)
	same := "CPU seconds, user and system, of the whole process for reading " + size +
		" of GetMedia documents from a pipe; all get the same bytes from the same feeder, and it is checked that all find every frame. "
	return contest{
		name: "reading", check: r.check,
		ours:  side{ours, r.inspect},
		peers: []side{{"gst-launch-1.0", r.gstreamer}, {"ffmpeg", r.ffmpeg}},
		rows: []row{
			{
				name: "inspect " + size + ": CPU", figure: "cpu", unit: "s", peer: "gst-launch-1.0", aim: 1,
				compared: same + "edge-agent inspect - against gst-launch-1.0 -q fdsrc ! matroskademux ! fakesink.",
			},
			{
				name: "inspect " + size + ": CPU", figure: "cpu", unit: "s", peer: "ffmpeg", aim: 1,
				compared: same + "edge-agent inspect - against ffmpeg -i - -c copy -f null -.",
			},
		},
	}
}

type reading struct {
	*bench
	capture capture
}

// check makes the capture and sees that matroskademux, which counts nothing itself, gives all of its frames.
func (r *reading) check(ctx context.Context) (err error) {
	if r.capture, err = r.makeCapture(ctx, "capture.mkv", r.bench.capture); err != nil {
		return err
	}
	return checkFrames(ctx, r.capture, "matroskademux")
}

// checkFrames counts the buffers that come out of a gst-launch pipeline, one for each frame.
func checkFrames(ctx context.Context, c capture, elements string) error {
	_, out, err := feed(ctx, c, launch(ctx, elements, "-v", "fakesink silent=false sync=false"))
	if err != nil {
		return err
	}
	if n := strings.Count(out, "= chain "); n != c.frames {
		return fmt.Errorf("%s gives %d of %d frames", elements, n, c.frames)
	}
	return nil
}

// launch is gst-launch-1.0 with a pipeline that reads standard input.
func launch(ctx context.Context, elements, option, sink string) *exec.Cmd {
	return command(ctx, "gst-launch-1.0", append([]string{option}, strings.Fields("fdsrc ! "+elements+" ! "+sink)...)...)
}

func (r *reading) inspect(ctx context.Context) (figures, error) {
	f, out, err := feed(ctx, r.capture, command(ctx, r.agent, "inspect", "--json", "-"))
	if err != nil {
		return nil, err
	}
	var sum struct{ Frames int }
	if err := json.Unmarshal([]byte(out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:]), &sum); err != nil {
		return nil, err
	}
	return f, r.whole(sum.Frames)
}

func (r *reading) gstreamer(ctx context.Context) (figures, error) {
	f, _, err := feed(ctx, r.capture, launch(ctx, "matroskademux", "-q", "fakesink"))
	return f, err
}

var ffmpegFrames = regexp.MustCompile(`(?m)^frame=(\d+)$`)

func (r *reading) ffmpeg(ctx context.Context) (figures, error) {
	f, out, err := feed(ctx, r.capture,
		command(ctx, "ffmpeg", "-v", "error", "-nostats", "-progress", "pipe:1", "-i", "-", "-c", "copy", "-f", "null", "-"))
	if err != nil {
		return nil, err
	}
	found := ffmpegFrames.FindAllStringSubmatch(out, -1)
	if len(found) == 0 {
		return nil, errors.New("it does not say how many frames there were")
	}
	frames, _ := strconv.Atoi(found[len(found)-1][1])
	return f, r.whole(frames)
}

// whole is an error unless all frames were read.
func (r *reading) whole(frames int) error {
	if frames != r.capture.frames {
		return fmt.Errorf("it found %d of %d frames", frames, r.capture.frames)
	}
	return nil
}

// feed runs a process with a capture on a pipe as its standard input and gives its CPU seconds and its output. It is
// an error when the process does not read all.
func feed(ctx context.Context, c capture, cmd *exec.Cmd) (f figures, out string, err error) {
	in, err := os.Open(c.file)
	if err != nil {
		return nil, "", err
	}
	defer in.Close()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	var stdout strings.Builder
	stderr := newTranscript("")
	cmd.Stdout, cmd.Stderr = &stdout, stderr
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	fed, feedErr := copyPlainly(stdin, in)
	_ = stdin.Close()
	if err := cmd.Wait(); err != nil {
		return nil, "", stderr.explain(err)
	}
	if fed != c.bytes {
		return nil, "", stderr.explain(fmt.Errorf("it read %d of %d bytes (%w)", fed, c.bytes, feedErr))
	}
	state := cmd.ProcessState
	return figures{"cpu": (state.UserTime() + state.SystemTime()).Seconds()}, stdout.String(), nil
}

// copyPlainly reads and writes. io.Copy alone would have the kernel move pages from file to pipe, which is cheaper for
// the reader too, and which no network can.
func copyPlainly(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 64<<10))
}
