package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// holdRole is a process with one stream that is not shown.
const holdRole = "hold"

// keptBitrate is that of the streams that are not shown, in bits a second.
const keptBitrate = 4_000_000

// keepingContest looks at what it costs to keep the newest group of pictures of streams that are not shown.
func (b *bench) keepingContest() contest {
	k := &keeping{bench: b}
	return contest{
		name: "keeping", check: k.check,
		ours: side{ours, k.run},
		rows: []row{
			{
				name: fmt.Sprintf("%d streams not shown: memory of the agent", manyStreams), figure: "rss", unit: "MB", most: 100,
				compared: fmt.Sprintf("Resident memory of the agent's process, without its renderer's, the median over %v, with %d live streams of %d Mbit/s and groups of %v that are not "+
					"shown and one that is.", b.window, manyStreams, keptBitrate/1_000_000, clipGOP),
			},
			{
				// What is left is the runtime's: a garbage collection, a timer.
				name: "stream not shown: allocations of a frame", figure: "allocations", most: 0.1,
				compared: fmt.Sprintf("Objects allocated, per frame, by a process that pulls one such stream over HTTP and hands its frames to a decode.Input that is not shown, from frame %d to frame %d "+
					"of a fragment: the median of all fragments in %v.", steadyFrom, steadyTo, b.window),
			},
			{
				name: "stream not shown: bytes allocated by a frame", figure: "allocated", unit: "B", most: 64,
				compared: "The same, in bytes; a mean frame has " + fmt.Sprint(keptBitrate/8/clipFPS) + ".",
			},
		},
	}
}

type keeping struct {
	*bench
	service *service
}

// check makes the streams: noise, because no other small picture fills that many bits.
func (k *keeping) check(ctx context.Context) (err error) {
	file := filepath.Join(k.dir, "kept.mkv")
	gop := fmt.Sprint(clipGOP.Seconds() * clipFPS)
	rate := fmt.Sprint(keptBitrate)
	err = ffmpeg(ctx, "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=640x360:rate=%d:duration=4,noise=alls=60:allf=t", clipFPS),
		"-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-pix_fmt", "yuv420p", "-g", gop, "-keyint_min", gop, "-sc_threshold", "0",
		"-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate, file)
	if err != nil {
		return err
	}
	k.service, err = startService(ctx, file, 0)
	return err
}

func (k *keeping) run(ctx context.Context) (figures, error) {
	f, err := k.agentRun(ctx)
	if err != nil {
		return nil, err
	}
	f["allocations"], f["allocated"], err = k.hold(ctx)
	return f, err
}

// agentRun measures the memory of an agent.
func (k *keeping) agentRun(ctx context.Context) (figures, error) {
	s := setup{service: k.service, stream: otherStream}
	for i := range manyStreams {
		s.others = append(s.others, streamNumber(i))
	}
	return k.runHeard(ctx, s, func(told telemetry, agent *exec.Cmd) (figures, error) {
		if err := told.playing(ctx); err != nil {
			return nil, err
		}
		if err := pause(ctx, k.settle/3); err != nil { // the buffers grow to the largest group
			return nil, err
		}
		var samples []float64
		for began := time.Now(); time.Since(began) < k.window; {
			m, err := memoryOf(agent.Process.Pid)
			if err != nil {
				return nil, err
			}
			samples = append(samples, float64(m.full)/1e6)
			if err := pause(ctx, k.window/20); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(k.log, "keeping: %.0f MB\n", samples)
		return figures{"rss": median(samples)}, nil
	})
}

// hold gives the objects and the bytes that a process allocates for each frame.
func (k *keeping) hold(ctx context.Context) (objects, bytes float64, err error) {
	out, err := k.holding(ctx)
	if err != nil {
		return 0, 0, err
	}
	_, err = fmt.Sscan(out, &objects, &bytes)
	return objects, bytes, err
}

func (k *keeping) holding(ctx context.Context) (string, error) {
	cmd, err := role(ctx, holdRole, k.service.url, max(k.window, 3*clipGOP).String())
	if err != nil {
		return "", err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	defer in.Close()
	said := newTranscript("")
	cmd.Stderr = said
	out, err := cmd.Output()
	return string(out), said.explain(err)
}

// Between these frames of a fragment of sixty nothing is to be done but to keep one after the other.
const (
	steadyFrom = 15
	steadyTo   = 55
)

// hold pulls a stream for a time and says how many objects and bytes it allocated for each frame.
func hold(args []string, _ io.Reader, out io.Writer) error {
	window, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	service := newIngest(args[0])
	defer service.Close()
	ctx, stop := context.WithTimeout(context.Background(), window)
	defer stop()
	m := &meter{feeder: feeder{decode.New(decode.Config{Sink: plan.None}).Input(streamName, plan.Preference{})}}
	newSession(service, streamName, m).Run(ctx)
	if len(m.objects) == 0 {
		return errors.New("no fragment came whole")
	}
	_, err = fmt.Fprintln(out, median(m.objects), median(m.bytes))
	return err
}

// meter is a sink that notes what is allocated while it hands frames on.
type meter struct {
	feeder
	frames         int // of the fragment
	before, after  runtime.MemStats
	objects, bytes []float64 // of a frame, one of each fragment
}

func (m *meter) Frame(ctx context.Context, frame *ingest.Frame) {
	m.feeder.Frame(ctx, frame)
	switch m.frames++; m.frames {
	case steadyFrom:
		runtime.ReadMemStats(&m.before)
	case steadyTo:
		runtime.ReadMemStats(&m.after)
		const n = steadyTo - steadyFrom
		m.objects = append(m.objects, float64(m.after.Mallocs-m.before.Mallocs)/n)
		m.bytes = append(m.bytes, float64(m.after.TotalAlloc-m.before.TotalAlloc)/n)
	}
}

func (m *meter) Fragment(mkv.Fragment) { m.frames = 0 }
