package ingest_test

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/ingest"
)

// feed is a stream whose fragments come in an order, under numbers and with a regard for selectors that a test
// chooses: one a second, each with a frame at its begin and one at its end.
type feed struct {
	began    time.Time
	chunk    func(i int) chunk
	obeys    func(call int) bool // the service regards the selector; otherwise it begins with fragment 0
	sessions func(call int) (fragments int, cut bool)

	mu    sync.Mutex
	calls int
	sent  map[int]bool // fragments that were sent to their end
}

// first is the fragment that a session begins with, or false when the service refuses the selector.
func (f *feed) first(call int, in request) (int, bool) {
	newest := int(time.Since(f.began) / time.Second)
	sel := in.StartSelector
	switch {
	case !f.obeys(call):
		return 0, true
	case sel.StartSelectorType == "NOW":
		return newest, true
	case sel.StartSelectorType == "EARLIEST":
		return 0, true
	}
	for i := range newest + 1 {
		c := f.chunk(i)
		if c.token == sel.ContinuationToken || c.number == sel.AfterFragmentNumber {
			return i + 1, true
		}
	}
	return 0, false
}

func (f *feed) serve(w http.ResponseWriter, r *http.Request, in request) {
	f.mu.Lock()
	f.calls++
	call := f.calls
	f.mu.Unlock()
	first, ok := f.first(call, in)
	if !ok {
		w.Header().Set("X-Amzn-ErrorType", "InvalidArgumentException")
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	fragments, cut := f.sessions(call)
	for i := first; i < first+fragments; i++ {
		wait := time.Until(f.began.Add(time.Duration(i) * time.Second))
		if wait > 3*time.Second && !pause(r, 3*time.Second) || wait > 3*time.Second {
			return
		}
		c := f.chunk(i)
		if !pause(r, wait) || !send(w, c.head()) {
			return
		}
		if cut && i == first+fragments-1 {
			panic(http.ErrAbortHandler)
		}
		if !send(w, c.bytes()[len(c.head()):]) {
			return
		}
		f.mu.Lock()
		f.sent[i] = true
		f.mu.Unlock()
	}
}

// numberings are ways to number fragments.
var numberings = map[string]func(i int) int{
	"rising":        func(i int) int { return 1000 + i },
	"falling":       func(i int) int { return 100_000 - i },
	"in pairs":      func(i int) int { return 1000 + (i ^ 1) },
	"wrapping":      func(i int) int { return (995 + i) % 1000 },
	"always equal":  func(int) int { return 7 },
	"created again": func(i int) int { return map[bool]int{true: 100_000 + i, false: i}[i < 20] },
}

// stamps are ways to give fragments a SERVER_TIMESTAMP.
var stamps = map[string]func(i, number int) string{
	"in order":  func(i, _ int) string { return fmt.Sprintf("%d.000", 1_700_000_000+i) },
	"by number": func(_, n int) string { return fmt.Sprintf("%d.000", 1_700_000_000+n) },
	"none":      func(int, int) string { return "" },
}

func keys[V any](m map[string]V) []string {
	var out []string
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Whatever numbers fragments have, and whether the service regards the position or not: no frame comes twice, and
// every one from the first to the last comes, or a report says that fragments were skipped.
func TestAnyNumberingGivesEveryFragmentOnceOrAReport(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		numbering := rapid.SampledFrom(keys(numberings)).Draw(rt, "numbers")
		stamp := rapid.SampledFrom(keys(stamps)).Draw(rt, "timestamps")
		ignored := rapid.SliceOfN(rapid.IntRange(1, 30), 0, 4).Draw(rt, "calls whose selector is ignored")
		always := rapid.Bool().Draw(rt, "all calls after 5 are ignored")
		lengths := rapid.SliceOfN(rapid.IntRange(1, 20), 1, 8).Draw(rt, "fragments of sessions")
		cuts := rapid.SliceOfN(rapid.Bool(), 1, 5).Draw(rt, "sessions that are cut")
		start := rapid.SampledFrom([]ingest.SelectorKind{ingest.Now, ingest.Earliest, ingest.Resume}).Draw(rt, "start")
		synctest.Test(t, func(t *testing.T) {
			f := &feed{
				sent:  map[int]bool{},
				began: time.Now().Add(-30 * time.Second),
				chunk: func(i int) chunk {
					n := numberings[numbering](i)
					return chunk{
						number: fmt.Sprintf("%047d", n), token: fmt.Sprint("token-", i), server: stamps[stamp](i, n),
						frames: []string{fmt.Sprint(i, " first"), fmt.Sprint(i, " second")},
					}
				},
				obeys: func(call int) bool { return !slices.Contains(ignored, call) && !(always && call > 5) },
				sessions: func(call int) (int, bool) {
					return lengths[call%len(lengths)], cuts[call%len(cuts)]
				},
			}
			o := newOdd(t, f.serve)
			defer o.close()
			var s shown
			o.run(3*time.Minute, start, memory{}, &s)
			f.mu.Lock() // a handler may still be at work
			sent := maps.Clone(f.sent)
			f.mu.Unlock()
			checkOnce(rt, &s, sent, numbering == "always equal" && stamp != "in order")
			o.checkRate(rt)
		})
	})
}

