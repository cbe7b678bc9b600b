package mqtt

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
)

// Whatever comes when: the counts that pass add up to what happened, and no two
// events of one code and stream pass within one window.
func TestRepeatsLoseNothingAndHoldTheRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r repeats
		happened, passed := map[repeatKey]int64{}, map[repeatKey]int64{}
		lastPass := map[repeatKey]time.Time{}
		now := contracttest.T0
		pass := func(e contract.Event) {
			key := repeatKey{e.Code, e.Stream}
			if last, ok := lastPass[key]; ok && now.Sub(last) < repeatWindow {
				t.Fatalf("%v passes %s after the last one", key, now.Sub(last))
			}
			if e.FirstTS.After(e.LastTS.Time) || e.LastTS.After(now) {
				t.Fatalf("%v: first %v, last %v, now %v", key, e.FirstTS, e.LastTS, now)
			}
			lastPass[key] = now
			passed[key] += e.Count
		}
		for range rapid.IntRange(1, 200).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 15000).Draw(t, "ms")) * time.Millisecond)
			for _, sum := range r.due(now) {
				pass(sum)
			}
			e := contract.Event{
				Code:   rapid.SampledFrom([]string{"a", "b"}).Draw(t, "code"),
				Stream: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "stream"),
				Count:  1, FirstTS: contract.Time{Time: now}, LastTS: contract.Time{Time: now},
			}
			happened[repeatKey{e.Code, e.Stream}]++
			if r.add(e, now) {
				pass(e)
			}
		}
		for at, ok := r.next(); ok; at, ok = r.next() {
			now = at
			sums := r.due(now)
			if len(sums) == 0 {
				t.Fatalf("nothing is due at the time that next named")
			}
			for _, sum := range sums {
				pass(sum)
			}
		}
		for key, n := range happened {
			if passed[key] != n {
				t.Fatalf("%v happened %d times, %d passed", key, n, passed[key])
			}
		}
		if r.due(now.Add(2 * repeatWindow)); len(r.windows) != 0 {
			t.Fatalf("%d windows are kept for nothing", len(r.windows))
		}
	})
}

func TestASumSaysTheNewestAndFromWhen(t *testing.T) {
	var r repeats
	at := func(s int) contract.Time {
		return contract.Time{Time: contracttest.T0.Add(time.Duration(s) * time.Second)}
	}
	for s, message := range []string{"first", "second", "third"} {
		passes := r.add(contract.Event{Code: "a", Message: message, Count: 1, FirstTS: at(s), LastTS: at(s)}, at(s).Time)
		if passes != (s == 0) {
			t.Fatalf("%s passes: %v", message, passes)
		}
	}
	sums := r.due(contracttest.T0.Add(repeatWindow))
	if len(sums) != 1 {
		t.Fatalf("%d sums", len(sums))
	}
	if s := sums[0]; s.Message != "third" || s.Count != 2 || s.FirstTS != at(1) || s.LastTS != at(2) {
		t.Errorf("sum %+v", s)
	}
}

// Of several sums that are due the latest goes last.
func TestSumsGoInTheirOrder(t *testing.T) {
	var r repeats
	at := func(s int) contract.Time {
		return contract.Time{Time: contracttest.T0.Add(time.Duration(s) * time.Second)}
	}
	streams := []string{"d", "a", "c", "b", "e"}
	for round := range 2 { // of which the second is summed up
		for i, stream := range streams {
			now := at(round*len(streams) + i)
			r.add(contract.Event{Code: "x", Stream: stream, Count: 1, FirstTS: now, LastTS: now}, contracttest.T0)
		}
	}
	var got []string
	for _, e := range r.due(contracttest.T0.Add(10 * time.Second)) {
		got = append(got, e.Stream)
	}
	if !slices.Equal(got, streams) {
		t.Errorf("sums of %q, want %q", got, streams)
	}
}
