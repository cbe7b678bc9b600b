package decode

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/kvstest/forms"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

// clips are the project's own, by codec.
func clips(t testing.TB) map[string]forms.Clip {
	t.Helper()
	all := map[string]forms.Clip{}
	for codec, file := range map[string][]byte{"H.264": clip.H264(), "H.265": clip.H265()} {
		c, err := forms.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		all[codec] = c.First(60) // two groups of pictures
	}
	return all
}

// feeder is an input that is shown, and what it reports.
type feeder struct {
	in      *Input
	r       *Renderer
	reports []report.Report
}

func newFeeder() *feeder {
	f := &feeder{}
	f.r = New(Config{Report: func(r report.Report) { f.reports = append(f.reports, r) }})
	f.in = f.r.Input("cam", plan.Preference{})
	f.r.Show(f.in)
	return f
}

// feed pushes a clip as a session does, each time with tracks of its own.
func (f *feeder) feed(t testing.TB, c forms.Clip) {
	t.Helper()
	r := mkv.NewReader(bytes.NewReader(c.Capture()))
	var tracks []*mkv.Track
	for {
		event, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if now := r.Tracks(); !slices.Equal(now, tracks) {
			tracks = now
			f.in.SetTracks(tracks)
		}
		if frame, ok := event.(*mkv.Frame); ok {
			f.in.Push(frame, frame.Time, false, time.Time{})
		}
	}
}

// taken are all units that wait.
func (f *feeder) taken() (units []Unit) {
	for {
		u, ok := f.in.gate.take()
		if !ok {
			return units
		}
		u.Data = bytes.Clone(u.Data)
		units = append(units, u)
	}
}

func (f *feeder) codes() (codes []string) {
	for _, r := range f.reports {
		codes = append(codes, r.Code)
	}
	return codes
}

// picturesOf are the slices of units, without what is around them.
func picturesOf(units []Unit) (pictures []string) {
	for _, u := range units {
		codec := map[format.Codec]string{format.H264: mkv.CodecH264, format.H265: mkv.CodecH265}[u.Format.Codec]
		picture := ""
		for nal := range mkv.Units(u.Data, u.Format.LengthSize) {
			if slice, _ := mkv.Slice(codec, nal); slice {
				picture += fmt.Sprintf("%x ", nal)
			}
		}
		pictures = append(pictures, picture)
	}
	return pictures
}

// decoderSets are the parameter sets that a decoder has that begins with a unit.
func decoderSets(t *testing.T, u Unit) (sets format.ParameterSets, codec string) {
	t.Helper()
	codec = map[format.Codec]string{format.H264: mkv.CodecH264, format.H265: mkv.CodecH265}[u.Format.Codec]
	if u.Format.Stream != format.ByteStream {
		var a format.Assembler
		if err := a.Begin(&mkv.Track{CodecID: codec, CodecPrivate: u.Format.CodecData}); err != nil {
			t.Fatal(err)
		}
		return a.Config, codec
	}
	for nal := range mkv.Units(u.Format.CodecData, 0) {
		sets.Learn(codec, nal)
	}
	return sets, codec
}

// However a producer sends H.264 and H.265, the same pictures go to the decoder, whose format has all parameter sets.
func TestForms(t *testing.T) {
	for codec, c := range clips(t) {
		plain := newFeeder()
		plain.feed(t, c)
		want := picturesOf(plain.taken())
		for name, tc := range map[string]struct {
			form   forms.Clip
			stream format.StreamFormat // "" for those of CodecPrivate
		}{
			"as they are":                 {c, ""},
			"Annex B":                     {forms.AnnexB(c, 0), format.ByteStream},
			"5-byte start codes":          {forms.AnnexB(c, 1), format.ByteStream},
			"sets in CodecPrivate only":   {forms.ConfigAndAnnexB(c), format.ByteStream},
			"lengths, sets in band":       {forms.InBand(c), format.ByteStream},
			"sets in blocks of their own": {forms.SetsApart(c, true), format.ByteStream},
			"the same, lengths":           {forms.SetsApart(c, false), format.ByteStream},
			"slices apart, Annex B":       {forms.SlicesApart(c, true), format.ByteStream},
			"slices apart, lengths":       {forms.SlicesApart(c, false), ""},
			"Video for Windows":           {forms.VFW(c), format.ByteStream},
		} {
			t.Run(codec+", "+name, func(t *testing.T) {
				f := newFeeder()
				f.feed(t, tc.form)
				f.in.mu.Lock()
				f.in.flush()
				f.in.unlock()
				units := f.taken()
				if got := picturesOf(units); !slices.Equal(got, want) {
					t.Errorf("%d pictures, or others than the %d of the clip", len(got), len(want))
				}
				counts := f.in.Counts()
				kit.Expect(t, "received", counts.Received, uint64(len(want)))
				kit.Expect(t, "on their way", counts.Queued, uint64(len(want)))
				kit.Expect(t, "blocked", f.in.Blocked().Code, "")
				kit.Expect(t, "reports", len(f.reports), 0)
				keys := 0
				for _, u := range units {
					if !u.Key {
						continue
					}
					keys++
					if sets, codec := decoderSets(t, u); !sets.Complete(codec) {
						t.Errorf("the format of frame %d lacks parameter sets", u.Number)
					}
					if tc.stream != "" {
						kit.Expect(t, "form", u.Format.Stream, tc.stream)
					} else {
						kit.Expect(t, "form", u.Format.Stream, format.DirectStream[u.Format.Codec])
					}
					if !u.Format.Continues(units[0].Format) {
						t.Error("another decoder is opened for the same stream")
					}
				}
				kit.Expect(t, "key frames", keys, 2)
			})
		}
	}
}

