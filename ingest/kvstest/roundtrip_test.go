package kvstest

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// FuzzRoundTrip writes fragments of any content in any layout and reads them: everything that was written, in order, and
// nothing else, however the bytes are split.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte{})
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 0))
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d := &drawn{b}
		config := StreamConfig{
			Layout: d.layout(), Delay: d.duration(time.Second), Ahead: d.duration(2 * time.Second),
			OpaqueTokens: d.bool(),
		}
		source := d.source()
		l, err := newLive("drawn", source, config, time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		var body []byte
		var want []string
		for i := range int64(4) {
			c, ok := l.chunk(i)
			if !ok {
				t.Fatal("no chunk")
			}
			for _, p := range c.parts {
				body = append(body, p.data...)
			}
			body = append(body, c.closing(c.end)...)
			want = append(want, expected(l, source, i)...)
		}
		random := rand.New(rand.NewPCG(uint64(len(b)), 0))
		for name, r := range map[string]io.Reader{
			"whole":         bytes.NewReader(body),
			"byte by byte":  iotest.OneByteReader(bytes.NewReader(body)),
			"data with EOF": iotest.DataErrReader(bytes.NewReader(body)),
			"any splits":    splitReader{bytes.NewReader(body), random},
		} {
			if got := told(r); !slices.Equal(got, want) {
				t.Fatalf("layout %+v\nread %s:\n%s", config.Layout, name, firstDifference(got, want))
			}
		}
	})
}

type splitReader struct {
	io.Reader
	random *rand.Rand
}

func (r splitReader) Read(b []byte) (int, error) {
	return r.Reader.Read(b[:min(len(b), 1+r.random.IntN(50))])
}

func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		g, w := "nothing", "nothing"
		if i < len(got) {
			g = got[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if g != w {
			return fmt.Sprintf("line %d: got  %s\n         want %s", i, g, w)
		}
	}
	return "no difference"
}

// told is what a reader tells of a body. Tags are sorted within a document, and stand at its end.
func told(body io.Reader) []string {
	var lines, tags []string
	var fragment mkv.Fragment
	r := mkv.NewReader(body)
	for {
		event, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			return append(lines, err.Error())
		}
		switch event := event.(type) {
		case *mkv.Track:
			lines = append(lines, fmt.Sprintf("track %+v", *event))
		case *mkv.Frame:
			lines = append(lines, frameLine(event.Track.Number, event.Time, event.Key, event.Data))
		case *mkv.Tags:
			for _, tag := range event.List {
				tags = append(tags, fmt.Sprintf("tag %q", tag))
			}
		case *mkv.End:
			fragment = event.Fragment
			slices.Sort(tags)
			lines = append(append(lines, tags...), fmt.Sprintf("end %s %v %d frames, %v",
				fragment.Number, fragment.Complete(), fragment.Frames, event.Err))
			tags = nil
		}
	}
}

func frameLine(track uint64, at time.Duration, key bool, data []byte) string {
	return fmt.Sprintf("frame of %d at %v, %v: %d bytes, checksum %x", track, at, key, len(data), crc32.ChecksumIEEE(data))
}

// expected is what told says of fragment i.
func expected(l *live, source *Source, i int64) []string {
	layout := l.config.Layout
	var lines []string
	start, _, _ := l.timeline.span(i)
	piece := source.groups[int(i)%len(source.groups)]
	only := layout.TagsOnly > 0 && (i+1)%int64(layout.TagsOnly) == 0
	if first := layout.TagsOnly == 1; i == 0 && !first {
		for _, t := range source.tracks {
			lines = append(lines, fmt.Sprintf("track %+v", *t))
		}
	}
	frames := 0
	if !only {
		for _, b := range layout.blocksOf(piece.frames, piece.offset) {
			at := time.Duration(int64(l.ticks(i, start))+b.ticks) * layout.scale()
			for k, data := range b.frames {
				lines = append(lines, frameLine(b.track.Number, at+time.Duration(k)*b.track.DefaultDuration, b.key, data))
				frames++
			}
		}
	}
	number := l.number(i)
	there := start.Add(l.config.Delay)
	tags := slices.Concat(layout.Tags, layout.Tags, layout.openingTags(number, there, start.Add(l.config.Ahead)),
		closingTags(l.behind(start, there.Add(time.Hour)), l.token(number)))
	var said []string
	for _, tag := range tags {
		if tag.Name != tagMillisBehindNow {
			said = append(said, fmt.Sprintf("tag %q", tag))
		}
	}
	said = append(said, fmt.Sprintf("tag %q", mkv.Tag{Name: tagMillisBehindNow, Value: "0"}))
	slices.Sort(said)
	return append(append(lines, said...), fmt.Sprintf("end %s true %d frames, <nil>", number, frames))
}

// drawn makes things of bytes; when they are used up, zeros follow.
type drawn struct{ rest []byte }

func (d *drawn) byte() byte {
	if len(d.rest) == 0 {
		return 0
	}
	b := d.rest[0]
	d.rest = d.rest[1:]
	return b
}

func (d *drawn) below(n int) int { return (int(d.byte())<<8 | int(d.byte())) % n }
func (d *drawn) bool() bool      { return d.byte()&1 == 1 }

