package main

import (
	"context"
	"fmt"
	"time"
)

// uncut is the peer: the same agent in the second before.
const uncut = "second before"

// cuttingContest looks at what is seen when a connection is cut or a session ends. No round has an agent of its own.
func (b *bench) cuttingContest(name string, gop time.Duration, faults ...fault) contest {
	c := &cutting{bench: b, form: numberedForm{gop: gop, bFrames: 2}, faults: faults}
	return contest{
		name: name, check: c.check, done: c.done,
		ours:  side{ours, c.round},
		peers: []side{{uncut, c.before}},
		rows:  c.rows(name),
	}
}

type cutting struct {
	*bench
	form   numberedForm
	faults []fault
	rounds int

	on     *stage
	smooth figures // the peer's for the faults of this round

	leave chan struct{} // closed when the agent is no longer needed
	ended chan struct{} // closed when it has ended
	err   error         // of that
}

// The targets, for a stream of 30 frames a second.
const (
	gapAim  = 100 // ms: two frames are missed at the most
	lostAim = 2   // pictures of each cut
	lagAim  = 10  // ms
)

func (c *cutting) rows(contest string) (rows []row) {
	what := map[fault]string{
		faultCut:    "the service resets the connection in the middle of a fragment",
		faultRefuse: "the service resets the connection in the middle of a fragment and refuses the continuation token of the next call (InvalidArgumentException)",
		faultLimit:  "the service ends the session after a fragment, as after 45 minutes",
		fault4500:   "the service ends the session after a fragment with an error in the body that is about the key (4500)",
		fault5000:   "the service ends the session after a fragment with an error in the body that is its own (5000)",
	}
	for _, f := range c.faults {
		name := fmt.Sprintf("%s, %v GOP: ", map[fault]string{
			faultCut: "cut", faultRefuse: "token refused", faultLimit: "session end", fault4500: "error 4500", fault5000: "error 5000",
		}[f], c.form.gop)
		rows = append(rows,
			row{
				name: name + "gap on screen", figure: "gap " + string(f), unit: "ms", peer: uncut, most: gapAim,
				compared: "The longest time between two pictures on the screen of a virtual X server (read every 2 ms) when " + what[f] + ", of a live 1080p30 H.264 stream " +
					"with two B-frames and groups of " + c.form.gop.String() + ", decoded in software, with [display] latency = " + latency.String() +
					". The peer is the longest time in the second before.",
			},
			row{
				name: name + "pictures lost, worst", figure: "lost " + string(f), most: lostAim, worst: true,
				compared: "How many frame numbers were not seen on the screen from a second before to a second after that.",
			},
			row{
				name: name + "lag after less before", figure: "lag " + string(f), unit: "ms", most: lagAim,
				compared: "The median lag, from capture to screen, in the second after the picture is back, less that of the second before; regardless of the sign.",
			})
	}
	return append(rows, row{
		name: contest + ": losses not counted", figure: "uncounted", zero: true, worst: true,
		compared: "How many frames of a round with all of the faults above were not seen on the screen beyond what dropped_frames of the agent's telemetry tells of.",
	})
}

// check starts the agent and waits until its lag has settled.
func (c *cutting) check(ctx context.Context) error {
	live, err := c.numberedOf(ctx, c.form)
	if err != nil {
		return err
	}
	ready := make(chan *stage)
	c.leave, c.ended = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(c.ended)
		_, c.err = c.runOnStage(ctx, live, setup{}, func(on *stage) (figures, error) {
			ready <- on
			<-c.leave
			return nil, nil
		})
	}()
	select {
	case <-c.ended:
		return nil // done has the error
	case c.on = <-ready:
		return pause(ctx, c.settle/3)
	}
}

func (c *cutting) done() error {
	if c.leave == nil {
		return nil
	}
	close(c.leave)
	<-c.ended
	return c.err
}

func (c *cutting) before(context.Context) (figures, error) { return c.smooth, nil }

// round lets the agent meet one fault after the other.
func (c *cutting) round(ctx context.Context) (figures, error) {
	if c.on == nil {
		return nil, fmt.Errorf("the agent does not play")
	}
	c.rounds++
	c.smooth = figures{}
	f := figures{}
	began := time.Now().Add(-lookBefore)
	for _, fault := range c.faults {
		if err := c.meetSeen(ctx, fault, f); err != nil {
			return nil, fmt.Errorf("%s: %w", fault, err)
		}
	}
	missed, uncounted, err := c.on.losses(ctx, began, time.Now())
	if err != nil {
		return nil, err
	}
	f["uncounted"] = float64(uncounted)
	fmt.Fprintf(c.log, "cutting: %d pictures lost, %d of them not counted; %v\n", missed, uncounted, f)
	return f, nil
}

// How long the screen is looked at before a fault and after the picture is back, and how long a lag has to settle.
const (
	lookBefore = time.Second
	lookAfter  = 800 * time.Millisecond
	lagSettles = 700 * time.Millisecond
)

// meetSeen is meet, once more when the bench itself did not run meanwhile.
func (c *cutting) meetSeen(ctx context.Context, what fault, f figures) (err error) {
	for range 3 {
		began := time.Now()
		if err := c.meet(ctx, what, f); err != nil {
			return err
		}
		if err = c.clear(c.on, began); err == nil {
			return nil
		}
	}
	return err
}

// meet lets the agent meet a fault.
func (c *cutting) meet(ctx context.Context, what fault, f figures) error {
	at, err := c.inject(ctx, what)
	if err != nil {
		return err
	}
	since := time.Now().Add(-lookBefore)
	back, err := c.on.seen.captured(ctx, at.Add(lagSettles))
	if err != nil {
		return err
	}
	if err := pause(ctx, lookAfter); err != nil {
		return err
	}
	seen, end := c.on.seen, time.Now()
	// The peer's time ends at the fault.
	c.smooth["gap "+string(what)] = millis(seen.longest(since, since.Add(lookBefore)))
	f["gap "+string(what)] = millis(seen.longest(since, end))
	f["lost "+string(what)] = float64(missing(seen.since(since, end)))
	lagBefore, lagAfter := middle(lags(seen.between(since, since.Add(lookBefore)))), middle(lags(seen.between(back, end)))
	f["lag "+string(what)] = millis((lagAfter - lagBefore).Abs())
	return nil
}

// Where in a group a connection is cut, and how long before the end of one a session is told to end there.
const (
	firstPlace = 0.15
	lastPlace  = 0.85
	beforeEnd  = 150 * time.Millisecond
)

// inject lets a fault happen at a place that suits it and gives the time at which it does.
func (c *cutting) inject(ctx context.Context, what fault) (at time.Time, err error) {
	gop := c.form.gop
	if !what.atEndOfFragment() { // not always at the same place
		if err := pause(ctx, time.Duration(c.rounds)*370*time.Millisecond%clipGOP); err != nil {
			return at, err
		}
	}
	live := c.on.seen.of
	place := live.place(time.Now())
	first, last := time.Duration(firstPlace*float64(gop)), time.Duration(lastPlace*float64(gop))
	wait := (first - place + gop) % gop
	switch {
	case what.atEndOfFragment():
		wait = (gop - beforeEnd - place + gop) % gop
	case place >= first && place <= last:
		wait = 0
	}
	if err := pause(ctx, wait); err != nil {
		return at, err
	}
	at = time.Now()
	if what.atEndOfFragment() {
		at = at.Add(gop - live.place(at))
	}
	return at, live.inject(what)
}
