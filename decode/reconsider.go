package decode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// lookForDecoderEvery is how often it is looked whether a decoder has been installed, while there is none; in units of
// reconsiderEvery.
const lookForDecoderEvery = 5

// reconsiderEvery is how often it is looked whether a better decoder may be tried again.
const reconsiderEvery = time.Second

// A trial waits this often for so many frames, which tell a decoder that works from one that delivers old pictures.
// Streams of key frames alone never have as many.
const (
	trialFrames = 15
	trialWaits  = 3
)

// reconsider tries better decoders again while a worse one decodes, once they are no longer denied:
// with frames of the stream itself in a child of its own, so that the picture is not at stake. One that
// works takes over at the next key frame.
//
//	denied ──time is over──▶ trial ──passed──▶ promoted ──next key frame──▶ in use
//	   ▲                       │ failed
//	   └─── twice as long ─────┘
func (a *attempt) reconsider(ctx context.Context) {
	select {
	case <-ctx.Done():
		return
	case <-a.greeted:
	}
	ticker := time.NewTicker(reconsiderEvery)
	defer ticker.Stop()
	stage := &stage{launch: a.r.launch(), limit: trialLimit, log: a.r.log}
	waited, without := 0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		a.rescan(ctx, stage)
		if without++; without%lookForDecoderEvery == 0 {
			a.lookForDecoder(ctx, stage)
		}
		plan, units := a.better()
		if len(units) == 0 {
			continue
		}
		if waited++; len(units) < trialFrames && waited <= trialWaits {
			continue
		}
		waited = 0
		leave, free := a.r.places.take(plan, plan.AtOnce)
		if !free { // the picture comes from the same device, which takes no more pipelines
			continue
		}
		t, err := stage.try(ctx, plan, units)
		leave()
		if err == nil {
			err = t.works(units, a.r.standsStill(plan))
		}
		if ctx.Err() != nil {
			return
		}
		a.promote(plan, err)
	}
}

// better gives a plan that is better than the one in use, and frames to try it with; none when there is
// no such plan or no picture to lose.
func (a *attempt) better() (plan.Plan, []Unit) {
	a.mu.Lock()
	var current plan.Plan
	format, found, busy := a.format, a.found, a.plan == nil || a.showing.IsZero() || a.promoted != nil
	if !busy {
		current = a.located(*a.plan)
	}
	a.mu.Unlock()
	if busy {
		return plan.Plan{}, nil
	}
	best, denied := a.r.best(*format, found)
	if denied || best.DeniedBy() == current.DeniedBy() {
		return plan.Plan{}, nil
	}
	in, _ := a.r.showing()
	units := in.gate.kept() // a copy of all of them
	if len(units) == 0 || !units[0].Format.Continues(format) {
		return plan.Plan{}, nil
	}
	return best, units
}

// promote has a plan take over at the next key frame, or denies it for longer.
func (a *attempt) promote(p plan.Plan, err error) {
	if err != nil {
		a.r.mu.Lock()
		span := a.r.deny.deny(p.DeniedBy(), 0, false, time.Now())
		a.r.mu.Unlock()
		a.r.log.Info("a decoder was tried again and still fails", "element", p.Element, "cause", err, "passed_over_for", span)
		return
	}
	a.r.log.Info("a better decoder passed a trial with this stream; it takes over at the next key frame", "element", p.Element)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.promoted = &p
}

// errRenewed ends a child in which the better decoder does not exist.
var errRenewed = errors.New("a decoder takes over that was not there when the renderer process started")

// takesOver says, once, that a better plan is to be opened with this frame. The error is errRenewed when
// it takes another child: an element whose device came later is none in a process that runs already.
func (a *attempt) takesOver(u Unit) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !u.Key || a.promoted == nil {
		return false, nil
	}
	promoted := a.promoted
	a.promoted = nil
	a.r.replace(a.plan)
	if !slices.Contains(a.own, promoted.Element) || a.nodesOf[promoted.Element] != "" && promoted.Device.Node != "" &&
		a.nodesOf[promoted.Element] != promoted.Device.Node { // the name was that of another device
		return false, errRenewed
	}
	return true, nil
}

// regained reports that a better decoder has taken over.
func (a *attempt) regained(p plan.Plan) {
	before := a.r.replace(nil)
	if before == nil || before.Name() == p.Name() {
		return
	}
	r := report.Report{
		Code:    report.CodeRecovered,
		Message: fmt.Sprintf("%s (%s) passed a trial and decodes now in place of %s", p.Element, p.Family, before.Element),
		Detail:  map[string]any{"element": p.Element, "family": string(p.Family), "replaced_element": before.Element},
	}
	a.mu.Lock()
	codec := a.format.Codec
	a.mu.Unlock()
	if cause := a.r.doubt(before.Element, codec); cause != "" {
		r.Code = report.CodeFallback
		r.Message = fmt.Sprintf("%s (%s) decodes now in place of %s, which did not pass its trial (%s)", p.Element, p.Family, before.Element, cause)
		r.Detail["cause"] = cause
	}
	a.r.config.Report(r)
}

// doubt gives the code of what the probe found wrong with a decoder; "" when nothing, or when the configuration
// trusts it.
func (r *Renderer) doubt(element string, c format.Codec) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.probe.Broken(element, c):
		return r.probe.candidate(element, c).Code
	case r.probe.Differs(element, c) && !slices.Contains(r.config.Prefer.Trusted, element):
		return report.CodeDiffers
	}
	return ""
}

// replace notes which plan a better one replaces, and gives the one that was noted before.
func (r *Renderer) replace(p *plan.Plan) (before *plan.Plan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, r.replaced = r.replaced, p
	return before
}

// rescan asks which decoders there are when device nodes have come or gone, as they do when a driver is loaded. It
// waits until they are the same twice: what creates them sets their permissions a moment later.
func (a *attempt) rescan(ctx context.Context, s *stage) {
	nodes := deviceNodes(a.r.config.Dev)
	settled := slices.Equal(nodes, a.seen)
	a.seen = nodes
	if !settled || slices.Equal(nodes, a.nodes) {
		return
	}
	a.nodes = nodes
	a.r.devicesNow(nodes)
	hello, devices, err := s.describe(ctx, false, a.r.toLocate)
	if err != nil {
		a.r.log.Warn("devices have come or gone, and which decoders there are now cannot be found out", "cause", err)
		return
	}
	a.r.log.Info("devices have come or gone")
	a.r.greet(hello)
	a.r.locate(devices.Nodes)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found = hello.Elements
}

// lookForDecoder asks which decoders there are while there is none for the stream: a package may have been installed.
// One that is found takes over, in another child, at the next key frame.
func (a *attempt) lookForDecoder(ctx context.Context, s *stage) {
	a.mu.Lock()
	format := a.lacking
	a.mu.Unlock()
	if format == nil {
		return
	}
	hello, _, err := s.describe(ctx, false, func([]string) []string { return nil })
	if err != nil {
		return // it is asked again
	}
	plan, _ := a.r.best(*format, hello.Elements)
	if plan.Element == "" {
		return
	}
	a.r.greet(hello)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.found, a.promoted = hello.Elements, &plan
}
