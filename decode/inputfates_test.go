package decode

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

// blockOf is a block of one NAL unit: K a key frame, d another, b one that no other refers to, x noise.
func blockOf(kind rune) []byte {
	if kind == 'x' {
		return []byte{0xd5, 0x91, 0xfe, 0xd5, 0x91}
	}
	return []byte{0, 0, 0, 2, map[rune]byte{'K': 0x65, 'd': 0x41, 'b': 0x01}[kind], 0x88}
}

// feedOf pushes blocks of a track; ! says that frames before the next one are missing.
func feedOf(in *Input, track *mkv.Track, blocks string) {
	discont := false
	for _, kind := range blocks {
		if kind == '!' {
			discont = true
			continue
		}
		in.Push(&mkv.Frame{Track: track, Data: blockOf(kind), Key: kind == 'K'}, time.Hour, discont, time.Time{})
		discont = false
	}
}

// unitsOf writes down units, with ! before those that say that frames are missing.
func unitsOf(units []Unit) string {
	var b strings.Builder
	for _, u := range units {
		if u.Discont {
			b.WriteByte('!')
		}
		b.WriteString(map[bool]string{true: "K", false: "d"}[u.Key])
	}
	return b.String()
}

// Every reason for which frames are not shown is counted as often as it was so, and what is counted adds up.
func TestEveryReasonIsCounted(t *testing.T) {
	a, in := lone(t)
	in.gate.limits = Limits{Units: 6, Bytes: 1000}
	track := *h264Track
	feedOf(in, &track, "ddd")     // before a key frame
	feedOf(in, &track, "Kdddddd") // the last one finds the queue full
	feedOf(in, &track, "d")
	large := append([]byte{0, 0, 3, 0xe6, 0x65, 0x88}, make([]byte, 996)...)
	in.Push(&mkv.Frame{Track: &track, Data: large, Key: true}, time.Hour, false, time.Time{})
	feedOf(in, &track, "d")

	a.feeding = in
	a.sentTo.feed(in)
	give := func(frames int) (numbers []uint64) {
		t.Helper()
		for range frames {
			u, ok := in.gate.take()
			if !ok {
				t.Fatal("nothing waits")
			}
			a.sentTo.frame(u.Number)
			a.progress.sent(u, time.Now())
			numbers = append(numbers, u.Number)
		}
		return numbers
	}
	settle := func(fates ...report.Settled) {
		t.Helper()
		if err := a.take(says(t, KindStatus, Status{Number: 1, Settled: fates})); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.open(t.Context(), &format.Format{Codec: format.H264}); err != nil {
		t.Fatal(err)
	}
	feedOf(in, &track, "Kddddd")
	n := give(6)
	settle(report.Settled{Frame: n[0], Reason: report.Shown}, report.Settled{Frame: n[1], Reason: report.DropLate}, report.Settled{Frame: n[2], Reason: report.DropOverload}, report.Settled{Frame: n[3], Reason: report.DropOverload})
	settle(report.Settled{Frame: n[4], Reason: report.DropNoPicture}, report.Settled{Frame: n[4], Reason: report.Shown})
	feedOf(in, &track, "Kdddd")
	m := give(5)
	settle(report.Settled{Frame: m[0], Reason: report.DropCatchUp}, report.Settled{Frame: m[1], Reason: report.DropCatchUp}, report.Settled{Frame: m[2], Reason: report.DropCatchUp})
	feedOf(in, &track, "K")
	give(1)
	a.sentTo.died(a.r.everyInput()) // nothing was said of three; the next child gets the key frame

	feedOf(in, &track, "x")
	bare := track
	bare.CodecPrivate = nil
	feedOf(in, &bare, "Kd")
	want := map[report.Reason]uint64{
		"no_key_frame": 3, "queue_full": 8, "too_large": 2, "late": 1, "overload": 2, "no_picture": 1, "catch_up": 3,
		"decoder_failed": 3, "unsupported": 1, "no_parameter_sets": 2,
	}
	c := in.Counts()
	for why, n := range want {
		kit.Expect(t, string(why), c.Dropped[why], n)
	}
	kit.Expect(t, "reasons", len(c.Dropped), len(want))
	kit.Expect(t, "sum", c.DroppedSum(), 26)
	kit.Expect(t, "received", c.Received, 28)
	kit.Expect(t, "shown", c.Shown, 1)
	kit.Expect(t, "on their way", c.Queued, 1)
	kit.Expect(t, "of the agent's side", a.r.Stats().Dropped, 19) // the child counts those that it knows of
	in.Close()
	kit.Expect(t, "hidden", in.Counts().Hidden, 1)
	all := a.r.Stats().Frames
	kit.Expect(t, "received by all", all.Received, 28)
	kit.Expect(t, "dropped by all", all.DroppedSum(), 26)
}

// A unit says that frames before it are missing exactly where that is so.
func TestDiscontinuityWhereFramesAreMissing(t *testing.T) {
	for blocks, want := range map[string]string{
		"KddKd":    "!KddKd",
		"K!ddKd":   "!K!ddKd",
		"Kd!Kd!d":  "!Kd!Kd!d",
		"KxdKd":    "!K!dKd",
		"KdxxKdd":  "!Kd!Kdd",
		"dKd":      "!Kd",
		"ddxK!d!d": "!K!d!d",
	} {
		f := newFeeder()
		track := *h264Track
		feedOf(f.in, &track, blocks)
		kit.Expect(t, blocks, unitsOf(f.taken()), want)
	}
}

// Frames of a track that cannot be decoded do not go to the decoder of the one before, and one that can be goes on with
// its next key frame.
func TestTrackThatCannotBeDecodedForATime(t *testing.T) {
	for name, change := range map[string]func(*mkv.Track){
		"another codec": func(t *mkv.Track) { t.CodecID = "V_VP9" },
		"encrypted":     func(t *mkv.Track) { t.Encoded = true },
	} {
		f := newFeeder()
		good := *h264Track
		bad := good
		change(&bad)
		f.in.SetTracks([]*mkv.Track{&good})
		feedOf(f.in, &good, "Kd")
		before := f.taken()
		kit.Expect(t, name+": before", unitsOf(before), "!Kd")
		f.in.SetTracks([]*mkv.Track{&bad})
		feedOf(f.in, &bad, "KddKd")
		kit.Expect(t, name+": meanwhile", unitsOf(f.taken()), "")
		kit.Expect(t, name+": blocked", f.in.Blocked().Code, "decode.codec")
		kit.Expect(t, name+": blocked stream", f.in.Blocked().Stream, "cam")
		again := good
		f.in.SetTracks([]*mkv.Track{&again})
		kit.Expect(t, name+": blocked afterwards", f.in.Blocked().Code, "")
		feedOf(f.in, &again, "dKd")
		after := f.taken()
		kit.Expect(t, name+": afterwards", unitsOf(after), "!Kd")
		if len(after) > 0 && (after[0].Format == nil || after[0].Format.Continues(before[0].Format)) {
			t.Errorf("%s: afterwards the format is %+v", name, after[0].Format)
		}
		kit.Expect(t, name+": fates", fates(f.in.Counts()), "no_key_frame 1, unsupported 5; queued 4")
		if codes := f.codes(); !slices.Equal(codes, []string{"decode.codec"}) {
			t.Errorf("%s: reported %v", name, codes)
		}
		for _, r := range f.reports {
			kit.Expect(t, name+": stream", r.Stream, "cam")
		}
	}
}

// What is known of a frame goes along with it; frames of a recording are all to be seen.
func TestUnitsKeepWhatIsKnownOfTheFrame(t *testing.T) {
	f := newFeeder()
	received := time.Unix(1000, 0)
	track := *h264Track
	f.in.Push(&mkv.Frame{Track: &track, Data: blockOf('K'), Key: true}, time.Minute, false, received)
	f.in.PushStored(t.Context(), &mkv.Frame{Track: &track, Data: blockOf('b')}, time.Hour, true)
	units := f.taken()
	kit.Expect(t, "units", unitsOf(units), "!K!d")
	live, stored := units[0], units[1]
	kit.Expect(t, "live: stored", live.Stored, false)
	kit.Expect(t, "live: time", live.Time, time.Minute)
	kit.Expect(t, "live: received", live.Received, received)
	kit.Expect(t, "live: disposable", live.Disposable, false)
	kit.Expect(t, "live: data", bytes.Equal(live.Data, blockOf('K')), true)
	kit.Expect(t, "stored", stored.Stored, true)
	kit.Expect(t, "stored: time", stored.Time, time.Hour)
	kit.Expect(t, "stored: disposable", stored.Disposable, true)
	kit.Expect(t, "stored: received", stored.Received.IsZero(), true)
	kit.Expect(t, "numbers", stored.Number-live.Number, 1)

	lag := f.in.lag.frames // by which it is measured how long frames take to the screen
	kit.Expect(t, "received", len(lag), 2)
	kit.Expect(t, "live", lag[0], reception{number: live.Number, at: time.Minute, received: received})
	kit.Expect(t, "stored: without a time of reception", lag[1].received.IsZero(), false)
}

// Showing another input gives up the pipeline once; showing the same one, or one of nobody's, changes nothing.
func TestShowGivesUpThePipeline(t *testing.T) {
	r := New(Config{})
	a, b := r.Input("a", plan.Preference{}), r.Input("b", plan.Preference{})
	over := func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	r.Show(a)
	shown, turned := r.showing()
	kit.Expect(t, "shown", shown == a && a.Shown() && !b.Shown(), true)
	kit.Expect(t, "hidden", b.gate.hidden() && r.own.gate.hidden() && !a.gate.hidden(), true)
	r.Show(a)
	r.Show(New(Config{}).Input("another renderer's", plan.Preference{}))
	shown, same := r.showing()
	kit.Expect(t, "shown", shown == a, true)
	kit.Expect(t, "the same pipeline", same == turned && !over(turned), true)
	r.stats.FrameTime, r.stats.Wall, r.after = time.Hour, time.Now(), &failure{}
	b.lag.onScreen = reception{number: 5} // from when it was shown before
	r.Show(b)
	kit.Expect(t, "picture of the lag", b.lag.onScreen.number, 0)
	shown, next := r.showing()
	kit.Expect(t, "shown", shown == b && !a.Shown(), true)
	kit.Expect(t, "given up", over(turned) && !over(next), true)
	kit.Expect(t, "hidden", a.gate.hidden() && !b.gate.hidden(), true)
	kit.Expect(t, "frame time", r.Stats().FrameTime, 0)
	kit.Expect(t, "wall", r.Stats().Wall.IsZero(), true)
	kit.Expect(t, "waits for a picture after a failure", r.after == nil, true)

	r.own.Close() // it cannot be
	b.Restart()
	shown, again := r.showing()
	kit.Expect(t, "shown", shown == b, true)
	kit.Expect(t, "given up at another place", over(next) && !over(again), true)
	a.Restart()
	kit.Expect(t, "given up for one that is hidden", over(again), false)
	a.Close()
	kit.Expect(t, "given up for one that is hidden", over(again), false)
	b.Close()
	shown, _ = r.showing()
	kit.Expect(t, "shown", shown == r.own && !r.own.gate.hidden(), true)
	kit.Expect(t, "given up with the input", over(again), true)
	kit.Expect(t, "inputs", len(r.inputs), 1)
}

// At another place in the stream, what waits is dropped, also the picture that waits for further slices.
func TestRestartDropsWhatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeeder()
		track := *h264Track
		feedOf(f.in, &track, "K")
		slice := []byte{0, 0, 0, 3, 0x41, 0x40, 0x9a} // the second one of its picture
		f.in.Push(&mkv.Frame{Track: &track, Data: slice}, time.Hour, false, time.Time{})
		in := func(kind rune, at time.Duration) {
			f.in.Push(&mkv.Frame{Track: &track, Data: blockOf(kind), Key: kind == 'K'}, at, false, time.Time{})
		}
		in('d', time.Hour+1)
		in('d', time.Hour+2) // this one waits
		kit.Expect(t, "given to the gate", f.in.gate.Stats().Waiting, 2)
		f.in.Restart()
		kit.Expect(t, "fates", fates(f.in.Counts()), "catch_up 3; queued 0")
		in('d', 0)
		in('K', 1)
		time.Sleep(holdMost)
		synctest.Wait()
		kit.Expect(t, "units", unitsOf(f.taken()), "!K")
		kit.Expect(t, "fates", fates(f.in.Counts()), "catch_up 3, no_key_frame 1; queued 1")
		f.in.Close()
		kit.Expect(t, "closed", fates(f.in.Counts()), "catch_up 3, hidden 1, no_key_frame 1; queued 0")
		in('K', 2)
		kit.Expect(t, "closed", f.in.Counts().Received, 5)
	})
}

