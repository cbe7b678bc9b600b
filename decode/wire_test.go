package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/system"
)

func messages(t testing.TB) []byte {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, err := range []error{
		w.JSON(KindOpen, Open{Number: 3, Plan: plan.Plan{Element: "avdec_h264"}, Latency: time.Second}),
		w.Frame(Unit{Data: []byte("frame"), Time: -5, Key: true, Discont: true}),
		w.Frame(Unit{Data: nil, Time: 5, Replay: true, Disposable: true, Number: 1<<40 + 7}),
		w.Raw(KindSnapshot, 0, 7, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func TestWire(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "data with EOF": iotest.DataErrReader,
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(wrap(bytes.NewReader(messages(t))), FromAgent)
			next := func() Message {
				t.Helper()
				m, err := r.Next()
				if err != nil {
					t.Fatal(err)
				}
				return m
			}
			var open Open
			want := Open{Number: 3, Plan: plan.Plan{Element: "avdec_h264"}, Latency: time.Second}
			if err := next().Decode(&open); err != nil || !reflect.DeepEqual(open, want) {
				t.Errorf("got %+v, %v", open, err)
			}
			if m := next(); m.Kind != KindFrame || m.Flags != FlagKey|FlagDiscont || m.Time != -5 || string(m.Payload) != "frame" {
				t.Errorf("got %+v", m)
			}
			if m := next(); m.Kind != KindFrame || m.Flags != FlagReplay|FlagDisposable || m.Number != 1<<40+7 || m.Time != 5 || len(m.Payload) != 0 {
				t.Errorf("got %+v", m)
			}
			if m := next(); m.Kind != KindSnapshot || m.Time != 7 {
				t.Errorf("got %+v", m)
			}
			if _, err := r.Next(); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// The other process is told when a frame was received, on a clock that it has too.
func TestWireReceived(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	before := system.Monotonic() - time.Minute
	for _, u := range []Unit{
		{Received: time.Now().Add(-time.Minute)},
		{Received: time.Now(), Replay: true}, // long ago: its age says nothing
		{},
	} {
		if err := w.Frame(u); err != nil {
			t.Fatal(err)
		}
	}
	after := system.Monotonic() - time.Minute
	r := NewReader(&b, FromAgent)
	m, err := r.Next()
	if err != nil || m.Received < before-time.Second || m.Received > after+time.Second { // two clocks cannot be read at once
		t.Errorf("received at %v, %v; it was between %v and %v", m.Received, err, before, after)
	}
	for range 2 {
		if m, err := r.Next(); err != nil || m.Received != 0 {
			t.Errorf("received at %v, %v", m.Received, err)
		}
	}
}

func TestWireCut(t *testing.T) {
	all := messages(t)
	boundaries := map[int]bool{0: true}
	for i := range all {
		r := NewReader(bytes.NewReader(all[:i]), FromAgent)
		var err error
		for err == nil {
			_, err = r.Next()
		}
		if clean := err == io.EOF; clean != boundaries[i] && clean {
			boundaries[i] = true
		} else if !clean && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if len(boundaries) != 4 { // after none, one, two and three messages
		t.Errorf("clean ends at %v", boundaries)
	}
}

func TestWireBounds(t *testing.T) {
	for name, head := range map[string][]byte{
		"frame too large":    {byte(KindFrame), 0, 0, 0, 1, 0, 0, 2, headerSize - 1: 0},
		"payload not wanted": {byte(KindDrain), 0, 0, 0, 1, 0, 0, 0, headerSize - 1: 0},
		"kind not known":     {99, headerSize - 1: 0},
		"kind 0":             {headerSize - 1: 0},
	} {
		_, err := NewReader(bytes.NewReader(append(head, 'x')), FromAgent).Next()
		if err == nil || !strings.Contains(err.Error(), "not allowed") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := NewWriter(io.Discard).Raw(KindDrain, 0, 0, []byte("x")); err == nil {
		t.Error("the writer writes what the reader refuses")
	}
}

// A side may not send what only the other one says: a renderer that is not what it should be gives no orders.
func TestWireDirection(t *testing.T) {
	for k := range Kind(64) {
		if maxPayload(k) < 0 {
			continue
		}
		var b bytes.Buffer
		if err := NewWriter(&b).Raw(k, 0, 0, nil); err != nil {
			t.Fatal(err)
		}
		for _, from := range []Side{FromAgent, FromRenderer} {
			_, err := NewReader(bytes.NewReader(b.Bytes()), from).Next()
			if allowed := (k < KindHello) == (from == FromAgent); allowed != (err == nil) {
				t.Errorf("kind %d from the %v: %v", k, from, err)
			}
		}
	}
}

// A header alone costs next to nothing, and what a large message took is given back.
func TestWireMemory(t *testing.T) {
	const large = 60 << 20
	header := func(size int) []byte {
		h := make([]byte, headerSize)
		h[0] = byte(KindPicture)
		binary.LittleEndian.PutUint32(h[4:], uint32(size))
		return h
	}
	r := NewReader(bytes.NewReader(append(header(large), "only this"...)), FromRenderer)
	if _, err := r.Next(); err != io.ErrUnexpectedEOF {
		t.Error(err)
	}
	if n := cap(r.payload); n > firstStep {
		t.Errorf("a header took %d bytes", n)
	}

	picture := bytes.Repeat([]byte{1, 2, 3}, large/3)
	r = NewReader(io.MultiReader(bytes.NewReader(header(len(picture))), bytes.NewReader(picture), bytes.NewReader(header(0))), FromRenderer)
	if m, err := r.Next(); err != nil || !bytes.Equal(m.Payload, picture) {
		t.Errorf("%d bytes, %v", len(m.Payload), err)
	}
	if _, err := r.Next(); err != nil || cap(r.payload) > mostKept {
		t.Errorf("%d bytes are kept, %v", cap(r.payload), err)
	}
}

// Frames of a stream take no memory each.
func TestWireReusesMemory(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for i := range 300 {
		if err := w.Frame(Unit{Data: make([]byte, 1+i%3*100_000)}); err != nil {
			t.Fatal(err)
		}
	}
	r := NewReader(&b, FromAgent)
	next := func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		next()
	}
	if n := testing.AllocsPerRun(200, next); n != 0 {
		t.Errorf("%v allocations for a message", n)
	}
}

func FuzzReader(f *testing.F) {
	f.Add(messages(f), true)
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, err := range []error{w.JSON(KindHello, Hello{GStreamer: "1"}), w.JSON(KindStatus, Status{Number: 1}), w.Raw(KindPicture, FlagFailed, 3, []byte("no"))} {
		if err != nil {
			f.Fatal(err)
		}
	}
	f.Add(b.Bytes(), false)
	f.Fuzz(func(t *testing.T, data []byte, agent bool) {
		from := FromRenderer
		if agent {
			from = FromAgent
		}
		r := NewReader(bytes.NewReader(data), from)
		var again bytes.Buffer
		w := NewWriter(&again)
		for {
			m, err := r.Next()
			if err != nil {
				break
			}
			if err := w.write(m); err != nil {
				t.Fatal(err)
			}
		}
		for i, b := range again.Bytes() { // but for two bytes of each header that carry nothing
			if b != data[i] && b != 0 {
				t.Fatalf("byte %d was %x and is %x", i, data[i], b)
			}
		}
	})
}
