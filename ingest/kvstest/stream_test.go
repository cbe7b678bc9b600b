package kvstest

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// TestLive follows a live stream over the clip's end: one fragment a second, in real time, everything running on.
func TestLive(t *testing.T) {
	layouts := map[string]Layout{
		"known size, fragment time":   {},
		"unknown size, session time":  {UnknownSize: true, Time: SessionTime},
		"unknown size, wall time":     {UnknownSize: true, Time: WallTime, Tags: []mkv.Tag{{Name: "SITE", Value: "north"}}},
		"known size, wall time, tags": {Time: WallTime, Tags: []mkv.Tag{{Name: "SITE", Value: "north"}, {Name: "GATE", Value: "3"}}},
	}
	for name, layout := range layouts {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				h.add("clock", StreamConfig{Layout: layout, Delay: 200 * time.Millisecond})
				began := time.Now()
				body := h.media("clock", Selector{Type: Now})
				var first, last received
				for i := range 25 {
					d := body.fragment()
					want := began.Add(time.Duration(i) * time.Second)
					if !d.ProducerTime.Equal(want) || !d.ServerTime.Equal(want.Add(200*time.Millisecond)) {
						t.Errorf("fragment %d: produced %v, served %v, want %v", i, d.ProducerTime, d.ServerTime, want)
					}
					if got, want := time.Since(began), time.Duration(i+1)*time.Second+200*time.Millisecond; got != want {
						t.Errorf("fragment %d complete after %v, want %v", i, got, want)
					}
					if d.Frames != 30 || d.KeyFrames != 1 || d.Behind != 0 {
						t.Errorf("fragment %d: %d frames, %d key frames, %v behind", i, d.Frames, d.KeyFrames, d.Behind)
					}
					if len(d.Number) != 47 || i > 0 && d.Number <= last.Number {
						t.Errorf("fragment number %s after %s", d.Number, last.Number)
					}
					checkTimes(t, layout.Time, i, d, began)
					if i == 0 {
						first = d
					}
					if i%10 == 0 && !slices.Equal(d.sizes, first.sizes) {
						t.Errorf("fragment %d is not the clip's first again", i)
					}
					last = d
				}
				if track := first.tracks[0]; track.CodecID != mkv.CodecH264 || track.Width != 1280 || len(track.CodecPrivate) == 0 {
					t.Errorf("track %+v", track)
				}
			})
		})
	}
}

func checkTimes(t *testing.T, line ClusterTime, i int, d received, began time.Time) {
	t.Helper()
	want := map[ClusterTime]time.Duration{
		FragmentTime: 0,
		SessionTime:  time.Duration(i) * time.Second,
		WallTime:     time.Duration(began.UnixNano()) + time.Duration(i)*time.Second,
	}[line]
	if d.times[0] != want || d.times[29] != want+967*time.Millisecond {
		t.Errorf("fragment %d: frames from %v to %v, want from %v", i, d.times[0], d.times[29], want)
	}
}

// TestFrameByFrame sees each frame come when it is captured.
func TestFrameByFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{})
		began := time.Now()
		body := h.media("clock", Selector{Type: Now})
		for n := 0; n < 60; {
			event, err := body.reader.Next()
			if err != nil {
				t.Fatal(err)
			}
			if _, ok := event.(*mkv.Frame); ok {
				want := time.Duration(float64(n) / 30 * float64(time.Second)).Round(time.Millisecond)
				if got := time.Since(began); got != want {
					t.Errorf("frame %d after %v, want %v", n, got, want)
				}
				n++
			}
		}
	})
}

// TestSpeed lets the stream's time run ten times as fast.
func TestSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Speed: 10})
		h.add("clock", StreamConfig{})
		began := time.Now()
		body := h.media("clock", Selector{Type: Now})
		for range 100 {
			body.fragment()
		}
		if took := time.Since(began).Round(time.Millisecond); took != 10*time.Second {
			t.Errorf("100 fragments took %v", took)
		}
	})
}

