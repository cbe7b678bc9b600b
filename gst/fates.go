package gst

// #include "player.h"
import "C"

import (
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

// The bounds of a ledger.
const (
	// mostReordered is how many pictures of frames sent later may come out before that of a frame: the most that
	// max_num_reorder_frames (H.264 E.2.1) and sps_max_num_reorder_pics (H.265 7.4.3.2) allow.
	mostReordered = 16
	// mostUnsettled bounds the frames whose fate is not known. A decoder that makes no pictures gets there.
	mostUnsettled = 1024
	// mostSettled bounds the settled frames of one status: 64 KiB of it. When there are more, a status is sent at once.
	mostSettled = 1024
	// settledBehind is how many settled frames are kept before an unsettled one, to find the other field of a picture.
	settledBehind = 32
)

// sentFrame is a frame that was given to the pipeline.
type sentFrame struct {
	number  uint64        // Unit.Number
	pts     time.Duration // its name in the pipeline
	at      time.Duration // on the producer's line
	part    uint64        // of the producer's line: it rises when the line begins again
	passed  int           // pictures of frames with a later time that came out
	made    bool          // its picture came out of the decoder
	fields  bool          // which may be two frames, one field each
	settled bool
	reason  report.Reason
}

// before says that the frame is displayed before another one.
func (f *sentFrame) before(g *sentFrame) bool {
	return f.part < g.part || f.part == g.part && f.at < g.at
}

// ledger settles every frame that was sent to a pipeline exactly once. It is pure: what happened in the pipeline is an
// argument.
//
//	sent ──▶ decoder ──▶ made ──▶ shown, late or catch_up
//	  │         └── later pictures came out instead: no_picture
//	  └── overload
type ledger struct {
	frames    []sentFrame // in decoding order, from the oldest that is not settled
	unsettled int
	newest    time.Duration // of at, in this part of the line
	part      uint64
	step      time.Duration // the shortest time between two pictures, 0 while not known
	lastMade  sentFrame
	settled   []report.Settled // to be sent
}

// sent adds a frame and returns the time that names it: pts, or a little later if another frame has that name.
func (l *ledger) sent(number uint64, at, pts time.Duration, key bool) time.Duration {
	for l.find(pts) != nil {
		pts += time.Microsecond
	}
	if key && at < l.newest {
		l.part++
		l.newest = at
	}
	l.newest = max(l.newest, at)
	l.frames = append(l.frames, sentFrame{number: number, at: at, pts: pts, part: l.part})
	l.unsettled++
	return pts
}

// bound gives up the oldest frames when too many are not settled, but for those that still wait for the decoder.
func (l *ledger) bound(waiting int) {
	for i := 0; l.unsettled > mostUnsettled+waiting; i++ {
		l.settle(&l.frames[i], report.DropNoPicture)
	}
	l.tidy()
}

// find gives the unsettled frame with a name, nil when there is none.
func (l *ledger) find(pts time.Duration) *sentFrame {
	for i := range l.frames {
		if f := &l.frames[i]; f.pts == pts && !f.settled {
			return f
		}
	}
	return nil
}

// unmade gives the frame of a picture that comes out under a name, nil when there is none. GstVideoDecoder lets no name
// be less than the one before: where times are not in display order, a picture has that one instead of its own.
func (l *ledger) unmade(pts time.Duration) *sentFrame {
	var lower *sentFrame
	for i := range l.frames {
		switch f := &l.frames[i]; {
		case f.settled || f.made:
		case f.pts == pts:
			return f
		case f.pts < pts && lower == nil:
			lower = f
		}
	}
	if l.lastMade.made && l.lastMade.pts == pts {
		return lower
	}
	return nil
}

// made takes in that a frame's picture left the decoder. Decoders deliver pictures in display order, so a frame that is
// to be displayed before it and did not come out makes no picture; but times may be wrong, so it has as long as the
// deepest reordering takes.
func (l *ledger) made(pts time.Duration, interlaced bool) {
	f := l.unmade(pts)
	if f == nil {
		return
	}
	f.pts, f.made, f.fields = pts, true, interlaced
	l.measure(*f)
	for i := range l.frames {
		g := &l.frames[i]
		if g.settled || g.made || !g.before(f) {
			continue
		}
		if g.passed++; g.passed > mostReordered {
			l.settle(g, l.withoutPicture(i))
		}
	}
	l.tidy()
}

// measure notes the shortest time between two pictures.
func (l *ledger) measure(f sentFrame) {
	if step := f.at - l.lastMade.at; l.lastMade.made && l.lastMade.part == f.part && step > 0 && (l.step == 0 || step < l.step) {
		l.step = step
	}
	l.lastMade = f
}

// withoutPicture is why the frame at an index made no picture of its own. It may be the second field of the picture of
// the frame before it; then it shares that one's fate.
func (l *ledger) withoutPicture(i int) report.Reason {
	if i == 0 {
		return report.DropNoPicture
	}
	first, second := &l.frames[i-1], &l.frames[i]
	apart := second.at - first.at
	if !first.fields || !first.settled || first.part != second.part || apart < 0 || apart > l.step*3/4 {
		return report.DropNoPicture
	}
	return first.reason
}

// over takes in a frame's end.
func (l *ledger) over(pts time.Duration, reason report.Reason) {
	if f := l.find(pts); f != nil {
		l.settle(f, reason)
		l.tidy()
	}
}

// rest settles all that is left, when the pipeline is gone. Frames whose pictures came out are settled as made, the
// others as unmade.
func (l *ledger) rest(made, unmade report.Reason) {
	for i := range l.frames {
		switch f := &l.frames[i]; {
		case f.settled:
		case f.made:
			l.settle(f, made)
		case unmade == report.DropNoPicture:
			l.settle(f, l.withoutPicture(i))
		default:
			l.settle(f, unmade)
		}
	}
	l.frames = nil
}

func (l *ledger) settle(f *sentFrame, reason report.Reason) {
	if f.settled {
		return
	}
	f.settled, f.reason = true, reason
	l.unsettled--
	if f.number != 0 {
		l.settled = append(l.settled, report.Settled{Frame: f.number, Reason: reason})
	}
}

// tidy forgets settled frames that are not needed any more.
func (l *ledger) tidy() {
	n := 0
	for n < len(l.frames) && l.frames[n].settled {
		n++
	}
	if n >= 2*settledBehind {
		l.frames = append(l.frames[:0], l.frames[n-settledBehind:]...)
	}
}

// take gives what was settled since the last call, at most n frames.
func (l *ledger) take(n int) []report.Settled {
	n = min(n, len(l.settled))
	if n == 0 {
		return nil
	}
	out := l.settled[:n:n]
	l.settled = l.settled[n:]
	return out
}

// fateReasons are the ends that streaming threads report.
var fateReasons = map[C.FateKind]report.Reason{
	C.FATE_SHOWN: report.Shown, C.FATE_LATE: report.DropLate, C.FATE_SKIPPED: report.DropOverload, C.FATE_PASSED: report.DropCatchUp,
}

// collect takes in what the streaming threads have reported.
func (l *ledger) collect(f *C.Fates) {
	var list [64]C.Fate
	for {
		n := C.fates_take(f, &list[0], C.gsize(len(list)))
		for _, fate := range list[:n] {
			if pts := time.Duration(fate.pts); fate.kind == C.FATE_MADE {
				l.made(pts, fate.interlaced != 0)
			} else {
				l.over(pts, fateReasons[fate.kind])
			}
		}
		if int(n) < len(list) {
			return
		}
	}
}
