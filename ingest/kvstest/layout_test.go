package kvstest

import (
	"bytes"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// layouts are those of which each differs from the zero layout in one way.
var layouts = map[string]Layout{
	"unknown size":    {UnknownSize: true},
	"session time":    {Time: SessionTime},
	"wall time":       {Time: WallTime},
	"100 ns":          {Scale: 100 * time.Nanosecond, UnknownSize: true},
	"1 µs":            {Scale: time.Microsecond},
	"Annex B":         {AnnexB: true},
	"Annex B, alone":  {AnnexB: true, Private: PrivateNone},
	"Annex B, both":   {AnnexB: true, Private: PrivateAnnexB},
	"block groups":    {BlockGroups: true},
	"wide integers":   {WideIntegers: true},
	"padded text":     {PaddedText: true},
	"noise":           {Noise: true},
	"noise, unknown":  {Noise: true, UnknownSize: true, BlockGroups: true},
	"index":           {Index: true},
	"position":        {Position: true},
	"split tags":      {SplitTags: true, Tags: []mkv.Tag{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}},
	"shuffled tags":   {ShuffledTags: true, Tags: []mkv.Tag{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}},
	"late tags":       {LateTags: true},
	"no producer":     {NoProducerTime: true},
	"everything else": {Noise: true, WideIntegers: true, PaddedText: true, Index: true, Position: true, SplitTags: true, ShuffledTags: true},
}

// TestLayouts sends a clip in every layout: the same frames at the same times, and the same key frames.
func TestLayouts(t *testing.T) {
	for codec, file := range map[string][]byte{"H.264": clip.H264(), "H.265": clip.H265()} {
		for name, layout := range layouts {
			t.Run(codec+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := newHarness(t, Config{})
					h.addSource("clock", file, StreamConfig{Layout: layout, History: 10 * time.Second})
					body := h.media("clock", Selector{Type: Earliest})
					last := ""
					for range 3 {
						d := body.fragment()
						if d.Frames != 30 || d.KeyFrames != 1 || d.Number <= last {
							t.Errorf("fragment %q after %q: %d frames, %d key frames", d.Number, last, d.Frames, d.KeyFrames)
						}
						last = d.Number
						scale := layout.scale()
						if took := (d.times[29] - d.times[0]).Round(time.Millisecond); took != 967*time.Millisecond || d.times[29]%scale != 0 {
							t.Errorf("frames over %v, in steps of %v", took, scale)
						}
						if d.ProducerTime.Unix() == 0 != layout.NoProducerTime {
							t.Errorf("produced at %v", d.ProducerTime)
						}
					}
				})
			})
		}
	}
}

// TestLayoutsElsewhere has another reader, ffmpeg, decode every layout: to the same pictures.
func TestLayoutsElsewhere(t *testing.T) {
	if testing.Short() {
		t.Skip("decodes a lot")
	}
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed: no other reader")
	}
	decode := func(layout Layout) string {
		source, err := ReadSource(clip.H265())
		if err != nil {
			t.Fatal(err)
		}
		l, err := newLive("clock", source, StreamConfig{Layout: layout}, time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), ffmpeg, "-loglevel", "error", "-i", "pipe:0", "-f", "framemd5", "-")
		cmd.Stdin = bytes.NewReader(bytesOf(t, l, 0))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		var sums []string
		for line := range strings.Lines(string(out)) {
			if fields := strings.Split(strings.TrimSpace(line), ","); !strings.HasPrefix(line, "#") {
				sums = append(sums, fields[len(fields)-1])
			}
		}
		return strings.Join(sums, "\n")
	}
	want := decode(Layout{})
	if n := strings.Count(want, "\n") + 1; n != 30 {
		t.Fatalf("%d pictures, want 30\n%s", n, want)
	}
	for name, layout := range layouts {
		if layout.AnnexB && layout.Private == PrivateConfig {
			continue // ffmpeg believes the hvcC, which speaks of lengths
		}
		if got := decode(layout); got != want {
			t.Errorf("%s: other pictures\n%s", name, got)
		}
	}
}

// bytesOf is one fragment of a live stream, whole.
func bytesOf(t *testing.T, l *live, i int64) []byte {
	t.Helper()
	c, ok := l.chunk(i)
	if !ok {
		t.Fatalf("no chunk %d", i)
	}
	var b []byte
	for _, p := range c.parts {
		b = append(b, p.data...)
	}
	return append(b, c.closing(c.end)...)
}

// TestTagsOnly sends every third fragment without anything but tags.
func TestTagsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{Layout: Layout{TagsOnly: 3}, History: 10 * time.Second})
		body := h.media("clock", Selector{Type: Earliest})
		for i := range 9 {
			if d := body.fragment(); (d.Frames == 0) != (i%3 == 2) {
				t.Errorf("fragment %d: %d frames", i, d.Frames)
			}
		}
	})
}

