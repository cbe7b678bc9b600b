package decode

import (
	"testing"
	"time"
)

const ms = time.Millisecond

func TestTimeline(t *testing.T) {
	type step struct {
		at       time.Duration
		key      bool
		now      time.Duration
		due      time.Duration
		anchored bool
	}
	for name, steps := range map[string][]step{
		"steady": {
			{5000 * ms, true, 10 * ms, 210 * ms, true},
			{5033 * ms, false, 43 * ms, 243 * ms, false},
			{5066 * ms, false, 100 * ms, 276 * ms, false}, // jitter changes nothing
		},
		"a burst is spread": {
			{0, true, 0, 200 * ms, true},
			{1000 * ms, false, 1 * ms, 1200 * ms, false},
			{3000 * ms, true, 2 * ms, 3200 * ms, false},
		},
		"B-frames step back": {
			{1000 * ms, true, 0, 200 * ms, true},
			{1100 * ms, false, 33 * ms, 300 * ms, false},
			{1033 * ms, false, 66 * ms, 233 * ms, false},
			{1066 * ms, false, 100 * ms, 266 * ms, false},
			{1200 * ms, true, 133 * ms, 400 * ms, false},
			{1166 * ms, false, 166 * ms, 366 * ms, false}, // leading picture of an open group
		},
		"gap": {
			{0, true, 0, 200 * ms, true},
			{2001 * ms, true, 33 * ms, 233 * ms, true},
			{2034 * ms, false, 66 * ms, 266 * ms, false},
		},
		"a gap after a burst waits for the burst": {
			{0, true, 0, 200 * ms, true},
			{1900 * ms, true, 0, 2100 * ms, false},
			{9000 * ms, true, 10 * ms, 2101 * ms, true},
		},
		"step back": {
			{8000 * ms, true, 0, 200 * ms, true},
			{7999 * ms, true, 33 * ms, 233 * ms, true},
		},
		"step back of a duplicate is none": {
			{8000 * ms, true, 0, 200 * ms, true},
			{8000 * ms, true, 33 * ms, 200 * ms, false},
		},
		"late": {
			{0, true, 0, 200 * ms, true},
			{33 * ms, false, 283 * ms, 233 * ms, false}, // 50 ms late: still shown
			{66 * ms, false, 317 * ms, 517 * ms, true},  // 51 ms
			{99 * ms, false, 318 * ms, 550 * ms, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			line := Timeline{Budget: 200 * ms}
			for i, s := range steps {
				due, anchored := line.Map(s.at, s.key, s.now)
				if due != s.due || anchored != s.anchored {
					t.Errorf("step %d: due %v, anchored %v; want %v, %v", i, due, anchored, s.due, s.anchored)
				}
				if at, ok := line.FrameTime(due); !ok || at != s.at {
					t.Errorf("step %d: the frame due at %v was of %v, says FrameTime, not %v", i, due, at, s.at)
				}
			}
		})
	}
}

func TestFrameTimeOfEarlierAnchors(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	if _, ok := line.FrameTime(0); ok {
		t.Error("a frame before the first")
	}
	for i := range 2 * maxAnchors {
		line.Map(time.Duration(i)*time.Minute, true, time.Duration(i)*time.Second)
	}
	for i := maxAnchors; i < 2*maxAnchors; i++ {
		due := time.Duration(i)*time.Second + 200*ms
		if at, _ := line.FrameTime(due); at != time.Duration(i)*time.Minute {
			t.Errorf("due at %v: %v", due, at)
		}
	}
}

func TestReplayIsLongPast(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	now := time.Hour
	for _, at := range []time.Duration{50 * time.Minute, 50*time.Minute + 66*ms, 50*time.Minute + 33*ms, 49 * time.Minute, 200 * time.Minute} {
		if due := line.Replay(at, now); due < 0 || due > now-time.Second {
			t.Errorf("replay of %v is due at %v", at, due)
		}
	}
	if due, anchored := line.Map(60*time.Minute, false, now); due != now+200*ms || !anchored {
		t.Errorf("the first frame to show is due at %v, anchored %v", due, anchored)
	}
}
