package decode

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// push pushes units written as letters: K a key frame, b one that no other refers to, d another.
func push(g *Gate, units string) (dropped int) {
	for _, u := range units {
		dropped += g.Push(Unit{Key: u == 'K', Disposable: u == 'b', Data: []byte{byte(u)}})
	}
	return dropped
}

// drain takes n units, all that wait when n is negative, and writes them as
// letters: small ones for replay, and ! before a discontinuity.
func drain(g *Gate, n int) string {
	var b strings.Builder
	for ; n != 0; n-- {
		u, ok := g.take()
		if !ok {
			break
		}
		if u.Discont {
			b.WriteByte('!')
		}
		text := string(u.Data)
		if u.Replay {
			text = map[string]string{"K": "k", "d": "r", "b": "?"}[text]
		}
		b.WriteString(text)
	}
	return b.String()
}

func TestGate(t *testing.T) {
	limits := Limits{Units: 6, Bytes: 1000}
	for name, test := range map[string]func(t *testing.T, g *Gate){
		"begins with a key frame": func(t *testing.T, g *Gate) {
			kit.Expect(t, "dropped", push(g, "ddKd"), 2)
			kit.Expect(t, "units", drain(g, -1), "!Kd")
		},
		"full: waits for a key frame": func(t *testing.T, g *Gate) {
			push(g, "Kddddd")
			kit.Expect(t, "dropped", push(g, "ddKd"), 8)
			kit.Expect(t, "units", drain(g, -1), "!Kd")
			kit.Expect(t, "dropped in all", g.Stats().Dropped, uint64(8))
		},
		"full: what was given out goes first": func(t *testing.T, g *Gate) {
			push(g, "Kddd")
			drain(g, 3)
			kit.Expect(t, "dropped", push(g, "ddd"), 0)
			kit.Expect(t, "units", drain(g, -1), "dddd")
		},
		"full: a key frame begins anew": func(t *testing.T, g *Gate) {
			push(g, "Kddddd")
			kit.Expect(t, "dropped", push(g, "K"), 6)
			kit.Expect(t, "units", drain(g, -1), "!K")
		},
		"full: what no other refers to goes first": func(t *testing.T, g *Gate) {
			push(g, "Kbdbdd")
			kit.Expect(t, "dropped", push(g, "d"), 2)
			kit.Expect(t, "units", drain(g, -1), "!Kdddd")
			push(g, "d")
			kit.Expect(t, "units", drain(g, -1), "d")
		},
		"replay": func(t *testing.T, g *Gate) {
			push(g, "KdKddd")
			kit.Expect(t, "units", drain(g, 4), "!KdKd")
			kit.Expect(t, "replayed", g.Rewind(), 3)
			kit.Expect(t, "units", drain(g, -1), "!krrd")
			push(g, "d")
			kit.Expect(t, "replayed", g.Rewind(), 4)
			kit.Expect(t, "units", drain(g, -1), "!krrrd")
		},
		"replay leaves out what nobody refers to": func(t *testing.T, g *Gate) {
			push(g, "Kbbdbb")
			kit.Expect(t, "units", drain(g, 5), "!Kbbdb")
			kit.Expect(t, "replayed", g.Rewind(), 2)
			kit.Expect(t, "units", drain(g, -1), "!krb")
			push(g, "bd")
			kit.Expect(t, "replayed", g.Rewind(), 2)
			kit.Expect(t, "units", drain(g, -1), "!krd")
			push(g, "dd")
			kit.Expect(t, "dropped", g.Stats().Dropped, uint64(0))
		},
		"a gap in front of what is left out stays": func(t *testing.T, g *Gate) {
			push(g, "Kd")
			g.Push(Unit{Disposable: true, Discont: true, Data: []byte("b")})
			push(g, "dd")
			drain(g, -1)
			g.Rewind()
			kit.Expect(t, "units", drain(g, -1), "!kr!rd")
		},
		"parked: what is kept is replayed": func(t *testing.T, g *Gate) {
			g.Park()
			push(g, "KddKbbdb")
			g.Unpark()
			kit.Expect(t, "units", drain(g, -1), "!krb")
		},
		"of a recording, what was not given out is seen": func(t *testing.T, g *Gate) {
			for _, u := range "KdbKdbd" {
				g.Push(Unit{Key: u == 'K', Disposable: u == 'b', Data: []byte{byte(u)}, Stored: true})
				if u == 'b' {
					drain(g, 3)
				}
			}
			g.Push(Unit{Data: []byte("d"), Stored: true})
			kit.Expect(t, "replayed", g.Rewind(), 2)
			kit.Expect(t, "units", drain(g, 1), "!k")
			kit.Expect(t, "replayed again", g.Rewind(), 2)
			kit.Expect(t, "units", drain(g, -1), "!krdd")
		},
		"replay before anything": func(t *testing.T, g *Gate) {
			push(g, "Kdd")
			kit.Expect(t, "replayed", g.Rewind(), 0)
			kit.Expect(t, "units", drain(g, -1), "!Kdd")
		},
		"no replay of what was forgotten": func(t *testing.T, g *Gate) {
			push(g, "Kddddd")
			drain(g, 4)
			push(g, "dK") // forgets K d d d
			kit.Expect(t, "replayed", g.Rewind(), 0)
			kit.Expect(t, "units", drain(g, -1), "!K")
			kit.Expect(t, "dropped", g.Stats().Dropped, uint64(3))
		},
		"nothing left to replay": func(t *testing.T, g *Gate) {
			push(g, "Kddddd")
			drain(g, -1)
			push(g, "d")
			drain(g, -1)
			kit.Expect(t, "replayed", g.Rewind(), 0)
			push(g, "dK")
			kit.Expect(t, "units", drain(g, -1), "!K")
		},
		"a unit larger than the gate": func(t *testing.T, g *Gate) {
			g.Push(Unit{Key: true, Data: make([]byte, 1001)})
			kit.Expect(t, "dropped", push(g, "d"), 1)
			push(g, "K")
			kit.Expect(t, "units", drain(g, -1), "!K")
		},
	} {
		t.Run(name, func(t *testing.T) { test(t, NewGate(limits)) })
	}
}

