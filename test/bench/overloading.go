package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// overloadingContest looks at what is left of a stream when the renderer gets less CPU than it needs.
func (b *bench) overloadingContest() contest {
	o := &overloading{bench: b}
	compared := fmt.Sprintf("A live 1080p30 H.264 stream with two B-frames and groups of %v on the screen of a virtual X server (read every 2 ms), decoded in software, with "+
		"[display] latency = %v. What CPU the renderer's process takes is measured, and then it gets %.0f %% of that, for %v, by %s. ", clipGOP, latency, 100*shareOfCPU, b.window, throttleName())
	return contest{
		name: "overloading", check: o.check,
		ours: side{ours, o.agentRun},
		rows: []row{
			{
				name: fmt.Sprintf("%.0f %% of the CPU: pictures not shown", 100*shareOfCPU), figure: "lost", unit: "%", most: 30,
				compared: compared + "The share of the frame numbers that were not seen in that time.",
			},
			{
				name: fmt.Sprintf("%.0f %% of the CPU: longest gap on screen", 100*shareOfCPU), figure: "gap", unit: "ms", most: 500,
				// A quarter of a group: more is a whole one that was left out.
				compared: compared + "The longest time between two pictures: when whole groups are left out it is that of a group.",
			},
			{
				// The budget, and half a group that the decoder may be behind before it must have left something out.
				name: fmt.Sprintf("%.0f %% of the CPU: lag, p99", 100*shareOfCPU), figure: "lag", unit: "ms", most: millis(latency + clipGOP/2),
				compared: compared + "From capture to screen. The bound is the latency and half a group of pictures.",
			},
			{
				name: fmt.Sprintf("%.0f %% of the CPU: losses not counted", 100*shareOfCPU), figure: "uncounted", zero: true, worst: true,
				compared: compared + "How many frames were not seen on the screen beyond what dropped_frames of the agent's telemetry tells of, from a second before that time until " +
					"the picture is smooth again.",
			},
		},
	}
}

// shareOfCPU is what the renderer gets of what it needs.
const shareOfCPU = 0.83

type overloading struct {
	*bench
	live *numbered
}

func (o *overloading) check(ctx context.Context) (err error) {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		return err
	}
	o.live, err = o.numberedStream(ctx)
	return err
}

func (o *overloading) agentRun(ctx context.Context) (figures, error) {
	return o.runOnStage(ctx, o.live, setup{}, func(on *stage) (figures, error) {
		if err := pause(ctx, o.settle/3); err != nil {
			return nil, err
		}
		renderer, err := rendererOf(on.agent.Process.Pid)
		if err != nil {
			return nil, err
		}
		need, err := cores(ctx, renderer, o.window/2)
		if err != nil {
			return nil, err
		}
		began := time.Now().Add(-lookBefore)
		from, to, got, err := o.overload(ctx, renderer, need)
		if errors.Is(err, errGone) {
			return nil, fmt.Errorf("the renderer %w: %w", errBusy, err) // another one was started in its place
		}
		if err != nil {
			return nil, err
		}
		f := figures{}
		pictures := on.seen.between(from, to)
		shown := len(pictures) - len(repeated(pictures))
		f["lost"] = 100 * max(0, 1-float64(shown)/(to.Sub(from).Seconds()*clipFPS))
		f["gap"] = millis(on.seen.longest(from, to))
		if all := lags(pictures); len(all) > 0 {
			f["lag"] = millis(all[len(all)*99/100])
		}
		if err := o.calm(ctx, on); err != nil {
			return nil, err
		}
		missed, uncounted, err := on.losses(ctx, began, time.Now())
		f["uncounted"] = float64(uncounted)
		fmt.Fprintf(o.log, "overloading: the renderer takes %.1f %% of a core and then got %.1f %%; %d pictures lost in all, %d of them not counted, the others for %v; %v\n",
			100*need, 100*got, missed, uncounted, on.told.reasons(began), f)
		return f, err
	})
}

// cores is what CPU a process takes in a time.
func cores(ctx context.Context, pid int, in time.Duration) (float64, error) {
	before, err := ranFor(pid)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if err := pause(ctx, in); err != nil {
		return 0, err
	}
	after, err := ranFor(pid)
	return (after - before).Seconds() / time.Since(began).Seconds(), err
}

// overload gives a process too little CPU and says from when to when pictures are to be looked at: not before what it
// has in reserve is used up. got is what it took meanwhile, in cores.
func (o *overloading) overload(ctx context.Context, pid int, need float64) (from, to time.Time, got float64, err error) {
	release, err := throttle(ctx, pid, shareOfCPU*need)
	if err != nil {
		return from, to, 0, err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := pause(ctx, o.settle/3); err != nil {
		return from, to, 0, err
	}
	from = time.Now()
	got, err = cores(ctx, pid, o.window)
	return from, time.Now(), got, err
}

// calm waits until a second has passed in which no picture was missed.
func (o *overloading) calm(ctx context.Context, on *stage) error {
	for {
		if err := pause(ctx, lookBefore/2); err != nil {
			return err
		}
		now := time.Now()
		pictures := on.seen.between(now.Add(-2*lookBefore), now)
		if len(pictures) > clipFPS && missing(pictures) == 0 || !o.strict {
			return nil
		}
	}
}

// repeated are pictures of frames that had been seen before.
func repeated(pictures []sighting) (again []sighting) {
	frames := map[int]bool{}
	for _, s := range pictures {
		if frames[s.frame] {
			again = append(again, s)
		}
		frames[s.frame] = true
	}
	return again
}
