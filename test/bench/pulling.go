package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// manyStreams is how many streams are pulled at the most, and fewStreams what their cost is held against.
const (
	manyStreams = 64
	someStreams = 8
)

// pullRole is the agent's ingest alone: sessions that hand their frames to nobody.
const pullRole = "pull"

// curl is the peer: it pulls the same bodies and looks at none of them.
const curl = "curl"

// pullingContest looks at what it costs to pull many streams without decoding them.
func (b *bench) pullingContest() contest {
	p := &pulling{b, b.window / 2}
	what := "CPU time over " + p.window.String() + ", in per cent of one core, while live streams (%d) of about 5 Mbit/s are pulled in real time and not decoded: " +
		"ingest sessions in one process (calls, signatures, parsing, lag) against curl -s -o /dev/null --aws-sigv4, one process for each stream. " +
		"More than half of ours is Go's scheduler and monitor, which wake up for every frame; a twentieth is parsing."
	flat := "Of the ingest process alone: what one of " + strconv.Itoa(manyStreams) + " streams takes, against one of " + strconv.Itoa(someStreams) + "."
	return contest{
		name:  "pulling",
		ours:  side{ours, p.ingest},
		peers: []side{{curl, p.curl}},
		rows: []row{
			{name: "1 stream pulled: CPU", figure: "cpu 1", unit: "%", peer: curl, aim: 1.5, compared: fmt.Sprintf(what, 1)},
			{name: "8 streams pulled: CPU", figure: "cpu 8", unit: "%", peer: curl, aim: 1.5, compared: fmt.Sprintf(what, someStreams)},
			{name: "64 streams pulled: CPU", figure: "cpu 64", unit: "%", peer: curl, aim: 1.5, compared: fmt.Sprintf(what, manyStreams)},
			{name: "CPU of a stream, 64 : 8", figure: "cpu each 64", unit: "%", peer: ours, than: "cpu each 8", aim: 1.1, compared: flat + " CPU as above."},
			{name: "memory of a stream, 64 : 8", figure: "rss each 64", unit: "MB", peer: ours, than: "rss each 8", aim: 1.1, compared: flat + " Resident memory, less that of the process with no stream."},
		},
	}
}

type pulling struct {
	*bench
	window time.Duration // shorter than that of others: it is held often
}

// ingest pulls one, some and many streams.
func (p *pulling) ingest(ctx context.Context) (figures, error) {
	f := figures{}
	empty := 0.0
	for _, n := range []int{0, 1, someStreams, manyStreams} {
		u, err := p.pull(ctx, n)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			empty = float64(u.full) / 1e6
			continue
		}
		f.of(n, p.percent(u.cpu))
		f[fmt.Sprint("rss each ", n)] = (float64(u.full)/1e6 - empty) / float64(n)
	}
	return f, nil
}

// of notes what n streams took, and each of them.
func (f figures) of(n int, cpu float64) {
	f[fmt.Sprint("cpu ", n)] = cpu
	f[fmt.Sprint("cpu each ", n)] = cpu / float64(n)
}

func (p *pulling) percent(cpu time.Duration) float64 { return 100 * cpu.Seconds() / p.window.Seconds() }

// pull lets a process pull n streams, and looks at it once they all come.
func (p *pulling) pull(ctx context.Context, n int) (u usage, err error) {
	cmd, err := role(ctx, pullRole, p.service.url, strconv.Itoa(n))
	if err != nil {
		return u, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return u, err
	}
	ready := newTranscript("ready")
	cmd.Stdout, cmd.Stderr = ready, ready
	if err := cmd.Start(); err != nil {
		return u, err
	}
	defer func() { _ = in.Close(); _ = end(cmd) }()
	select {
	case <-ctx.Done():
		return u, ready.explain(errors.New("not all streams come"))
	case <-ready.said:
	}
	return p.over(ctx, cmd)
}

// over is what processes cost during the window. A stream takes less than the kernel's clock ticks can tell.
func (p *pulling) over(ctx context.Context, cmds ...*exec.Cmd) (total usage, err error) {
	before, err := timeOnCPU(cmds)
	if err != nil {
		return total, err
	}
	if err := pause(ctx, p.window); err != nil {
		return total, err
	}
	after, err := timeOnCPU(cmds)
	if err != nil {
		return total, err
	}
	for _, cmd := range cmds {
		m, err := memoryOf(cmd.Process.Pid)
		if err != nil {
			return total, err
		}
		total.full += m.full
	}
	total.cpu = after - before
	return total, nil
}

// timeOnCPU adds up what processes have run.
func timeOnCPU(cmds []*exec.Cmd) (sum time.Duration, err error) {
	for _, cmd := range cmds {
		ran, err := ranFor(cmd.Process.Pid)
		if err != nil {
			return 0, err
		}
		sum += ran
	}
	return sum, nil
}

// curl pulls the same streams, each with a process of its own.
func (p *pulling) curl(ctx context.Context) (figures, error) {
	f := figures{}
	for _, n := range []int{1, someStreams, manyStreams} {
		u, err := p.curls(ctx, n)
		if err != nil {
			return nil, err
		}
		f.of(n, p.percent(u.cpu))
	}
	return f, nil
}

func (p *pulling) curls(ctx context.Context, n int) (u usage, err error) {
	var cmds []*exec.Cmd
	defer func() {
		for _, cmd := range cmds {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	for i := range n {
		cmd := curlCommand(ctx, p.service, streamNumber(i), "-o", "/dev/null")
		if err := cmd.Start(); err != nil {
			return u, err
		}
		cmds = append(cmds, cmd)
	}
	if err := pause(ctx, warmUp); err != nil {
		return u, err
	}
	return p.over(ctx, cmds...)
}

// pull pulls as many streams as asked for. It says "ready" when a fragment of each has come.
func pull(args []string, in io.Reader, out io.Writer) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	service := newIngest(args[0])
	defer service.Close()
	ctx, stop := context.WithCancel(context.Background())
	var running, coming sync.WaitGroup
	coming.Add(n)
	for i := range n {
		session := newSession(service, streamNumber(i), &discard{came: sync.OnceFunc(coming.Done)})
		running.Go(func() { session.Run(ctx) })
	}
	coming.Wait()
	fmt.Fprintln(out, "ready")
	_, err = io.Copy(io.Discard, in)
	stop()
	running.Wait()
	return err
}

// newIngest is the agent's way to the service, and newSession to one of its streams.
func newIngest(url string) *ingest.Service {
	return ingest.NewService(aws.Config{
		Region: region, Credentials: aws.NewCredentialsCache(credentials.StaticCredentialsProvider{Value: kvstest.Credentials()}),
	}, url)
}

func newSession(service *ingest.Service, stream string, sink ingest.Sink) *ingest.Session {
	return ingest.NewSession(ingest.Stream{Name: stream, StreamName: stream}, service, nil, sink)
}

// discard is a sink that wants nothing.
type discard struct{ came func() }

func (d *discard) Frame(context.Context, *ingest.Frame) {}
func (d *discard) Tracks([]*mkv.Track)                  {}
func (d *discard) Fragment(mkv.Fragment)                { d.came() }
func (d *discard) Report(ingest.Report)                 {}
