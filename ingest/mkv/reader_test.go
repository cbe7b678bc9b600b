package mkv

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestFragmentEventByEvent(t *testing.T) {
	body := fragmentBytes(7, "key", "frame")
	got := events(bytes.NewReader(body))
	want := []string{
		"start 0",
		"track 1 V_TEST 640x360 010203",
		`tags [{"AWS_KINESISVIDEO_FRAGMENT_NUMBER" "00000000000000000000000000000000000000000000007"} ` +
			`{"AWS_KINESISVIDEO_SERVER_TIMESTAMP" "1700000007.250"} {"AWS_KINESISVIDEO_PRODUCER_TIMESTAMP" "1700000007.000"}] ` +
			`number=00000000000000000000000000000000000000000000007 token=`,
		`frame track=1 7s 7s key=true 291 "key"`,
		`frame track=1 7.04s 7s key=false 300 "frame"`,
		`tags [{"AWS_KINESISVIDEO_MILLIS_BEHIND_NOW" "120"} {"AWS_KINESISVIDEO_CONTINUATION_TOKEN" "token-7"}] ` +
			`number=00000000000000000000000000000000000000000000007 token=token-7`,
		"end {Number:00000000000000000000000000000000000000000000007 ServerTime:2023-11-14 22:13:27.25 +0000 UTC " +
			"ProducerTime:2023-11-14 22:13:27 +0000 UTC Behind:120ms HasBehind:true Token:token-7 ErrorID:0 ErrorCode: " +
			"Offset:0 Bytes:419 Frames:2 VideoFrames:2 KeyFrames:1} err=<nil>",
		"error EOF",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// What comes out may not depend on how the bytes come in.
func TestSplitsDoNotMatter(t *testing.T) {
	sound := join(fragmentBytes(1, "a", "bb"), []byte{0, 0, 0}, fragmentBytes(2, "ccc", strings.Repeat("d", 200<<10)))
	bodies := map[string][]byte{
		"sound":                  sound,
		"cut":                    sound[:len(sound)-300],
		"malformed":              join(fragmentBytes(1, "a"), prologueBytes(), claim(idTags, 1<<40), fragmentBytes(2, "b")),
		"false magic":            join(prologueBytes(), []byte{0x01}, magic, []byte("no header"), fragmentBytes(2, "b")),
		"garbage":                bytes.Repeat([]byte("garbage "), 50_000),
		"magic at end":           join(fragmentBytes(1, "a"), magic),
		"nothing":                {},
		"cut in header":          join(fragmentBytes(1, "a"), []byte{0x1A}),
		"cut in what is skipped": join(prologueBytes(), claim(idVoid, 300<<10), make([]byte, 200<<10)),
		"false element":          join(fragmentBytes(1, "a"), claim(0x4C40, 25<<20), fragmentBytes(2, "b"), fragmentBytes(3, "c")),
		"magic in what is skipped": join(prologueBytes(), el(idVoid, magic, []byte("no"), magic), el(idTracks, trackBytes(1, "V", nil)),
			el(idCluster, el(idTimestamp, num(1)), simpleBlockBytes(0, flagKey, "x"))),
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			want := events(bytes.NewReader(body))
			for way, r := range splits(body) {
				if got := events(r); !slices.Equal(got, want) {
					t.Errorf("%s: got\n%s\nwant\n%s", way, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
			rapid.Check(t, func(t *rapid.T) {
				rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
				if got := events(&randomReader{body, rng}); !slices.Equal(got, want) {
					t.Fatalf("random splits: got\n%s", strings.Join(got, "\n"))
				}
			})
		})
	}
}

type randomReader struct {
	rest []byte
	rng  *rand.Rand
}

func (r *randomReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest[:min(len(r.rest), r.rng.IntN(100_000))])
	r.rest = r.rest[n:]
	return n, nil
}

// A frame is handed on when its last byte is there, and not a byte later.
func TestFrameComesWithItsLastByte(t *testing.T) {
	body := fragmentBytes(1, "key", "frame")
	last := bytes.Index(body, []byte("frame")) + len("frame")
	feed, in := io.Pipe()
	go func() { in.Write(body[:last]) }() // and the source stays open
	r := NewReader(feed)
	for {
		ev, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := ev.(*Frame); ok && string(f.Data) == "frame" {
			break
		}
	}
	feed.Close()
}

func TestShapesOfDocuments(t *testing.T) {
	stamp, key := el(idTimestamp, num(5)), simpleBlockBytes(0, flagKey, "key")
	tracks := el(idTracks, trackBytes(1, "V_TEST", nil))
	open := tagsBytes("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "1")
	closing := tagsBytes("AWS_KINESISVIDEO_CONTINUATION_TOKEN", "t")
	for name, tc := range map[string]struct {
		body   []byte
		frames []string
	}{
		"unknown-size cluster ended by tags": {
			join(prologueBytes(), tracks, open, endless(idCluster), stamp, key, closing), []string{"5ms key"},
		},
		"one-byte unknown size": {
			join(prologueBytes(), tracks, open, idBytes(idCluster), []byte{0xFF}, stamp, key, closing), []string{"5ms key"},
		},
		"two unknown-size clusters": {
			join(prologueBytes(), tracks, endless(idCluster), stamp, key, endless(idCluster), el(idTimestamp, num(9)), key, closing),
			[]string{"5ms key", "9ms key"},
		},
		"ended by the next document": {
			join(prologueBytes(), tracks, endless(idCluster), stamp, key, prologueBytes(), tracks, endless(idCluster), stamp, key),
			[]string{"5ms key", "5ms key"},
		},
		"block group": {
			join(prologueBytes(), tracks, el(idCluster, stamp, el(idBlockGroup, el(idBlock, blockBytes(1, 2, 0, []byte("key")))))),
			[]string{"7ms key"},
		},
		"block group with a reference": {
			join(prologueBytes(), tracks, el(idCluster, stamp, el(idBlockGroup, el(idReference, num(1)), el(idBlock, blockBytes(1, 2, 0, []byte("delta")))))),
			[]string{"7ms"},
		},
		"time scale of a second": {
			join(prologueBytes(), el(idInfo, el(idTimestampScale, num(1e9))), tracks, el(idCluster, stamp, key)), []string{"5s key"},
		},
		"time scale of 100 ns, eight-byte integers": {
			join(prologueBytes(), el(idInfo, el(idTimestampScale, []byte{0, 0, 0, 0, 0, 0, 0, 100})), tracks,
				el(idCluster, el(idTimestamp, []byte{0, 0, 0, 0, 0, 0, 0, 50}), key)),
			[]string{"5µs key"},
		},
		"unknown elements, void and CRC": {
			join(prologueBytes(), el(0x4DBB, []byte("?")), el(idVoid, make([]byte, 70<<10)), tracks,
				el(idCluster, el(idCRC32, []byte("crc!")), stamp, el(0xA7, num(1)), key)),
			[]string{"5ms key"},
		},
		"negative block time before 0": {
			join(prologueBytes(), tracks, el(idCluster, stamp, el(idSimpleBlock, blockBytes(1, -9, 0, []byte("x"))))), []string{"-4ms"},
		},
		"segment of known size": {
			join(el(idEBML, el(idDocType, []byte("webm"))), el(idSegment, tracks, el(idCluster, stamp, key)), fragmentBytes(3, "next")),
			[]string{"5ms key", "3s key"},
		},
		"xiph lacing": {
			join(prologueBytes(), tracks, el(idCluster, stamp, el(idSimpleBlock, blockBytes(1, 0, laceXiph, append([]byte{2, 1, 2}, "abbccc"...))))),
			[]string{"5ms", "5ms", "5ms"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			r := NewReader(iotest.OneByteReader(bytes.NewReader(tc.body)))
			for {
				ev, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch ev := ev.(type) {
				case *Frame:
					s := ev.Time.String()
					if ev.Key {
						s += " key"
					}
					got = append(got, s)
				case *End:
					if ev.Err != nil {
						t.Error(ev.Err)
					}
				}
			}
			if !slices.Equal(got, tc.frames) {
				t.Errorf("got %q, want %q", got, tc.frames)
			}
		})
	}
}

// Times before 0 are as good as others, and so are their distances from the cluster's time, which place a frame in
// wall-clock time.
func TestNegativeTimes(t *testing.T) {
	for name, tc := range map[string]struct {
		cluster []byte // payload of the Timestamp element
		scale   uint64
		want    []string // Time, Time - ClusterTime
	}{
		"open GOP at 0":      {num(0), 1e6, []string{"-120ms -120ms", "-80ms -80ms", "0s 0s", "40ms 40ms"}},
		"open GOP at 100 ms": {num(100), 1e6, []string{"-20ms -120ms", "20ms -80ms", "100ms 0s", "140ms 40ms"}},
		"-1843ms as unsigned": {
			num(1<<64 - 1843), 1e6, []string{"-1.963s -120ms", "-1.923s -80ms", "-1.843s 0s", "-1.803s 40ms"},
		},
		"-1 tick of a second": {num(1<<64 - 1), 1e9, []string{"-2m1s -2m0s", "-1m21s -1m20s", "-1s 0s", "39s 40s"}},
		"the earliest time": {
			num(1<<63 + 1 + 120), 1, []string{
				"-2562047h47m16.854775807s -120ns", "-2562047h47m16.854775767s -80ns", "-2562047h47m16.854775687s 0s",
				"-2562047h47m16.854775647s 40ns",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := [][]byte{el(idTimestamp, tc.cluster)}
			for _, at := range []int16{-120, -80, 0, 40} {
				cluster = append(cluster, simpleBlockBytes(at, 0, "x"))
			}
			body := join(prologueBytes(), el(idInfo, el(idTimestampScale, num(tc.scale))),
				el(idTracks, trackBytes(1, "V_TEST", nil)), el(idCluster, cluster...))
			var got []string
			r := NewReader(bytes.NewReader(body))
			for {
				ev, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch ev := ev.(type) {
				case *Frame:
					got = append(got, fmt.Sprint(ev.Time, " ", ev.Time-ev.ClusterTime))
				case *End:
					if ev.Err != nil {
						t.Error(ev.Err)
					}
				}
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestLacing(t *testing.T) {
	for name, tc := range map[string]struct {
		mode    byte
		payload string
		want    []string // nil: refused
	}{
		"xiph":                 {laceXiph, "\x02\x01\x02abbccc", []string{"a", "bb", "ccc"}},
		"xiph over 255":        {laceXiph, "\x01\xff\x01" + strings.Repeat("a", 256) + "b", []string{strings.Repeat("a", 256), "b"}},
		"fixed":                {laceFixed, "\x02aabbcc", []string{"aa", "bb", "cc"}},
		"ebml":                 {laceEBML, "\x02\x83\xbeaaabbcccc", []string{"aaa", "bb", "cccc"}},
		"one frame":            {laceXiph, "\x00abc", []string{"abc"}},
		"nothing":              {laceXiph, "", nil},
		"xiph larger than all": {laceXiph, "\x01\x09abc", nil},
		"xiph without an end":  {laceXiph, "\x01\xff\xff\xff", nil},
		"fixed not divisible":  {laceFixed, "\x01abc", nil},
		"ebml negative":        {laceEBML, "\x02\x81\x80aaaa", nil},
		"ebml unknown size":    {laceEBML, "\x01\xffaaaa", nil},
		"ebml terabyte":        {laceEBML, "\x01\x01\x00\xff\xff\xff\xff\xff\xffaaaa", nil},
	} {
		t.Run(name, func(t *testing.T) {
			frames, ok := unlace(nil, []byte(tc.payload), tc.mode)
			if ok != (tc.want != nil) {
				t.Fatalf("accepted: %v", ok)
			}
			var got []string
			for _, f := range frames {
				got = append(got, string(f))
			}
			if ok && !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// A malformed fragment costs that fragment, and the message leads to the byte.
func TestFaultCostsOneDocument(t *testing.T) {
	tracks := el(idTracks, trackBytes(1, "V_TEST", nil))
	stamp := el(idTimestamp, num(5))
	for name, tc := range map[string]struct {
		bad  []byte // between two sound fragments
		want string // in the End of the bad one; offsets count from the bad document
	}{
		"terabyte tags":        {join(prologueBytes(), claim(idTags, 1<<40)), "malformed in Tags"},
		"terabyte block":       {join(prologueBytes(), tracks, endless(idCluster), claim(idSimpleBlock, 1<<40)), "malformed in SimpleBlock"},
		"terabyte unknown":     {join(prologueBytes(), claim(0x4DBB, 1<<40)), "malformed in Seek"},
		"child beyond parent":  {join(prologueBytes(), el(idTracks, join(idBytes(idTrackEntry), []byte{0xFE}, []byte("short")))), "malformed in TrackEntry"},
		"block beyond cluster": {join(prologueBytes(), tracks, el(idCluster, stamp, claim(idSimpleBlock, 1000))), "malformed in SimpleBlock"},
		"unannounced track":    {join(prologueBytes(), tracks, el(idCluster, stamp, el(idSimpleBlock, blockBytes(9, 0, 0, []byte("x"))))), "track 9"},
		"zero-length block":    {join(prologueBytes(), tracks, el(idCluster, stamp, el(idSimpleBlock))), "too short"},
		"lacing lies":          {join(prologueBytes(), tracks, el(idCluster, stamp, el(idSimpleBlock, blockBytes(1, 0, laceXiph, []byte{200, 1})))), "lacing"},
		"time scale 0":         {join(prologueBytes(), el(idInfo, el(idTimestampScale, num(0)))), "0 nanoseconds"},
		"292 years before 0":   {join(prologueBytes(), tracks, el(idCluster, el(idTimestamp, num(1<<63)))), "292 years"},
		"a block at 292 years": {
			join(prologueBytes(), el(idInfo, el(idTimestampScale, num(1))), tracks,
				el(idCluster, el(idTimestamp, num(math.MaxInt64)), simpleBlockBytes(1, 0, "x"))), "292 years",
		},
		"a block at 292 years before 0": {
			join(prologueBytes(), el(idInfo, el(idTimestampScale, num(1))), tracks,
				el(idCluster, el(idTimestamp, num(1<<63+1)), simpleBlockBytes(-2, 0, "x"))), "292 years",
		},
		"292 years":          {join(prologueBytes(), tracks, el(idCluster, el(idTimestamp, num(1<<62)))), "292 years"},
		"nine-byte integer":  {join(prologueBytes(), el(idInfo, el(idTimestampScale, make([]byte, 8), num(1)))), "more than 8 bytes"},
		"endless Info":       {join(prologueBytes(), endless(idInfo)), "unknown size"},
		"segment in segment": {join(prologueBytes(), endless(idSegment)), "inside of another"},
		"nested tags": {join(prologueBytes(), el(idTags, el(idTag, func() []byte {
			b := el(idSimpleTag)
			for range 20 {
				b = el(idSimpleTag, b)
			}
			return b
		}()))), "nested too deeply"},
		"other document type":            {join(el(idEBML, el(idDocType, []byte("dvd"))), endless(idSegment)), "matroska"},
		"garbage":                        {[]byte("\x01garbage that is no document"), "malformed"},
		"cut by the next, cluster known": {join(prologueBytes(), tracks, claim(idCluster, 1<<20), stamp), "malformed in EBML"},
		"cut by the next, closing tags missing": {
			join(prologueBytes(), tracks, tagsBytes("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "1"), endless(idCluster), stamp, simpleBlockBytes(0, 0, "x")),
			"closing tags",
		},
		"false magic in the wreck": {join(prologueBytes(), claim(idTags, 1<<40), magic, []byte{0x84}, []byte("fake"), magic), "malformed in Tags"},
	} {
		t.Run(name, func(t *testing.T) {
			body := join(fragmentBytes(1, "first"), tc.bad, fragmentBytes(2, "second"))
			var frames, faults []string
			r := NewReader(bytes.NewReader(body))
			for {
				ev, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				switch ev := ev.(type) {
				case *Frame:
					frames = append(frames, string(ev.Data))
				case *End:
					if ev.Err == nil {
						continue
					}
					faults = append(faults, ev.Err.Error())
					var e *Error
					from := int64(len(fragmentBytes(1, "first")))
					if !errors.As(ev.Err, &e) || e.Offset < from || e.Offset > from+int64(len(tc.bad)) {
						t.Errorf("%v: its offset is not in the bad document, %d to %d", ev.Err, from, from+int64(len(tc.bad)))
					}
				}
			}
			if len(faults) != 1 || !strings.Contains(faults[0], tc.want) {
				t.Errorf("faults %q, want one with %q", faults, tc.want)
			}
			if frames[0] != "first" || frames[len(frames)-1] != "second" {
				t.Errorf("frames %q: the sound fragments are not all there", frames)
			}
		})
	}
}

// An element that claims to reach over the documents behind it does not take them along, and
// damage behind a fragment's last tag is not the fragment's.
func TestFaultBehindAWholeFragment(t *testing.T) {
	for name, junk := range map[string][]byte{
		"false element": {0x4C, 0x40, 0x11, 0x86, 0xA0, 0x00},
		"garbage":       []byte("\x01garbage"),
		"terabyte tags": claim(idTags, 1<<40),
	} {
		t.Run(name, func(t *testing.T) {
			var whole, faults int
			r := NewReader(bytes.NewReader(join(fragmentBytes(1, "a"), junk, fragmentBytes(2, "b"), fragmentBytes(3, "c"))))
			for {
				ev, err := r.Next()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if end, ok := ev.(*End); ok {
					switch {
					case end.Err == nil && end.Fragment.Complete():
						whole++
					case end.Err != nil && end.Fragment.Number == "":
						faults++
					default:
						t.Errorf("%+v", end)
					}
				}
			}
			if whole != 3 || faults != 1 {
				t.Errorf("%d whole fragments and %d faults", whole, faults)
			}
		})
	}
}

// Wherever a fragment is cut, the reader gives what is whole and then says where and why.
func TestEveryTruncation(t *testing.T) {
	body := fragmentBytes(1, "key", "frame")
	for n := 1; n < len(body); n++ {
		r := NewReader(bytes.NewReader(body[:n]))
		var last error
		complete := false
		for last == nil {
			var ev Event
			ev, last = r.Next()
			if end, ok := ev.(*End); ok {
				complete = end.Fragment.Complete()
			}
		}
		var e *Error
		if errors.As(last, &e) {
			if e.Kind != Truncated || e.Offset > int64(n) {
				t.Errorf("cut at %d: %v", n, last)
			}
		} else if last != io.EOF {
			t.Errorf("cut at %d: %v", n, last)
		}
		if complete {
			t.Errorf("cut at %d: passes as complete", n)
		}
	}
}

// An error of the connection is no end of the body.
func TestSourceErrorIsKept(t *testing.T) {
	reset := errors.New("connection reset")
	whole := fragmentBytes(1, "key")
	for _, n := range []int{0, 10, len(whole) - 1, len(whole)} {
		r := NewReader(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(reset)))
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if !errors.Is(err, reset) {
			t.Errorf("after %d bytes: %v", n, err)
		}
		if _, again := r.Next(); again != err {
			t.Errorf("after %d bytes: the next call says %v", n, again)
		}
	}
}

// A source that claims much and sends much takes memory for what is held, not for
// what is claimed.
func TestHostileSizesTakeNoMemory(t *testing.T) {
	hostile := map[string][]byte{
		"block":   join(prologueBytes(), el(idTracks, trackBytes(1, "V", nil)), endless(idCluster), claim(idSimpleBlock, maxFrame)),
		"skipped": join(prologueBytes(), claim(idVoid, maxSkip)),
		"tags":    join(prologueBytes(), claim(idTags, maxMaster)),
	}
	for name, head := range hostile {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			events(bytes.NewReader(head))
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
				t.Errorf("%d bytes taken for a claim", got)
			}
			r := NewReader(io.MultiReader(bytes.NewReader(head), io.LimitReader(zeros{}, 200<<20)))
			for _, err := r.Next(); err == nil; _, err = r.Next() {
			}
			if got := cap(r.buf.data); got > maxFrame+startBuffer {
				t.Errorf("%d bytes held", got)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Key frames are counted of the video only: muxers flag every audio frame as one.
func TestFramesOfVideoAndAudio(t *testing.T) {
	audio := el(idTrackEntry, el(idTrackNumber, num(2)), el(idTrackType, num(2)), el(idCodecID, []byte("A_AAC")))
	block := func(track, flags byte) []byte { return el(idSimpleBlock, blockBytes(track, 0, flags, []byte("x"))) }
	body := join(prologueBytes(), el(idTracks, trackBytes(1, "V_TEST", nil), audio),
		el(idCluster, el(idTimestamp, num(1)), block(1, flagKey), block(2, flagKey), block(2, flagKey), block(1, 0), block(2, flagKey)))
	r := NewReader(bytes.NewReader(body))
	for {
		ev, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if end, ok := ev.(*End); ok {
			if f := end.Fragment; f.Frames != 5 || f.VideoFrames != 2 || f.KeyFrames != 1 {
				t.Errorf("%d frames, %d of the video, %d key frames", f.Frames, f.VideoFrames, f.KeyFrames)
			}
			return
		}
	}
}

// A change of CodecPrivate is news; a repetition is the same *Track.
func TestTrackIsSentWhenItDiffers(t *testing.T) {
	doc := func(private string) []byte {
		return join(prologueBytes(), el(idTracks, trackBytes(1, "V_TEST", []byte(private)), trackBytes(2, "A_TEST", nil)),
			el(idCluster, el(idTimestamp, num(0)), simpleBlockBytes(0, flagKey, "x")))
	}
	r := NewReader(bytes.NewReader(join(doc("a"), doc("a"), doc("b"), doc("a"))))
	var sent []string
	var of []*Track
	for {
		ev, err := r.Next()
		if err != nil {
			break
		}
		switch ev := ev.(type) {
		case *Track:
			sent = append(sent, string(ev.CodecPrivate))
		case *Frame:
			of = append(of, ev.Track)
		}
	}
	if want := []string{"a", "", "b", "a"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	if of[0] != of[1] || of[1] == of[2] {
		t.Error("equal pointers do not mean equal configuration")
	}
}

func TestAWSTags(t *testing.T) {
	var f Fragment
	for _, tag := range []Tag{
		{"AWS_KINESISVIDEO_FRAGMENT_NUMBER", "91343852333181432392682062607743920146159169392"},
		{"AWS_KINESISVIDEO_SERVER_TIMESTAMP", "1505500012.321"},
		{"AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", "0.000"},
		{"AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "-9000000000"},
		{"AWS_KINESISVIDEO_ERROR_ID", "4500"},
		{"AWS_KINESISVIDEO_ERROR_CODE", "STREAM_KMS_ACCESS_DENIED"},
		{"SOMETHING_ELSE", "1"},
	} {
		f.note(tag)
	}
	want := Fragment{
		Number:       "91343852333181432392682062607743920146159169392",
		ServerTime:   time.Unix(1505500012, 321e6).UTC(),
		ProducerTime: time.Unix(0, 0).UTC(),
		Behind:       -9000000 * time.Second, HasBehind: true,
		ErrorID: 4500, ErrorCode: "STREAM_KMS_ACCESS_DENIED",
	}
	if f != want {
		t.Errorf("got  %+v\nwant %+v", f, want)
	}
	f = Fragment{}
	for _, bad := range []string{"", "x", "-", "9999999999999999999999", "1.x", "-5"} {
		f.note(Tag{"AWS_KINESISVIDEO_SERVER_TIMESTAMP", bad})
		f.note(Tag{"AWS_KINESISVIDEO_ERROR_ID", bad + "?"})
		if !f.ServerTime.IsZero() || f.ErrorID != 0 {
			t.Errorf("%q was taken for a value: %+v", bad, f)
		}
	}
}

// sample reads a real capture. They lie beside the project where it was founded, and
// need not be there.
func sample(t testing.TB, name string) []byte {
	t.Helper()
	b := optionalSample(t, name)
	if b == nil {
		t.Skipf("the capture %s is not beside the project", name)
	}
	return b
}

func optionalSample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "samples", name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return b
}

func TestCaptures(t *testing.T) {
	for name, want := range map[string]struct {
		fragments, complete, frames, keys int
		err                               string
	}{
		"output_get_media.mkv":                {5, 5, 300, 5, "EOF"},
		"output-get-media-equal-timecode.mkv": {2, 1, 239, 2, "cut short in SimpleBlock at byte 1272988: 1371 of 6031 bytes are there"},
		"test_mixed_tags.mkv":                 {10, 10, 100, 10, "EOF"},
		"empty-mkv-with-tags.mkv":             {1, 0, 0, 0, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			body := sample(t, name)
			for way, source := range splits(body) {
				r := NewReader(source)
				got := want
				got.fragments, got.complete, got.frames, got.keys = 0, 0, 0, 0
				for {
					ev, err := r.Next()
					if err != nil {
						got.err = err.Error()
						break
					}
					if end, ok := ev.(*End); ok {
						got.fragments++
						got.frames += end.Fragment.Frames
						got.keys += end.Fragment.KeyFrames
						if end.Fragment.Complete() {
							got.complete++
						}
					}
				}
				if got != want {
					t.Errorf("%s: got %+v, want %+v", way, got, want)
				}
			}
		})
	}
}

// Texts of a producer are kept as far as anybody reads them, and the service's values only if they can be some.
func TestLongTexts(t *testing.T) {
	long := strings.Repeat("é", 200_000)
	body := join(prologueBytes(), el(idTracks, el(idTrackEntry, el(idTrackNumber, num(1)), el(idTrackType, num(1)), el(idTrackName, []byte(long)), el(idCodecID, []byte(long)))),
		tagsBytes("AWS_KINESISVIDEO_FRAGMENT_NUMBER", long, "AWS_KINESISVIDEO_ERROR_CODE", long, "AWS_KINESISVIDEO_CONTINUATION_TOKEN", "t"))
	r := NewReader(bytes.NewReader(body))
	for {
		ev, err := r.Next()
		if err != nil {
			break
		}
		switch ev := ev.(type) {
		case *Track:
			for _, name := range []string{ev.Name, ev.CodecID} {
				if len(name) > 110 || !utf8.ValidString(name) || !strings.HasPrefix(name, "éé") || !strings.HasSuffix(name, "…") {
					t.Errorf("%d bytes, %.20q", len(name), name)
				}
			}
		case *End:
			if f := ev.Fragment; f.Number != "" || len(f.ErrorCode) > 110 || !strings.HasPrefix(f.ErrorCode, "éé") || f.Token != "t" {
				t.Errorf("%+v", f)
			}
		}
	}
}
