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

func TestFrameTimeOfEarlierFrames(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	if _, ok := line.FrameTime(0); ok {
		t.Error("a frame before the first")
	}
	for i := range 2 * remembered {
		line.Map(time.Duration(i)*time.Minute, true, time.Duration(i)*time.Second)
	}
	for i := remembered; i < 2*remembered; i++ {
		due := time.Duration(i)*time.Second + 200*ms
		if at, _ := line.FrameTime(due + 5*ms); at != time.Duration(i)*time.Minute {
			t.Errorf("due at %v: %v", due, at)
		}
	}
}

// live plays frames of a stream for a time: each arrives arrival(i) after the time at which it was made.
// It gives how long the last one waits beyond the budget.
func live(t *testing.T, frames int, arrival func(i int) time.Duration) (slack time.Duration) {
	const frame = time.Second / 30
	line := Timeline{Budget: 200 * ms}
	last := time.Duration(-1)
	for i := range frames {
		at := time.Duration(i) * frame
		now := arrival(i)
		due, anchored := line.Map(at, i%30 == 0, now)
		if anchored && i > 0 {
			t.Fatalf("frame %d: the line breaks", i)
		}
		if due <= last {
			t.Fatalf("frame %d is due at %v, the one before at %v", i, due, last)
		}
		if step := due - last; i > 0 && step < frame*7/8-time.Microsecond {
			t.Fatalf("frame %d comes %v after the one before", i, step)
		}
		last, slack = due, due-now-line.Budget
	}
	return slack
}

// What a break or a slow start left waiting is caught up, without a jump.
func TestTimelineCatchesUp(t *testing.T) {
	const frame = time.Second / 30
	const held = 1400 * ms // for so long frames were held back, and then came at once
	slack := live(t, 30*30, func(i int) time.Duration { return max(held, time.Duration(i)*frame) })
	if slack > freeSlack+10*ms {
		t.Errorf("after half a minute, frames still wait %v longer than they must", slack)
	}
}

// Fragments that come as a whole are played at their pace: that their last frame waits
// is no excess.
func TestTimelineLeavesWholeFragmentsAlone(t *testing.T) {
	const frame = time.Second / 30
	const fragment = 60 // frames
	slack := live(t, 20*fragment, func(i int) time.Duration { return time.Duration(i/fragment+1) * fragment * frame })
	if want := (fragment - 1) * frame; slack < want-10*ms {
		t.Errorf("the last frame of a fragment waits %v, want %v", slack, want)
	}
}

// The burst of a stream that is joined in the middle of a fragment is passed over, also when frames come out of
// order, and the first frame that comes in its own time begins the line.
func TestTimelineJoins(t *testing.T) {
	const frame = time.Second / 30
	for name, order := range map[string][]int{"in order": {0, 0, 0}, "B-frames": {2, -1, -1}} {
		line := Timeline{Budget: 200 * ms}
		const burst = 24
		for i := range 60 {
			now := max(burst, time.Duration(i)) * frame // those of the burst all at once
			at := time.Hour + time.Duration(i+order[i%3])*frame
			joining := line.Joining(at, now)
			if joining != (i <= burst) {
				t.Fatalf("%s: frame %d: joining %v", name, i, joining)
			}
			if joining {
				line.Replay(at, now)
				continue
			}
			if due, anchored := line.Map(at, false, now); anchored != (i == burst+1) || order[0] == 0 && due != now+200*ms {
				t.Fatalf("%s: frame %d arrives at %v, is due at %v, anchored %v", name, i, now, due, anchored)
			}
		}
	}
}

// After a long break, too; after a short one all frames are shown.
func TestTimelineJoinsAfterALongBreak(t *testing.T) {
	for _, c := range []struct {
		held   time.Duration
		joined int
	}{{600 * ms, 0}, {1500 * ms, 16}} { // the budget and half a second more are not too late
		const frame = time.Second / 30
		line := Timeline{Budget: 200 * ms}
		joined := 0
		for i := range 120 {
			at := time.Duration(i) * frame
			now := at
			if i >= 30 {
				now = max(at, 30*frame+c.held)
			}
			if line.Joining(at, now) && i > 1 {
				joined++
				line.Replay(at, now)
				continue
			}
			line.Map(at, i%30 == 0, now)
		}
		if (joined == 0) != (c.joined == 0) || joined < c.joined {
			t.Errorf("held up for %v: %d frames were passed over", c.held, joined)
		}
		if late := line.due(119*frame) - 119*frame; c.joined > 0 && late > 260*ms {
			t.Errorf("held up for %v: the lag stays at %v", c.held, late)
		}
	}
}

// A decoder that always takes longer than the budget gets the time; one that is held up once does not.
func TestTimelineGivesTheDecoderTime(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	line.Margin(-time.Second)
	line.Map(0, true, 0)
	line.Margin(100 * ms)
	if due, _ := line.Map(33*ms, false, 33*ms); due != 233*ms {
		t.Errorf("due at %v", due)
	}
	line.Margin(-45 * ms)
	if due, _ := line.Map(66*ms, false, 66*ms); due != 66*ms+260*ms {
		t.Errorf("due at %v", due)
	}
	line.Margin(31 * ms) // 16 ms to spare: a sixteenth is given back
	if line.budget() != 259*ms {
		t.Errorf("budget %v", line.budget())
	}
	line.extra = 60 * ms
	line.Margin(-10 * time.Second)
	if due, _ := line.Map(99*ms, false, 99*ms); due != 99*ms+700*ms {
		t.Errorf("due at %v", due)
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
