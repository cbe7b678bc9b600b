package kvstest

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// TestFragmentNumbers makes the numbers of the first two fragments of a published capture (see numbering.go), but for
// the lowest 28 bits, which mean nothing.
func TestFragmentNumbers(t *testing.T) {
	for _, tt := range []struct {
		number  string
		counter int64
		server  int64 // milliseconds
	}{
		{"91343852333181432392682062607743920146159169392", 1, 1511852109126},
		{"91343852333181432397633822764885441725874549018", 2, 1511852110915},
		{"91343852333713038953530719038075113645398559869", 107357091, 1537574916095},
	} {
		made := fragmentNumber(tt.counter, time.UnixMilli(tt.server), "arn")
		if len(made) != len(tt.number) || made[:38] != tt.number[:38] {
			t.Errorf("made %s, want %s", made, tt.number)
		}
		if at, ok := serverTimeIn(tt.number); !ok || at.UnixMilli() != tt.server {
			t.Errorf("server time in %s: %v, %v", tt.number, at, ok)
		}
	}
	for _, none := range []string{"", "1", "9134385233371303895353071903807511364539855986", "x1343852333713038953530719038075113645398559869"} {
		if _, ok := serverTimeIn(none); ok {
			t.Errorf("a server time in %q", none)
		}
	}
}

// TestNumberProperty makes numbers of 47 digits that rise within a stream, start over with each created one, and lead
// back to the fragment of the stream that they were made for, and to no other.
func TestNumberProperty(t *testing.T) {
	source, err := ReadSource(clip.H265())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		created := func(at time.Time, config StreamConfig) *live {
			l, err := newLive("arn of "+at.String(), source, config, at)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		config := StreamConfig{Delay: time.Duration(rapid.Int64Range(0, int64(5*time.Second)).Draw(t, "delay"))}
		l := created(zero, config)
		i := rapid.Int64Range(0, 1e7).Draw(t, "fragment")
		number, token := l.number(i), l.token(l.number(i))
		if len(number) != 47 || !numberPattern().MatchString(number) || !tokenPattern().MatchString(token) || l.number(i+1) <= number {
			t.Fatalf("fragment %d has number %s, the next %s", i, number, l.number(i+1))
		}
		if back, ok := l.fragment(number, i); !ok || back != i {
			t.Fatalf("number %s leads to fragment %d, %v", number, back, ok)
		}
		later := zero.Add(time.Duration(rapid.Int64Range(1, int64(10000*time.Hour)).Draw(t, "later")))
		again := created(later, config)
		if _, ok := again.fragment(number, i); ok {
			t.Fatalf("a stream created %v later has number %s as well", later.Sub(zero), number)
		}
		if i > 0 && again.number(0) >= number {
			t.Fatalf("a stream created later begins with %s, after %s of fragment %d", again.number(0), number, i)
		}
	})
}

// TestNumbers numbers fragments as a client should not rely on.
func TestNumbers(t *testing.T) {
	for name, tt := range map[string]struct {
		numbers Numbers
		want    []int64 // counters
	}{
		"as the service": {Numbers{}, []int64{1, 2, 3, 4, 5}},
		"begins high":    {Numbers{First: 24001}, []int64{24001, 24002, 24003, 24004, 24005}},
		"wraps":          {Numbers{First: 7, Wrap: 3}, []int64{7, 8, 9, 7, 8}},
		"falls":          {Numbers{First: 9, Order: Falling}, []int64{9, 8, 7, 6, 5}},
		"falls and ends": {Numbers{First: 2, Order: Falling}, []int64{2, 1, 0, 0, 0}},
		"stays":          {Numbers{First: 5, Order: Same}, []int64{5, 5, 5, 5, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				h.add("clock", StreamConfig{History: 10 * time.Second, Numbers: tt.numbers})
				body := h.media("clock", Selector{Type: Earliest})
				var all []received
				for _, want := range tt.want {
					d := body.fragment()
					all = append(all, d)
					server := d.ServerTime
					if tt.numbers.Order == Same {
						server = all[0].ServerTime
					}
					if made := fragmentNumber(want, server, h.server.Stream("clock").ARN()); d.Number != made || d.Token != made {
						t.Errorf("number %s, token %s, want %s", d.Number, d.Token, made)
					}
				}
				body.leave()
				// The next session continues after the third fragment or, if there is one number only, after the newest
				// one.
				for _, s := range []Selector{
					{Type: FragmentNumber, AfterFragmentNumber: all[2].Number}, {Type: Continuation, ContinuationToken: all[2].Token},
				} {
					want := all[3].ProducerTime
					if tt.numbers.Order == Same {
						want = time.Now().Truncate(time.Second).Add(time.Second)
					}
					if d := h.media("clock", s).fragment(); !d.ProducerTime.Equal(want) {
						t.Errorf("%s: a fragment of %v, want %v", s.Type, d.ProducerTime, want)
					}
				}
			})
		})
	}
	for _, wrong := range []Numbers{{First: -1}, {Wrap: -1}} {
		if (StreamConfig{Numbers: wrong}).check() == nil {
			t.Errorf("%+v was accepted", wrong)
		}
	}
}
