package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// lastingContest looks at what memory is taken after ten minutes, and whether it grows.
func (b *bench) lastingContest() contest {
	l := &lasting{bench: b}
	compared := "Resident memory of the process that plays a live 1080p30 H.264 stream for " + b.lasting.String() + ", decoded in software and shown nowhere, with MQTT: "
	level := compared + "the median of the last fifth of that time. gst-launch-1.0 plays the same stream at the same time."
	growth := compared + "the median of the last fifth less that of the middle one; before, heaps fill."
	const most = 1 // MB: a leak of 150 bytes with every frame is 1.1
	rows := []row{}
	// 35 and 109 MB were measured.
	for _, p := range []struct {
		name  string
		level float64
	}{{"agent", 40}, {"renderer", 120}} {
		rows = append(rows,
			row{name: p.name + ": memory after " + b.lasting.String(), figure: p.name, unit: "MB", peer: "gst-launch-1.0", than: "rss", most: p.level, compared: level},
			row{name: p.name + ": growth of memory", figure: p.name + " growth", unit: "MB", peer: "gst-launch-1.0", than: "growth", most: most, compared: growth},
		)
	}
	return contest{
		name: "lasting", asked: true, limit: b.lasting + time.Minute,
		ours:  side{ours, l.agentRun},
		peers: []side{{"gst-launch-1.0", l.peerRun}},
		rows:  rows,
	}
}

type lasting struct {
	*bench
	peer []float64 // the samples of the peer, in MB
}

func (l *lasting) agentRun(ctx context.Context) (figures, error) {
	return l.runHeard(ctx, setup{service: l.service, joins: joinAt}, func(told telemetry, agent *exec.Cmd) (f figures, err error) {
		launched := launch(ctx, decodeElements, "-q", "fakesink")
		peer, err := l.feedLive(ctx, launched)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, peer.stop()) }()
		if err := told.playing(ctx); err != nil {
			return nil, err
		}
		return l.watch(ctx, agent, launched)
	})
}

// watch looks at the memory of agent, renderer and peer again and again.
func (l *lasting) watch(ctx context.Context, agent, peer *exec.Cmd) (figures, error) {
	renderer, err := rendererOf(agent.Process.Pid)
	if err != nil {
		return nil, err
	}
	samples := make([][]float64, 3)
	ticker := time.NewTicker(l.sampling)
	defer ticker.Stop()
	for began := time.Now(); time.Since(began) < l.lasting; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
		for i, pid := range []int{agent.Process.Pid, renderer, peer.Process.Pid} {
			m, err := memoryOf(pid)
			if errors.Is(err, os.ErrNotExist) {
				err = errors.New("a process did not live that long")
			}
			if err != nil {
				return nil, err
			}
			samples[i] = append(samples[i], float64(m.full)/1e6)
		}
	}
	l.peer = samples[2]
	for i, who := range []string{"agent", "renderer", "peer"} {
		fmt.Fprintf(l.log, "memory in MB, every %v: %s %.1f\n", l.sampling, who, samples[i])
	}
	return figures{
		"agent": fifth(samples[0], 4), "agent growth": growth(samples[0]),
		"renderer": fifth(samples[1], 4), "renderer growth": growth(samples[1]),
	}, nil
}

func (l *lasting) peerRun(context.Context) (figures, error) {
	return figures{"rss": fifth(l.peer, 4), "growth": growth(l.peer)}, nil
}

// fifth is the median of a fifth of the samples, counted from 0.
func fifth(samples []float64, i int) float64 {
	n := len(samples)
	return median(samples[i*n/5 : (i+1)*n/5])
}

// growth is from the middle fifth to the last: before, heaps fill.
func growth(samples []float64) float64 { return fifth(samples, 4) - fifth(samples, 2) }
