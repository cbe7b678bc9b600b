package gst

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

const testStep = 40 * time.Millisecond

// play sends frames with display positions, in decoding order, and makes pictures of those in out.
func play(l *ledger, order, out []int, interlaced bool) {
	for i, at := range order {
		l.sent(uint64(i+1), time.Duration(at)*testStep, time.Hour+time.Duration(at)*testStep, i == 0)
	}
	for _, at := range out {
		l.made(time.Hour+time.Duration(at)*testStep, interlaced)
		l.over(time.Hour+time.Duration(at)*testStep, report.Shown)
	}
}

func fatesOf(l *ledger) map[uint64]report.Reason {
	all := map[uint64]report.Reason{}
	for _, s := range l.take(len(l.settled)) {
		if _, twice := all[s.Frame]; twice {
			panic(fmt.Sprintf("frame %d is settled twice", s.Frame))
		}
		all[s.Frame] = s.Reason
	}
	return all
}

func upTo(n int) (list []int) {
	for i := range n {
		list = append(list, i)
	}
	return list
}

func TestLedger(t *testing.T) {
	without := func(list []int, gone ...int) []int {
		return slices.DeleteFunc(slices.Clone(list), func(i int) bool { return slices.Contains(gone, i) })
	}
	bFrames := []int{0}
	for i := 3; i < 60; i += 3 {
		bFrames = append(bFrames, i, i-2, i-1)
	}
	for name, c := range map[string]struct {
		order, out []int
		noPicture  []int // positions
		open       int   // not settled before the end
	}{
		"all":                           {upTo(40), upTo(40), nil, 0},
		"one without a picture":         {upTo(40), without(upTo(40), 5), []int{5}, 0},
		"B-frames":                      {bFrames, upTo(58), nil, 0},
		"a B-frame without a picture":   {bFrames, without(upTo(58), 7), []int{7}, 0},
		"a reference without a picture": {bFrames, without(upTo(58), 6), []int{6}, 0},
		"not yet certain":               {upTo(40), without(upTo(20), 15), nil, 21},
		"decoding times for times":      {upTo(40), []int{0, 2, 3, 1, 5, 6, 4, 8, 9, 7}, nil, 30},
	} {
		t.Run(name, func(t *testing.T) {
			var l ledger
			play(&l, c.order, c.out, false)
			got := fatesOf(&l)
			want := map[uint64]report.Reason{}
			for i, at := range c.order {
				switch {
				case slices.Contains(c.out, at):
					want[uint64(i+1)] = report.Shown
				case slices.Contains(c.noPicture, at):
					want[uint64(i+1)] = report.DropNoPicture
				}
			}
			if !maps.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			l.rest(report.DropLate, report.DropNoPicture)
			if rest := fatesOf(&l); len(rest) != c.open {
				t.Errorf("at the end %v are settled, want %d", rest, c.open)
			}
		})
	}
}

// Two fields that are sent as two frames become one picture: both share its fate.
func TestLedgerOfFields(t *testing.T) {
	var l ledger
	for i := range 60 {
		pts := time.Duration(i/2)*testStep + time.Duration(i%2)*testStep/2
		l.sent(uint64(i+1), pts, time.Hour+pts, i == 0)
	}
	for i := range 30 {
		l.made(time.Hour+time.Duration(i)*testStep, true)
		reason := report.Shown
		if i == 3 {
			reason = report.DropLate
		}
		l.over(time.Hour+time.Duration(i)*testStep, reason)
	}
	l.rest(report.DropLate, report.DropNoPicture)
	for number, reason := range fatesOf(&l) {
		want := report.Shown
		if number == 7 || number == 8 {
			want = report.DropLate
		}
		if reason != want {
			t.Errorf("frame %d: %q, want %q", number, reason, want)
		}
	}
}

// Frames with equal times keep their own fates, and the ledger stays small whatever a decoder does.
func TestLedgerBounds(t *testing.T) {
	var l ledger
	names := map[time.Duration]bool{}
	for i := range 5000 {
		names[l.sent(uint64(i+1), 0, time.Hour, i == 0)] = true
		l.bound(0)
		if len(names) != min(i+1, mostUnsettled+1) { // then the oldest are settled, and their names free
			t.Fatalf("frame %d has the name of another one", i+1)
		}
	}
	if len(l.frames) > 2*mostUnsettled {
		t.Errorf("%d frames are kept", len(l.frames))
	}
	if n := len(l.take(10)); n != 10 {
		t.Errorf("took %d", n)
	}
	l.rest(report.Hidden, report.Hidden)
	if n := len(l.take(10_000)); n != 5000-10 {
		t.Errorf("%d were settled", n)
	}
}