// TestFragmentDuration joins groups of pictures to longer fragments.
func TestFragmentDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{Fragment: 3500 * time.Millisecond, History: time.Minute})
		body := h.media("clock", Selector{Type: Earliest})
		var seconds []int
		for range 6 {
			seconds = append(seconds, body.fragment().Frames/30)
		}
		if want := []int{4, 4, 2, 4, 4, 2}; !slices.Equal(seconds, want) {
			t.Errorf("fragments of %v seconds, want %v", seconds, want)
		}
	})
}

// TestCatchUp reads a minute of history: at once, and less and less behind.
func TestCatchUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{History: time.Minute})
		began := time.Now()
		body := h.media("clock", Selector{Type: Earliest})
		for i := range 60 {
			if d, want := body.fragment(), time.Duration(59-i)*time.Second; d.Behind.Round(time.Second) != want {
				t.Errorf("fragment %d is %v behind, want %v", i, d.Behind, want)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

// TestOtherClips plays what else people may have.
func TestOtherClips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.addSource("h265", clip.H265(), StreamConfig{})
		body := h.media("h265", Selector{Type: Now})
		for range 7 {
			if d := body.fragment(); d.Frames != 30 || d.tracks != nil && d.tracks[0].CodecID != mkv.CodecH265 {
				t.Errorf("%d frames, tracks %v", d.Frames, d.tracks)
			}
		}
	})
	for name, file := range map[string][]byte{"nothing": nil, "garbage": bytes.Repeat([]byte("garbage"), 99), "half": clip.H264()[:400_000]} {
		t.Run(name, func(t *testing.T) {
			if _, err := ReadSource(file); err == nil {
				t.Error("taken for a clip")
			}
		})
	}
}

// TestSelectors begins a session with each selector on a stream of which the last 20 of 30.5 seconds are kept.
func TestSelectors(t *testing.T) {
	config := StreamConfig{History: 30500 * time.Millisecond, Retention: 20 * time.Second, Delay: 250 * time.Millisecond}
	produced := func(i int) time.Time { return time.Now().Add(time.Duration(i)*time.Second - config.History) }
	stamp := func(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
	type numbers = func(i int64) string
	tests := []struct {
		name     string
		selector func(number numbers) Selector // as of the moment the stream was added
		first    int
	}{
		{"now: the newest, in production", func(numbers) Selector { return Selector{Type: Now} }, 30},
		{"earliest: the oldest that is kept", func(numbers) Selector { return Selector{Type: Earliest} }, 10},
		{"after a fragment", func(number numbers) Selector {
			return Selector{Type: FragmentNumber, AfterFragmentNumber: number(17)}
		}, 18},
		{"after the newest", func(number numbers) Selector {
			return Selector{Type: FragmentNumber, AfterFragmentNumber: number(30)}
		}, 31},
		{"token", func(number numbers) Selector {
			return Selector{Type: Continuation, ContinuationToken: number(21)}
		}, 22},
		{"producer time at a beginning", func(numbers) Selector {
			return Selector{Type: ProducerTime, StartTimestamp: stamp(produced(15))}
		}, 15},
		{"producer time within", func(numbers) Selector {
			return Selector{Type: ProducerTime, StartTimestamp: stamp(produced(15)) + 0.999}
		}, 15},
		{"producer time not kept any more", func(numbers) Selector {
			return Selector{Type: ProducerTime, StartTimestamp: stamp(produced(3))}
		}, 10},
		{"producer time to come", func(numbers) Selector {
			return Selector{Type: ProducerTime, StartTimestamp: stamp(produced(32))}
		}, 32},
		{"server time at a beginning", func(numbers) Selector {
			return Selector{Type: ServerTimestamp, StartTimestamp: stamp(produced(15)) + 0.250}
		}, 15},
		{"server time just before", func(numbers) Selector {
			return Selector{Type: ServerTimestamp, StartTimestamp: stamp(produced(15)) + 0.249}
		}, 14},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				number := h.add("clock", config).live().number
				want := produced(tt.first)
				body := h.media("clock", tt.selector(number))
				for i := range 2 {
					d := body.fragment()
					if d.Number != number(int64(tt.first+i)) || !d.ProducerTime.Equal(want.Add(time.Duration(i)*time.Second)) {
						t.Errorf("fragment %s of %v, want %s of %v", d.Number, d.ProducerTime, number(int64(tt.first+i)), want)
					}
				}
			})
		})
	}
}
