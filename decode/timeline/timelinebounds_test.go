package timeline

import (
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/kit"
)

// frame40 is how far apart the pictures of a stream of 25 a second are.
const frame40 = 40 * ms

// Frames that waited too long from the start are shown an eighth of a frame earlier each, from the end of a window of a
// second and twice the longest pause on, until 10 ms of the surplus are left.
func TestTimelineCatchesUpByAnEighth(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	for i := range 200 {
		at := time.Duration(i) * frame40
		name, anchored := line.Map(at, i%25 == 0, max(100*ms, at)) // the first was held up
		// The first window, with the frame that was late, is from 100 to 1,200 ms, the second one to 2,280. Then 90 ms are
		// taken off, 5 at a time.
		want := 300 * ms
		if i >= 57 {
			want = max(210*ms, 300*ms-time.Duration(i-56)*5*ms)
		}
		if lag := name + line.Hold() - at; lag != want || anchored != (i == 0) {
			t.Fatalf("frame %d is due %v after it was made, not %v; anchored %v", i, lag, want, anchored)
		}
	}
}

// Frames that come irregularly wait for the latest of them: that is no surplus.
func TestTimelineLeavesJitterAlone(t *testing.T) {
	for _, late := range []int{0, 7, 24} { // which of 25 frames is the late one
		line := Timeline{Budget: 200 * ms}
		for i := range 500 {
			at := time.Duration(i) * frame40
			now := at
			if i%25 != late {
				now -= 30 * ms
			}
			name, _ := line.Map(at, i%25 == 0, time.Second+now)
			want := 170 * ms // the budget after the arrival of the first
			if late == 0 {
				want = 200 * ms
			}
			if lag := name + line.Hold() - at - time.Second; lag != want {
				t.Fatalf("frame %d, number %d of 25 is late: due %v after it was made", i, late, lag)
			}
		}
	}
}

// Once it is known how long nothing comes between two fragments, it is no surplus that the last frames of one wait,
// also when a fragment takes half of its time to come.
func TestTimelineLeavesSlowFragmentsAlone(t *testing.T) {
	const fragment = 125 // frames: five seconds
	line := Timeline{Budget: 200 * ms}
	for i := range 8 * fragment {
		at := time.Duration(i) * frame40
		now := time.Duration(i/fragment+1) * fragment * frame40
		if i >= 2*fragment { // the first two came at once
			now += time.Duration(i%fragment) * frame40 / 2
		}
		name, anchored := line.Map(at, i%fragment == 0, now)
		if lag := name + line.Hold() - at; lag != 5200*ms || anchored != (i == 0) {
			t.Fatalf("frame %d: due %v after it was made; anchored %v", i, lag, anchored)
		}
	}
}

// While pictures are caught up, those that come out of order keep their order: at most three quarters of a frame are
// taken off at a time.
func TestTimelineCatchesUpReorderedFrames(t *testing.T) {
	for name, c := range reorderings {
		line := Timeline{Budget: 200 * ms}
		line.Depth(c.depth)
		const frames = 1 + 8*60
		names := map[int]time.Duration{}
		at := func(d int) time.Duration { return time.Hour + time.Duration(d)*frame40 }
		for i, d := range decodingOrder(frames, c.group) {
			names[d], _ = line.Map(at(d), i == 0, max(time.Second, time.Duration(i)*frame40))
		}
		rising(t, name, names, 0, frames)
		for d := 1; d < frames; d++ {
			if step := names[d] - names[d-1]; step < 10*ms-time.Microsecond {
				t.Fatalf("%s: picture %d comes %v after the one before", name, d, step)
			}
		}
		first, last := names[0]-at(0), names[frames-1]-at(frames-1)
		// All but 10 ms of a second, less what the reordering needs, in an eighth of a frame for each.
		if caught := first - last; caught < 700*ms || caught > 1010*ms {
			t.Errorf("%s: %v of a second were caught up", name, caught)
		}
	}
}

