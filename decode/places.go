package decode

import (
	"sync"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/quirk"
)

// Places counts the pipelines that run on each device: some hang when there are too many at once, and a trial beside
// the picture is one of them. Use its zero value; a nil one counts nothing.
type Places struct {
	mu    sync.Mutex
	taken map[string]int // by node
}

// take takes a place on a device, of which there are so many; 0: any number. leave gives it back, once; it is nil when
// there is none.
func (p *Places) take(d plan.Device, most int) (leave func(), free bool) {
	if p == nil || d.Node == "" {
		return func() {}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if most > 0 && p.taken[d.Node] >= most {
		return nil, false
	}
	return p.count(d.Node), true
}

// use takes a place on a device whether there is one or not: for the picture itself.
func (p *Places) use(d plan.Device) (leave func()) {
	leave, _ = p.take(d, 0)
	return leave
}

// count counts one more pipeline. p.mu is held.
func (p *Places) count(node string) (leave func()) {
	if p.taken == nil {
		p.taken = make(map[string]int)
	}
	p.taken[node]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken[node]--
	})
}

// atOnce is how many pipelines the device of a candidate runs at once; 0: any number.
func (r *ProbeReport) atOnce(c Candidate, p plan.Preference) int {
	return r.Quirks(c, p).Least(quirk.Decoders)
}
