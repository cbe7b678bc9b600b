package decode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

// lone is an attempt whose child is only what the test says in its name, and the input that it gets frames of.
func lone(t testing.TB) (*attempt, *Input) {
	t.Helper()
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() { _ = ours.Close() })
	r := New(Config{Sink: plan.None, DRM: fstest.MapFS{}, Dev: t.TempDir(), Pictures: func(uint32, []string) {}})
	in := r.Input("a", plan.Preference{})
	r.Show(in)
	c := &child{conn: ours, reaped: true, exited: make(chan struct{}), said: make(chan struct{}), logged: make(chan struct{})}
	a := newAttempt(r, c, nil, false, t.Context().Done())
	a.out = NewWriter(io.Discard)
	a.own = []string{"avdec_h264"}
	return a, in
}

// says makes a message of a child.
func says(t testing.TB, k Kind, v any) Message {
	t.Helper()
	payload, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return Message{Kind: k, Payload: payload}
}

// A status with the number of a pipeline that nobody asked for is not believed.
func TestStatusOfNoPipeline(t *testing.T) {
	shown := Status{Number: 1, Fed: 5, Decoded: 5, Shown: 5, Queued: math.MaxUint64}
	for name, before := range map[string]func(a *attempt) error{
		"at the start": func(*attempt) error { return nil },
		"after a cut":  func(a *attempt) error { return a.cut() },
	} {
		a, _ := lone(t)
		if err := before(a); err != nil {
			t.Fatal(err)
		}
		for _, kind := range []Kind{KindStatus, KindDrained} {
			if err := a.take(says(t, kind, shown)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		kit.Expect(t, name+": in flight", a.progress.inFlight(), 0)
		kit.Expect(t, name+": shown", a.r.Stats().Shown, 0)
	}
}

// What a child says is brought within bounds.
func TestChildIsNotBelieved(t *testing.T) {
	a, in := lone(t)
	format := &format.Format{Codec: format.H264}
	a.mu.Lock()
	a.feeding = in
	a.mu.Unlock()
	a.sentTo.feed(in)
	if err := a.open(t.Context(), format); err != nil {
		t.Fatal(err)
	}
	for n := uint64(1); n <= 4; n++ {
		in.ledger.open(n)
	}
	for n := uint64(1); n <= 2; n++ {
		a.sentTo.frame(n)
		a.progress.sent(Unit{Number: n, Format: format}, time.Now())
	}
	take := func(m Message) {
		t.Helper()
		if err := a.take(m); err != nil {
			t.Fatal(err)
		}
	}
	take(says(t, KindStatus, Status{
		Number: 1, Fed: 2, Queued: math.MaxUint64, Decoded: 2, Shown: 2, Wall: time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -23*3600)),
		Settled: []report.Settled{{Frame: 1, Reason: "a reason of its own"}, {Frame: 2, Reason: report.Shown}, {Frame: 3, Reason: report.Shown}},
	}))
	c := in.Counts()
	if c.Shown != 1 || c.Dropped[report.DropNoPicture] != 1 || len(c.Dropped) != 1 || c.Queued != 2 {
		t.Errorf("%+v", c)
	}
	if most := a.progress.inFlight(); most > 2 {
		t.Errorf("%d of 2 frames are in flight", most)
	}
	take(says(t, KindStatus, Status{Number: 1, Fed: 2, Decoded: 1, Shown: 1}))
	kit.Expect(t, "pictures that are taken back", a.r.Stats().Shown, 2)
	if wall := a.r.Stats().Wall; !wall.IsZero() {
		t.Errorf("the picture is of %v", wall)
	}

	long := strings.Repeat("ä", 1<<18)
	err := a.take(says(t, KindFailure, Failure{Code: "mqtt.auth", Element: long, Domain: long, Message: long, Debug: long}))
	var f *failure
	if !errors.As(err, &f) || f.Code != report.CodeError {
		t.Fatalf("%v", err)
	}
	if whole := fmt.Sprint(f.Report); len(whole) > 8<<10 || strings.ContainsRune(whole, '\uFFFD') && !strings.Contains(whole, "…") {
		t.Errorf("a report of %d bytes", len(whole))
	}

	take(says(t, KindHello, Hello{Build: Build, GStreamer: long, Elements: append(slices.Repeat([]string{"avdec_h264"}, 10_000), "varenderD"+strings.Repeat("1", 1<<16)+"h264dec")}))
	if s := a.r.Stats(); len(s.GStreamer) > 2*mostName || len(s.Decoders) != 1 {
		t.Errorf("%d bytes, %d decoders", len(s.GStreamer), len(s.Decoders))
	}
	for name, m := range map[string]Message{"hello again": says(t, KindHello, Hello{Build: Build}), "no JSON": {Kind: KindStatus, Payload: []byte("{")}} {
		if err := a.take(m); !errors.As(err, &f) || f.Code != report.CodeCrash {
			t.Errorf("%s: %v", name, err)
		}
	}
	take(says(t, KindScreened, Screened{Mode: plan.Mode{Width: math.MaxInt, Height: -1}}))
	kit.Expect(t, "the screen", (<-a.screened).Mode, plan.Mode{})
}