func (d *drawn) duration(most time.Duration) time.Duration {
	return time.Duration(d.below(1<<16)) * most / (1 << 16)
}

// bytes is some content, seldom long and now and then with a document's beginning in it.
func (d *drawn) bytes() []byte {
	b := make([]byte, []int{0, 1, 2, 5, 127, 255, 256, 510, 20_000}[d.below(9)])
	for i := range min(len(b), 8) {
		b[i] = d.byte()
	}
	if d.byte() == 0 && len(b) > 60 {
		copy(b[10:], Layout{}.prologue())
	}
	return b
}

func (d *drawn) text() string {
	return strings.TrimRight(string([]rune{rune(d.byte()), rune('a' + d.byte()%26), rune(d.byte())}), "\x00")
}

func (d *drawn) layout() Layout {
	l := Layout{
		UnknownSize: d.bool(), Time: ClusterTime(d.below(3)),
		Scale:       []time.Duration{0, 100, 1000, 12_345, 1e6, 1e9}[d.below(6)],
		BlockGroups: d.bool(), Lacing: Lacing(d.below(4)),
		WideIntegers: d.bool(), PaddedText: d.bool(), Noise: d.bool(), Index: d.bool(), Position: d.bool(),
		TagsOnly: d.below(4), SplitTags: d.bool(), ShuffledTags: d.bool(), LateTags: d.bool(), NoProducerTime: d.bool(),
	}
	for range d.below(4) {
		l.Tags = append(l.Tags, mkv.Tag{Name: d.text(), Value: d.text()})
	}
	return l
}

// source is a clip of two pieces, of up to three tracks.
func (d *drawn) source() *Source {
	s := &Source{length: 2 * time.Second}
	for i := range 1 + d.below(3) {
		s.tracks = append(s.tracks, d.track(uint64(1+100*i+d.below(99))))
	}
	for k := range 2 {
		p := piece{offset: time.Duration(k) * time.Second}
		at := p.offset
		for range 1 + d.below(12) {
			f := frame{at: at}
			f.Track, f.Key, f.Data = s.tracks[d.below(len(s.tracks))], d.bool(), d.bytes()
			p.frames = append(p.frames, f)
			at = min(at+time.Duration(d.below(100))*time.Millisecond, p.offset+999*time.Millisecond)
		}
		s.groups = append(s.groups, p)
	}
	return s
}

// track has a codec whose key frames are those that are flagged.
func (d *drawn) track(number uint64) *mkv.Track {
	t := &mkv.Track{Number: number, Type: mkv.Video, CodecID: "V_DRAWN", Name: d.text(), DefaultDuration: d.duration(time.Second)}
	if private := d.bytes(); len(private) > 0 {
		t.CodecPrivate = private
	}
	if d.bool() {
		t.Type, t.CodecID, t.SampleRate, t.Channels, t.BitDepth = mkv.Audio, "A_DRAWN", 8000, 1+d.below(8), d.below(33)
		return t
	}
	t.Width, t.Height = d.below(5000), d.below(5000)
	return t
}

// TestTracksOfAnyKind passes on sound beside a picture, each codec with the settings that it needs.
func TestTracksOfAnyKind(t *testing.T) {
	want := []*mkv.Track{
		{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: []byte{1, 2}, Width: 640, Height: 360},
		{Number: 2, Type: mkv.Audio, CodecID: "A_AAC", CodecPrivate: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2},
		{Number: 3, Type: mkv.Audio, CodecID: "A_MS/ACM", CodecPrivate: append([]byte{7, 0, 1, 0}, make([]byte, 14)...), SampleRate: 8000, Channels: 1},
		{Number: 4, Type: mkv.Audio, CodecID: "A_PCM/INT/LIT", SampleRate: 16000, Channels: 1, BitDepth: 16},
	}
	for _, layout := range []Layout{{}, {WideIntegers: true, PaddedText: true, Noise: true, Index: true}} {
		source := &Source{tracks: want, length: time.Second}
		p := piece{}
		for i := range 8 {
			f := frame{at: time.Duration(i) * 20 * time.Millisecond}
			f.Track, f.Data, f.Key = want[i%4], []byte{byte(i)}, true
			p.frames = append(p.frames, f)
		}
		source.groups = []piece{p}
		l, err := newLive("sound", source, StreamConfig{Layout: layout}, time.Unix(1e9, 0))
		if err != nil {
			t.Fatal(err)
		}
		c, _ := l.chunk(0)
		var got []*mkv.Track
		var order []uint64
		var body []byte
		for _, part := range c.parts {
			body = append(body, part.data...)
		}
		r := mkv.NewReader(bytes.NewReader(body))
		for event, err := r.Next(); err == nil; event, err = r.Next() {
			switch event := event.(type) {
			case *mkv.Track:
				got = append(got, event)
			case *mkv.Frame:
				order = append(order, event.Track.Number)
			}
		}
		if !reflect.DeepEqual(got, want) || !slices.Equal(order, []uint64{1, 2, 3, 4, 1, 2, 3, 4}) {
			t.Errorf("tracks %+v, frames of %v", got, order)
		}
	}
}