// Where a decoder reorders, the line is held by as many frames as it needs, once they are known, and once only.
func TestTimelineHoldsForReordering(t *testing.T) {
	for _, c := range []struct {
		depth int
		hold  []time.Duration // after each frame
	}{
		{0, []time.Duration{0, 0, 0, 0, 0}},
		{1, []time.Duration{0, 40 * ms, 40 * ms, 40 * ms}},
		{2, []time.Duration{0, 0, 80 * ms, 80 * ms}},
	} {
		line := Timeline{Budget: 200 * ms}
		for i, hold := range c.hold {
			line.Depth(c.depth) // decoders tell it again and again
			at := time.Duration(i) * frame40
			name, anchored := line.Map(5*time.Second+at, i == 0, time.Second+at)
			first := 1200*ms + hold
			if name+line.Hold() > first+at || name+line.Hold() < first+at-2500*time.Microsecond || anchored != (i == 0) {
				t.Errorf("depth %d, frame %d: due at %v, want %v", c.depth, i, name+line.Hold(), first+at)
			}
		}
	}
}

// After a gap the depth and the distance of pictures are known: the first frame is due when the decoder will have it.
func TestTimelineAfterAGapOfReorderedFrames(t *testing.T) {
	for depth, want := range []time.Duration{200 * ms, 240 * ms, 280 * ms} {
		line := Timeline{Budget: 200 * ms}
		line.Depth(depth)
		for i := range 10 {
			line.Map(time.Duration(i)*frame40, i == 0, time.Duration(i)*frame40)
		}
		const gap = time.Minute
		name, anchored := line.Map(gap, true, gap)
		if due := name + line.Hold() - gap; due != want || !anchored {
			t.Errorf("depth %d: due after %v, want %v; anchored %v", depth, due, want, anchored)
		}
	}
}

// On another line names begin behind all that were given, with room for pictures that are displayed before the first.
func TestTimelineLeavesRoomForEarlierPictures(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	line.Depth(2)
	last := time.Duration(0)
	for i := range 40 { // a burst: the newest is named 1.56 s after the first
		last, _ = line.Map(time.Duration(i)*frame40, i == 0, 0)
	}
	name, anchored := line.Map(time.Minute, true, 0)
	kit.Expect(t, "anchored", anchored, true)
	kit.Expect(t, "room", name-last, 81*ms) // two pictures, and one millisecond
}

// A deeper reordering than H.264 and H.265 have is none: frames are judged by what the newest seventeen tell.
func TestTimelineDepthIsBounded(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	line.Depth(1000)
	anchored := 0
	for i := range 100 {
		at := time.Duration(i) * frame40
		now := at
		if i >= 50 {
			now += 2 * time.Second // from now on
		}
		if _, is := line.Map(at, i == 0, now); is && i > 0 {
			anchored++
		}
	}
	kit.Expect(t, "anchored", anchored, 1)
}

// Before the decoder can deliver a picture, nothing is late.
func TestTimelineJudgesNoUnknownBase(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	line.Depth(3)
	for i := range 3 {
		at := time.Duration(i) * frame40
		if _, anchored := line.Map(at, i == 0, time.Duration(i)*time.Second); anchored != (i == 0) {
			t.Errorf("frame %d: anchored %v", i, anchored)
		}
	}
}

// Lateness that does not become less moves the line after 150 ms and a moment.
func TestTimelineMovesForLastingLateness(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	for i := range 30 {
		at := time.Duration(i) * 30 * ms
		now := at
		if i >= 10 {
			now += 300 * ms
		}
		name, anchored := line.Map(at, i == 0, now)
		want := 200 * ms
		if i >= 16 { // 180 ms after the first late frame
			want = 500 * ms
		}
		if anchored != (i == 0 || i == 16) || name+line.Hold()-at != want {
			t.Errorf("frame %d: due %v after it was made, anchored %v", i, name+line.Hold()-at, anchored)
		}
	}
}

// Bursts that end by themselves do not move the line, unless the third begins within 15 s of the end of the first: then
// it moves at once, and counting begins again.
func TestTimelineManyBursts(t *testing.T) {
	for name, c := range map[string]struct {
		bursts []int // frames at which they begin
		moves  map[int]bool
	}{
		"two":                        {[]int{25, 300}, nil},
		"three in less than 15 s":    {[]int{25, 200, 399}, map[int]bool{399: true}},
		"three in 15 s":              {[]int{25, 200, 400}, nil},
		"three, and one more":        {[]int{25, 200, 300, 350}, map[int]bool{300: true}},
		"three, long after a first":  {[]int{25, 500, 600, 700}, map[int]bool{700: true}},
		"only the newest are judged": {[]int{25, 300, 420, 540, 660}, map[int]bool{540: true}},
	} {
		line := Timeline{Budget: 200 * ms}
		held, next := time.Duration(0), 0 // until when frames are held back
		for i := range 900 {
			at := time.Duration(i) * frame40
			if next < len(c.bursts) && c.bursts[next] == i {
				held = at + 400*ms
				next++
			}
			now := max(at, held)
			_, anchored := line.Map(at, i == 0, now)
			if anchored != (i == 0 || c.moves[i]) {
				t.Errorf("%s: frame %d: anchored %v", name, i, anchored)
			}
		}
	}
}