// Heartbeats do not stand for the hello, which is waited for no longer than it may take.
func TestHeartbeatsAreNoHello(t *testing.T) {
	p := progress{patience: Patience{Hello: 3 * time.Second, Status: time.Second}, started: time.Unix(1000, 0)}
	for at := time.Duration(0); at <= 4*time.Second; at += checkEvery {
		now := p.started.Add(at)
		p.hearing(now, false)
		if err := p.check(now); (err != nil) != (at > 3*time.Second) {
			t.Fatalf("after %v: %v", at, err)
		}
	}
}

// said makes messages of a child out of data, among them some that a child may not send.
func said(data []byte) (all []Message) {
	next := func() (b byte) {
		if len(data) > 0 {
			b, data = data[0], data[1:]
		}
		return b
	}
	count := func() uint64 {
		switch b := next(); {
		case b > 250:
			return math.MaxUint64 - uint64(255-b)
		case b > 240:
			return 1 << (b % 64)
		default:
			return uint64(b % 8)
		}
	}
	words := []string{"", "avdec_h264", report.CodeHang, report.CodeDisplayLost, "mqtt.auth", "h264parse", "not-negotiated", string(report.DropLate), string(report.Hidden), "\xff"}
	word := func() string { return words[int(next())%len(words)] }
	add := func(k Kind, v any) {
		payload, err := json.Marshal(v)
		if err == nil {
			all = append(all, Message{Kind: k, Flags: next(), Time: int64(count()), Number: count(), Payload: payload})
		}
	}
	for len(data) > 0 && len(all) < 200 {
		switch next() % 9 {
		case 0:
			add(KindHello, Hello{Build: Build, GStreamer: word(), Elements: []string{word(), "avdec_h264", "fakesink"}})
		case 1:
			add(KindOpened, Opened{Number: uint32(count())})
		case 2, 3:
			s := Status{
				Number: uint32(count()), Fed: count(), Queued: count(), Decoded: count(), Held: next()%2 == 0, Shown: count(), Fresh: count(),
				Late: count(), Skipped: count(), FrameTime: time.Duration(count()), Checksums: []string{word()},
			}
			if next()%2 == 0 {
				s.Wall = time.Unix(int64(count()>>20), 0)
			}
			for range next() % 6 {
				s.Settled = append(s.Settled, report.Settled{Frame: count(), Reason: report.Reason(word())})
			}
			add([]Kind{KindStatus, KindDrained}[next()%2], s)
		case 4:
			add(KindFailure, Failure{Number: uint32(count()), Code: word(), Element: word(), Debug: word()})
		case 5:
			add(KindScreened, Screened{Number: uint32(count()), Mode: plan.Mode{Width: int(count()), Height: int(count())}})
		case 6:
			add(KindScreened, Screened{Number: uint32(count()), Failure: &Failure{Code: word()}})
		case 7:
			add(KindPicture, word())
		case 8: // anything
			kind, n := KindHello+Kind(next()%8), int(next())
			n = min(n, len(data))
			all = append(all, Message{Kind: kind, Payload: data[:n]})
			data = data[n:]
		}
	}
	return all
}

// seeds are lives of children, so that fuzzing begins with what goes far.
func seeds(f *testing.F) {
	for _, life := range [][]byte{
		{0, 1, 1, 0, 0, 0},
		bytes.Repeat([]byte{2, 1, 5, 0, 5, 1, 5, 0, 0, 0, 0, 0}, 4), bytes.Repeat([]byte{255}, 60),
		slices.Concat([]byte{0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0}, bytes.Repeat([]byte{2, 1, 3, 255, 3, 0, 3, 3, 255, 0, 1, 1, 0, 251, 3, 1, 0, 2, 4, 3, 8}, 5)),
	} {
		f.Add(life)
	}
}

