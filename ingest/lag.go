package ingest

import (
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// lagWatch tells when a session falls behind and when it has caught up.
type lagWatch struct {
	most   time.Duration // 0: never too far
	stay   bool          // do not jump
	past   bool          // the stream was asked to begin in the past, and has not caught up yet
	late   bool          // lag.high was told and lag.normal was not
	jumped time.Time
	made   time.Time // PRODUCER_TIMESTAMP of the newest fragment

	// recorded says that frames come from behind on purpose, so that each of them is to be seen: from a start in the
	// past, or from when a stream that stays has become late, until the session has really caught up.
	recorded bool
}

// recent is how far behind a stream that began in the past counts as live.
const recent = 10 * time.Second

// caughtUp is how far behind a session may be whose frames are live. What it has not read yet then comes at once, and
// what of that is not on the screen yet is made up for by faster play.
const caughtUp = 2 * time.Second

// jumpInterval is the least time between two jumps to the newest fragment: when a jump does
// not help, another one would not either.
const jumpInterval = 30 * time.Second

// note looks at the lag of a whole fragment. The report's code is empty when nothing
// has changed. To begin in the past, as was asked for, is not to be late. Normal is half of the bound, so that a
// lag around it is told once.
func (l *lagWatch) note(f *mkv.Fragment, now time.Time) (r Report, jump bool) {
	l.made = f.ProducerTime
	if l.past && f.HasBehind && f.Behind <= max(l.most, recent) {
		l.past = false
	}
	if f.HasBehind && f.Behind <= caughtUp {
		l.recorded = false
	}
	if l.most == 0 || !f.HasBehind || l.past {
		return Report{}, false
	}
	detail := map[string]any{"service_ms": f.Behind.Milliseconds(), "max_lag_ms": l.most.Milliseconds()}
	switch {
	case f.Behind > l.most:
		if !l.late {
			r = Report{Code: CodeLagHigh, Message: "further behind the newest fragment than max_lag", Detail: detail}
		}
		l.late = true
		l.recorded = l.recorded || l.stay
		if !l.stay && now.Sub(l.jumped) >= jumpInterval {
			l.jumped, jump, l.recorded = now, true, false
		}
	case f.Behind < l.most/2 && l.late:
		l.late = false
		r = Report{Code: CodeLagNormal, Message: "caught up with the newest fragment", Detail: detail}
	}
	return r, jump
}

// skip is a jump over fragments, to be told when the first frame behind it is there.
type skip struct {
	from string // the last fragment before it
	made time.Time
}

func (s *skip) report(first *Frame) Report {
	detail := map[string]any{"from_fragment": s.from, "to_fragment": first.Fragment}
	if !s.made.IsZero() && !first.Made.IsZero() {
		detail["skipped_ms"] = first.Made.Sub(s.made).Milliseconds()
	}
	return Report{Code: CodeSkipped, Message: "skipped fragments to catch up", Detail: detail}
}

// Window gathers samples of a lag between two telemetry reports. Its zero value is
// ready; it belongs to one goroutine at a time.
type Window struct {
	samples []time.Duration
	last    time.Duration
	next    int // where the oldest sample stands once the window is full
}

// maxSamples bounds a Window: ten seconds at 60 frames a second fit, and of more the newest.
const maxSamples = 1024

// Add takes a sample.
func (w *Window) Add(d time.Duration) {
	w.last = d
	if len(w.samples) < maxSamples {
		w.samples = append(w.samples, d)
		return
	}
	w.samples[w.next] = d
	w.next = (w.next + 1) % maxSamples
}

// Distribution is what a Window has seen.
type Distribution struct {
	Last, Min, P50, P95, Max time.Duration
}

// Take gives the distribution of the samples and begins anew; nil when there were none.
func (w *Window) Take() *Distribution {
	if len(w.samples) == 0 {
		return nil
	}
	slices.Sort(w.samples)
	rank := func(p int) time.Duration { return w.samples[(len(w.samples)-1)*p/100] }
	d := &Distribution{Last: w.last, Min: rank(0), P50: rank(50), P95: rank(95), Max: rank(100)}
	w.samples, w.next = w.samples[:0], 0
	return d
}
