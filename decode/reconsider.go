package decode

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// reconsiderEvery is how often it is looked whether a better decoder may be tried again.
const reconsiderEvery = time.Second

// reconsider tries better decoders again while a worse one decodes, once they are no longer denied:
// with frames of the stream itself in a child of its own, so that the picture is not at stake. One that
// works takes over at the next key frame.
//
//	denied ──time is over──▶ trial ──passed──▶ promoted ──next key frame──▶ in use
//	   ▲                       │ failed
//	   └─── twice as long ─────┘
func (a *attempt) reconsider(ctx context.Context) {
	ticker := time.NewTicker(reconsiderEvery)
	defer ticker.Stop()
	stage := &stage{command: a.r.config.Command, env: a.r.config.Env, limit: trialLimit, log: a.r.log}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		plan, units := a.better()
		if len(units) == 0 {
			continue
		}
		t, err := stage.try(ctx, plan, units)
		if err == nil {
			err = t.enough(len(units) / 3) // two fields may come as two frames
		}
		if ctx.Err() != nil {
			return
		}
		a.promote(plan, err)
	}
}

// better gives a plan that is better than the one in use, and frames to try it with; none when there is
// no such plan or no picture to lose.
func (a *attempt) better() (Plan, []Unit) {
	a.mu.Lock()
	current, format, shows, promoted := a.plan, a.format, !a.showing.IsZero(), a.promoted
	a.mu.Unlock()
	if !shows || promoted {
		return Plan{}, nil
	}
	in, _ := a.r.showing()
	units := in.gate.kept()
	if len(units) == 0 || units[0].Format != format {
		return Plan{}, nil
	}
	best, denied := a.r.best(*format, a.found)
	if denied || best.name() == current.name() {
		return Plan{}, nil
	}
	return best, units
}

// promote has a plan take over at the next key frame, or denies it for longer.
func (a *attempt) promote(p Plan, err error) {
	if err != nil {
		a.r.mu.Lock()
		span := a.r.deny.deny(p.name(), 0, false, time.Now())
		a.r.mu.Unlock()
		a.r.log.Info("a decoder was tried again and still fails", "element", p.Element, "cause", err, "passed_over_for", span)
		return
	}
	a.r.log.Info("a decoder that had failed works again; it takes over at the next key frame", "element", p.Element)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.promoted = true
}

// takesOver says, once, that a better plan is to be opened with this frame.
func (a *attempt) takesOver(u Unit) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !u.Key || !a.promoted {
		return false
	}
	a.promoted = false
	a.replaced = a.plan
	return true
}

// regained reports that a better decoder has taken over.
func (a *attempt) regained(p Plan) {
	a.mu.Lock()
	before := a.replaced
	a.replaced = nil
	a.mu.Unlock()
	if before == nil || before.name() == p.name() {
		return
	}
	message := fmt.Sprintf("%s (%s) works again and decodes in place of %s", p.Element, p.Family, before.Element)
	a.r.log.Info(message, "code", CodeRecovered)
	a.r.config.Report(Report{Code: CodeRecovered, Message: message, Detail: map[string]any{
		"element": p.Element, "family": string(p.Family), "replaced_element": before.Element,
	}})
}

// kept copies what was given out since the last key frame.
func (g *Gate) kept() []Unit {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == 0 || !g.units[0].Key {
		return nil
	}
	return slices.Clone(g.units[:g.next])
}
