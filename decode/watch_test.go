package decode

import (
	"errors"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

func TestProgress(t *testing.T) {
	patience := Patience{Hello: 30 * time.Second, Open: 10 * time.Second, Status: time.Second, First: 1500 * ms, Next: 700 * ms, Frames: 3, More: 2}
	base := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		life func(p *progress)
		at   time.Duration
		code string
	}{
		"hello in time": {func(*progress) {}, 30 * time.Second, ""},
		"no hello":      {func(*progress) {}, 31 * time.Second, report.CodeHang},
		"silence":       {func(p *progress) { p.hearing(base, true) }, 1001 * ms, report.CodeHang},
		"software answers slowly": {func(p *progress) {
			p.hearing(base, true)
			p.software = true
		}, 4000 * ms, ""},
		"software does not answer": {func(p *progress) {
			p.hearing(base, true)
			p.software = true
		}, 4001 * ms, report.CodeHang},
		"software neither answers nor computes": {func(p *progress) {
			p.hearing(base, true)
			p.software, p.atWork = true, func() bool { return false }
		}, 1001 * ms, report.CodeHang},
		"idle":             {func(p *progress) { p.hearing(base.Add(time.Hour), true) }, time.Hour, ""},
		"opening":          {func(p *progress) { p.hearing(base.Add(9*time.Second), true); p.open(false, base) }, 9 * time.Second, ""},
		"not opened":       {func(p *progress) { p.hearing(base.Add(11*time.Second), true); p.open(false, base) }, 11 * time.Second, report.CodeHang},
		"no first picture": {after(base, 3, Status{Fed: 3}), 1501 * ms, report.CodeSilent},
		"not yet":          {after(base, 3, Status{Fed: 3}), 1500 * ms, ""},
		"few frames":       {after(base, 2, Status{Fed: 2}), 1501 * ms, ""},
		"no next picture":  {after(base, 2, Status{Fed: 3, Decoded: 1}), 701 * ms, report.CodeSilent},
		"not yet again":    {after(base, 2, Status{Fed: 3, Decoded: 1}), 700 * ms, ""},
		"few frames again": {after(base, 1, Status{Fed: 2, Decoded: 1}), 701 * ms, ""},
		"was not heard": {func(p *progress) {
			after(base, 3, Status{Fed: 3})(p)
			p.statuses = leastStatuses - 1
		}, 1501 * ms, ""},
		"none was taken": {after(base, 3, Status{}), 1501 * ms, report.CodeHang},
		"takes no frame": {after(base, 3, Status{Fed: 4, Decoded: 1, Queued: 3}), 701 * ms, report.CodeHang},
		"takes frames": {func(p *progress) {
			after(base, 3, Status{Fed: 4, Decoded: 1, Queued: 3})(p)
			p.advance(Status{Number: p.number, Fed: 4, Decoded: 1, Queued: 2}, base.Add(600*ms))
		}, 701 * ms, report.CodeSilent},
		"waits for room": {func(p *progress) {
			after(base, 3, Status{Fed: 4, Decoded: 1, Queued: 3})(p)
			p.advance(Status{Number: p.number, Fed: 4, Decoded: 1, Queued: 3, Held: true}, base.Add(600*ms))
		}, 1300 * ms, ""},
		"software is slow": {func(p *progress) {
			after(base, 3, Status{Fed: 4, Decoded: 1})(p)
			p.software = true
		}, 2800 * ms, ""},
		"software is silent": {func(p *progress) {
			after(base, 3, Status{Fed: 4, Decoded: 1})(p)
			p.software = true
		}, 2801 * ms, report.CodeSilent},
	} {
		t.Run(name, func(t *testing.T) {
			p := progress{patience: patience, started: base, atWork: func() bool { return true }}
			c.life(&p)
			err := p.check(base.Add(c.at))
			var f *failure
			if errors.As(err, &f); c.code != "" && (f == nil || f.Code != c.code) || c.code == "" && err != nil {
				t.Errorf("got %v, want %q", err, c.code)
			}
		})
	}
}