// checkOnce holds that no frame came twice, and that for those that did not come there is a report. Where nothing
// tells fragments apart nobody can know either; frames come all the same.
func checkOnce(t *rapid.T, s *shown, sent map[int]bool, alike bool) {
	seen, low, high := map[string]bool{}, 1<<30, -1
	for _, d := range s.data {
		if seen[d] && !alike {
			t.Errorf("%q came twice; reports %q", d, s.codes())
			return
		}
		seen[d] = true
		var i int
		fmt.Sscan(d, &i)
		low, high = min(low, i), max(high, i)
	}
	told, gap := 0, alike
	for _, p := range s.reports {
		if p.Code == ingest.CodeRepeated {
			n, _ := p.Detail["fragments"].(int)
			told += n
		}
		gap = gap || p.Code == ingest.CodeGap
	}
	for i := low; i < high; i++ { // the last fragment may be on its way
		if f := fmt.Sprint(i); sent[i] && (!seen[f+" first"] || !seen[f+" second"]) && !gap {
			if told--; told < 0 {
				t.Errorf("fragment %d is missing; reports %q", i, s.codes())
				return
			}
		}
	}
	if high < 0 {
		t.Errorf("nothing came; reports %q", s.codes())
	}
}

// A stream that is deleted and created again has lower numbers. Its pictures come, with a report, whether the
// service refuses the position or accepts it, and over a restart of the agent, whose position is replaced.
func TestStreamCreatedAgain(t *testing.T) {
	for name, row := range map[string]struct {
		accepts bool   // the service accepts the position of the stream before
		server  string // timestamp of its fragments; "" for none
		reports []string
	}{
		"refused":                      {false, "1700000000.000", []string{ingest.CodeGap}},
		"accepted, later timestamps":   {true, "1800000000.000", nil},
		"accepted, earlier timestamps": {true, "1600000000.000", []string{ingest.CodeRepeated, ingest.CodeGap}},
		"accepted, without timestamps": {true, "", []string{ingest.CodeRepeated, ingest.CodeGap}},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", restart ", restart), func(t *testing.T) {
				inBubble(t, nil, func(t *testing.T, o *odd) {
					began, again := time.Now(), false
					o.media = func(w http.ResponseWriter, r *http.Request, in request) {
						if !again {
							for i := 0; send(w, numbered(900_000+i).bytes()) && pause(r, time.Second); i++ {
							}
							return
						}
						if !row.accepts && strings.Contains(fmt.Sprint(in), "9000") {
							w.Header().Set("X-Amzn-ErrorType", "InvalidArgumentException")
							w.WriteHeader(http.StatusBadRequest)
							return
						}
						for {
							c := numbered(1 + int(time.Since(began)/time.Second))
							c.server = row.server
							if row.server != "" {
								c.server = row.server[:6] + fmt.Sprintf("%04d.000", int(time.Since(began)/time.Second))
							}
							if !send(w, c.bytes()) || !pause(r, time.Second) {
								return
							}
						}
					}
					positions := memory{}
					var s shown
					cut := func() { again = true; o.transport.CloseIdleConnections() }
					if restart {
						o.run(10*time.Second, ingest.Resume, positions, &s)
						cut()
						s = shown{}
						o.run(30*time.Second, ingest.Resume, positions, &s)
					} else {
						old := o.media
						o.media = func(w http.ResponseWriter, r *http.Request, in request) {
							if !again {
								for i := 0; i < 10 && send(w, numbered(900_000+i).bytes()) && pause(r, time.Second); i++ {
								}
								again = true
								panic(http.ErrAbortHandler)
							}
							old(w, r, in)
						}
						o.run(40*time.Second, ingest.Resume, positions, &s)
					}
					fresh := 0
					for _, f := range s.frames {
						if f.fragment < fmt.Sprintf("%047d", 1000) {
							fresh++
						}
					}
					if fresh < 15 {
						t.Errorf("%d frames of the new stream, reports %q", fresh, s.codes())
					}
					for _, code := range row.reports {
						if s.find(code) == nil {
							t.Errorf("reports %q, none of them %s", s.codes(), code)
						}
					}
					if p := positions["cam"]; p.Fragment > fmt.Sprintf("%047d", 1000) {
						t.Errorf("the stored position is still %s", p.Fragment)
					}
				})
			})
		}
	}
}