// After a gap, what a slow decoder was given stays its own.
func TestTimelineKeepsTheDecodersTime(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	line.Map(0, true, 0)
	line.Margin(-45 * ms)
	name, anchored := line.Map(time.Minute, true, time.Minute)
	if due := name + line.Hold() - time.Minute; due != 260*ms || !anchored {
		t.Errorf("due after %v, anchored %v", due, anchored)
	}
}

// Two seconds back or forth are within one line, more are not; a key frame never steps back.
func TestTimelineRestarts(t *testing.T) {
	for name, c := range map[string]struct {
		at      time.Duration
		key     bool
		restart bool
	}{
		"two seconds on":           {12 * time.Second, false, false},
		"more than two":            {12*time.Second + 1, false, true},
		"two seconds back":         {8 * time.Second, false, false},
		"more than two back":       {8*time.Second - 1, false, true},
		"a key frame steps back":   {10*time.Second - 1, true, true},
		"the same key frame again": {10 * time.Second, true, false},
	} {
		line := Timeline{Budget: 200 * ms}
		line.Map(10*time.Second, true, 0)
		if _, anchored := line.Map(c.at, c.key, 10*ms); anchored != c.restart {
			t.Errorf("%s: anchored %v", name, anchored)
		}
	}
}

// Gap is the distance of the newest two pictures, or the average of the last seventeen where that is more.
func TestTimelineGap(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	kit.Expect(t, "of none", line.Gap(), 0)
	for i, c := range []struct {
		at, gap time.Duration
	}{{0, 0}, {120 * ms, 120 * ms}, {40 * ms, 80 * ms}, {80 * ms, 40 * ms}, {240 * ms, 120 * ms}, {280 * ms, 56 * ms}} {
		line.Map(c.at, i == 0, 0)
		kit.Expect(t, "gap", line.Gap(), c.gap)
	}
	for i := range 40 {
		line.Map(280*ms+time.Duration(i)*100*ms, false, 0)
	}
	kit.Expect(t, "of frames that come evenly", line.Gap(), 100*ms)
	line.Map(time.Minute, true, 0)
	kit.Expect(t, "after a gap", line.Gap(), 0)
}

// A name is that of the frame that is displayed with it, in whatever order frames came.
func TestFrameTimeOfReorderedFrames(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	for i, d := range []int{0, 3, 1, 2, 6, 4, 5} {
		at := time.Duration(d) * frame40
		line.Map(at, i == 0, 0)
	}
	for d := range 7 {
		at := time.Duration(d) * frame40
		of, ok := line.FrameTime(200*ms + at + 39*ms)
		if !ok || of != at {
			t.Errorf("picture %d: %v, %v", d, of, ok)
		}
	}
	if of, ok := line.FrameTime(199 * ms); ok {
		t.Errorf("before all of them: %v", of)
	}
	first := Timeline{}
	name, _ := first.Map(0, true, 0)
	if _, ok := first.FrameTime(name); name != 0 || !ok {
		t.Errorf("a frame that is named %v is not known", name)
	}
}

// Frames that only have to be decoded, before any is shown, are named a second apart from the line before, at their own
// distances, a second ago or earlier.
func TestReplayNames(t *testing.T) {
	type step struct {
		at, now, name time.Duration
	}
	for name, steps := range map[string][]step{
		"a line and two others": {
			{50 * time.Minute, time.Hour, time.Second},
			{50*time.Minute + 80*ms, time.Hour, 1080 * ms},
			{50*time.Minute + 40*ms, time.Hour, 1040 * ms},
			{49 * time.Minute, time.Hour, 2080 * ms},
			{200 * time.Minute, time.Hour, 3080 * ms},
			{200*time.Minute + 40*ms, time.Hour, 3120 * ms},
		},
		"soon after the start": {{time.Hour, 1500 * ms, 500 * ms}, {time.Hour + 40*ms, 1500 * ms, 500 * ms}},
		"at the start":         {{time.Hour, 500 * ms, 0}},
	} {
		line := Timeline{Budget: 200 * ms}
		for i, s := range steps {
			kit.Expect(t, name, line.Replay(s.at, i == 0, s.now), s.name)
			if s.now > time.Minute {
				of, ok := line.FrameTime(s.name)
				kit.Expect(t, name+": FrameTime", of, s.at)
				kit.Expect(t, name+": FrameTime", ok, true)
			}
		}
	}
}

