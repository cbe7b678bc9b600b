package decode

import (
	"bytes"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

// parts are blocks of H.264 that are no access units by themselves.
var parts = map[rune][]byte{
	's': {0, 0, 0, 3, 0x41, 0x40, 0x9a},    // a further slice
	'i': {0, 0, 0, 2, 0x06, 0x01},          // an SEI message
	'r': {0, 0, 0, 4, 0x06, 0x06, 1, 0x84}, // a recovery point
}

// partsTo pushes blocks written as letters, those of parts among them. Each picture has a time of its own.
func (f *feeder) partsTo(track *mkv.Track, blocks string, at *time.Duration) {
	for _, kind := range blocks {
		data := parts[kind]
		if data == nil {
			data = blockOf(kind)
			*at += 40 * ms
		}
		f.in.Push(&mkv.Frame{Track: track, Data: data, Key: kind == 'K'}, *at, false, time.Time{})
	}
}

// whole checks that units are those written as letters, each in its form, with the blocks in front of and behind it.
func whole(t *testing.T, units []Unit, want ...string) {
	t.Helper()
	kit.Expect(t, "units", len(units), len(want))
	for i := range min(len(units), len(want)) {
		u := units[i]
		var data []byte
		key := false
		for _, kind := range want[i] {
			if part := parts[kind]; part != nil {
				data = append(data, part...)
			} else {
				data = append(data, blockOf(kind)...)
			}
			key = key || kind == 'K' || kind == 'r'
		}
		if !bytes.Equal(u.Data, data) || u.Key != key || u.Discont != (i == 0) || u.Format == nil || u.Format.Stream != format.AVC {
			t.Errorf("unit %d: % x, key %v, discontinuity %v, format %+v; want %s",
				i, u.Data, u.Key, u.Discont, u.Format, want[i])
		}
	}
}

// Slices that come in blocks of their own become one unit. Pictures wait for the next one, until fifty had one slice.
func TestSlicesBecomeOneUnit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeeder()
		track, at := *h264Track, time.Hour
		f.partsTo(&track, "Ks", &at)
		whole(t, f.taken(), "Ks")
		f.partsTo(&track, "dssdsd", &at)
		kit.Expect(t, "given out", f.in.gate.Stats().Waiting, 2)
		time.Sleep(100*ms - 1)
		synctest.Wait()
		kit.Expect(t, "a moment before its time is over", f.in.gate.Stats().Waiting, 2)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		kit.Expect(t, "when its time is over", f.in.gate.Stats().Waiting, 3)
		f.partsTo(&track, "s", &at) // it comes too late, and is added all the same
		var text []Unit
		for _, u := range f.taken() {
			u.Discont = len(text) == 0 // of the key frame, as before
			text = append(text, u)
		}
		whole(t, text, "dss", "ds", "ds")
		f.partsTo(&track, "dsi", &at)
		kit.Expect(t, "before a message", f.in.gate.Stats().Waiting, 1) // which belongs to the next one
		for n := range 51 {
			f.partsTo(&track, "d", &at)
			want := 1 + n // those before the one that waits
			if n == 50 {
				want = 52 // none waits any more
			}
			kit.Expect(t, "waiting", f.in.gate.Stats().Waiting, want)
		}
		c := f.in.Counts()
		kit.Expect(t, "fates", fates(c), "; queued 56")
	})
}

// Blocks without a slice go in front of the next picture, which others need then. A recovery point makes it one to
// begin with.
func TestBlocksInFrontOfAPicture(t *testing.T) {
	f := newFeeder()
	track, at := *h264Track, time.Hour
	f.partsTo(&track, "dirdib", &at)
	units := f.taken()
	whole(t, units, "ird", "ib")
	for i, u := range units {
		kit.Expect(t, "disposable", u.Disposable, false)
		kit.Expect(t, "number", u.Number-units[0].Number, uint64(i))
	}
	f.partsTo(&track, "b", &at)
	rest := f.taken()
	kit.Expect(t, "one without", len(rest) == 1 && rest[0].Disposable, true)
	kit.Expect(t, "fates", fates(f.in.Counts()), "no_key_frame 1; queued 3")

	f = newFeeder()
	f.partsTo(&track, "idK", &at) // the message belongs to a frame that is dropped
	f.in.Push(&mkv.Frame{Track: &track, Data: slices.Concat(parts['r'], blockOf('d'))}, at+1, false, time.Time{})
	whole(t, f.taken(), "K", "rd")
}

// What waits for further slices goes to the gate before another track does.
func TestHeldPictureIsNotLostWithItsTrack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeeder()
		track, at := *h264Track, time.Hour
		f.partsTo(&track, "Ksd", &at)
		other := track
		other.Width++
		f.partsTo(&other, "Kd", &at)
		kit.Expect(t, "fates", fates(f.in.Counts()), "; queued 4")
		kit.Expect(t, "units", unitsOf(f.taken()), "!KdKd") // none waits for slices of the new track
	})
}

// That frames find no room is reported when it begins, once each time.
func TestOverflowBegins(t *testing.T) {
	for name, c := range map[string]struct{ costs, reports []int }{
		"before the first that found room": {[]int{1, 1, 1, 0}, nil},
		"once":                             {[]int{0, 3, 1, 1, 0}, []int{1}},
		"again":                            {[]int{1, 0, 2, 0, 0, 5, 1}, []int{2, 5}},
	} {
		var o overflow
		var reports []int
		for i, cost := range c.costs {
			if o.begins(cost) {
				reports = append(reports, i)
			}
		}
		if !slices.Equal(reports, c.reports) {
			t.Errorf("%s: reported at %v, want %v", name, reports, c.reports)
		}
	}
}