// A service that sends the same fragments whatever it is asked for is called with growing pauses, and that is reported.
func TestSameFragmentsAgainAndAgain(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, _ *http.Request, _ request) {
		for i := range 3 {
			send(w, numbered(i+1).bytes())
		}
	}, func(t *testing.T, o *odd) {
		var s shown
		o.run(5*time.Minute, ingest.Now, nil, &s)
		if len(s.data) != 3 || s.find(ingest.CodeRepeated) == nil {
			t.Errorf("frames %q, reports %q", s.data, s.codes())
		}
		if n := len(o.calls); n < 5 || n > 20 {
			t.Errorf("%d calls in five minutes", n)
		}
	})
}

// A service that waits for fragments after the position, in a stream that was created again and has lower numbers,
// would wait for ever. The session looks at the newest fragment now and then. A stream that pauses and goes on
// loses nothing by that.
func TestPositionThatNothingComesAfter(t *testing.T) {
	for name, row := range map[string]struct {
		first   int // number of the first fragment after the pause
		restart bool
		lost    int // fragments that come before it looks
		gap     bool
	}{
		"created again":              {1, false, 40, true},
		"created again, restart":     {1, true, 40, true},
		"the same stream":            {1006, false, 0, false},
		"the same stream, a restart": {1006, true, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, o *odd) {
				began := time.Now()
				number := func(i int) int { // fragment 6 comes two minutes after the others
					if i < 6 {
						return 1000 + i
					}
					return row.first + i - 6
				}
				at := func(i int) time.Time {
					if i < 6 {
						return began.Add(time.Duration(i) * time.Second)
					}
					return began.Add(time.Duration(i-6)*time.Second + 2*time.Minute)
				}
				o.media = func(w http.ResponseWriter, r *http.Request, in request) {
					after, newest := -1, 0
					for !at(newest + 1).After(time.Now()) {
						newest++
					}
					fmt.Sscanf(in.StartSelector.ContinuationToken, "token-%d", &after)
					_ = http.NewResponseController(w).Flush()
					idle := time.Now()
					for i := 0; time.Since(idle) < 3*time.Second; {
						switch {
						case at(i).After(time.Now()):
							if !pause(r, 100*time.Millisecond) {
								return
							}
							continue
						case in.StartSelector.StartSelectorType == "NOW" && i < newest || number(i) <= after:
						case send(w, numbered(number(i)).bytes()):
							idle = time.Now()
						default:
							return
						}
						i++
					}
				}
				positions := memory{}
				var s shown
				if row.restart {
					o.run(20*time.Second, ingest.Resume, positions, &s)
					data := s.data
					s = shown{data: data}
				}
				o.run(4*time.Minute, ingest.Resume, positions, &s)
				seen := map[string]int{}
				for _, d := range s.data {
					if seen[d]++; seen[d] > 1 {
						t.Errorf("%q came twice", d)
					}
				}
				missing := 0
				for i := 0; !at(i + 1).After(time.Now()); i++ {
					if seen[fmt.Sprint("frame ", number(i))] == 0 {
						missing++
					}
				}
				if missing > row.lost || (s.find(ingest.CodeGap) != nil) != row.gap || s.find(ingest.CodeRepeated) != nil {
					t.Errorf("%d frames are missing, reports %q", missing, s.codes())
				}
			})
		})
	}
}
