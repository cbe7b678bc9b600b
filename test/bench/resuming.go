package main

import (
	"context"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Sessions of the real service last 40 to 45 minutes; here one ends every other second.
const (
	sessionLimit = 2 * time.Second
	unbroken     = "one session"
)

// resumingContest looks at what is seen of a session's planned end.
func (b *bench) resumingContest() contest {
	r := &resuming{b}
	return contest{
		name:  "resuming",
		ours:  side{ours, func(ctx context.Context) (figures, error) { return r.pull(ctx, kvstest.Limits{Session: sessionLimit}) }},
		peers: []side{{unbroken, func(ctx context.Context) (figures, error) { return r.pull(ctx, kvstest.Limits{}) }}},
		rows: []row{{
			name: "planned session end: longest wait for a frame", figure: "wait", unit: "ms", peer: unbroken, aim: 1.5,
			compared: "The longest time between two frames of a live stream at 30 frames a second that one ingest session hands on in " + b.window.String() +
				", while the service ends its sessions every " + sessionLimit.String() + ", against the same in one session that is not ended.",
		}},
	}
}

type resuming struct{ *bench }

// pull gives the longest wait for a frame.
func (r *resuming) pull(ctx context.Context, limits kvstest.Limits) (figures, error) {
	server, err := newServer(r.clip, kvstest.Config{Limits: limits}, kvstest.StreamConfig{Layout: layout})
	if err != nil {
		return nil, err
	}
	defer server.Close()
	service := newIngest(server.URL())
	defer service.Close()
	ctx, cancel := context.WithTimeout(ctx, r.window)
	defer cancel()
	w := &waits{}
	newSession(service, streamName, w).Run(ctx)
	return figures{"wait": float64(w.longest.Microseconds()) / 1000}, nil
}

// waits is a sink that notes how long frames are waited for.
type waits struct {
	last    time.Time
	longest time.Duration
}

func (w *waits) Frame(context.Context, *ingest.Frame) {
	now := time.Now()
	if !w.last.IsZero() {
		w.longest = max(w.longest, now.Sub(w.last))
	}
	w.last = now
}

func (w *waits) Tracks([]*mkv.Track)   {}
func (w *waits) Fragment(mkv.Fragment) {}
func (w *waits) Report(ingest.Report)  {}
