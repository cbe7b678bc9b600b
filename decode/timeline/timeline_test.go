package timeline

import (
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/kit"
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
		"late from now on": {
			{0, true, 0, 200 * ms, true},
			{33 * ms, false, 283 * ms, 233 * ms, false}, // 50 ms late: still shown
			{66 * ms, false, 386 * ms, 266 * ms, false}, // 120 ms
			{99 * ms, false, 419 * ms, 299 * ms, false},
			{133 * ms, false, 453 * ms, 333 * ms, false},
			{166 * ms, false, 486 * ms, 366 * ms, false},
			{200 * ms, false, 520 * ms, 400 * ms, false},
			{233 * ms, false, 553 * ms, 753 * ms, true}, // it does not become less
			{266 * ms, false, 586 * ms, 786 * ms, false},
		},
		"a late burst ends by itself": {
			{0, true, 0, 200 * ms, true},
			{33 * ms, false, 383 * ms, 233 * ms, false}, // 150 ms late
			{66 * ms, false, 385 * ms, 266 * ms, false},
			{333 * ms, false, 400 * ms, 533 * ms, false},
			{366 * ms, false, 433 * ms, 566 * ms, false},
		},
		"far back, without a key frame": {
			{8000 * ms, true, 0, 200 * ms, true},
			{2000 * ms, false, 33 * ms, 233 * ms, true},
			{2033 * ms, false, 66 * ms, 266 * ms, false},
		},
	} {
		t.Run(name, func(t *testing.T) {
			line := Timeline{Budget: 200 * ms}
			for i, s := range steps {
				name, anchored := line.Map(s.at, s.key, s.now)
				due := name + line.Hold()
				if due != s.due || anchored != s.anchored {
					t.Errorf("step %d: due %v, anchored %v; want %v, %v", i, due, anchored, s.due, s.anchored)
				}
				if at, ok := line.FrameTime(name); !ok || at != s.at {
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
		due += line.Hold()
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
// order, and the first frame that comes in its own time begins the line. What is passed over is named before it, in
// display order, and is long past.
func TestTimelineJoins(t *testing.T) {
	const frame = time.Second / 30
	const burst = 24
	for name, c := range map[string]struct {
		order []int
		after int // frames that are displayed before one of the burst
	}{"in order": {[]int{0, 0, 0}, 0}, "B-frames": {[]int{2, -1, -1}, 2}} {
		for _, begin := range []time.Duration{0, time.Hour} { // of the producer's line
			line := Timeline{Budget: 200 * ms}
			names := map[int]time.Duration{}
			for i := range 60 {
				now := time.Minute + max(burst, time.Duration(i))*frame // those of the burst all at once
				picture := i + c.order[i%3]
				at := begin + time.Duration(picture)*frame
				joining := line.Joining(at, now)
				if joining != (i <= burst) {
					t.Fatalf("%s: frame %d: joining %v", name, i, joining)
				}
				if joining || line.Replayed(at) {
					names[picture] = line.Replay(at, false, now)
					if joining && names[picture] > now-time.Second {
						t.Errorf("%s: frame %d is named %v, %v before its arrival", name, i, names[picture], now-names[picture])
					}
					if of, ok := line.FrameTime(names[picture]); !ok || of != at {
						t.Errorf("%s: frame %d: %v is the name of %v, says FrameTime, not of %v", name, i, names[picture], of, at)
					}
					continue
				}
				due, anchored := line.Map(at, false, now)
				if anchored != (i == burst+1+c.after) || c.after == 0 && due != now+200*ms {
					t.Fatalf("%s: frame %d arrives at %v, is due at %v, anchored %v", name, i, now, due, anchored)
				}
				names[picture] = due
			}
			rising(t, name, names, 0, 60)
		}
	}
}

// rising checks that pictures have names that rise in display order.
func rising(t *testing.T, what string, names map[int]time.Duration, from, to int) {
	t.Helper()
	for d := from + 1; d < to; d++ {
		if names[d] <= names[d-1] {
			t.Fatalf("%s: picture %d is named %v, the one before it %v", what, d, names[d], names[d-1])
		}
	}
}

// After a long break, too; after a short one all frames are shown. The lag is what it was before.
func TestTimelineJoinsAfterALongBreak(t *testing.T) {
	const frame = 40 * ms
	for name, c := range map[string]struct {
		held   time.Duration // the frame of second 2 and those that follow
		joined int
		lag    time.Duration
	}{
		"short":                        {600 * ms, 0, 200 * ms},
		"the budget and half a second": {700 * ms, 0, 200 * ms},
		"a moment more":                {701 * ms, 19, 200 * ms}, // those that were made by then, and the next one
		"long":                         {1500 * ms, 39, 200 * ms},
	} {
		line := Timeline{Budget: 200 * ms}
		joined := 0
		names := map[int]time.Duration{}
		for i := range 200 {
			at := time.Duration(i) * frame
			now := at
			if i >= 50 {
				now = max(at, 50*frame+c.held)
			}
			if line.Joining(at, now) && i > 0 {
				joined++
				names[i] = line.Replay(at, false, now)
				continue
			}
			names[i], _ = line.Map(at, i%25 == 0, now)
		}
		kit.Expect(t, name+": passed over", joined, c.joined)
		rising(t, name, names, 0, 200)
		kit.Expect(t, name+": lag", names[199]+line.Hold()-199*frame, c.lag)
	}
}

// A decoder that always takes longer than the budget gets the time; one that is held up once does not.
func TestTimelineGivesTheDecoderTime(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	line.Margin(-time.Second)
	line.Map(0, true, 0)
	line.Margin(100 * ms)
	if name, _ := line.Map(33*ms, false, 33*ms); name+line.Hold() != 233*ms {
		t.Errorf("due at %v", name+line.Hold())
	}
	line.Margin(-45 * ms)
	if line.Hold() != 60*ms { // the pictures that are on their way are late as well
		t.Errorf("held for %v", line.Hold())
	}
	if name, _ := line.Map(66*ms, false, 66*ms); name+line.Hold() != 66*ms+260*ms {
		t.Errorf("due at %v", name+line.Hold())
	}
	line.Margin(31 * ms) // 16 ms to spare: a sixteenth is given back
	if line.budget() != 259*ms {
		t.Errorf("budget %v", line.budget())
	}
	line.extra = 60 * ms
	line.Margin(-10 * time.Second)
	if name, _ := line.Map(99*ms, false, 99*ms); name+line.Hold() != 99*ms+700*ms {
		t.Errorf("due at %v", name+line.Hold())
	}
}

func TestReplayIsLongPast(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	now := time.Hour
	for _, at := range []time.Duration{50 * time.Minute, 50*time.Minute + 66*ms, 50*time.Minute + 33*ms, 49 * time.Minute, 200 * time.Minute} {
		if due := line.Replay(at, false, now); due < 0 || due > now-time.Second {
			t.Errorf("replay of %v is due at %v", at, due)
		}
	}
	if due, anchored := line.Map(60*time.Minute, false, now); due != now+200*ms || !anchored {
		t.Errorf("the first frame to show is due at %v, anchored %v", due, anchored)
	}
}

// decodingOrder is the display positions of frames in decoding order, for groups of so many B-frames between others.
func decodingOrder(frames int, group []int) (order []int) {
	order = []int{0}
	for i := 0; len(order) < frames; i += len(group) {
		for _, d := range group {
			order = append(order, i+d)
		}
	}
	return order[:frames]
}

// reorderings are groups of pictures and how many frames a decoder needs after a picture before it delivers it.
var reorderings = map[string]struct {
	group []int
	depth int
}{
	"no B-frames":  {[]int{1}, 0},
	"two B-frames": {[]int{3, 1, 2}, 1},
	"x264's way":   {[]int{3, 1, 2}, 2}, // it announces two with a B-pyramid, whether there is one or not
	"a B-pyramid":  {[]int{4, 2, 1, 3}, 2},
	"seven levels": {[]int{8, 4, 2, 1, 3, 6, 5, 7}, 3},
}

// model is the renderer as far as time goes. Pictures leave its decoder when as many frames after them
// have come as the depth is.
type model struct {
	line  Timeline
	depth int
	order []int
}

const modelFrame = time.Second / 30

// play has frames arrive and gives for each picture by how much its time came after the decoder could deliver it.
func (m *model) play(arrival func(i int) time.Duration) (spare []time.Duration) {
	names := map[int]time.Duration{}
	spare = make([]time.Duration, len(m.order))
	next := 0
	for i, d := range m.order {
		now := arrival(i)
		if i > m.depth { // a picture has come out
			m.line.Depth(m.depth)
		}
		names[d], _ = m.line.Map(time.Hour+time.Duration(d)*modelFrame, i == 0, now)
		for ; next <= i-m.depth; next++ {
			spare[next] = names[next] + m.line.Hold() - now
		}
	}
	return spare[:next]
}

// The budget comes on top of what the decoder needs to put frames in order: from the second picture on (the first one is
// shown at once) every one is ready for as long as the budget before its time, and none waits longer.
func TestBudgetIsOnTopOfReordering(t *testing.T) {
	for name, c := range reorderings {
		for _, budget := range []time.Duration{20 * ms, 50 * ms, 200 * ms} {
			m := model{line: Timeline{Budget: budget}, depth: c.depth, order: decodingOrder(300, c.group)}
			for i, spare := range m.play(func(i int) time.Duration { return time.Duration(i) * modelFrame }) {
				if i > 0 && (spare < budget-3*ms || spare > budget+20*ms) {
					t.Fatalf("%s, %v: picture %d is ready %v before its time", name, budget, i, spare)
				}
			}
		}
	}
}

// After a break, in which frames pile up and then come in a burst, pictures are due as before it.
func TestLagIsAsBeforeAfterABreak(t *testing.T) {
	for name, c := range reorderings {
		for _, budget := range []time.Duration{20 * ms, 50 * ms, 200 * ms} {
			for _, cut := range []time.Duration{100 * ms, 200 * ms, 300 * ms, 450 * ms} {
				for from := 100; from < 108; from++ { // any frame of a group may be the first that is late
					m := model{line: Timeline{Budget: budget}, depth: c.depth, order: decodingOrder(300, c.group)}
					spare := m.play(func(i int) time.Duration {
						at := time.Duration(i) * modelFrame
						if i < from {
							return at
						}
						return max(at, time.Duration(from)*modelFrame+cut+time.Duration(i-from)*3*ms)
					})
					before, after := spare[90], spare[250]
					if after < before-10*ms || after > before+10*ms {
						t.Fatalf("%s, %v, cut for %v at frame %d: pictures wait %v, before it %v", name, budget, cut, from, after, before)
					}
				}
			}
		}
	}
}

// Names rise in display order over everything that moves the line: a decoder that sees them fall believes
// none of them any more.
func TestNamesRiseInDisplayOrder(t *testing.T) {
	for name, c := range reorderings {
		line := Timeline{Budget: 50 * ms}
		names := map[int]time.Duration{}
		var delay time.Duration
		for i, d := range decodingOrder(600, c.group) {
			switch {
			case i%97 == 50:
				delay += 150 * ms
			case i%97 == 80:
				delay -= 100 * ms
			}
			line.Depth(min(c.depth, i/2))
			if i%50 == 49 {
				line.Margin(5 * ms)
			}
			names[d], _ = line.Map(time.Hour+time.Duration(d)*modelFrame, i == 0, time.Duration(i)*modelFrame+delay)
		}
		rising(t, name, names, 0, 590)
	}
}

// Names also rise from frames that are only decoded, of a restarted renderer or of a burst, to those that are shown; and when
// the producer's times step back in the middle of them. Otherwise GStreamer gives a picture the name of another one.
func TestNamesRiseOverReplays(t *testing.T) {
	const frames = 1 + 96 // of whole groups
	for name, c := range reorderings {
		for _, budget := range []time.Duration{20 * ms, 200 * ms} {
			line := Timeline{Budget: budget}
			line.Depth(c.depth)
			var now, last time.Duration = time.Hour, 0
			// part names the frames of whole groups that begin at a time and come so far apart.
			part := func(what string, begin, apart time.Duration, replayed func(i int) bool) {
				t.Helper()
				names := map[int]time.Duration{}
				for i, d := range decodingOrder(frames, c.group) {
					now += apart
					at, key := begin+time.Duration(d)*modelFrame, i == 0
					if old := replayed(i) || line.Joining(at, now); old || !key && line.Replayed(at) {
						names[d] = line.Replay(at, key, now)
					} else {
						names[d], _ = line.Map(at, key, now)
					}
				}
				for d := range frames {
					if names[d] <= last {
						t.Fatalf("%s, %v, %s: picture %d is named %v, the one before it %v", name, budget, what, d, names[d], last)
					}
					last = names[d]
				}
			}
			none := func(int) bool { return false }
			const after = frames * modelFrame
			part("after a restart", time.Hour, 0, func(i int) bool { return i < 70 })
			part("as they are made", time.Hour+after, modelFrame, none)
			now += 5 * time.Second
			part("a burst", time.Hour+2*after, ms, none)
			part("a burst whose times step back a little", time.Hour+3*after-time.Second, ms, none)
			part("a burst whose times step back by hours", time.Minute, ms, none)
			part("as they are made again", time.Minute+after, modelFrame, none)
			part("times that step back", time.Second, modelFrame, none)
			if lag := last + line.Hold() - now; lag > budget+time.Second {
				t.Errorf("%s, %v: the newest picture is due in %v", name, budget, lag)
			}
		}
	}
}