// reasons counts frames by what became of them.
type reasons map[report.Reason]int

// stored makes frames those of a recording, which do not count as a burst that is made up for.
func stored(_ int, u *decode.Unit) { u.Stored = true }

// settles says that every frame that was sent is settled, and how.
func (a *agent) settles(want reasons) {
	a.t.Helper()
	if len(a.settled) != int(a.sent) {
		a.t.Errorf("of %d frames %d are settled: %v", a.sent, len(a.settled), a.fates())
	}
	maps.DeleteFunc(want, func(_ report.Reason, n int) bool { return n == 0 })
	if got := reasons(a.fates()); want != nil && !maps.Equal(got, want) {
		a.t.Errorf("settled as %v, want %v", got, want)
	}
}

// drained asks for the end of the pipeline and waits for it.
func (a *agent) drained() {
	a.t.Helper()
	if err := a.out.Raw(decode.KindDrain, 0, 0, nil); err != nil {
		a.t.Fatal(err)
	}
	a.until(decode.KindDrained)
}

func TestEveryFrameIsSettled(t *testing.T) {
	none := plan.Display{Sink: plan.None}
	t.Run("in its time", func(t *testing.T) {
		for _, encoder := range [][]string{x264, x265} {
			frames := clip(t, "320x180", "60", encoder...)
			a := serve(t)
			a.open("avdec_"+string(formatOf(t, frames).Codec), formatOf(t, frames), none, false)
			a.sendUnits(frames, stored)
			a.drained()
			shown := int(a.status.Shown)
			a.settles(reasons{report.Shown: shown, report.DropLate: 60 - shown})
			a.close()
		}
	})
	t.Run("more than fit into one status", func(t *testing.T) {
		frames := clip(t, "64x64", "3000", x264...)
		a := serve(t)
		defer a.close()
		a.open("avdec_h264", formatOf(t, frames), none, true)
		for i := 0; i < len(frames); i += 100 { // as many as the agent has on their way
			a.send(frames[i : i+100])
			for a.status.Fed < uint64(i) {
				a.until(decode.KindStatus)
			}
		}
		a.drained()
		a.settles(reasons{report.Shown: 3000})
		if most := 2*mostSettled + mostUnsettled; a.alone > most {
			t.Errorf("one status settles %d frames, want %d at the most", a.alone, most)
		}
	})
	t.Run("broken frames", func(t *testing.T) {
		frames := clip(t, "320x180", "90", x264...)
		a := serve(t)
		defer a.close()
		a.open("avdec_h264", formatOf(t, frames), none, true)
		broken := 0
		a.sendUnits(frames, func(i int, u *decode.Unit) {
			if i%10 == 5 {
				broken++
				u.Data = append([]byte{0, 0, 0, 6, 0x21}, make([]byte, 5)...) // a slice with nothing in it
			}
		})
		a.drained()
		a.settles(reasons{report.Shown: int(a.status.Shown), report.DropNoPicture: 90 - int(a.status.Shown)})
		if a.status.Shown == 0 || a.status.Shown > 90-uint64(broken)+2 {
			t.Errorf("shown: %d, %d were broken", a.status.Shown, broken)
		}
	})
	t.Run("replayed", func(t *testing.T) {
		frames := clip(t, "320x180", "60", x264...)
		a := serve(t)
		defer a.close()
		a.open("avdec_h264", formatOf(t, frames), none, true)
		a.sendUnits(frames, func(i int, u *decode.Unit) { u.Replay = i < 50 })
		a.drained()
		a.settles(nil)
		if n := a.fates(); n[report.DropCatchUp] == 0 || n[report.Shown]+n[report.DropCatchUp] != 60 {
			t.Errorf("%v of %d decoded: %v", n, a.status.Decoded, a.settled)
		}
	})
	t.Run("another format", func(t *testing.T) {
		small, large := clip(t, "320x180", "30", x264...), clip(t, "642x362", "30", x265...)
		a := serve(t)
		defer a.close()
		a.open("avdec_h264", formatOf(t, small), none, true)
		a.send(small)
		a.open("avdec_h265", formatOf(t, large), none, true)
		a.send(large)
		a.until(decode.KindDrained) // the first
		a.drained()
		a.settles(reasons{report.Shown: 60})
	})
	t.Run("another screen", func(t *testing.T) {
		frames := clip(t, "320x180", "60", x264...)
		a := serve(t)
		defer a.close()
		a.open("avdec_h264", formatOf(t, frames), none, false)
		a.sendUnits(frames[:40], stored)
		a.shown()
		if err := a.out.JSON(decode.KindScreen, decode.Screen{Number: 2, Display: none}); err != nil {
			t.Fatal(err)
		}
		a.until(decode.KindScreened)
		a.sendUnits(frames[40:], stored)
		a.drained()
		a.settles(reasons{report.Shown: int(a.status.Shown), report.DropLate: 60 - int(a.status.Shown)})
	})
	t.Run("cut", func(t *testing.T) {
		frames := clip(t, "320x180", "60", x264...)
		a := serve(t)
		defer a.close()
		a.open("avdec_h264", formatOf(t, frames), none, false)
		a.sendUnits(frames, stored)
		a.shown()
		if err := a.out.Raw(decode.KindCut, 0, 0, nil); err != nil {
			t.Fatal(err)
		}
		a.until(decode.KindDrained)
		a.settles(nil)
		if n := a.fates(); n[report.Hidden] == 0 || n[report.Hidden]+n[report.Shown] != 60 {
			t.Errorf("%v", n)
		}
	})
}

