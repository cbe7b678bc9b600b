// Command bench measures edge-agent against GStreamer's, ffmpeg's and others' own tools, on the same
// machine in the same run, and prints a table of ratios and times.
//
// In go the built edge-agent and the peers that are installed; what they read is made here: a 1080p30 clip, a capture
// of GetMedia, a live stream. Out comes the table, on standard output; what is being done is told on standard error.
//
//	table.go        rows and how they are printed
//	contest.go      runs of our side and of the peers in turn, and what becomes of their figures
//	reading.go      contest: who reads a capture with the least CPU
//	parsing.go      contest: how fast a capture in memory is taken apart
//	playing.go      contest: what it costs to decode a live stream
//	serving.go      contest: what the status page, the metrics, the socket and the watchdog cost
//	starting.go     contest: how long until the first picture is decoded, and shown
//	confining.go    contest: what the renderer's sandbox costs
//	handing.go      contest: how long a frame takes from the network to the decoder
//	pulling.go      contest: what many streams cost that are not decoded
//	resuming.go     contest: how long a session waits for a frame at another one's planned end
//	keeping.go      contest: what memory streams take that are not shown
//	cutting.go      contest: what is seen of cuts, errors and planned ends
//	watching.go     contest: how old a frame is when it is on the screen
//	returning.go    contest: how soon the picture is back after a fault
//	stalling.go     contest: what is lost of a recording when the renderer stands still
//	pacing.go       contest: how even the pictures come
//	overloading.go  contest: what is left of a stream when the renderer gets too little CPU
//	showing.go      contest: how soon another stream is on the screen
//	herding.go      contest: a thousand agents on one broker
//	herd.go         the agents of that, and the peer's
//	herdwatch.go    what the broker's other clients see of them
//	lasting.go      contest: what memory is taken in ten minutes; held only when asked for
//	material.go     clip and capture
//	service.go      the live stream, from a process of its own
//	numbered.go     a live stream whose pictures say when they were captured
//	screen.go       a screen to look at
//	viewing.go      what was seen on it
//	telemetry.go    what the agent tells of the frames
//	throttle.go     a process that gets only so much CPU
//	agent.go        edge-agent as it is measured
//	process.go      processes: what they say, what they cost
//
// A row is added to the contest that measures its figure; a new contest is a function like those of the files
// above, named in contests.
//
// The bench owns all processes that it starts and a temporary folder; both are gone when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// extent is how much is measured.
type extent struct {
	only     string         // the contest to hold; "" for all
	rounds   map[string]int // of a contest, by its name; 1 for those that are not here
	clip     time.Duration
	capture  int64         // bytes
	window   time.Duration // for which a playing process is looked at
	settle   time.Duration // for a picture, before its lag is looked at
	strict   bool          // what a busy machine has spoilt is measured once more
	off      int           // pictures more or less than expected in that time, at most
	stalls   int           // of the renderer
	starts   int           // of the renderer, with its sandbox and without
	turns    int           // from one stream to the other
	agents   int           // of the herd
	calm     time.Duration // for which the herd is left alone
	away     time.Duration // for which its broker is away
	lasting  time.Duration
	sampling time.Duration // of memory
}

var (
	full = extent{
		rounds: map[string]int{
			"reading": 7, "parsing": 9, "playing": 5, "starting": 9, "confining": 3, "handing": 3, "pulling": 2, "resuming": 2, "watching": 2, "returning": 5,
			"cutting": 9, "cutting-10s": 9, "ending-10s": 2, "stalling": 2, "pacing": 2, "overloading": 2, "serving": 3,
		},
		clip: 10 * time.Second, capture: 400 << 20, window: 10 * time.Second, settle: 15 * time.Second,
		strict: true, stalls: 2, starts: 41,
		off:   9, // the agent tells of pictures five times a second: a count may be six off
		turns: 20, agents: 1000, calm: 30 * time.Second, away: 5 * time.Second, lasting: 10 * time.Minute, sampling: 5 * time.Second,
	}
	quick = extent{
		clip: 4 * time.Second, capture: 8 << 20, window: 2 * time.Second, settle: 2 * time.Second,
		off:    1000, // a busy machine must not fail a test
		stalls: 1, starts: 1,
		turns: 2, agents: 20, calm: 2 * time.Second, away: time.Second, lasting: 4 * time.Second, sampling: 500 * time.Millisecond,
	}
)