// What makes another track of one for the decoder.
func TestSameMedia(t *testing.T) {
	for name, change := range map[string]func(*mkv.Track){
		"number":    func(t *mkv.Track) { t.Number++ },
		"codec":     func(t *mkv.Track) { t.CodecID = mkv.CodecH265 },
		"private":   func(t *mkv.Track) { t.CodecPrivate = nil },
		"encrypted": func(t *mkv.Track) { t.Encoded = true },
		"width":     func(t *mkv.Track) { t.Width++ },
		"height":    func(t *mkv.Track) { t.Height++ },
	} {
		other := *h264Track
		change(&other)
		kit.Expect(t, name, sameMedia(h264Track, &other), false)
	}
	same := *h264Track
	same.Name, same.CodecPrivate = "another", bytes.Clone(same.CodecPrivate)
	kit.Expect(t, "the same", sameMedia(h264Track, &same), true)
}

// A session of its own goes on with the same decoder in the middle of a group of pictures.
func TestSameFormatGoesOnWithoutAKeyFrame(t *testing.T) {
	r := start(t, "none")
	r.push("Kd")
	same := *r.track
	r.track = &same
	r.push("ddKd")
	r.shown(6)
	kit.Expect(t, "got", r.got(), "|KdddKd")
	s := r.Stats()
	kit.Expect(t, "dropped", s.Dropped, 0)
	kit.Expect(t, "shown", s.Shown, 6)
	kit.Expect(t, "fed", s.Fed, 6)
}
