// Command bench measures edge-agent against GStreamer's and ffmpeg's own tools, on the same
// machine in the same run, and prints a table of ratios.
//
// In go the built edge-agent and the peers that are installed; what they read is made here: a 1080p30 clip, a
// capture of GetMedia, a live stream. Out comes the table, on standard output; what is being done is told on standard error.
//
//	table.go     rows and how they are printed
//	contest.go   runs of our side and of the peers in turn, and what becomes of their figures
//	reading.go   contest: who reads a capture with the least CPU
//	parsing.go   contest: how fast a capture in memory is taken apart
//	playing.go   contest: what it costs to decode a live stream
//	starting.go  contest: how long until the first picture
//	watching.go  contest: how old a frame is when it is on the screen
//	pulling.go   contest: what many streams cost that are not decoded
//	resuming.go  contest: what is seen of a session's planned end
//	material.go  clip and capture
//	service.go   the live stream, from a process of its own
//	agent.go     edge-agent as it is measured
//	process.go   processes: what they say, what they cost
//
// A row is added to the contest that measures its figure; a new contest is a function like those of the six files
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
	"strconv"
	"syscall"
	"time"
)

// extent is how much is measured.
type extent struct {
	clip    time.Duration
	capture int64         // bytes
	window  time.Duration // for which a playing process is looked at
	settle  time.Duration // for a picture, before its lag is looked at
	only    string        // the contest to hold; "" for all
	off     int           // pictures more or less than expected in that time, at most

	reading, parsing, playing, starting, pulling, resuming, watching int // rounds
}

var (
	// The agent tells of pictures five times a second: a count may be six off.
	full = extent{clip: 10 * time.Second, capture: 400 << 20, window: 10 * time.Second, off: 9, reading: 9, parsing: 9, playing: 5, starting: 11, pulling: 3, resuming: 3, watching: 3, settle: 15 * time.Second}
	// A busy machine must not fail a test.
	quick = extent{clip: 4 * time.Second, capture: 8 << 20, window: 2 * time.Second, off: 1000, reading: 1, parsing: 1, playing: 1, starting: 1, pulling: 1, resuming: 1, watching: 1, settle: 2 * time.Second}
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == serveCommand {
		if err := serve(os.Args[2], os.Stdin, os.Stdout); err != nil {
			fail(err)
		}
		return
	}
	if len(os.Args) == 4 && os.Args[1] == pullCommand {
		n, err := strconv.Atoi(os.Args[3])
		if err == nil {
			err = pull(os.Args[2], n, os.Stdin, os.Stdout)
		}
		if err != nil {
			fail(err)
		}
		return
	}
	agent := flag.String("agent", "bin/edge-agent", "the edge-agent to measure")
	smoke := flag.Bool("quick", false, "one short round of everything: shows that it works, measures nothing well")
	only := flag.String("only", "", "hold only the contest of this name: reading, parsing, playing, starting, pulling, resuming, watching")
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
	agent   string // executable
	dir     string // of what is made
	clip    string // file
	service *service
	log     io.Writer
}

// contests are all there are, in the order of the table.
func (b *bench) contests() []contest {
	return []contest{b.readingContest(), b.parsingContest(), b.playingContest(), b.startingContest(), b.pullingContest(), b.resumingContest(), b.watchingContest()}
}

// run measures everything and prints the table. A contest that fails leaves its rows without figures and is
// part of the error.
func run(ctx context.Context, agent string, e extent, out, log io.Writer) error {
	agent, err := filepath.Abs(agent)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "edge-agent-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{extent: e, agent: agent, dir: dir, log: log}
	fmt.Fprintln(log, "making a clip")
	if b.clip, err = makeClip(ctx, dir, e.clip); err != nil {
		return err
	}
	if b.service, err = startService(ctx, b.clip); err != nil {
		return err
	}
	defer b.service.stop()
	var lines []line
	var faults []error
	for _, c := range b.contests() {
		if e.only != "" && e.only != c.name {
			continue
		}
		results, err := c.hold(ctx, log)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", c.name, err))
		}
		for _, r := range c.rows {
			lines = append(lines, r.line(results))
		}
	}
	return errors.Join(append(faults, printTable(out, lines))...)
}