// roles are what this program is besides the bench: processes of which something is measured, or whose cost is
// not to be counted for anybody. Each works until its input ends.
var roles = map[string]func(args []string, in io.Reader, out io.Writer) error{
	serveRole: serve, pullRole: pull, receiveRole: receive, herdRole: herd, holdRole: hold,
}

// play takes a role, if the arguments name one.
func play(args []string) (played bool, err error) {
	if len(args) == 0 || roles[args[0]] == nil {
		return false, nil
	}
	return true, roles[args[0]](args[1:], os.Stdin, os.Stdout)
}

func main() {
	if played, err := play(os.Args[1:]); err != nil {
		fail(err)
	} else if played {
		return
	}
	agent := flag.String("agent", "bin/edge-agent", "the edge-agent to measure")
	smoke := flag.Bool("quick", false, "one short round of everything: shows that it works, measures nothing well")
	only := flag.String("only", "", "hold only the contest of this name: "+strings.Join(names(), ", "))
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	e := full
	if *smoke {
		e = quick
	}
	e.only = *only
	if err := run(ctx, *agent, e, os.Stdout, os.Stderr); err != nil {
		stop()
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// bench is what the contests need.
type bench struct {
	extent
	agent    string // executable
	dir      string // of what is made
	clip     string // file
	service  *service
	numbered map[numberedForm]*numbered // those that were needed so far
	log      io.Writer
}

// contests are all there are, in the order of the table.
func (b *bench) contests() []contest {
	all := []contest{
		b.readingContest(), b.parsingContest(), b.playingContest(), b.startingContest(), b.confiningContest(), b.handingContest(), b.pullingContest(),
		b.resumingContest(), b.watchingContest(), b.cuttingContest("cutting", clipGOP, faultCut, faultRefuse, faultLimit, fault5000, fault4500),
		b.cuttingContest("cutting-10s", numberedLength, faultCut, faultRefuse), b.cuttingContest("ending-10s", numberedLength, faultLimit, fault5000),
		b.returningContest(), b.stallingContest(), b.pacingContest(), b.overloadingContest(), b.showingContest(), b.keepingContest(), b.servingContest(), b.herdingContest(), b.lastingContest(),
	}
	for i := range all {
		all[i].rounds = max(1, b.rounds[all[i].name])
	}
	return all
}

// wanted are those that are to be held.
func (b *bench) wanted() (list []contest, err error) {
	for _, c := range b.contests() {
		if b.only == c.name || b.only == "" && !c.asked {
			list = append(list, c)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there is no contest %q; there are %s", b.only, strings.Join(names(), ", "))
	}
	return list, nil
}

// rendererBeside is the renderer program of an agent.
func rendererBeside(agent string) string {
	return filepath.Join(filepath.Dir(agent), decode.RendererName)
}

func names() (list []string) {
	for _, c := range (&bench{}).contests() {
		list = append(list, c.name)
	}
	return list
}

// run measures everything and prints the table. A contest that fails leaves its rows without figures and is
// part of the error.
func run(ctx context.Context, agent string, e extent, out, log io.Writer) error {
	agent, err := filepath.Abs(agent)
	if err != nil {
		return err
	}
	// More than there are CPUs: who looks at a screen must not wait for a thread that other processes keep from
	// running.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8 + runtime.NumCPU()))
	dir, err := os.MkdirTemp("", "edge-agent-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{extent: e, agent: agent, dir: dir, numbered: map[numberedForm]*numbered{}, log: log}
	contests, err := b.wanted()
	if err != nil {
		return err
	}
	fmt.Fprintln(log, "making a clip")
	if b.clip, err = makeClip(ctx, dir, e.clip); err != nil {
		return err
	}
	if b.service, err = startService(ctx, b.clip, 0); err != nil {
		return err
	}
	defer b.service.stop()
	var lines []line
	var faults []error
	for _, c := range contests {
		results, err := c.hold(ctx, log)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", c.name, err))
		}
		for _, r := range c.rows {
			lines = append(lines, r.line(results))
		}
	}
	faults = append(faults, printTable(out, lines))
	if e.only == "" {
		fmt.Fprintln(out, "Not held, because it takes long and has to be asked for: -only lasting (memory over "+e.lasting.String()+
			"). What 1,000 deaths of the renderer leave behind: go test ./gst -run TestRestartsLeakNothing -restarts 1000.")
	}
	return errors.Join(faults...)
}
