package ingest_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// diary is a Sink that keeps what happens in the order in which it happens: f is a frame, F is one that is marked as
// recorded, and a report is its code.
type diary struct {
	recorder
	lines []string
}

func (d *diary) Frame(ctx context.Context, f *ingest.Frame) {
	d.lines = append(d.lines, map[bool]string{false: "f", true: "F"}[f.Recorded])
	d.recorder.Frame(ctx, f)
}

func (d *diary) Report(r ingest.Report) {
	if r.Code != "" && r.Code != ingest.CodePlaying {
		d.lines = append(d.lines, r.Code)
		if r.Message == "" {
			d.lines = append(d.lines, "(without a message)")
		}
	}
	d.recorder.Report(r)
}

func (d *diary) Tracks([]*mkv.Track) {}

// behind is fragment i as it comes at a distance from the newest one; "" leaves the distance out.
func behind(i int, ms string) []byte {
	closing := []string{"CONTINUATION_TOKEN", fmt.Sprint("token-", i)}
	if ms != "" {
		closing = append(closing, "MILLIS_BEHIND_NOW", ms)
	}
	return append(numbered(i).head(), tagsElement(closing...)...)
}

// How far behind each fragment is, what is reported of it, when the session jumps, and which frames are marked as
// recorded. Normal is half of max_lag; a start in the past is not late until it has come within max_lag, or 10 s, for
// the first time; frames are live again within 2 s; two jumps are 30 s apart.
func TestLag(t *testing.T) {
	many := func(n int, ms string) string { return strings.TrimSpace(strings.Repeat(ms+" ", n)) }
	for name, row := range map[string]struct {
		start ingest.SelectorKind
		most  time.Duration
		stay  bool
		lags  string // of a fragment each second, in milliseconds; - for none
		want  string
		jumps int
	}{
		"never late":            {ingest.Now, 20 * time.Second, false, "0 20000 19999", "f f f", 0},
		"late":                  {ingest.Now, 20 * time.Second, false, "0 20001 0", "f f lag.high ingest.skipped f lag.normal", 1},
		"late, after a restart": {ingest.Resume, 20 * time.Second, false, "20001 0", "f lag.high ingest.skipped f lag.normal", 1},
		"no bound":              {ingest.Now, 0, false, "3600000 3600000", "f f", 0},
		"nobody says":           {ingest.Now, time.Second, false, "- - -", "f f f", 0},
		"normal is half of it": {
			ingest.Now, 20 * time.Second, true, "20001 10000 10001 9999 10000 20000 20001 9999",
			"f lag.high F F F lag.normal F F F lag.high F lag.normal", 0,
		},
		"late once, however long": {ingest.Now, 20 * time.Second, true, "20001 60000 20000 20001 -", "f lag.high F F F F", 0},
		"recorded until it is live": {
			ingest.Now, 20 * time.Second, true, "0 20001 2001 - 2000 19999", "f f lag.high F lag.normal F F f", 0,
		},
		"a jump that does not help": {
			ingest.Now, 20 * time.Second, false, many(32, "30000"),
			"f lag.high ingest.skipped " + many(30, "f") + " ingest.skipped f", 2,
		},
		"from the past, not late": {
			ingest.Earliest, 20 * time.Second, false, "600000 20001 20000 9000 2001 2000 0", "F F F F F F f", 0,
		},
		"from the past, late after that": {
			ingest.Earliest, 20 * time.Second, false, "600000 20000 20001 1", "F F F lag.high ingest.skipped f lag.normal", 1,
		},
		"from the past, nobody says": {ingest.Earliest, 20 * time.Second, false, "- - -", "F F F", 0},
		"from the past, said later":  {ingest.Earliest, 20 * time.Second, false, "- 30000 30000", "F F F", 0},
		"from the past, a small bound": {
			ingest.Earliest, 5 * time.Second, false, "60000 10001 10000 1", "F F F lag.high ingest.skipped f lag.normal", 1,
		},
		"from the past, no bound": {ingest.Earliest, 0, false, "60000 2001 2000 60000", "F F F f", 0},
		"from the past, it stays": {
			ingest.Earliest, 5 * time.Second, true, "60000 9000 2000 5001 2001 2000 0",
			"F F lag.high F lag.normal f lag.high F lag.normal F f", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			lags := strings.Fields(row.lags)
			next := 0
			sent := func(w http.ResponseWriter) bool { return send(w, behind(next, strings.Trim(lags[next], "-"))) }
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				for ; next < len(lags) && sent(w) && pause(r, time.Second); next++ {
				}
				pause(r, 5*time.Second)
			}, func(t *testing.T, o *odd) {
				ctx, stop := context.WithTimeout(t.Context(), time.Duration(len(lags))*time.Second+time.Second)
				defer stop()
				var d diary
				ingest.NewSession(ingest.Stream{
					Name: "cam", StreamName: "cam", Start: ingest.Selector{Kind: row.start}, MaxLag: row.most, Stay: row.stay,
				}, o.service, nil, &d).Run(ctx)
				if got := strings.Join(d.lines, " "); got != row.want {
					t.Errorf("got  %s\nwant %s", got, row.want)
				}
				if len(o.asked) != 1+row.jumps || slices.Contains(o.asked[1:], "CONTINUATION_TOKEN") {
					t.Errorf("it asks for %q, want %d jumps", o.asked, row.jumps)
				}
			})
		})
	}
}

