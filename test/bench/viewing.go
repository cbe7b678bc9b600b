package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"sync"
	"time"
)

// sighting is a picture that came to the screen.
type sighting struct {
	frame int // its number, which continues where the clip begins again
	at    time.Time
	lag   time.Duration // since it was captured
	blind bool          // nobody can say what was on the screen since the one before
}

// viewing is all that was seen of a numbered stream, in the order of time.
type viewing struct {
	of *numbered

	mu    sync.Mutex
	seen  []sighting
	blind time.Time // when the screen had last not been looked at for longer than blindFor
}

// blindFor is how long a screen may not be looked at before nobody can say what was on it: half a frame.
const blindFor = time.Second / clipFPS / 2

// look follows a screen until ctx ends.
func (v *viewing) look(ctx context.Context, s *screen) {
	s.late = func(now time.Time) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.blind = now
	}
	_ = s.follow(ctx, func(n int, now time.Time) bool { // it ends with ctx only
		v.mu.Lock()
		defer v.mu.Unlock()
		v.add(n, now)
		return false
	})
}

// add notes a picture by the number that is in it.
func (v *viewing) add(n int, now time.Time) {
	s := sighting{frame: n, at: now, lag: v.of.age(n, now)}
	if len(v.seen) > 0 {
		last := v.seen[len(v.seen)-1]
		s.blind = v.blind.After(last.at)
		s.frame = unwrap(n, last.frame+int(now.Sub(last.at)*clipFPS/time.Second))
	}
	v.seen = append(v.seen, s)
}

// unwrap is the number closest to an expected one that a clip shows as n.
func unwrap(n, expected int) int {
	ahead := ((n-expected)%numberedFrames + numberedFrames) % numberedFrames
	if ahead > numberedFrames/2 {
		ahead -= numberedFrames
	}
	return expected + ahead
}

// between are the pictures that came in a time.
func (v *viewing) between(from, to time.Time) []sighting {
	v.mu.Lock()
	defer v.mu.Unlock()
	first := v.find(from)
	return slices.Clone(v.seen[first:max(first, v.find(to))])
}

// find is the index of the first picture that came at a time or later; v.mu is held.
func (v *viewing) find(t time.Time) int {
	i, _ := slices.BinarySearchFunc(v.seen, t, func(s sighting, t time.Time) int { return s.at.Compare(t) })
	return i
}

// since are the pictures that came from a time to another, and the one that was there before.
func (v *viewing) since(from, to time.Time) []sighting {
	v.mu.Lock()
	defer v.mu.Unlock()
	first := v.find(from)
	return slices.Clone(v.seen[max(0, first-1):max(first, v.find(to))])
}

// longest is the longest time without a new picture that ended between two times.
func (v *viewing) longest(from, to time.Time) time.Duration {
	pictures := v.since(from, to)
	if len(pictures) == 0 {
		return to.Sub(from)
	}
	gap := to.Sub(pictures[len(pictures)-1].at) // which has not ended
	for i := 1; i < len(pictures); i++ {
		gap = max(gap, pictures[i].at.Sub(pictures[i-1].at))
	}
	return gap
}

// blindSince says that what was seen since a time is not all there was.
func (v *viewing) blindSince(since time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.blind.After(since)
}

// captured waits for a picture that was captured after a moment, and gives the time at which it came.
func (v *viewing) captured(ctx context.Context, after time.Time) (time.Time, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, backWithin, fmt.Errorf("no picture came within %v", backWithin))
	defer cancel()
	for from := after; ; {
		now := time.Now()
		for _, s := range v.between(from, now) {
			if s.at.Add(-s.lag).After(after) {
				return s.at, nil
			}
		}
		from = now
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return time.Time{}, context.Cause(ctx)
		}
	}
}

// another waits for the next picture.
func (v *viewing) another(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, backWithin, fmt.Errorf("no picture came within %v", backWithin))
	defer cancel()
	for began := time.Now(); len(v.between(began, time.Now())) == 0; {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// missing is how many frames from the first to the last of some pictures were not seen, as far as anybody looked.
func missing(pictures []sighting) int {
	if len(pictures) == 0 {
		return 0
	}
	frames := map[int]bool{}
	least, greatest := pictures[0].frame, pictures[0].frame
	for i, s := range pictures {
		if i > 0 && s.blind {
			for frame := pictures[i-1].frame; frame < s.frame; frame++ {
				frames[frame] = true
			}
		}
		frames[s.frame] = true
		least, greatest = min(least, s.frame), max(greatest, s.frame)
	}
	return greatest - least + 1 - len(frames)
}

// intervals are the times between two pictures, from the least to the greatest, but for those in which nobody looked.
func intervals(pictures []sighting) (times []time.Duration) {
	for i := 1; i < len(pictures); i++ {
		if !pictures[i].blind {
			times = append(times, pictures[i].at.Sub(pictures[i-1].at))
		}
	}
	slices.Sort(times)
	return times
}

// lags are those of pictures, from the least to the greatest.
func lags(pictures []sighting) (list []time.Duration) {
	for _, s := range pictures {
		list = append(list, s.lag)
	}
	slices.Sort(list)
	return list
}

// middle is the median of sorted times, 0 without any.
func middle(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

// stage is an agent that shows a numbered stream on a screen and tells a broker about it.
type stage struct {
	seen  *viewing
	told  *reports
	agent *exec.Cmd
}

// runOnStage runs an agent of which all that it shows and tells is noted while look does.
func (b *bench) runOnStage(ctx context.Context, live *numbered, s setup, look func(s *stage) (figures, error)) (figures, error) {
	s.service = live.service
	return b.runHeardOnScreen(ctx, s, func(screen *screen, told telemetry, agent *exec.Cmd) (f figures, err error) {
		ctx, stop := context.WithCancel(ctx)
		on := &stage{seen: &viewing{of: live}, told: newReports(), agent: agent}
		var working sync.WaitGroup
		defer working.Wait()
		defer stop()
		working.Go(func() { on.seen.look(ctx, screen) })
		working.Go(func() { on.told.listen(ctx, told) })
		if _, err := on.seen.captured(ctx, live.began); err != nil {
			return nil, err
		}
		return look(on)
	})
}

// losses compares the frames of a time that were not seen with those that the agent told of. Before and after that time
// nothing must be lost for about a second.
func (on *stage) losses(ctx context.Context, from, to time.Time) (missed, uncounted int, err error) {
	if err := on.told.until(ctx, to.Add(settled)); err != nil {
		return 0, 0, err
	}
	missed = missing(on.seen.since(from, to))
	return missed, max(0, missed-on.told.dropped(from, to.Add(settled))), nil
}

// settled is after what time at most the agent tells of a frame that was lost: two of the renderer's statuses.
const settled = 500 * time.Millisecond

// errBlind is of a time in which the bench itself did not run.
var errBlind = fmt.Errorf("the bench %w", errBusy)

// clear is an error when not all was seen since a time.
func (b *bench) clear(on *stage, since time.Time) error {
	if b.strict && on.seen.blindSince(since) {
		return errBlind
	}
	return nil
}

// errEnded says that a connection to the broker ended.
var errEnded = errors.New("the connection to the broker broke")