// after opens a pipeline and lets it decode a picture or none; then so many frames are fed, of which s is the news.
func after(base time.Time, fed int, s Status) func(*progress) {
	return func(p *progress) {
		n := p.open(false, base)
		p.opened(n, base)
		p.advance(Status{Number: n, Decoded: s.Decoded}, base)
		for range fed {
			p.sent(Unit{}, base)
		}
		s.Number = n
		for range leastStatuses {
			p.advance(s, base)
		}
		p.hearing(base.Add(time.Minute), true)
	}
}

func TestInFlight(t *testing.T) {
	var p progress
	n := p.open(false, time.Time{})
	for range 10 {
		p.sent(Unit{}, time.Time{})
	}
	kit.Expect(t, "sent", p.inFlight(), 10)
	p.advance(Status{Number: n, Fed: 8, Queued: 3, Decoded: 2}, time.Time{})
	kit.Expect(t, "sent, 8 arrived, 3 queued", p.inFlight(), 5)
	kit.Expect(t, "of these without a picture since the last progress", p.stuckFed, 5)
	p.open(false, time.Time{})
	kit.Expect(t, "nothing sent to the next", p.inFlight(), 0)
	before, current := p.advance(Status{Number: n, Fed: 10, Decoded: 10}, time.Time{})
	kit.Expect(t, "of the pipeline before", before.Decoded, 2)
	kit.Expect(t, "current", current, false)
	kit.Expect(t, "nothing sent to the next", p.inFlight(), 0)
}

func TestDenyList(t *testing.T) {
	var l denyList
	now := time.Unix(0, 0)
	var spans []time.Duration
	for range 9 {
		spans = append(spans, l.deny("x", 0, false, now))
	}
	kit.Expect(t, "first", spans[0], 30*time.Second)
	kit.Expect(t, "second", spans[1], time.Minute)
	kit.Expect(t, "last", spans[8], time.Hour)
	kit.Expect(t, "after it worked for long", l.deny("x", denyForgive, false, now), 30*time.Second)
	kit.Expect(t, "denied", l.denied("x", now.Add(29*time.Second)), true)
	kit.Expect(t, "denied", l.denied("x", now.Add(30*time.Second)), false)
	kit.Expect(t, "denied", l.denied("y", now), false)
	kit.Expect(t, "names", len(l.names(now)), 1)
	kit.Expect(t, "lenient, never worked", l.deny("a", 0, true, now), 30*time.Second)
	kit.Expect(t, "lenient, had worked", l.deny("b", time.Second, true, now), 0)
	kit.Expect(t, "lenient, again", l.deny("b", time.Second, true, now), 30*time.Second)
	kit.Expect(t, "lenient, a third time", l.deny("b", time.Second, true, now), time.Minute)
	kit.Expect(t, "the first to come back", l.soonest("a", "b"), -1)
	kit.Expect(t, "lenient, after a minute", l.deny("b", time.Minute, true, now), 0)
}

func TestBackoff(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 0, 2: 100 * ms, 3: 200 * ms, 8: 6400 * ms, 9: 10 * time.Second, 1000: 10 * time.Second} {
		kit.Expect(t, "backoff", backoff(n), want)
	}
}

// A box that was asleep, or this process on it, is no fault of the child; a child that sleeps alone is.
func TestSleepIsForgiven(t *testing.T) {
	base := time.Unix(1000, 0)
	life := func() *progress {
		p := &progress{patience: Patience{Status: time.Second}, started: base}
		p.hearing(base, true)
		return p
	}
	p := life()
	for at := checkEvery; at <= time.Second; at += checkEvery {
		if err := p.check(base.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	if p.check(base.Add(1100*ms)) == nil {
		t.Error("a child that has said nothing for longer than it may is not seen")
	}
	p = life()
	_ = p.check(base.Add(100 * ms))
	for at := time.Minute; at <= time.Minute+800*ms; at += checkEvery {
		if err := p.check(base.Add(at)); err != nil {
			t.Fatalf("after %v: %v", at, err)
		}
	}
	for at := time.Minute + 900*ms; at <= time.Minute+1200*ms; at += checkEvery {
		if p.check(base.Add(at)) != nil {
			return
		}
	}
	t.Error("a child that stays silent after the sleep is not seen")
}

const ms = time.Millisecond