// A stream whose slices come apart is found out with its first picture, when that was given out already: it is given out
// again, whole. The last picture does not wait for the next one for long.
func TestSlicesApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for codec, c := range clips(t) {
			parts := twoSlices(c.First(4))
			f := newFeeder()
			whole := newFeeder()
			whole.feed(t, c.First(4))
			push := func(from, to int) (units []Unit) {
				for _, b := range parts.Blocks[from:to] {
					f.in.Push(&mkv.Frame{Track: &parts.Tracks[0], Data: b.Data, Key: b.Key}, b.Time, false, time.Time{})
				}
				return f.taken()
			}
			first := push(0, 1)
			again := push(1, 2)
			if len(first) != 1 || len(again) != 1 || first[0].Number != again[0].Number || again[0].Replay {
				t.Fatalf("%s: the first picture was given out %d times, then %d times", codec, len(first), len(again))
			}
			if len(again[0].Data) <= len(first[0].Data) {
				t.Errorf("%s: it is not whole", codec)
			}
			rest := push(2, len(parts.Blocks))
			if len(rest) != 2 {
				t.Errorf("%s: %d pictures of 3 before the time of the last is over", codec, len(rest))
			}
			time.Sleep(holdMost)
			synctest.Wait()
			rest = append(rest, f.taken()...)
			kit.Expect(t, codec+": pictures", len(rest), 3)
			kit.Expect(t, codec+": received", f.in.Counts().Received, 4)
		}
	})
}

// twoSlices cuts each block in two behind the first half of its last slice, as if that were two slices. The
// second half is marked as not the first slice.
func twoSlices(c forms.Clip) forms.Clip {
	out := forms.Clip{Tracks: c.Tracks}
	for _, b := range c.Blocks {
		second := b
		nal := []byte{0x41, 0x40, 0x9a} // first_mb_in_slice is 1
		if c.Tracks[0].CodecID == mkv.CodecH265 {
			nal = []byte{1 << 1, 1, 0x40} // first_slice_segment_in_pic_flag is 0
		}
		second.Data, second.Key, second.Opens = append([]byte{0, 0, 0, byte(len(nal))}, nal...), false, false
		out.Blocks = append(out.Blocks, b, second)
	}
	return out
}