// checkLone holds an attempt to what must be so whatever its child has said.
func checkLone(t *testing.T, a *attempt, in *Input) {
	t.Helper()
	c := in.Counts()
	if c.Received != c.Shown+c.Hidden+c.DroppedSum()+c.Queued {
		t.Fatalf("%+v does not add up", c)
	}
	for why := range c.Dropped {
		if len(why) > mostName || !slices.Contains(append(reasons, agentDrops...), why) {
			t.Fatalf("a frame is dropped because of %q", why)
		}
	}
	s := a.r.Stats()
	if _, err := json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	if max(s.Mode.Width, s.Mode.Height) > mostSize || min(s.Mode.Width, s.Mode.Height) < 0 {
		t.Fatalf("a screen of %+v", s.Mode)
	}
	if sent := a.progress.fed; a.progress.inFlight() > sent {
		t.Fatalf("%d of %d frames are in flight", a.progress.inFlight(), sent)
	}
}

// Nothing that a child says in any order makes the agent fail, while it opens and cuts pipelines and feeds them.
func FuzzTake(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, in := lone(t)
		format := &format.Format{Codec: format.H264}
		a.mu.Lock()
		a.feeding = in
		a.mu.Unlock()
		a.sentTo.feed(in)
		n := uint64(0)
		now := time.Unix(1000, 0)
		for _, m := range said(data) {
			now = now.Add(checkEvery)
			switch m.Number % 6 { // what the agent does in between
			case 1:
				if err := a.open(t.Context(), format); err != nil {
					t.Fatal(err)
				}
			case 2, 3:
				n++
				in.ledger.open(n)
				u := Unit{Number: n, Format: format}
				a.sentTo.frame(n)
				a.progress.sent(u, now)
			case 4:
				if err := a.cut(); err != nil {
					t.Fatal(err)
				}
			}
			a.progress.hearing(now, m.Kind == KindHello)
			err := a.take(m)
			checkLone(t, a, in)
			select {
			case s := <-a.screened:
				a.r.screened(s)
			default:
			}
			if err := a.progress.check(now); err != nil && !a.excuses(err) {
				_ = a.child.examine(err)
			}
			if err != nil {
				a.r.note(a.blame(err), 0)
				return
			}
		}
		a.sentTo.died(a.r.everyInput())
		checkLone(t, a, in)
	})
}

// ending is a reader that ends an attempt when all is read.
type ending struct {
	io.Reader
	end func()
}

func (e ending) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err != nil {
		e.end()
	}
	return n, err
}

// Whatever bytes a child sends while it is fed, looked after and asked for a picture: the attempt ends, with all of its
// goroutines.
func FuzzAttempt(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, in := lone(t)
		track := *h264Track
		for i, key := range []bool{true, false, false, true} {
			in.Push(&mkv.Frame{Track: &track, Data: []byte{0, 0, 0, 3, map[bool]byte{true: 0x65, false: 0x41}[key], 0x88, 1}, Key: key}, time.Duration(i), false, time.Time{})
		}
		var b bytes.Buffer
		w := NewWriter(&b)
		for _, m := range said(data) {
			if err := w.write(m); err != nil {
				t.Fatal(err)
			}
		}
		b.Write(data[:min(len(data), 100)]) // and what is no message
		ctx, end := context.WithCancelCause(t.Context())
		var all sync.WaitGroup
		all.Go(func() { end(a.feed(ctx)) })
		all.Go(func() { end(a.watch(ctx)) })
		all.Go(func() { end(a.watchDisplay(ctx)) })
		all.Go(func() { a.reconsider(ctx) })
		all.Go(func() { end(a.post(ctx)) })
		all.Go(func() { _, _ = a.snapshot(ctx, Snapshot{}) })
		end(a.read(ctx, ending{&b, func() { end(io.EOF) }}))
		done := make(chan struct{})
		go func() {
			defer close(done)
			all.Wait()
		}()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("the attempt does not end")
		}
		a.sentTo.died(a.r.everyInput())
		checkLone(t, a, in)
	})
}

// What a child says of a path is one that there is, and no more words than fit into what is published.
func TestPathOfAChildIsWithinBounds(t *testing.T) {
	s := Screened{Path: "\x1b[2J", Passed: make([]string, 1000)}
	s.Passed[0] = strings.Repeat("é", mostText)
	s.bound()
	if s.Path != "" || len(s.Passed) != mostPassed || len(s.Passed[0]) > mostText+len("…")+len("\uFFFD") {
		t.Errorf("%q, %d texts, the first of %d bytes", s.Path, len(s.Passed), len(s.Passed[0]))
	}
	for _, path := range plan.Paths {
		s := Screened{Path: path}
		if s.bound(); s.Path != path {
			t.Errorf("%s became %q", path, s.Path)
		}
	}
}
