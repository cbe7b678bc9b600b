package mkv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// errorBytes is a document by which the service ends a stream with an error.
func errorBytes() []byte {
	return join(prologueBytes(),
		tagsBytes("AWS_KINESISVIDEO_ERROR_ID", "5000", "AWS_KINESISVIDEO_ERROR_CODE", "INTERNAL_ERROR"))
}

// cuttable is a fragment with every kind of element that is read as a whole or skipped, long enough that whatever
// is cut off is longer than an error document.
func cuttable() []byte {
	long := func(fill string) string { return strings.Repeat(fill, 250) }
	return join(
		el(idEBML, el(idDocType, []byte("matroska")), el(idVoid, make([]byte, 250))), endless(idSegment),
		el(idInfo, el(idTimestampScale, num(1e6)), el(idVoid, make([]byte, 250))),
		el(idTracks, trackBytes(1, "V_TEST", []byte(long("p")))),
		tagsBytes("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fmt.Sprintf("%047d", 1), "NOTE", long("n")),
		el(idVoid, []byte(long("v"))),
		el(idCluster, el(idTimestamp, num(1000)), simpleBlockBytes(0, flagKey, long("k")),
			el(idBlockGroup, el(idBlock, blockBytes(1, 40, 0, []byte(long("b"))))),
			simpleBlockBytes(80, 0, long("s"))),
		tagsBytes("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "120", "AWS_KINESISVIDEO_CONTINUATION_TOKEN", "t", "NOTE", long("n")),
	)
}

// silent is the body of a connection that stays open after its last byte: reading on would block for ever.
type silent struct {
	rest  []byte
	bytes int // a read gives this many at most
}

var errSilent = errors.New("the reader waits for more bytes")

func (s *silent) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		return 0, errSilent
	}
	n := copy(p[:min(len(p), s.bytes)], s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// readError reads until the service's error has come, and gives the faults of the documents before it.
func readError(src io.Reader) (faults []error, err error) {
	r := NewReader(src)
	for {
		ev, err := r.Next()
		if err != nil {
			return faults, err
		}
		switch ev := ev.(type) {
		case *Tags:
			if ev.Fragment.ErrorID == 5000 && ev.Fragment.ErrorCode == "INTERNAL_ERROR" {
				return faults, nil
			}
		case *End:
			if ev.Err != nil {
				faults = append(faults, ev.Err)
			}
		}
	}
}

// The service may describe the stream before it says what is wrong.
func TestErrorWithMoreInFront(t *testing.T) {
	tags := errorBytes()[len(prologueBytes()):]
	inner := join(prologueBytes(), el(idInfo, el(idTimestampScale, num(1e6))), el(idVoid, []byte("padding")), el(idTracks, trackBytes(1, "V_TEST", nil)), tags)
	whole := cuttable()
	for n := 0; n < len(whole); n += 13 {
		for way, src := range map[string]io.Reader{"silent": &silent{join(whole[:n], inner), len(whole)}, "byte by byte": &silent{join(whole[:n], inner), 1}} {
			if _, err := readError(src); err != nil {
				t.Fatalf("cut at %d, %s: %v", n, way, err)
			}
		}
	}
}

// Wherever a fragment is cut, and after a complete one, the error that the service sends next is read with its last
// byte: in one read or byte by byte, whether the body ends after it, stays open and silent, or goes on.
func TestErrorAfterACutAnywhere(t *testing.T) {
	whole := cuttable()
	for n := range len(whole) + 1 {
		cut := join(whole[:n], errorBytes())
		ways := map[string]io.Reader{"silent": &silent{cut, len(cut)}}
		if n%5 == 0 {
			ways["byte by byte"] = &silent{cut, 1}
			ways["ends"] = bytes.NewReader(cut)
			ways["ends with EOF"] = iotest.DataErrReader(bytes.NewReader(cut))
			ways["more comes"] = bytes.NewReader(join(cut, fragmentBytes(2, "x")))
		}
		for way, src := range ways {
			faults, err := readError(src)
			if err != nil {
				t.Fatalf("cut at %d, %s: no error of the service, but %v", n, way, err)
			}
			for _, fault := range faults {
				if e := new(Error); !errors.As(fault, &e) || e.Kind != Malformed {
					t.Fatalf("cut at %d, %s: the fragment ends with %v", n, way, fault)
				}
			}
		}
	}
}

// The cut fragment is not complete, and no frame of it comes that was not there.
func TestNoFrameOfACutBlock(t *testing.T) {
	whole := cuttable()
	for n := 0; n < len(whole)-len(prologueBytes())-maxHeader; n += 3 {
		r := NewReader(bytes.NewReader(join(whole[:n], errorBytes(), fragmentBytes(2, "next"))))
		var complete int
		for {
			ev, err := r.Next()
			if err != nil {
				break
			}
			switch ev := ev.(type) {
			case *Frame:
				// The last bytes of a block may be the first ones of the next document. That can only be
				// known after the block was handed on.
				at := bytes.IndexByte(ev.Data, magic[0])
				if at >= 0 && len(ev.Data)-at >= len(prologueBytes())+maxHeader {
					t.Errorf("cut at %d: a frame with %q", n, ev.Data[at:])
				}
			case *End:
				if ev.Fragment.Complete() {
					complete++
				}
			}
		}
		if complete != 1 {
			t.Errorf("cut at %d: %d complete fragments, want the next one only", n, complete)
		}
	}
}

// However the bodies of cut fragments are split, the same comes out.
func TestSplitsOfCutsDoNotMatter(t *testing.T) {
	whole, rng := cuttable(), rand.New(rand.NewPCG(1, 2))
	for n := 0; n < len(whole); n += 17 {
		for _, next := range [][]byte{
			errorBytes(), join(magic, errorBytes()), join(errorBytes()[:30], errorBytes()), errorBytes()[:50],
		} {
			body := join(whole[:n], next, fragmentBytes(2, "x"))
			want := events(bytes.NewReader(body))
			ways := splits(body)
			ways["random"] = &randomReader{body, rng}
			for way, src := range ways {
				if got := events(src); !slices.Equal(got, want) {
					t.Fatalf("cut at %d, %s: got\n%s\nwant\n%s", n, way, strings.Join(got, "\n"), strings.Join(want, "\n"))
				}
			}
		}
	}
}

// What only resembles a document within a frame is part of the frame.
func TestFrameWithAFalseDocument(t *testing.T) {
	for name, inside := range map[string][]byte{
		"magic":                   magic,
		"magic at the end":        join([]byte("xx"), magic),
		"part of a magic":         magic[:3],
		"EBML header":             el(idEBML, el(idDocType, []byte("matroska"))),
		"EBML header, no Segment": join(el(idEBML, el(idDocType, []byte("matroska"))), []byte("plain bytes")),
		"Segment without a child": prologueBytes(),
		"another child":           join(prologueBytes(), el(idSimpleBlock, []byte("x"))),
		"another document type":   join(el(idEBML, el(idDocType, []byte("dvd"))), endless(idSegment), el(idVoid)),
		"many magics":             bytes.Repeat(magic, 500),
	} {
		t.Run(name, func(t *testing.T) {
			frame := string(inside)
			body := join(fragmentBytes(1, frame, "second"), fragmentBytes(2, "third"))
			for way, src := range splits(body) {
				var got []string
				for _, line := range events(src) {
					if strings.HasPrefix(line, "frame") {
						got = append(got, line[strings.LastIndex(line, " ")+1:])
					}
					if strings.Contains(line, "malformed") {
						t.Errorf("%s: %s", way, line)
					}
				}
				if len(got) != 3 {
					t.Errorf("%s: got the frames %q", way, got)
				}
			}
		})
	}
}

// NULs up to the end of a Cluster or a Segment are padding of it.
func TestPaddingAtTheEnd(t *testing.T) {
	body := join(el(idEBML, el(idDocType, []byte("matroska"))),
		el(idSegment, el(idTracks, trackBytes(1, "V_TEST", nil)),
			el(idCluster, el(idTimestamp, num(1)), simpleBlockBytes(0, flagKey, "a"), make([]byte, 5)), make([]byte, 7)),
		make([]byte, 3), fragmentBytes(2, "b"))
	for way, src := range splits(body) {
		frames := 0
		for _, line := range events(src) {
			if strings.HasPrefix(line, "frame") {
				frames++
			}
			if strings.Contains(line, "malformed") {
				t.Errorf("%s: %s", way, line)
			}
		}
		if frames != 2 {
			t.Errorf("%s: %d frames", way, frames)
		}
	}
}

// endlessly repeats its bytes until its context is cancelled.
type endlessly struct {
	ctx    context.Context
	cancel func()
	begin  io.Reader
	repeat []byte
	reads  int // left before somebody cancels
}

func (e *endlessly) Read(p []byte) (int, error) {
	if n, _ := e.begin.Read(p); n > 0 {
		return n, nil
	}
	if e.reads--; e.reads == 0 {
		e.cancel()
	}
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	n := 0
	for n+len(e.repeat) <= len(p) {
		n += copy(p[n:], e.repeat)
	}
	if n == 0 {
		n = copy(p, e.repeat)
	}
	return n, nil
}

// Bytes without end in which nothing comes are read without an event. Next ends when the source does, which is how a
// session stops waiting, and takes no more memory the longer it lasts.
func TestNothingWithoutEnd(t *testing.T) {
	for name, tc := range map[string]struct{ begin, repeat []byte }{
		"zeros":                  {prologueBytes(), make([]byte, 100)},
		"zeros from the start":   {nil, make([]byte, 100)},
		"garbage":                {fragmentBytes(1, "x"), []byte("garbage ")},
		"garbage from the start": {nil, []byte("garbage ")},
		"magic":                  {nil, magic},
		"Void":                   {prologueBytes(), el(idVoid, []byte("nothing"))},
		"empty Void":             {prologueBytes(), el(idVoid)},
		"empty Cluster":          {prologueBytes(), endless(idCluster)},
		"Void in a Cluster":      {join(prologueBytes(), endless(idCluster)), el(idVoid, []byte("nothing"))},
		"a large Void":           {join(prologueBytes(), claim(idVoid, maxSkip)), []byte("nothing")},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			r := NewReader(&endlessly{ctx, cancel, bytes.NewReader(tc.begin), tc.repeat, 20})
			var err error
			for range 20 { // the begin's events
				if _, err = r.Next(); err != nil {
					break
				}
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if n := len(r.buf.data); n > startBuffer {
				t.Errorf("%d bytes held", n)
			}
		})
	}
}

// What an element holds is never read as a document, whatever stands there: neither its frames nor its tags come, wherever the
// body ends.
func TestContentIsNoDocument(t *testing.T) {
	inner := join(fragmentBytes(7, "inner"), fragmentBytes(8, "inner"))
	for name, element := range map[string][]byte{
		"Void":              el(idVoid, inner),
		"Void, at its end":  el(idVoid, []byte("padding"), inner),
		"Attachments":       el(idAttachments, []byte("padding"), inner, []byte("padding")),
		"Info":              el(idInfo, el(idTimestampScale, num(1e6)), el(idVoid, inner)),
		"a tag":             tagsBytes("NOTE", string(inner)),
		"with a later part": el(idVoid, inner[:len(inner)-20], magic),
	} {
		for _, size := range []int{0, 2 * maxMaster} { // one that is kept to its end, and one that is not
			if size > 0 {
				if name != "Void" {
					continue
				}
				element = el(idVoid, inner, bytes.Repeat([]byte("padding "), size/8))
			}
			body := join(prologueBytes(), element, fragmentBytes(1, "outer")[len(prologueBytes()):], fragmentBytes(2, "outer"))
			want := []string{fmt.Sprintf("%047d", 1), fmt.Sprintf("%047d", 2)}
			for way, src := range splits(body) {
				if got := numbers(t, src); !slices.Equal(got, want) {
					t.Errorf("%s, %s: got the fragments %q", name, way, got)
				}
			}
			for n := 0; n < len(body); n += 7 + size/100 {
				for _, number := range numbers(t, bytes.NewReader(body[:n])) {
					if !slices.Contains(want, number) {
						t.Fatalf("%s, cut at %d: got the fragment %s", name, n, number)
					}
				}
			}
		}
	}
}

// The same in a frame, which is handed on as it is.
func TestFrameWithADocument(t *testing.T) {
	inner := string(fragmentBytes(7, "inner"))
	body := join(fragmentBytes(1, inner, inner+"x", "x"+inner), fragmentBytes(2, "outer"))
	for way, src := range splits(body) {
		var frames []string
		r := NewReader(src)
		for {
			ev, err := r.Next()
			if err != nil {
				break
			}
			if f, ok := ev.(*Frame); ok {
				frames = append(frames, string(f.Data))
			}
		}
		if want := []string{inner, inner + "x", "x" + inner, "outer"}; !slices.Equal(frames, want) {
			t.Errorf("%s: %d frames, %q", way, len(frames), frames)
		}
	}
	large := join(fragmentBytes(1, inner+strings.Repeat("x", maxFrame)), fragmentBytes(2, "outer"))
	if got := numbers(t, bytes.NewReader(large)); slices.Contains(got, fmt.Sprintf("%047d", 7)) || !slices.Contains(got, fmt.Sprintf("%047d", 2)) {
		t.Errorf("a frame that is too large: got the fragments %q", got)
	}
}

// numbers are those of the fragments that are read from a body.
func numbers(t *testing.T, src io.Reader) (all []string) {
	t.Helper()
	r := NewReader(src)
	for {
		ev, err := r.Next()
		if err != nil {
			return all
		}
		if e, ok := ev.(*End); ok && e.Fragment.Number != "" {
			all = append(all, e.Fragment.Number)
		}
	}
}

// A size that lies, of an element that is skipped and of one that is too large to be taken, and that reaches over the
// documents behind it: where nothing can follow its end, the documents in it count, and the error says at which byte
// the first of them begins. Where something follows, the size is right and they are content. Where the body ends in
// it, it is cut off, not malformed.
func TestSizeThatLies(t *testing.T) {
	const tooLarge = 17 << 20 // more than the 16 MiB of a frame, and less than the 64 MiB that are skipped
	inner := join(fragmentBytes(7, "inner"), fragmentBytes(8, "inner"))
	open := join(prologueBytes(), el(idTracks, trackBytes(1, "V_TEST", nil)))
	cluster := join(open, endless(idCluster), el(idTimestamp, num(5)))
	filler := func(n int) []byte { return bytes.Repeat([]byte("padding "), n/8+1)[:n] }
	for name, row := range map[string]struct {
		before []byte // the element
		id     id
		size   int    // that it claims
		after  []byte // behind that size; nil for a body that ends in the element
		inner  bool   // the documents in it count
		says   string
	}{
		"skipped, a lie":     {open, idAttachments, 5000, []byte("lie"), true, "it should extend to byte 5"},
		"skipped, the truth": {open, idAttachments, 5000, el(idVoid), false, ""},
		"skipped, cut off":   {open, idAttachments, 5000, nil, false, "cut short"},
		"taken, a lie":       {open, idInfo, 5000, []byte("lie"), true, "it should extend to byte 5"},
		"too large, whole":   {cluster, idSimpleBlock, tooLarge, []byte("lie"), false, "17825792 bytes, of which at most 16777216 are taken"},
		"too large, cut off": {cluster, idSimpleBlock, tooLarge, nil, false, "cut short"},
		"not to be skipped":  {open, idAttachments, 64<<20 + 1, nil, true, "67108865 bytes, of which at most 67108864 are skipped"},
		"not to be taken":    {cluster, idSimpleBlock, 64<<20 + 1, nil, true, "67108865 bytes, of which at most 16777216 are taken"},
		"of unknown size":    {open, idInfo, -1, nil, true, "of unknown size, of which at most 1048576 are taken"},
	} {
		t.Run(name, func(t *testing.T) {
			body := join(row.before, claim(row.id, uint64(row.size)), []byte("padding "), inner)
			if row.size < 0 {
				body = join(row.before, endless(row.id), []byte("padding "), inner)
			}
			if row.after != nil {
				body = join(body, filler(row.size-len(inner)-len("padding ")), row.after, fragmentBytes(9, "outer"))
			}
			var got []string
			r := NewReader(bytes.NewReader(body))
			says := ""
			for {
				ev, err := r.Next()
				if err != nil && err != io.EOF && says == "" {
					says = err.Error()
				}
				if err != nil {
					break
				}
				if e, ok := ev.(*End); ok {
					if e.Fragment.Complete() {
						got = append(got, strings.TrimLeft(e.Fragment.Number, "0"))
					}
					if e.Err != nil && says == "" {
						says = e.Err.Error()
					}
				}
			}
			var want []string
			if row.inner {
				want = []string{"7", "8"}
			}
			if row.after != nil {
				want = append(want, "9")
			}
			if !slices.Equal(got, want) || !strings.Contains(says, row.says) || row.says == "" && says != "" {
				t.Errorf("fragments %q, want %q; error %q, want %q", got, want, says, row.says)
			}
		})
	}
}

// An element of exactly the size that is taken is taken: 1 MiB, other than frames.
func TestLargestElement(t *testing.T) {
	info := func(size int) []byte {
		scale := el(idTimestampScale, num(1e6))
		const header = 1 + 4 // of the Void
		return el(idInfo, scale, el(idVoid, make([]byte, size-len(scale)-header)))
	}
	for size, whole := range map[int]bool{1 << 20: true, 1<<20 + 1: false} {
		body := join(prologueBytes(), info(size), fragmentBytes(1, "x")[len(prologueBytes()):])
		if got := len(numbers(t, bytes.NewReader(body))) == 1; got != whole {
			t.Errorf("%d bytes: taken %v", size, got)
		}
	}
}