// Frames that cannot be shown are reported after three seconds of this box's clock, or of their own.
func TestHurdleWears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			waits, at time.Duration
			wears     bool
		}{
			"at once":               {0, 0, false},
			"just under":            {3*time.Second - 1, 3*time.Second - 1, false},
			"by the clock":          {3 * time.Second, 0, true},
			"faster than made":      {0, 3 * time.Second, true},
			"that go the other way": {0, -3 * time.Second, true},
		} {
			var h hurdle
			kit.Expect(t, name+": the first", h.wearing(time.Hour), false)
			time.Sleep(c.waits)
			kit.Expect(t, name, h.wearing(time.Hour+c.at), c.wears)
		}
	})
}

// Of a hidden stream nobody misses the frames before a key frame; others that cannot be decoded are counted as ever.
func TestDropsOfAHiddenStream(t *testing.T) {
	f := newFeeder()
	f.r.Show(f.r.own)
	track := *h264Track
	feedOf(f.in, &track, "ddx")
	kit.Expect(t, "fates", fates(f.in.Counts()), "hidden 2, unsupported 1; queued 0")
}

// What becomes of frames of all inputs is added up.
func TestCountsAreAdded(t *testing.T) {
	var sum report.FrameCounts
	for range 2 {
		dropped := map[report.Reason]uint64{report.DropLate: 5, report.DropOverload: 3}
		sum.Add(report.FrameCounts{Received: 15, Shown: 1, Hidden: 2, Queued: 4, Dropped: dropped})
	}
	kit.Expect(t, "sum", fates(sum), "hidden 4, late 10, overload 6, shown 2; queued 8")
	kit.Expect(t, "received", sum.Received, 30)
}

// When a pipeline goes on with another format.
func TestFormatContinues(t *testing.T) {
	first := &format.Format{Series: 1}
	unnumbered := &format.Format{}
	for name, c := range map[string]struct {
		format, before *format.Format
		want           bool
	}{
		"the same":       {unnumbered, unnumbered, true},
		"of a series":    {&format.Format{Series: 1, CodecData: formattest.AVCC}, first, true},
		"of another":     {&format.Format{Series: 2}, first, false},
		"without series": {&format.Format{}, unnumbered, false},
		"none":           {nil, first, false},
		"the first":      {first, nil, false},
	} {
		kit.Expect(t, name, c.format.Continues(c.before), c.want)
	}
}

// What a decoder is told of a format, and what has to precede the first frame.
func TestFormatInWords(t *testing.T) {
	direct := format.Format{Codec: format.H265, Stream: format.HVC1, CodecData: []byte{1, 0xab}, Width: 640, Height: 360}
	kit.Expect(t, "caps", direct.Caps(), "video/x-h265,stream-format=hvc1,alignment=au,codec_data=(buffer)01ab")
	kit.Expect(t, "prefix", len(direct.Prefix()), 0)
	inBand := format.Format{Codec: format.H264, Stream: format.ByteStream, CodecData: formattest.AnnexBSets}
	kit.Expect(t, "caps", inBand.Caps(), "video/x-h264,stream-format=byte-stream,alignment=au")
	kit.Expect(t, "prefix", bytes.Equal(inBand.Prefix(), formattest.AnnexBSets), true)
}

// A held picture has its own time, and goes to the gate before a block that cannot be read.
func TestHeldPictureHasItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFeeder()
		track, at := *h264Track, time.Hour
		f.partsTo(&track, "Ksd", &at)
		time.Sleep(60 * ms)
		f.partsTo(&track, "d", &at)
		time.Sleep(100*ms - 1)
		synctest.Wait()
		kit.Expect(t, "waiting", f.in.gate.Stats().Waiting, 2)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		kit.Expect(t, "when its time is over", f.in.gate.Stats().Waiting, 3)
		f.partsTo(&track, "dx", &at)
		kit.Expect(t, "waiting", f.in.gate.Stats().Waiting, 4)
		kit.Expect(t, "fates", fates(f.in.Counts()), "unsupported 1; queued 4")
	})
}

// Another track is used when the one in use has had no frames for three seconds, unless somebody wants that one.
func TestTrackWithoutFramesIsReplaced(t *testing.T) {
	for name, c := range map[string]struct {
		wanted string
		first  string // what the first track has
		after  time.Duration
		codec  string // of the second
		used   uint64
		units  string
	}{
		"for three seconds":    {"", "", 3 * time.Second, mkv.CodecH264, 2, "!K"},
		"for less":             {"", "", 3*time.Second - 1, mkv.CodecH264, 1, ""},
		"it is wanted":         {"1", "", time.Minute, mkv.CodecH264, 1, ""},
		"it has frames":        {"", "K", time.Minute, mkv.CodecH264, 1, "!K"},
		"it had frames":        {"", "d", time.Minute, mkv.CodecH264, 1, ""},
		"the other is nothing": {"", "", time.Minute, "V_VP9", 1, ""},
	} {
		f := newFeeder()
		first, second := *h264Track, *h264Track
		first.Number, second.Number, second.CodecID = 1, 2, c.codec
		f.in.SelectTrack(c.wanted)
		f.in.SetTracks([]*mkv.Track{&first, &second})
		feedOf(f.in, &first, c.first)
		for _, at := range []time.Duration{0, c.after} {
			f.in.Push(&mkv.Frame{Track: &second, Data: blockOf('K'), Key: true}, at, false, time.Time{})
		}
		kit.Expect(t, name+": used", f.in.tracks.used.Number, c.used)
		kit.Expect(t, name+": units", unitsOf(f.taken()), c.units)
		kit.Expect(t, name+": reported", len(f.reports) > 0, true)
		for _, r := range f.reports {
			kit.Expect(t, name+": stream of "+r.Code, r.Stream, "cam")
		}
	}
}
