package decode

import (
	"slices"
	"sync"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/quirk"
)

// Places counts the pipelines that run on each device: some hang when there are too many at once, and a trial beside
// the picture is one of them. Use its zero value; a nil one counts nothing.
type Places struct {
	mu    sync.Mutex
	taken map[string]int // by names of devices
}

// deviceNames are those of a plan's device: its node, and what its VA-API elements begin with, which is known from the start.
func deviceNames(p plan.Plan) (names []string) {
	for _, name := range []string{p.Device.Node, p.GPU()} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// take takes a place on a plan's device, of which there are so many; 0: any number. leave gives it back, once; it is nil
// when there is none.
func (p *Places) take(of plan.Plan, most int) (leave func(), free bool) {
	if p == nil {
		return func() {}, true
	}
	names := deviceNames(of)
	p.mu.Lock()
	defer p.mu.Unlock()
	if most > 0 && slices.ContainsFunc(names, func(name string) bool { return p.taken[name] >= most }) {
		return nil, false
	}
	if p.taken == nil {
		p.taken = make(map[string]int)
	}
	for _, name := range names {
		p.taken[name]++
	}
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, name := range names {
			p.taken[name]--
		}
	}), true
}

// use takes a place on a device whether there is one or not: for the picture itself.
func (p *Places) use(of plan.Plan) (leave func()) {
	leave, _ = p.take(of, 0)
	return leave
}

// atOnce is how many pipelines the device of a candidate runs at once; 0: any number.
func (r *ProbeReport) atOnce(c Candidate, p plan.Preference) int {
	return r.Quirks(c, p).Least(quirk.Decoders)
}
