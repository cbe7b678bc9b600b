package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
)

// The times of a herd's life.
const (
	commandEvery = 10 * time.Millisecond // between two commands
	answerWithin = 30 * time.Second      // after the last command
	onlineWithin = 2 * time.Minute
	endWithin    = time.Minute // each member closes its file
)

// herdingContest looks at many agents on one broker.
func (b *bench) herdingContest() contest {
	h := &herding{bench: b}
	n := strconv.Itoa(b.agents)
	what := n + " agents in one process, with everything of package mqtt and nothing of video, on one mosquitto, against as many clients of the library that " +
		"package mqtt is made of, which say and answer the same but have no events, keep nothing on disk and reconnect as the library does: "
	return contest{
		name: "herding", limit: 5 * time.Minute, check: h.check,
		ours:  side{ours, func(ctx context.Context) (figures, error) { return h.run(ctx, ours) }},
		peers: []side{{pahoClient, func(ctx context.Context) (figures, error) { return h.run(ctx, pahoClient) }}},
		rows: []row{
			{
				// 3.3 to 9.6 s were measured on a busy machine.
				name: n + " agents: until all are online", figure: "online", unit: "s", peer: pahoClient, most: 15,
				compared: what + "from the start of the process to the last one's \"online\".",
			},
			{
				name: n + " agents: memory of one", figure: "rss", unit: "kB", peer: pahoClient, most: 256,
				compared: what + "resident memory of the process in the end, less that of one with none, for each of them. Of ours, the mapped file of events and " +
					"commands is about a fifth. The aim is a thousandth of a small box.",
			},
			{
				name: n + " agents: CPU", figure: "cpu", unit: "%", peer: pahoClient, aim: 2,
				compared: what + "CPU time of the process in per cent of one core, over " + b.calm.String() + " in which each sends telemetry every " + telemetryEvery.String() + ". " +
					"Both spend it on waking goroutines; ours has a queue in front of the library's, and so one more.",
			},
			{
				name: n + " agents: command to response, p50", figure: "p50", unit: "ms", peer: pahoClient, most: 50,
				compared: what + "from the publication of a command (status) to the arrival of its last response, of one command to each at one every " + commandEvery.String() +
					". An agent records it on disk before and after.",
			},
			{name: n + " agents: command to response, p99", figure: "p99", unit: "ms", peer: pahoClient, most: 250, compared: "The same."},
			{
				// 11.8 s were measured: those who wait longest after a failure wait ten seconds.
				name: "broker away " + b.away.String() + ": until all are back", figure: "back", unit: "s", peer: pahoClient, most: 15,
				compared: what + "after mosquitto was killed, from its being there again to the last one's \"online\".",
			},
			{
				name: "broker away " + b.away.String() + ": most back in a second", figure: "herd", unit: "agents", peer: pahoClient, aim: 0.5,
				compared: what + "the most that came back within any one second.",
			},
		},
	}
}

type herding struct{ *bench }

// check allows the processes that will be started the descriptors that they need: a socket and two files for each
// agent.
func (h *herding) check(context.Context) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	if need := uint64(4*h.agents + 100); limit.Max < need {
		return fmt.Errorf("%d open files are allowed and %d needed; raise the limit (ulimit -Hn)", limit.Max, need)
	}
	limit.Cur = limit.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // said explicitly, it is also that of children
}

// run leads a herd through all that is measured.
func (h *herding) run(ctx context.Context, kind string) (f figures, err error) {
	broker, err := brokertest.Start(ctx, brokertest.Options{})
	if err != nil {
		return nil, err
	}
	defer broker.Stop()
	empty, err := h.emptyHerd(ctx, kind, broker)
	if err != nil {
		return nil, err
	}
	w, err := watchHerd(broker.URL())
	if err != nil {
		return nil, err
	}
	defer func() { w.stop() }()
	began := time.Now()
	p, err := h.start(ctx, kind, broker, h.agents)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	f = figures{}
	if f["online"], err = w.allOnline(ctx, h.agents, began); err != nil {
		return nil, p.said.explain(err)
	}
	if err := h.leaveAlone(ctx, w, p, f); err != nil {
		return nil, p.said.explain(err)
	}
	if err := h.command(ctx, w, f); err != nil {
		return nil, p.said.explain(err)
	}
	if err := h.restart(ctx, broker, &w, f); err != nil {
		return nil, p.said.explain(err)
	}
	u, err := usageOf(p.cmd.Process.Pid)
	f["rss"] = (float64(u.full) - empty) / 1e3 / float64(h.agents)
	return f, err
}