// A stream that cannot be decoded says why for as long as that is so, and reports it once.
func TestBlocked(t *testing.T) {
	for codec, c := range clips(t) {
		video := c.Tracks[0]
		with := func(change func(*mkv.Track)) forms.Clip {
			out := forms.Clip{Tracks: slices.Clone(c.Tracks), Blocks: c.Blocks}
			change(&out.Tracks[0])
			return out
		}
		noise := func() forms.Clip {
			out := forms.Clip{Tracks: c.Tracks}
			for i, b := range c.Blocks {
				b.Data = bytes.Repeat([]byte{0xd5, byte(i), 0x91, 0xfe}, 50)
				out.Blocks = append(out.Blocks, b)
			}
			return out
		}
		noKeys := func() forms.Clip {
			out := forms.Clip{Tracks: c.Tracks}
			out.Blocks = slices.DeleteFunc(slices.Clone(c.Blocks), func(b forms.Block) bool { return b.Key })
			for i := range out.Blocks {
				out.Blocks[i].Opens = i%10 == 0
				out.Blocks[i].Time = time.Duration(i) * 100 * time.Millisecond
			}
			return out
		}
		for name, tc := range map[string]struct {
			clip forms.Clip
			code string
			why  report.Reason
		}{
			"no parameter sets":     {forms.NoSets(c), report.CodeNoParameterSets, report.DropNoParameterSets},
			"MJPEG":                 {with(func(t *mkv.Track) { t.CodecID = "V_MJPEG" }), report.CodeCodec, report.DropUnsupported},
			"VP8":                   {with(func(t *mkv.Track) { t.CodecID = "V_VP8" }), report.CodeCodec, report.DropUnsupported},
			"without configuration": {with(func(t *mkv.Track) { t.CodecPrivate = nil }), report.CodeNoParameterSets, report.DropNoParameterSets},
			"noise":                 {noise(), report.CodeCodec, report.DropUnsupported},
			"no key frame":          {noKeys(), report.CodeNoKeyFrame, report.DropNoKeyFrame},
		} {
			t.Run(codec+", "+name, func(t *testing.T) {
				f := newFeeder()
				f.feed(t, tc.clip)
				kit.Expect(t, "blocked", f.in.Blocked().Code, tc.code)
				if codes := f.codes(); !slices.Equal(codes, []string{tc.code}) {
					t.Errorf("reported %v", codes)
				}
				counts := f.in.Counts()
				kit.Expect(t, "received", counts.Received, uint64(len(tc.clip.Blocks)))
				kit.Expect(t, "dropped", counts.Dropped[tc.why], uint64(len(tc.clip.Blocks)))
				kit.Expect(t, "units", len(f.taken()), 0)
				good := c
				good.Tracks = []mkv.Track{video}
				f.feed(t, good)
				kit.Expect(t, "blocked afterwards", f.in.Blocked().Code, "")
			})
		}
	}
}

// Parameter sets that come late make the frames after them decodable; those before are counted.
func TestLateParameterSets(t *testing.T) {
	for codec, c := range clips(t) {
		f := newFeeder()
		f.feed(t, forms.LateSets(c, 1))
		counts := f.in.Counts()
		units := f.taken()
		kit.Expect(t, codec+": received", counts.Received, 60)
		kit.Expect(t, codec+": units", len(units), int(counts.Queued))
		kit.Expect(t, codec+": dropped", counts.Dropped[report.DropNoParameterSets], 60-counts.Queued)
		if len(units) == 0 || !units[0].Key || len(units) == 60 {
			t.Errorf("%s: %d units", codec, len(units))
		}
		kit.Expect(t, codec+": blocked", f.in.Blocked().Code, "")
	}
}

// Gradual refresh has no IDR picture: decoding begins at a recovery point.
func TestRecoveryPoint(t *testing.T) {
	sei := map[string][]byte{"H.264": {0, 0, 0, 4, 6, 6, 1, 0x84}, "H.265": {0, 0, 0, 5, 39 << 1, 1, 6, 1, 0x84}}
	for codec, c := range clips(t) {
		c.Blocks = slices.DeleteFunc(slices.Clone(c.Blocks), func(b forms.Block) bool { return b.Key })
		c.Blocks[0].Opens = true
		c.Blocks[7].Data = slices.Concat(sei[codec], c.Blocks[7].Data)
		f := newFeeder()
		f.feed(t, c)
		units := f.taken()
		counts := f.in.Counts()
		kit.Expect(t, codec+": units", len(units), len(c.Blocks)-7)
		kit.Expect(t, codec+": the first is one to begin with", len(units) > 0 && units[0].Key, true)
		kit.Expect(t, codec+": dropped", counts.Dropped[report.DropNoKeyFrame], 7)
	}
}

// A session of its own for the same stream goes on in the middle of a group of pictures: nothing is lost.
func TestReconnect(t *testing.T) {
	for codec, c := range clips(t) {
		for cut := range 5 {
			f := newFeeder()
			before, after := forms.Clip{Tracks: c.Tracks, Blocks: c.Blocks[:20+cut]}, forms.Clip{Tracks: c.Tracks, Blocks: slices.Clone(c.Blocks[20+cut:])}
			after.Blocks[0].Opens = true
			f.feed(t, before)
			f.feed(t, after)
			units := f.taken()
			kit.Expect(t, codec+": units", len(units), 60)
			for i, u := range units {
				if u.Discont != (i == 0) || !u.Format.Continues(units[0].Format) {
					t.Errorf("%s, cut after %d: frame %d, discontinuity %v", codec, 20+cut, i, u.Discont)
				}
			}
		}
	}
}
