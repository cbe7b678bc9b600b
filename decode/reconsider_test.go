package decode

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// over ends all denials, as time would, and tells how often each was denied.
func (r *rig) over() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	times := map[string]int{}
	for name, d := range r.deny.entries {
		times[name] = d.times
		r.deny.entries[name] = denial{times: d.times}
	}
	return times
}

// A decoder that failed is tried again beside the picture, and takes over at a key frame when it works.
func TestReconsider(t *testing.T) {
	healed := filepath.Join(t.TempDir(), "healed")
	r := start(t, "crash", func(c *Config) { c.Env = append(c.Env, fakeHealedEnv+"="+healed) })
	r.push("Kddd")
	r.report(report.CodeCrash)
	r.report(report.CodeFallback)
	child := r.Stats().GStreamer

	// It still fails: nothing is seen of that but a longer denial.
	r.over()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for len(r.Stats().Denied) == 0 {
		select {
		case <-deadline:
			t.Fatal("it was not tried again")
		case <-tick.C:
		}
	}
	kit.Expect(t, "decoder", r.Stats().Decoder, "avdec_h264")
	kit.Expect(t, "reports", len(r.reports), 0)

	if err := os.WriteFile(healed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	kit.Expect(t, "failures", r.over()["vah264dec"], 2)
	for r.Stats().Decoder != "vah264dec" {
		select {
		case <-deadline:
			t.Fatal("it does not take over")
		case <-tick.C:
			r.push("dK")
		}
	}
	report := r.report(report.CodeRecovered)
	kit.Expect(t, "element", report.Detail["element"], any("vah264dec"))
	kit.Expect(t, "replaced", report.Detail["replaced_element"], any("avdec_h264"))
	s := r.Stats()
	kit.Expect(t, "child", s.GStreamer, child)
	kit.Expect(t, "restarts", s.Restarts, 1)
	if got := r.got(); !strings.HasPrefix(got, "|") || !strings.Contains(got, "d|K") {
		t.Errorf("the child got %q; want the new pipeline to begin with a key frame", got)
	}
}

func TestKept(t *testing.T) {
	g := NewGate(DefaultLimits)
	kit.Expect(t, "of nothing", len(g.kept()), 0)
	for _, u := range "KddKdd" {
		g.Push(Unit{Data: formattest.Lengths, Key: u == 'K'})
	}
	kit.Expect(t, "of what was not given out", len(g.kept()), 0)
	for range 5 {
		if _, err := g.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	kit.Expect(t, "since the second key frame", len(g.kept()), 2)
}
