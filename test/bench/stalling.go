package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// stalledFor is how long the renderer does nothing.
const stalledFor = 600 * time.Millisecond

// stallingContest looks at what becomes of a recording when the renderer stands still for a moment.
func (b *bench) stallingContest() contest {
	s := &stalling{b}
	compared := fmt.Sprintf("A 1080p30 H.264 recording with groups of %v, an hour old, is played from its beginning on the screen of a virtual X server (read every 2 ms). "+
		"The renderer's process is stopped (SIGSTOP) and continued after %v, %d times in all. ", numberedLength, stalledFor, b.stalls)
	return contest{
		name: "stalling", check: s.check,
		ours: side{ours, s.agentRun},
		rows: []row{
			{
				name: fmt.Sprintf("recording, renderer stalled %v: pictures lost", stalledFor), figure: "lost", zero: true, worst: true,
				compared: compared + "How many frame numbers were not seen.",
			},
			{
				// Two frames and a tick of the scheduler after it goes on.
				name: fmt.Sprintf("recording, renderer stalled %v: gap on screen", stalledFor), figure: "gap", unit: "ms", most: millis(stalledFor) + 100,
				compared: compared + "The longest time between two pictures.",
			},
			{
				// As a service manager's patience goes, and as it is for a live stream.
				name: "recording: told to stop until the agent has ended", figure: "stop", unit: "ms", most: 3000,
				compared: "From SIGTERM until the process has ended, while such a recording is played.",
			},
		},
	}
}

type stalling struct{ *bench }

// recorded is an hour old: far from what is live, and the agent does not catch up with it.
var recorded = numberedForm{gop: numberedLength, bFrames: 2, history: time.Hour}

func (s *stalling) check(ctx context.Context) error {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		return err
	}
	_, err := s.numberedOf(ctx, recorded)
	return err
}

func (s *stalling) agentRun(ctx context.Context) (figures, error) {
	live, err := s.numberedOf(ctx, recorded)
	if err != nil {
		return nil, err
	}
	return s.runOnScreen(ctx, setup{service: live.service, start: "earliest"}, func(screen *screen, agent *exec.Cmd) (figures, error) {
		seen, began := &viewing{of: live}, time.Now()
		stalled := make(chan error, 1)
		looking, stop := context.WithCancel(ctx)
		defer stop()
		go func() {
			defer stop()
			err := s.stallOften(ctx, agent.Process.Pid)
			if err == nil {
				err = seen.another(ctx)
			}
			stalled <- err
		}()
		seen.look(looking, screen)
		if err := <-stalled; err != nil {
			return nil, err
		}
		from := began.Add(s.settle / 3)
		end := time.Now()
		pictures := seen.between(from, end)
		if len(pictures) == 0 {
			return nil, errors.New("no frames were seen on the screen")
		}
		ended, err := stopped(ctx, agent)
		return figures{"lost": float64(missing(pictures)), "gap": millis(seen.longest(from, end)), "stop": millis(ended)}, err
	})
}

// stopped tells a process to stop and gives the time until it has ended. It is left to be waited for.
func stopped(ctx context.Context, cmd *exec.Cmd) (took time.Duration, err error) {
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	for {
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return 0, fmt.Errorf("the agent does not end: %w", err)
		}
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		if parseStat(string(text)).zombie {
			return time.Since(began), nil
		}
	}
}

// stallOften stops and continues the renderer.
func (s *stalling) stallOften(ctx context.Context, agent int) error {
	if err := pause(ctx, s.settle/3+2*time.Second); err != nil {
		return err
	}
	for range s.stalls {
		renderer, err := rendererOf(agent)
		if err != nil {
			return err
		}
		if err := syscall.Kill(renderer, syscall.SIGSTOP); err != nil {
			return err
		}
		err = errors.Join(pause(ctx, stalledFor), syscall.Kill(renderer, syscall.SIGCONT))
		if err := errors.Join(err, pause(ctx, 3*time.Second)); err != nil {
			return err
		}
	}
	return nil
}