// emptyHerd is the memory of a process with no members.
func (h *herding) emptyHerd(ctx context.Context, kind string, broker *brokertest.Broker) (float64, error) {
	p, err := h.start(ctx, kind, broker, 0)
	if err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, errors.Join(ctx.Err(), p.stop())
	case <-p.said.said:
	}
	u, err := usageOf(p.cmd.Process.Pid)
	return float64(u.full), errors.Join(err, p.stop())
}

// herdProcess is a herd at work.
type herdProcess struct {
	cmd  *exec.Cmd
	in   io.Closer
	said *transcript
}

func (h *herding) start(ctx context.Context, kind string, broker *brokertest.Broker, n int) (*herdProcess, error) {
	dir, err := os.MkdirTemp(h.dir, "herd-")
	if err != nil {
		return nil, err
	}
	p := &herdProcess{said: newTranscript("ready")}
	if p.cmd, err = role(ctx, herdRole, kind, broker.URL(), strconv.Itoa(n), dir); err != nil {
		return nil, err
	}
	if kind == pahoClient {
		// As it reconnects, the library (1.5.1) marks messages as repeated that it may still be writing. Under the race
		// detector that is reported, and not ours to fail for.
		p.cmd.Env = append(p.cmd.Environ(), "GORACE=exitcode=0")
	}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	return p, p.cmd.Start()
}

func (p *herdProcess) stop() error {
	_ = p.in.Close()
	return p.said.explain(waitFor(p.cmd, endWithin))
}

// leaveAlone looks at what a herd costs that only sends telemetry, and sees that it does.
func (h *herding) leaveAlone(ctx context.Context, w *herdWatch, p *herdProcess, f figures) error {
	if err := pause(ctx, warmUp); err != nil { // the disk may still be busy with the start
		return err
	}
	told, began := w.toldSoFar(), time.Now()
	before, err := timeOnCPU([]*exec.Cmd{p.cmd})
	if err != nil {
		return err
	}
	if err := pause(ctx, h.calm); err != nil {
		return err
	}
	after, err := timeOnCPU([]*exec.Cmd{p.cmd})
	if err != nil {
		return err
	}
	elapsed := time.Since(began).Seconds()
	f["cpu"] = 100 * (after - before).Seconds() / elapsed
	came, expected := float64(w.toldSoFar()-told), elapsed*float64(h.agents)/telemetryEvery.Seconds()
	if math.Abs(came-expected) > max(0.1*expected, float64(h.off)) {
		return fmt.Errorf("it %w: %.0f telemetry messages in %.1f s, not %.0f", errBusy, came, elapsed, expected)
	}
	return nil
}

// command sends one command to each agent.
func (h *herding) command(ctx context.Context, w *herdWatch, f figures) error {
	ticker := time.NewTicker(commandEvery)
	defer ticker.Stop()
	for i := range h.agents {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if err := w.command(memberName(i)); err != nil {
			return err
		}
	}
	took, err := w.allAnswered(ctx, h.agents)
	if err != nil {
		return err
	}
	slices.Sort(took)
	f["p50"], f["p99"] = millis(took[len(took)/2]), millis(took[len(took)*99/100])
	return nil
}

// restart takes the broker away for a while, and w to the new one.
func (h *herding) restart(ctx context.Context, broker *brokertest.Broker, w **herdWatch, f figures) error {
	(*w).stop()
	broker.Kill()
	if err := pause(ctx, h.away); err != nil {
		return err
	}
	if err := broker.Restart(ctx); err != nil {
		return err
	}
	back := time.Now()
	again, err := watchHerd(broker.URL())
	if err != nil {
		return err
	}
	*w = again
	if f["back"], err = again.allOnline(ctx, h.agents, back); err != nil {
		return err
	}
	f["herd"] = float64(again.mostInASecond())
	return nil
}
