package kvstest

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// zero is when the streams of these tests begin.
var zero = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// uneven is a film of fragments of 1, 2 and 0.5 seconds.
func uneven() *film {
	return &film{offsets: []time.Duration{0, time.Second, 3 * time.Second}, length: 3500 * time.Millisecond}
}

func TestTimeline(t *testing.T) {
	at := func(seconds float64) time.Time { return zero.Add(time.Duration(seconds * float64(time.Second))) }
	line := newTimeline(newReel(uneven()), zero)
	line.stop(at(8))    // in fragment 7, from 8 to 10 seconds
	line.stop(at(8.5))  // once is enough
	line.produce(at(9)) // cannot begin before 10: no gap
	line.produce(at(9.5))
	line.stop(at(10.2)) // in fragment 8, from 10 to 10.5 seconds
	line.produce(at(20))
	tests := []struct {
		at              float64
		begun, contains int64 // what timeline.begun and timeline.at give
	}{
		{-1, -1, 0},
		{0, 0, 0},
		{0.999, 0, 0},
		{1, 1, 1},
		{2.999, 1, 1},
		{3, 2, 2},
		{3.5, 3, 3},
		{8, 7, 7},
		{9.999, 7, 7},
		{10, 8, 8},
		{10.499, 8, 8},
		{10.5, 8, 9},
		{19.999, 8, 9},
		{20, 9, 9},
		{21, 10, 10},
		{20 + 3.5*1e6, 9 + 3e6, 9 + 3e6},
	}
	for _, tt := range tests {
		if got := line.begun(at(tt.at)); got != tt.begun {
			t.Errorf("at %vs fragment %d had begun, want %d", tt.at, got, tt.begun)
		}
		if got := line.at(at(tt.at)); got != tt.contains {
			t.Errorf("at %vs is fragment %d, want %d", tt.at, got, tt.contains)
		}
	}
	if start, end, ok := line.span(8); !ok || !start.Equal(at(10)) || !end.Equal(at(10.5)) {
		t.Errorf("fragment 8 is from %v to %v, %v", start, end, ok)
	}
	line.stop(at(21))
	if _, _, ok := line.span(11); ok {
		t.Error("there is a fragment after the end of production")
	}
}

// TestTimelineWhole holds for any time: the fragment that has begun is the one whose span contains the time.
func TestTimelineWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		when := zero.Add(time.Duration(rapid.Int64Range(0, int64(1000*time.Hour)).Draw(t, "when")))
		line := newTimeline(newReel(uneven()), zero)
		i := line.begun(when)
		start, end, ok := line.span(i)
		if !ok || when.Before(start) || !when.Before(end) || line.at(when) != i {
			t.Fatalf("fragment %d, from %v to %v, for %v", i, start, end, when)
		}
		if next, _, _ := line.span(i + 1); !next.Equal(end) {
			t.Fatalf("a gap after fragment %d: %v to %v", i, end, next)
		}
	})
}

// TestReel changes films: one of 1, 2 and 0.5 seconds, from fragment 4 on one of 1.5 seconds.
func TestReel(t *testing.T) {
	r := newReel(uneven())
	r.change(9, uneven())
	r.change(4, &film{offsets: []time.Duration{0}, length: 1500 * time.Millisecond})
	for i, want := range []float64{0, 1, 3, 3.5, 4.5, 6, 7.5, 9, 10.5, 12, 13.5} {
		at := time.Duration(want * float64(time.Second))
		if got := r.position(int64(i)); got != at {
			t.Errorf("fragment %d begins at %v, want %v", i, got, at)
		}
		if got := r.at(at); got != int64(i) {
			t.Errorf("at %v is fragment %d, want %d", at, got, i)
		}
		if i > 0 && r.at(at-1) != int64(i-1) {
			t.Errorf("before %v is fragment %d, want %d", at, r.at(at-1), i-1)
		}
	}
	if f, k := r.shot(3); len(f.offsets) != 3 || k != 0 {
		t.Errorf("fragment 3 shows shot %d of %d", k, len(f.offsets))
	}
	if f, k := r.shot(7); len(f.offsets) != 1 || k != 0 {
		t.Errorf("fragment 7 shows shot %d of %d", k, len(f.offsets))
	}
}