// Whatever happens, the gate stays within its limits, and between a unit that is no key frame and the one before
// it nothing is missing that others refer to.
func TestGateProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{Units: 5, Bytes: 40}
		g := NewGate(limits)
		var disposable []bool // of all that were pushed
		last := -2            // the unit before
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			switch step := rapid.SampledFrom([]string{"key", "delta", "delta", "disposable", "take", "take", "rewind"}).Draw(t, "step"); step {
			case "key", "delta", "disposable":
				data := make([]byte, rapid.IntRange(0, 45).Draw(t, "size"))
				g.Push(Unit{Key: step == "key", Disposable: step == "disposable", Time: time.Duration(len(disposable)), Data: data})
				disposable = append(disposable, step == "disposable")
			case "take":
				u, ok := g.take()
				if !ok {
					continue
				}
				if u.Replay && u.Disposable {
					t.Fatalf("unit %d is replayed for nobody", u.Time)
				}
				if !u.Key && (u.Discont || last < 0 || slices.Contains(disposable[last+1:u.Time], false)) {
					t.Fatalf("unit %d, discontinuity %v, follows %d", u.Time, u.Discont, last)
				}
				last = int(u.Time)
			case "rewind":
				g.Rewind()
				last = -2
			}
			bytes := 0
			for _, u := range g.units {
				bytes += len(u.Data)
			}
			if len(g.units) > limits.Units || g.bytes > limits.Bytes || bytes != g.bytes {
				t.Fatalf("%d units, %d bytes, counted as %d", len(g.units), bytes, g.bytes)
			}
		}
	})
}

func TestTakeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(DefaultLimits)
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan Unit)
		end := make(chan error)
		go func() {
			for {
				u, err := g.Take(ctx)
				if err != nil {
					end <- err
					return
				}
				got <- u
			}
		}()
		synctest.Wait()
		data := []byte("K")
		g.Push(Unit{Key: true, Data: data})
		data[0] = 'x' // the pusher's memory is its own again
		if u := <-got; string(u.Data) != "K" {
			t.Errorf("got %q", u.Data)
		}
		cancel()
		if err := <-end; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// A recording waits for room, as long as something moves.
func TestGateWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(Limits{Units: 4, Bytes: 100})
		push := func() {
			g.Wait(t.Context(), time.Second)
			if dropped := g.Push(Unit{Key: true, Data: []byte("x")}); dropped != 0 {
				t.Fatalf("%d units dropped", dropped)
			}
		}
		began := time.Now()
		for range 3 {
			push()
		}
		if time.Since(began) != 0 {
			t.Error("it waited although there was room")
		}
		go func() {
			for range 3 {
				time.Sleep(900 * time.Millisecond)
				g.Take(t.Context())
			}
		}()
		for range 3 {
			push()
		}
		if took := time.Since(began); took != 2700*time.Millisecond {
			t.Errorf("three units were taken in 2.7 s, and three found room after %v", took)
		}
		g.Wait(t.Context(), time.Second)
		if took := time.Since(began); took != 3700*time.Millisecond {
			t.Errorf("nothing was taken, and it gave up after %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		g.Wait(ctx, time.Second)
		if took := time.Since(began); took != 3800*time.Millisecond {
			t.Errorf("it was told to wait no longer, and gave up after %v", took)
		}
	})
}

// Nothing of a hidden stream stays on its way for ever, whatever a child that died had of it.
func TestHiddenFramesAreSettled(t *testing.T) {
	l := &ledger{}
	g := newGate(DefaultLimits, DefaultLimits.pool(), l)
	push := func(n uint64, key bool) {
		l.open(n)
		g.Push(Unit{Number: n, Key: key, Time: time.Duration(n) * time.Millisecond, Data: []byte{1}})
	}
	push(1, true)
	for n := uint64(2); n <= 12; n++ {
		push(n, false)
	}
	for range 12 {
		if _, err := g.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	g.Release()
	g.Returned() // the child died
	push(13, true)
	g.Park() // another stream is shown
	for n := uint64(14); n < 200; n++ {
		push(n, n%30 == 13)
	}
	if c := l.snapshot(); c.Queued > 1 {
		t.Errorf("%+v", c)
	}
}

// What waited at a seek is dropped and counted, what a pipeline has is settled by that, and the next frame to be given out is
// a key frame of the new place.
func TestGateDiscard(t *testing.T) {
	l := &ledger{}
	g := newGate(DefaultLimits, DefaultLimits.pool(), l)
	push := func(n uint64, key bool) {
		l.open(n)
		g.Push(Unit{Number: n, Key: key, Data: []byte{1}})
	}
	for n := uint64(1); n <= 10; n++ {
		push(n, n == 1)
	}
	for range 4 {
		if _, err := g.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	g.Discard()
	if c := l.snapshot(); c.Dropped[report.DropCatchUp] != 6 || c.Queued != 4 {
		t.Errorf("after six waited and four were given out: %+v", c)
	}
	push(11, false)
	push(12, true)
	if u, err := g.Take(t.Context()); err != nil || u.Number != 12 || !u.Discont {
		t.Errorf("%+v, %v", u, err)
	}
	if c := l.snapshot(); c.Dropped[report.DropNoKeyFrame] != 1 {
		t.Errorf("%+v", c)
	}
}

// A recording is read a second ahead, however large the queue is.
func TestRecordingIsReadASecondAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(DefaultLimits)
		began := time.Now()
		for n := range 32 {
			g.Wait(t.Context(), time.Minute)
			g.Push(Unit{Key: true, Time: time.Duration(n) * time.Second / 30, Data: []byte{1}})
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it waited %v for the first second", took)
		}
		g.Wait(t.Context(), time.Minute)
		if took := time.Since(began); took != time.Minute {
			t.Errorf("it waited %v when more than a second waited", took)
		}
	})
}

// A stream that is shown again begins again, while the pipeline before still has its frames: whether these were shown is
// for that pipeline to say.
func TestRewindLeavesFramesToTheirPipeline(t *testing.T) {
	l := &ledger{}
	g := newGate(DefaultLimits, DefaultLimits.pool(), l)
	for n := uint64(1); n <= 4; n++ {
		l.open(n)
		g.Push(Unit{Number: n, Key: n == 1, Disposable: n == 2, Data: []byte{1}})
		if _, err := g.Take(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	g.Rewind()
	for n := uint64(1); n <= 4; n++ { // what was on its way from the child
		kit.Expect(t, "settled by the pipeline", l.settle(n, report.Shown), true)
	}
	if c := l.snapshot(); c.Shown != 4 || c.DroppedSum() != 0 {
		t.Errorf("%+v", c)
	}
}
