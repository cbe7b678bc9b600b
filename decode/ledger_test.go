package decode

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

func TestLedger(t *testing.T) {
	var l ledger
	for n := uint64(1); n <= 5; n++ {
		l.open(n)
	}
	kit.Expect(t, "first", l.settle(2, report.Shown), true)
	kit.Expect(t, "again", l.settle(2, report.DropLate), false)
	kit.Expect(t, "unknown", l.settle(9, report.Shown), false)
	kit.Expect(t, "hidden", l.settle(1, report.Hidden), true)
	l.settleThrough(4, 4, report.DropDecoderFailed)
	kit.Expect(t, "on its way", l.onItsWay(4), true)
	kit.Expect(t, "not any more", l.onItsWay(3), false)
	c := l.snapshot()
	if c.Received != 5 || c.Shown != 1 || c.Hidden != 1 || c.Queued != 2 || c.DroppedSum() != 1 || c.Dropped[report.DropDecoderFailed] != 1 {
		t.Errorf("%+v", c)
	}
	c.Dropped[report.DropLate] = 7
	kit.Expect(t, "the ledger's own counts", l.snapshot().Dropped[report.DropLate], 0)
}

// What nobody ever settles is bounded.
func TestLedgerIsBounded(t *testing.T) {
	var l ledger
	const frames = mostOpen + 1000
	for n := uint64(1); n <= frames; n++ {
		l.open(n)
	}
	c := l.snapshot()
	kit.Expect(t, "on their way", c.Queued, mostOpen)
	kit.Expect(t, "given up", c.Dropped[report.DropNoPicture], frames-mostOpen)
	kit.Expect(t, "entries", cap(l.entries) <= 2*mostOpen, true)
}

// adds checks that an input's counts add up, and gives them.
func adds(t *rapid.T, in *Input) report.FrameCounts {
	t.Helper()
	c := in.Counts()
	if c.Received != c.Shown+c.Hidden+c.DroppedSum()+c.Queued {
		t.Fatalf("%+v does not add up", c)
	}
	return c
}

// Whatever happens, over key frames, formats, tracks, switching, overload, crashes and slow children: at every moment each frame
// is shown, hidden, dropped for a reason, or on its way; at the end none is on its way; and what is said to have been shown was.
func TestEveryFrameIsAccountedFor(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		file := filepath.Join(dir, fmt.Sprint(run))
		r := New(Config{
			Program: NewProgram(os.Args[0]), Sandbox: Sandbox{Off: true}, Env: []string{fakeEnv + "=none", fakeShownEnv + "=" + file, "GORACE=atexit_sleep_ms=0"},
			Sink: plan.None, DRM: fstest.MapFS{}, Dev: dir, Limits: Limits{Units: 12, Bytes: 4 << 10},
			Patience: Patience{Hello: 20 * time.Second, Open: 20 * time.Second, Status: 20 * time.Second, First: 20 * time.Second, Next: 20 * time.Second},
		})
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() { ended <- r.Run(ctx) }()
		defer func() {
			stop()
			<-ended
		}()
		inputs := []*Input{r.Input("a", plan.Preference{}), r.Input("b", plan.Preference{})}
		tracks := make([]*mkv.Track, len(inputs))
		for i := range tracks {
			track := *h264Track
			tracks[i] = &track
		}
		at := time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			i := rapid.IntRange(0, len(inputs)-1).Draw(t, "input")
			in := inputs[i]
			switch step := rapid.SampledFrom([]string{"key", "delta", "delta", "delta", "delta", "disposable", "stored", "slices", "bad", "show", "none", "format", "session", "settle"}).Draw(t, "step"); step {
			case "key", "delta", "disposable", "stored", "slices", "bad":
				at += time.Millisecond
				kind := map[string]byte{"delta": 0x41, "stored": 0x41, "slices": 0x41, "disposable": 0x01, "bad": 0xff, "key": 0x65}[step]
				mark := rapid.SampledFrom([]byte(".....LNPSX")).Draw(t, "mark")
				push := func(first byte) {
					f := &mkv.Frame{Track: tracks[i], Data: []byte{0, 0, 0, 3, kind, first, mark}, Key: kind == 0x65}
					if step == "stored" {
						in.PushStored(context.Background(), f, at, false)
					} else {
						in.Push(f, at, false, time.Time{})
					}
				}
				push(0x88)
				if step == "slices" {
					push(0x48)
				}
			case "show":
				r.Show(in)
			case "none":
				r.Show(r.own)
			case "format":
				track := *tracks[i]
				track.Width++
				tracks[i] = &track
			case "session":
				track := *tracks[i]
				tracks[i] = &track
				in.SetTracks([]*mkv.Track{&track})
			case "settle":
				settled(t, r, inputs)
			}
			for _, in := range inputs {
				adds(t, in)
			}
		}
		settled(t, r, inputs)
		shown := uint64(0)
		for _, in := range inputs {
			shown += adds(t, in).Shown
			in.Close()
			if c := adds(t, in); c.Queued != 0 {
				t.Fatalf("%d frames of a closed input are on their way", c.Queued)
			}
		}
		b, _ := os.ReadFile(file)
		seen := map[uint64]bool{}
		for ; len(b) >= 8; b = b[8:] {
			seen[binary.LittleEndian.Uint64(b)] = true
		}
		if shown != uint64(len(seen)) {
			t.Fatalf("%d frames are counted as shown, %d were", shown, len(seen))
		}
		if all := r.Stats().Frames; all.Shown != shown || all.Queued != 0 {
			t.Fatalf("all inputs together: %+v", all)
		}
	})
}

// settled waits until no frame of the input that is shown is on its way. Of hidden ones, the newest waits to be shown.
func settled(t *rapid.T, r *Renderer, inputs []*Input) {
	t.Helper()
	// The child tells of the last frame when the next one comes.
	for _, in := range inputs {
		in.mu.Lock()
		track := in.tracks.used
		in.mu.Unlock()
		if in.Shown() && track != nil {
			in.Push(&mkv.Frame{Track: track, Data: []byte{0, 0, 0, 3, 0x65, 0x88, '.'}, Key: true}, time.Hour, false, time.Time{})
		}
	}
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		waits := uint64(0)
		for _, in := range inputs {
			if c := adds(t, in); in.Shown() {
				waits += c.Queued
			} else if c.Queued > 1 {
				waits += c.Queued
			}
		}
		if waits == 0 {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("%d frames are on their way for ever: %+v", waits, r.Stats())
		case <-tick.C:
		}
	}
}