// What the reports of a lag and of a jump say: the lag that was measured, the bound, and over what it jumps.
func TestLagReports(t *testing.T) {
	for name, row := range map[string]struct {
		before, after func(*chunk)
		skipped       any // milliseconds
	}{
		"the producer's times":        {func(*chunk) {}, func(*chunk) {}, int64(93_000)},
		"the service's time after it": {func(*chunk) {}, func(c *chunk) { c.producer = "" }, int64(93_000)},
		"no time before it":           {func(c *chunk) { c.producer = "" }, func(*chunk) {}, nil},
		"no time after it":            {func(*chunk) {}, func(c *chunk) { c.producer, c.server = "", "" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, r *http.Request, in request) {
				c, lag := numbered(7), "20500"
				row.before(&c)
				if in.StartSelector.StartSelectorType == "NOW" {
					c, lag = numbered(100), "9999"
					row.after(&c)
				}
				send(w, append(c.head(), tagsElement("MILLIS_BEHIND_NOW", lag, "CONTINUATION_TOKEN", "token")...))
				pause(r, time.Hour)
			}, func(t *testing.T, o *odd) {
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				defer stop()
				var r recorder
				ingest.NewSession(ingest.Stream{
					Name: "cam", StreamName: "cam", Start: ingest.Selector{Kind: ingest.Resume}, MaxLag: 20 * time.Second,
				}, o.service, memory{"cam": {Fragment: "5"}}, &r).Run(ctx)
				seven, hundred := numbered(7).number, numbered(100).number
				for code, want := range map[string]map[string]any{
					ingest.CodeLagHigh:   {"service_ms": int64(20_500), "max_lag_ms": int64(20_000)},
					ingest.CodeLagNormal: {"service_ms": int64(9999), "max_lag_ms": int64(20_000)},
					ingest.CodeSkipped:   {"from_fragment": seven, "to_fragment": hundred, "skipped_ms": row.skipped},
				} {
					if row.skipped == nil {
						delete(want, "skipped_ms")
					}
					reports := r.of(code)
					if len(reports) != 1 || !maps.Equal(reports[0].Detail, want) {
						t.Errorf("%s: %+v, want one with %v", code, reports, want)
					}
				}
				if n := len(r.frames); n != 2 || !r.frames[1].gap {
					t.Errorf("frames %+v: the one after the jump has to say that some are missing", r.frames)
				}
			})
		})
	}
}

// A window gives the distribution of the newest 1,024 samples since it was asked last.
func TestWindow(t *testing.T) {
	var w ingest.Window
	for _, tc := range []struct {
		name    string
		samples []time.Duration
		want    ingest.Distribution
	}{
		{"one", []time.Duration{7}, ingest.Distribution{Last: 7, Min: 7, P50: 7, P95: 7, Max: 7}},
		{"two", []time.Duration{7, 3}, ingest.Distribution{Last: 3, Min: 3, P50: 3, P95: 3, Max: 7}},
		{"0 to 100, from above", countdown(100, 101), ingest.Distribution{Last: 0, Min: 0, P50: 50, P95: 95, Max: 100}},
		{"as many as fit", countdown(1023, 1024), ingest.Distribution{Last: 0, Min: 0, P50: 511, P95: 971, Max: 1023}},
		{"three more than fit", countdown(5000, 1027), ingest.Distribution{Last: 3974, Min: 3974, P50: 4485, P95: 4945, Max: 4997}},
		{"one more than fit", countdown(5000, 1025), ingest.Distribution{Last: 3976, Min: 3976, P50: 4487, P95: 4947, Max: 4999}},
		{"more than twice", countdown(5000, 2100), ingest.Distribution{Last: 2901, Min: 2901, P50: 3412, P95: 3872, Max: 3924}},
	} {
		for _, d := range tc.samples {
			w.Add(d)
		}
		if got := w.Take(); got == nil || *got != tc.want {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.want)
		}
		if again := w.Take(); again != nil {
			t.Errorf("%s: what was taken comes again: %+v", tc.name, again)
		}
	}
}

// countdown is n samples from a first one downwards.
func countdown(from, n int) []time.Duration {
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = time.Duration(from - i)
	}
	return out
}