// Once frames were shown, a burst is named as they are; on another line its distances are a 64th, 10 ms after the last.
func TestReplayAfterFramesThatWereShown(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	line.Map(time.Hour, true, 0)
	kit.Expect(t, "the same line", line.Replay(time.Hour+40*ms, false, 0), 240*ms)
	kit.Expect(t, "a key frame there", line.Replay(time.Hour+80*ms, true, 0), 280*ms)
	kit.Expect(t, "another line", line.Replay(time.Minute, true, 0), 290*ms)
	kit.Expect(t, "its next frame", line.Replay(time.Minute+640*ms, false, 0), 300*ms)
	kit.Expect(t, "and one in between", line.Replay(time.Minute+320*ms, false, 0), 295*ms)
	name, anchored := line.Map(time.Minute+680*ms, false, 10*ms)
	kit.Expect(t, "shown again", anchored, true)
	kit.Expect(t, "and its name", max(name, 301*ms), name) // behind those of the burst
}

// Frames that are displayed before a replayed one are replayed too, as long as no frame was shown since.
func TestReplayed(t *testing.T) {
	line := Timeline{Budget: 200 * ms}
	kit.Expect(t, "before anything", line.Replayed(-40*ms), false)
	line.Replay(10*time.Second, true, time.Minute)
	for at, want := range map[time.Duration]bool{
		10*time.Second - 1: true, 10 * time.Second: false, 10*time.Second + 1: false,
		8 * time.Second: true, 8*time.Second - 1: false,
	} {
		kit.Expect(t, at.String(), line.Replayed(at), want)
	}
	line.Map(10*time.Second+80*ms, false, time.Minute)
	kit.Expect(t, "after a frame that was shown", line.Replayed(10*time.Second+40*ms), false)
}

// A burst begins with what comes first, or more than half a second late. It ends with the first frame that does not
// come clearly faster than it was made, or after two seconds.
func TestTimelineBursts(t *testing.T) {
	type frame struct{ at, now time.Duration }
	every := func(n int, made, came time.Duration) (all []frame) {
		for i := range n {
			all = append(all, frame{time.Duration(i) * made, time.Hour + time.Duration(i)*came})
		}
		return all
	}
	late := func(by time.Duration) []frame { // the second frame and those that follow are late by so much
		return []frame{{0, time.Hour}, {frame40, time.Hour + 240*ms + by}, {2 * frame40, time.Hour + 280*ms + by}}
	}
	held := []frame{{0, time.Hour}} // for ten seconds; then frames come twice as fast as they are made
	for i := range 300 {
		held = append(held, frame{time.Duration(i+1) * frame40, time.Hour + 10*time.Second + time.Duration(i)*20*ms})
	}
	for name, c := range map[string]struct {
		shown  bool // the first frame is shown, without being asked about
		frames []frame
		joined int // of the others
	}{
		"as they are made":             {false, every(100, frame40, frame40), 0},
		"three quarters of their time": {false, every(100, frame40, 30*ms), 0},
		"a moment faster":              {false, every(50, frame40, 30*ms-1), 49},
		"at once":                      {false, every(100, frame40, 0), 99},
		"faster, for ever":             {false, every(300, frame40, 20*ms), 99},
		"after frames that were shown": {true, every(100, frame40, 0), 0},
		"half a second late":           {true, late(500 * ms), 0},
		"a moment later":               {true, late(500*ms + 1), 1},
		"late, and faster for ever":    {true, held, 100},
	} {
		t.Run(name, func(t *testing.T) {
			line := Timeline{Budget: 200 * ms}
			joined, over := 0, false
			for i, f := range c.frames {
				if i == 0 && c.shown {
					line.Map(f.at, true, f.now)
					continue
				}
				if !line.Joining(f.at, f.now) {
					if _, anchored := line.Map(f.at, false, f.now); joined > 0 && !over && !anchored {
						t.Errorf("frame %d, the first after the burst, does not begin the line", i)
					}
					over = true
					if c.shown && joined > 0 {
						break
					}
					continue
				}
				if i > 0 {
					joined++
				}
				line.Replay(f.at, false, f.now)
			}
			kit.Expect(t, "passed over", joined, c.joined)
		})
	}
}
