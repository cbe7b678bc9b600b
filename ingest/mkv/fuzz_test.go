package mkv

import (
	"bytes"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/at-wat/ebml-go"
)

// seeds are the captures' beginnings, where the captures are there, and documents of our own.
func seeds(f *testing.F) {
	for _, name := range []string{"test_mixed_tags.mkv", "empty-mkv-with-tags.mkv"} {
		if b := optionalSample(f, name); b != nil {
			f.Add(b[:min(len(b), 8<<10)])
		}
	}
	f.Add(join(fragmentBytes(1, "a", "bb"), fragmentBytes(2, "c")))
	f.Add(join(prologueBytes(), el(idTracks, trackBytes(1, "V", nil)), endless(idCluster), el(idTimestamp, num(1)),
		el(idSimpleBlock, blockBytes(1, 0, laceEBML, []byte("\x02\x83\xbeaaabbcccc")))))
	f.Add(join(prologueBytes(), el(idTracks, trackBytes(1, "V", nil)), el(idCluster, el(idTimestamp, num(1<<64-1843)),
		simpleBlockBytes(-120, 0, "a"), simpleBlockBytes(math.MinInt16, 0, "b"))))
	for n := 20; n < len(cuttable()); n += 97 {
		f.Add(join(cuttable()[:n], errorBytes()))
	}
	f.Add(join(cuttable()[:1800], errorBytes()[:30], errorBytes(), make([]byte, 2000), fragmentBytes(2, "b")))
	f.Add(join(fragmentBytes(1, string(join(magic, prologueBytes(), magic))), fragmentBytes(2, "b")))
	f.Add(join(prologueBytes(), el(idVoid, fragmentBytes(7, "i")), fragmentBytes(1, "o")[len(prologueBytes()):], fragmentBytes(2, "b")))
	f.Add(join(prologueBytes(), claim(idVoid, 900), fragmentBytes(7, "i"), fragmentBytes(8, "i"), fragmentBytes(9, "i")))
	f.Add(join(prologueBytes(), claim(idTags, 1<<40), fragmentBytes(2, "b")))
}

// Whatever comes off the wire: no panic, an end, and the same result however the
// bytes are split.
func FuzzReader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		want := events(bytes.NewReader(body))
		rng := rand.New(rand.NewPCG(uint64(len(body)), 1))
		if got := events(&randomReader{body, rng}); !slices.Equal(got, want) {
			t.Errorf("split differently: got %q, want %q", got, want)
		}
		if n := len(want); n > 4*len(body)+4 {
			t.Errorf("%d events from %d bytes", n, len(body))
		}
	})
}

// What a sound Tags element says is what ebml-go reads from it.
func FuzzTagsAgainstEBMLGo(f *testing.F) {
	f.Add("AWS_KINESISVIDEO_ERROR_ID", "4500", "", "\xff")
	f.Fuzz(func(t *testing.T, name1, value1, name2, value2 string) {
		pairs := []string{name1, value1, name2, value2}
		if slices.ContainsFunc(pairs, func(s string) bool { return strings.Contains(s, "\x00") }) {
			return // padding, which the two take off differently
		}
		element := tagsBytes(pairs...)
		var doc struct {
			Tags struct {
				Tag []struct {
					SimpleTag []struct{ TagName, TagString string }
				}
			}
		}
		if err := ebml.Unmarshal(bytes.NewReader(element), &doc); err != nil {
			t.Skip(err)
		}
		var want []Tag
		for _, tag := range doc.Tags.Tag {
			for _, s := range tag.SimpleTag {
				want = append(want, Tag{s.TagName, s.TagString})
			}
		}
		r := NewReader(bytes.NewReader(join(prologueBytes(), element)))
		for {
			ev, err := r.Next()
			if err != nil {
				t.Fatal("no tags came")
			}
			if tags, ok := ev.(*Tags); ok {
				if !slices.Equal(tags.List, want) {
					t.Errorf("got %q, ebml-go reads %q", tags.List, want)
				}
				return
			}
		}
	})
}

func FuzzCodecPrivate(f *testing.F) {
	for _, c := range avcConfigs {
		f.Add(unhex(f, c.avcC))
	}
	f.Add(unhex(f, "420101016000000300900000030000030078a002ac80301d796566924caf016808000003000800000300c840"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseAVCC(b); err == nil && (len(c.SPS) == 0 || len(c.PPS) == 0 || c.Width < 0 || c.Height < 0) {
			t.Errorf("accepted %+v", c)
		}
		if c, err := ParseHVCC(b); err == nil && len(c.SPS) == 0 {
			t.Errorf("accepted %+v", c)
		}
		hevcSize(b)
		isKey(&Track{CodecID: CodecH264, CodecPrivate: b}, b, false)
		isKey(&Track{CodecID: CodecH265, CodecPrivate: b}, b, false)
	})
}

// benchBody is about 64 MB of fragments as they are in real captures: 60 frames
// of 5 KB after a key frame of 90 KB. Compressed video looks like random bytes.
func benchBody() []byte {
	rng := rand.NewChaCha8([32]byte{})
	frame := func(size int) string {
		b := make([]byte, size)
		rng.Read(b)
		return string(b)
	}
	frames := []string{frame(90 << 10)}
	for range 60 {
		frames = append(frames, frame(5<<10))
	}
	return bytes.Repeat(fragmentBytes(1, frames...), 160)
}

func BenchmarkReader(b *testing.B) {
	body := benchBody()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		r := NewReader(bytes.NewReader(body))
		for {
			if _, err := r.Next(); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// In the steady state a frame costs no allocation.
func TestFramesAllocateNothing(t *testing.T) {
	frame := simpleBlockBytes(0, 0, "frame")
	body := join(prologueBytes(), el(idTracks, trackBytes(1, CodecH264, nil)), endless(idCluster),
		el(idTimestamp, num(1)), bytes.Repeat(frame, 5000))
	r := NewReader(bytes.NewReader(body))
	next := func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 100 {
		next()
	}
	if n := testing.AllocsPerRun(1000, next); n != 0 {
		t.Errorf("%v allocations a frame", n)
	}
}