// TestAhead has a producer whose clock is ahead: fragments are there before they were made, and are found by either time.
func TestAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{History: 10 * time.Second, Delay: time.Second, Ahead: 5 * time.Second})
		first := h.media("clock", Selector{Type: Earliest}).fragment()
		if lag := first.ServerTime.Sub(first.ProducerTime); lag != -4*time.Second {
			t.Errorf("the service had it %v after it was made", lag)
		}
		for _, s := range []Selector{
			{Type: ProducerTime, StartTimestamp: float64(first.ProducerTime.Unix() + 3)},
			{Type: ServerTimestamp, StartTimestamp: float64(first.ServerTime.Unix() + 3)},
		} {
			if d := h.media("clock", s).fragment(); d.ProducerTime.Sub(first.ProducerTime) != 3*time.Second {
				t.Errorf("%s: a fragment of %v", s.Type, d.ProducerTime)
			}
		}
	})
}

// TestChange goes on with another clip, planned and at once: other tracks, numbers and times as if nothing had been.
func TestChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		other, err := ReadSource(clip.H265())
		if err != nil {
			t.Fatal(err)
		}
		first, err := ReadSource(clip.H264())
		if err != nil {
			t.Fatal(err)
		}
		stream := h.add("clock", StreamConfig{Changes: []Change{{2, other}, {100, first}}})
		body := h.media("clock", Selector{Type: Now})
		began := time.Now()
		var codecs []string
		for i := range 8 {
			d := body.fragment()
			for _, track := range d.tracks {
				codecs = append(codecs, track.CodecID)
			}
			if d.Frames != 30 || !d.ProducerTime.Equal(began.Add(time.Duration(i)*time.Second)) {
				t.Errorf("fragment %d: %d frames, made at %v", i, d.Frames, d.ProducerTime)
			}
			if i == 4 {
				if err := stream.Change(first); err != nil {
					t.Fatal(err)
				}
			}
		}
		if want := []string{mkv.CodecH264, mkv.CodecH265, mkv.CodecH264}; !slices.Equal(codecs, want) {
			t.Errorf("codecs %q, want %q", codecs, want)
		}
	})
}

// TestBadConfig refuses what cannot be produced.
func TestBadConfig(t *testing.T) {
	h := newHarness(t, Config{})
	source, err := ReadSource(clip.H264())
	if err != nil {
		t.Fatal(err)
	}
	headless := *source
	headless.tracks = []*mkv.Track{{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264}}
	for name, tt := range map[string]struct {
		source *Source
		config StreamConfig
	}{
		"fine scale":              {source, StreamConfig{Layout: Layout{Scale: 99}}},
		"coarse scale":            {source, StreamConfig{Layout: Layout{Scale: 2 * time.Second}}},
		"negative tags only":      {source, StreamConfig{Layout: Layout{TagsOnly: -1}}},
		"negative history":        {source, StreamConfig{History: -1}},
		"change at the beginning": {source, StreamConfig{Changes: []Change{{0, source}}}},
		"changes out of order":    {source, StreamConfig{Changes: []Change{{5, source}, {5, source}}}},
		"change to a capture":     {source, StreamConfig{Changes: []Change{{5, &Source{capture: []byte{1}}}}}},
		"no configuration":        {&headless, StreamConfig{Layout: Layout{AnnexB: true}}},
	} {
		if _, err := h.server.Add("clock", tt.source, tt.config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestStaleAndErased forgets tokens and loses fragments: token, number, then only what is new.
func TestStaleAndErased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{History: 10 * time.Second})
		d := h.media("clock", Selector{Type: Earliest}).fragment()
		byToken := map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Continuation, ContinuationToken: d.Token}}
		byNumber := Selector{Type: FragmentNumber, AfterFragmentNumber: d.Number}
		stream.Forget()
		if got := refusal(t, h.post(t.Context(), "/getMedia", byToken)); got != "400 InvalidArgumentException" {
			t.Errorf("by a stale token: %s", got)
		}
		body := h.media("clock", byNumber)
		next := body.fragment()
		if got := next.ProducerTime.Sub(d.ProducerTime); got != time.Second {
			t.Errorf("by number: a fragment %v later", got)
		}
		body.leave()
		synctest.Wait()
		stream.Erase()
		body = h.media("clock", byNumber)
		if d, err := body.next(); err != nil || d.ErrorID != 4000 {
			t.Errorf("by the number of what is erased: %+v, %v", d.Fragment, err)
		}
		body.end()
		time.Sleep(time.Second)
		newer := h.media("clock", Selector{Type: Earliest}).fragment()
		if got := newer.ProducerTime.Sub(d.ProducerTime); got != 10*time.Second {
			t.Errorf("the earliest is now %v later", got)
		}
		if newer.Token != newer.Number {
			t.Errorf("token %q of fragment %q", newer.Token, newer.Number)
		}
		after := h.media("clock", Selector{Type: Continuation, ContinuationToken: newer.Token})
		if _, err := io.CopyN(io.Discard, after.response.Body, 100); err != nil {
			t.Errorf("by a fresh token: %v", err)
		}
	})
}
