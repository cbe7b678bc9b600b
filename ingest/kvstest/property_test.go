package kvstest

import (
	"context"
	"errors"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// TestSkewProperty refuses a clock that is off by more than five minutes either way, and no other.
func TestSkewProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		off := time.Duration(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "off"))
		a := &authority{now: func() time.Time { return zero }}
		if e := a.checkSkew(zero.Add(off)); (e != nil) != (off > maxSkew || off < -maxSkew) {
			t.Errorf("off by %v: %v", off, e)
		}
	})
}

// TestSelectorProperty holds selectors to what they mean, for any time and fragment, with any history, retention, delay
// and clock.
func TestSelectorProperty(t *testing.T) {
	source, err := ReadSource(clip.H265())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		some := func(name string, least, most time.Duration) time.Duration {
			return time.Duration(rapid.Int64Range(int64(least/time.Millisecond), int64(most/time.Millisecond)).Draw(t, name)) * time.Millisecond
		}
		config := StreamConfig{
			History: some("history", 0, time.Hour), Retention: some("retention", time.Second, time.Hour),
			Delay: some("delay", 0, 10*time.Second), Ahead: some("ahead", -time.Minute, time.Minute),
			OpaqueTokens: rapid.Bool().Draw(t, "opaque tokens"),
		}
		l, err := newLive("property", source, config, zero)
		if err != nil {
			t.Fatal(err)
		}
		now := zero.Add(config.Delay)
		newest := l.timeline.begun(zero)
		oldest := l.timeline.at(zero.Add(-config.Retention))

		i := rapid.Int64Range(0, newest+5).Draw(t, "fragment")
		number := l.number(i)
		kept := i >= oldest && i <= newest
		next, err := l.first(Selector{Type: FragmentNumber, AfterFragmentNumber: number}, now)
		if kept != (err == nil) || kept && next != i+1 || !kept && !errors.Is(err, errNoFragment) {
			t.Errorf("after fragment %d of %d to %d: %d, %v", i, oldest, newest, next, err)
		}
		next, err = l.first(Selector{Type: Continuation, ContinuationToken: l.token(number)}, now)
		if kept != (err == nil) || kept && next != i+1 || !kept && !errors.Is(err, staleToken) {
			t.Errorf("by token of %d of %d to %d: %d, %v", i, oldest, newest, next, err)
		}

		when := zero.Add(-some("ago", 0, config.History))
		for kind, stamped := range map[string]time.Time{ProducerTime: when.Add(config.Ahead), ServerTimestamp: when.Add(config.Delay)} {
			got, err := l.first(Selector{Type: kind, StartTimestamp: float64(stamped.UnixMilli()) / 1000}, now)
			start, end, _ := l.timeline.span(got)
			if err != nil || got < oldest || got > oldest && (when.Before(start) || !when.Before(end)) {
				t.Errorf("%s at %v: fragment %d from %v to %v, %v", kind, when, got, start, end, err)
			}
		}
	})
}

// TestConnectionsProperty opens and closes sessions in any order: one is refused when as many as allowed are open, and
// never else.
func TestConnectionsProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(1, 4).Draw(rt, "limit")
		opens := rapid.SliceOfN(rapid.Bool(), 1, 20).Draw(rt, "opens")
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, Config{Limits: Limits{Connections: limit, Calls: math.MaxInt32}})
			stream := h.add("clock", StreamConfig{})
			var open []context.CancelFunc
			for _, opening := range opens {
				if !opening {
					if len(open) > 0 {
						open[0]()
						open = open[1:]
						synctest.Wait()
					}
					continue
				}
				ctx, cancel := context.WithCancel(t.Context())
				r := h.post(ctx, "/getMedia", map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}})
				if (r.StatusCode == http.StatusOK) != (len(open) < limit) {
					t.Errorf("%d of %d open: %s", len(open), limit, r.Status)
				}
				if r.StatusCode != http.StatusOK {
					cancel()
					continue
				}
				open = append(open, cancel)
			}
			if stream.Sessions() != len(open) {
				t.Errorf("%d sessions, want %d", stream.Sessions(), len(open))
			}
			for _, leave := range open {
				leave()
			}
		})
	})
}
