package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// figures are what one run gave, by name.
type figures map[string]float64

// side is one that is measured: edge-agent, or a peer.
type side struct {
	name string
	run  func(ctx context.Context) (figures, error)
}

// contest is a set of runs that rows of the table are made of. The sides run in turn, ours first, round by round, so
// that whatever else the machine is doing meets them all.
type contest struct {
	name   string
	asked  bool // held only when asked for by its name, because it takes long
	rounds int
	limit  time.Duration                   // of a run; 0: runTimeout
	check  func(ctx context.Context) error // makes what is needed, and sees that the peers do the same work; before the first round; may be nil
	ours   side
	peers  []side
	done   func() error // ends what check started, after the last round; may be nil
	rows   []row
}

// runTimeout ends a run that hangs.
const runTimeout = 2 * time.Minute

// ours is how rounds name our side.
const ours = "edge-agent"

// round is what each side gave, by its name.
type round map[string]figures

// errBusy says that a run could not keep up with the live stream, which a machine with other work does to anybody.
var errBusy = errors.New("did not keep up; is the machine busy?")

// hold runs all rounds. A round in which something did not keep up is told of and held again; as many may be as there
// are rounds.
func (c *contest) hold(ctx context.Context, log io.Writer) (rounds []round, err error) {
	if c.done != nil {
		defer func() { err = errors.Join(err, c.done()) }()
	}
	if c.check != nil {
		if err := c.check(ctx); err != nil {
			return nil, err
		}
	}
	for spare := c.rounds; len(rounds) < c.rounds; {
		fmt.Fprintf(log, "%s, round %d of %d\n", c.name, len(rounds)+1, c.rounds)
		r, err := c.round(ctx)
		if errors.Is(err, errBusy) && spare > 0 {
			spare--
			fmt.Fprintf(log, "%s: again, because %v\n", c.name, err)
			continue
		}
		if err != nil {
			return nil, err
		}
		rounds = append(rounds, r)
	}
	return rounds, nil
}

func (c *contest) round(ctx context.Context) (round, error) {
	r := round{}
	for _, s := range append([]side{c.ours}, c.peers...) {
		f, err := c.once(ctx, s)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		r[s.name] = f
	}
	return r, nil
}

func (c *contest) once(ctx context.Context, s side) (figures, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.limit, runTimeout))
	defer cancel()
	return s.run(ctx)
}