// slow puts something in front of the decoder that makes it take at least so long for each frame.
func slow(each time.Duration) func(*plan.Plan) {
	return func(p *plan.Plan) {
		p.Parser = fmt.Sprintf("identity sleep-time=%d ! %s", each.Microseconds(), p.Parser)
	}
}

// A decoder that is too slow for a live stream does first without the frames that no other refers to: with the third that
// is left of these it keeps up.
func TestOverloadDropsDisposableFramesFirst(t *testing.T) {
	frames := clip(t, "320x180", "120", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "2", "-x264-params", "b-adapt=0:b-pyramid=none:scenecut=0")
	a := serve(t)
	defer a.close()
	a.openEdited("avdec_h264", formatOf(t, frames), plan.Display{Sink: plan.None}, slow(60*time.Millisecond))
	disposable := map[uint64]bool{}
	ticker := time.NewTicker(time.Second / 30)
	defer ticker.Stop()
	for _, f := range frames {
		<-ticker.C // live: each frame comes in its time
		a.sendUnits([]frame{f}, func(_ int, u *decode.Unit) {
			u.Disposable = !f.key && f.data[4]>>5&3 == 0 // nal_ref_idc
			disposable[u.Number] = u.Disposable
		})
	}
	a.drained()
	a.settles(nil)
	var dropped, others int
	for number, reason := range a.settled {
		switch {
		case reason != report.DropOverload:
		case disposable[number]:
			dropped++
		default:
			others++
		}
	}
	if dropped == 0 || others > dropped/4 {
		t.Errorf("%d disposable frames were dropped and %d others: %v", dropped, others, a.fates())
	}
}

// A recording is held up by whatever is slow, and loses nothing.
func TestRecordingLosesNothing(t *testing.T) {
	frames := clip(t, "320x180", "40", append(slices.Clone(x264), "-g", "1000")...)
	a := serve(t)
	defer a.close()
	a.openEdited("avdec_h264", formatOf(t, frames), plan.Display{Sink: plan.None}, slow(70*time.Millisecond)) // 30 a second would be 33
	a.sendUnits(frames, func(_ int, u *decode.Unit) { u.Stored, u.Disposable = true, !u.Key })
	a.drained()
	a.settles(reasons{report.Shown: 40})
}

// Where times are in decoding order, pictures come out with the name of one before them; each is still some frame's.
func TestLedgerOfNamesThatGStreamerChanged(t *testing.T) {
	var l ledger
	play(&l, upTo(10), []int{0, 2, 3, 3, 5, 6, 6, 8, 9, 9}, false)
	got := fatesOf(&l)
	for n := range uint64(10) {
		if reason, ok := got[n+1]; !ok || reason != report.Shown {
			t.Errorf("frame %d: %q, settled %v", n+1, reason, ok)
		}
	}
}
