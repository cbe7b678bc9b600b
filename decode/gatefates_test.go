package decode

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// numbered is a gate whose units have numbers and are accounted for.
type numbered struct {
	*Gate
	ledger *ledger
	n      uint64
}

func newNumbered(limits Limits) *numbered {
	l := &ledger{}
	return &numbered{Gate: newGate(limits, limits.pool(), l), ledger: l}
}

// push pushes units written as letters, as push does, and one larger than the gate written as X.
func (g *numbered) push(units string) (dropped int) {
	for _, u := range units {
		data := []byte{byte(u)}
		if u == 'X' {
			data = make([]byte, g.limits.Bytes+1)
		}
		dropped += g.pushUnit(Unit{Key: u == 'K', Disposable: u == 'b', Data: data})
	}
	return dropped
}

func (g *numbered) pushUnit(u Unit) (dropped int) {
	g.n++
	g.ledger.open(g.n)
	u.Number = g.n
	return g.Push(u)
}

// shown takes in that the pictures of units were on the screen.
func (g *numbered) shown(numbers ...uint64) {
	for _, n := range numbers {
		g.ledger.settle(n, report.Shown)
	}
}

// fates writes down what became of frames: "hidden 2, queue_full 1; queued 3".
func fates(c report.FrameCounts) string {
	all := maps.Clone(c.Dropped)
	if all == nil {
		all = map[report.Reason]uint64{}
	}
	all["shown"], all[report.Hidden] = c.Shown, c.Hidden
	var words []string
	for _, why := range slices.Sorted(maps.Keys(all)) {
		if all[why] > 0 {
			words = append(words, fmt.Sprintf("%s %d", why, all[why]))
		}
	}
	return fmt.Sprintf("%s; queued %d", strings.Join(words, ", "), c.Queued)
}

// What leaves the gate without being given out is settled once, for the reason that it left for. What was given out is
// not settled by the gate.
func TestGateSettlesWhatLeaves(t *testing.T) {
	for name, c := range map[string]struct {
		life  func(g *numbered)
		fates string
		next  string // what a decoder would get then
		count uint64 // Stats().Dropped
	}{
		"before a key frame": {func(g *numbered) { g.push("ddKd") }, "no_key_frame 2; queued 2", "!Kd", 2},
		"full":               {func(g *numbered) { g.push("KdddddddK") }, "queue_full 8; queued 1", "!K", 8},
		"full, some were given out": {func(g *numbered) {
			g.push("Kddddd")
			drain(g.Gate, 2)
			g.push("dddK")
		}, "queue_full 7; queued 3", "!K", 7},
		"full, some are not referred to": {func(g *numbered) { g.push("Kbdbddd") }, "queue_full 2; queued 5", "!Kdddd", 2},
		"a gap stays where it is": {func(g *numbered) {
			g.push("Kd")
			g.pushUnit(Unit{Disposable: true, Discont: true, Data: []byte("b")})
			g.push("bddd")
		}, "queue_full 1; queued 6", "!Kd!bddd", 1},
		"too large":           {func(g *numbered) { g.push("KdXddK") }, "too_large 3; queued 3", "!Kd!K", 3},
		"too large, at first": {func(g *numbered) { g.push("Xd") }, "no_key_frame 2; queued 0", "", 2},
		"closed": {func(g *numbered) {
			g.push("dKddd")
			drain(g.Gate, 1)
			if dropped := g.Close(); dropped != 1 {
				panic(fmt.Sprint("closed after dropping ", dropped))
			}
			g.push("Kd")
		}, "hidden 5, no_key_frame 1; queued 1", "", 1},
		"hidden, longer than the gate": {func(g *numbered) {
			g.Park()
			g.push("dKddddddd")
			g.Unpark()
			g.push("K")
		}, "hidden 9; queued 1", "!K", 0},
		"hidden, too large": {func(g *numbered) {
			g.Park()
			g.push("KXd")
			g.Unpark()
		}, "hidden 2; queued 1", "!K", 0},
		"hidden, and another place": {func(g *numbered) {
			g.push("Kd")
			g.Park()
			g.push("d")
			g.Discard()
			g.Unpark()
			g.push("dK")
		}, "hidden 3, no_key_frame 1; queued 1", "!K", 1},
		"hidden while its key frame is forgotten": {func(g *numbered) {
			g.push("Kddddd")
			drain(g.Gate, 4)
			g.push("d") // what was given out made room
			g.Park()
			g.Unpark()
			g.push("ddK")
		}, "hidden 3, no_key_frame 2; queued 5", "!K", 2},
		"hidden while only one is left, that is no key frame": {func(g *numbered) {
			g.push("Kddddd")
			drain(g.Gate, 6)
			g.push("d")
			g.Park()
			g.Unpark()
			g.push("d")
		}, "hidden 1, no_key_frame 1; queued 6", "", 1},
		"hidden with a newer key frame": {func(g *numbered) {
			g.push("KdKdd")
			g.Park()
			g.Unpark()
		}, "hidden 4; queued 1", "!krd", 0},
		"a new renderer without a key frame": {func(g *numbered) {
			g.push("Kddddd")
			drain(g.Gate, 4)
			g.push("d")
			drain(g.Gate, 1)
			g.Rewind()
			g.push("d")
		}, "decoder_failed 4; queued 4", "", 3},
	} {
		t.Run(name, func(t *testing.T) {
			g := newNumbered(Limits{Units: 6, Bytes: 1000})
			c.life(g)
			kit.Expect(t, "fates", fates(g.ledger.snapshot()), c.fates)
			kit.Expect(t, "dropped", g.Stats().Dropped, c.count)
			kit.Expect(t, "units", drain(g.Gate, -1), c.next)
		})
	}
}

// A hidden stream whose pipeline is gone waits with its newest frame only; one that is shown gives all out again.
func TestGateReturned(t *testing.T) {
	for name, c := range map[string]struct {
		life  func(g *numbered)
		fates string
	}{
		"shown":            {func(*numbered) {}, "; queued 4"},
		"hidden":           {func(g *numbered) { g.Park() }, "hidden 3; queued 1"},
		"hidden and empty": {func(g *numbered) { g.Discard(); g.Park() }, "hidden 4; queued 0"},
		"a key frame": {func(g *numbered) {
			g.push("K")
			drain(g.Gate, 1)
			g.Park()
		}, "hidden 4; queued 1"},
	} {
		g := newNumbered(Limits{Units: 6, Bytes: 1000})
		g.push("Kddd")
		drain(g.Gate, -1)
		c.life(g)
		kit.Expect(t, name+": while the pipeline has them", fates(g.ledger.snapshot()), fmt.Sprintf("; queued %d", g.n))
		g.Returned()
		kit.Expect(t, name, fates(g.ledger.snapshot()), c.fates)
	}
}

// Units of exactly the bytes that there are find room, and one byte more does not.
func TestGateBytes(t *testing.T) {
	g := newNumbered(Limits{Units: 100, Bytes: 10})
	size := func(n int, key bool) Unit { return Unit{Key: key, Data: make([]byte, n)} }
	kit.Expect(t, "the whole gate", g.pushUnit(size(10, true)), 0)
	kit.Expect(t, "no byte is left", g.pushUnit(size(1, false)), 2)
	kit.Expect(t, "six of ten", g.pushUnit(size(6, true)), 0)
	kit.Expect(t, "the other four", g.pushUnit(size(4, false)), 0)
	kit.Expect(t, "one more", g.pushUnit(size(1, false)), 3)
	kit.Expect(t, "more than the gate", g.pushUnit(size(11, true)), 1)
	kit.Expect(t, "fates", fates(g.ledger.snapshot()), "queue_full 5, too_large 1; queued 0")
}

// A further slice is added to the unit pushed last. When that was given out, it is given out again with its group.
func TestGateAmend(t *testing.T) {
	for name, c := range map[string]struct {
		life  func(g *numbered)
		of    uint64
		more  string
		added bool
		next  string
	}{
		"nothing there":    {func(*numbered) {}, 0, "+", false, ""},
		"a later one":      {func(g *numbered) { g.push("Kd") }, 3, "+", false, "!Kd"},
		"an older one":     {func(g *numbered) { g.push("Kd") }, 1, "+", false, "!Kd"},
		"it waits":         {func(g *numbered) { g.push("Kd") }, 2, "+", true, "!Kd+"},
		"the one it waits": {func(g *numbered) { g.push("Kd"); drain(g.Gate, 1) }, 2, "+", true, "d+"},
		"it was given out": {func(g *numbered) { g.push("Kd"); drain(g.Gate, 2) }, 2, "+", true, "!kd+"},
		"no key frame is left": {func(g *numbered) {
			g.push("Kddddd")
			drain(g.Gate, 6)
			g.push("d") // forgets those
			drain(g.Gate, 1)
		}, 7, "+", true, ""},
		"exactly the room":   {func(g *numbered) { g.push("K") }, 1, strings.Repeat("+", 9), true, "!K+++++++++"},
		"more than there is": {func(g *numbered) { g.push("K") }, 1, strings.Repeat("+", 10), false, "!K"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newNumbered(Limits{Units: 6, Bytes: 10})
			c.life(g)
			kit.Expect(t, "added", g.Amend(c.of, []byte(c.more)), c.added)
			kit.Expect(t, "units", drain(g.Gate, -1), c.next)
			kit.Expect(t, "fates", fates(g.ledger.snapshot()), fmt.Sprintf("; queued %d", g.n))
			bytes := 0
			for _, u := range g.units {
				bytes += len(u.Data)
			}
			kit.Expect(t, "bytes", g.bytes, bytes)
			g.Close()
			g.Release()
			kit.Expect(t, "memory in use", g.memory.pool.used, 0)
		})
	}
}

// A further slice for which there is no memory is refused, and the unit stays as it was.
func TestGateAmendWithoutMemory(t *testing.T) {
	g := newGate(DefaultLimits, newPool(blockSize, 0), nil)
	push(g, "K")
	kit.Expect(t, "added", g.Amend(0, make([]byte, blockSize)), false)
	kit.Expect(t, "units", drain(g, -1), "!K")
}

// A gate that is closed gives its memory back, but not that of the unit that is being sent.
func TestGateMemory(t *testing.T) {
	g := newNumbered(Limits{Units: 6, Bytes: 1 << 20})
	for range 4 { // each in a block of its own
		g.pushUnit(Unit{Key: true, Data: make([]byte, 200<<10)})
	}
	kit.Expect(t, "kept", g.memory.pool.used, 4*256<<10)
	for range 2 {
		if _, ok := g.take(); !ok {
			t.Fatal("nothing waits")
		}
	}
	kit.Expect(t, "kept behind the newest that was given out", g.memory.pool.used, 3*256<<10)
	g.Close()
	kit.Expect(t, "lent", g.memory.pool.used, 256<<10)
	g.Release()
	g.Release()
	kit.Expect(t, "in use", g.memory.pool.used, 0)

	small := newNumbered(Limits{Units: 6, Bytes: 1 << 20})
	small.push("Kd")
	small.Close()
	kit.Expect(t, "in use by small ones", small.memory.pool.used, 0)
	small = newNumbered(Limits{Units: 6, Bytes: 1 << 20})
	small.push("K")
	drain(small.Gate, 1)
	small.Close()
	small.Release()
	kit.Expect(t, "in use by a small one that was lent", small.memory.pool.used, 0)
}

// However large its frames are, a gate holds the bytes that it may.
func TestGateHoldsItsBytes(t *testing.T) {
	const frame = 96 << 10 // one in each block of 128 KiB
	g := newNumbered(Limits{Units: 1000, Bytes: 40 * frame})
	for n := range 40 {
		kit.Expect(t, "dropped", g.pushUnit(Unit{Key: n == 0, Data: make([]byte, frame)}), 0)
	}
	kit.Expect(t, "one more", g.pushUnit(Unit{Data: make([]byte, 1)}), 41)
}

// A new renderer begins with the newest picture of a live stream, and with the first that nobody saw of a recording.
func TestGateRewindsToWhatWasSeen(t *testing.T) {
	for name, c := range map[string]struct {
		stored bool
		shown  []uint64
		replay int
		next   string
	}{
		"live, nothing was shown":                {false, nil, 2, "!krd"},
		"live, all were shown":                   {false, []uint64{1, 2, 3}, 2, "!krd"},
		"a recording of which nothing was shown": {true, nil, 0, "!Kdd"},
		"a recording of which one was shown":     {true, []uint64{1}, 1, "!kdd"},
		"a recording of which two were shown":    {true, []uint64{1, 2}, 2, "!krd"},
		"a recording that was shown":             {true, []uint64{1, 2, 3}, 3, "!krr"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newNumbered(Limits{Units: 6, Bytes: 1000})
			for _, u := range "Kdd" {
				g.pushUnit(Unit{Key: u == 'K', Stored: c.stored, Data: []byte{byte(u)}})
			}
			kit.Expect(t, "recording", g.recording(), c.stored)
			drain(g.Gate, -1)
			kit.Expect(t, "recording, all given out", g.recording(), false)
			g.shown(c.shown...)
			kit.Expect(t, "replayed", g.Rewind(), c.replay)
			kit.Expect(t, "units", drain(g.Gate, -1), c.next)
		})
	}
}

// What others ask a gate for.
func TestGateAnswers(t *testing.T) {
	g := newNumbered(Limits{Units: 6, Bytes: 1000})
	none := ^uint64(0)
	type answers struct {
		oldest, newest uint64
		codec          format.Codec
		known          bool
		kept, waiting  int
	}
	ask := func() (a answers) {
		a.oldest, a.newest = g.span()
		f, ok := g.format()
		a.codec, a.known = f.Codec, ok
		a.kept, a.waiting = len(g.kept()), g.Stats().Waiting
		return a
	}
	kit.Expect(t, "empty", ask(), answers{oldest: none, newest: none})
	g.pushUnit(Unit{Key: true, Format: &format.Format{Codec: format.H264}, Data: []byte("K")})
	kit.Expect(t, "one", ask(), answers{oldest: 1, newest: 1, codec: format.H264, known: true, waiting: 1})
	g.push("dd")
	kit.Expect(t, "without a format", ask(), answers{oldest: 1, newest: 3, waiting: 3})
	g.pushUnit(Unit{Format: &format.Format{Codec: format.H265}, Data: []byte("d")})
	kit.Expect(t, "all wait", ask(), answers{oldest: 1, newest: 4, codec: format.H265, known: true, waiting: 4})
	drain(g.Gate, 3)
	kit.Expect(t, "one waits", ask(), answers{oldest: 1, newest: 4, codec: format.H265, known: true, kept: 3, waiting: 1})
	kept := g.kept()
	text := ""
	for _, u := range kept {
		text += string(u.Data)
		if u.block != nil {
			t.Errorf("frame %d is kept in the gate's memory", u.Number)
		}
	}
	kit.Expect(t, "kept", text, "Kdd")
	kept[0].Data[0] = 'x'
	kit.Expect(t, "the gate's own", string(g.units[0].Data), "K")
	drain(g.Gate, 1)
	g.push("ddd") // the key frame makes room
	drain(g.Gate, -1)
	kit.Expect(t, "no key frame", ask(), answers{oldest: 5, newest: 7})
}

// A recording waits while more than half of the room is taken, in frames, bytes or time, but not while it is hidden.
func TestGateWaitsForRoom(t *testing.T) {
	frames := func(n, size int, apart time.Duration) []Unit {
		var units []Unit
		for i := range n {
			units = append(units, Unit{Key: i == 0, Time: time.Hour + time.Duration(i)*apart, Data: make([]byte, size)})
		}
		return units
	}
	for name, c := range map[string]struct {
		units  []Unit
		before func(g *Gate)
		waits  bool
	}{
		"half of the frames":       {frames(5, 1, 0), nil, false},
		"more than half":           {frames(6, 1, 0), nil, true},
		"half of the bytes":        {frames(2, 50, 0), nil, false},
		"more than half of them":   {frames(2, 51, 0), nil, true},
		"one that is more":         {frames(1, 101, 0), nil, true},
		"a second":                 {frames(3, 1, time.Second/2), nil, false},
		"more than a second":       {frames(3, 1, time.Second/2+1), nil, true},
		"a second backwards":       {frames(3, 1, -time.Second), nil, true},
		"it was given out":         {frames(6, 1, 0), func(g *Gate) { drain(g, 1) }, false},
		"it is not shown":          {frames(9, 11, time.Minute), (*Gate).Park, false},
		"it is closed":             {frames(9, 11, time.Minute), func(g *Gate) { g.Close() }, false},
		"it is of another place":   {frames(9, 11, time.Minute), (*Gate).Discard, false},
		"it was hidden for a time": {frames(9, 11, time.Minute), func(g *Gate) { g.Park(); g.Unpark() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewGate(Limits{Units: 10, Bytes: 200})
				for _, u := range c.units {
					g.Push(u)
				}
				if c.before != nil {
					c.before(g)
				}
				began := time.Now()
				g.Wait(t.Context(), time.Minute)
				kit.Expect(t, "waited", time.Since(began) == time.Minute, c.waits)
				kit.Expect(t, "did not wait", time.Since(began) == 0, !c.waits)
			})
		})
	}
}

// Patience is for a renderer that takes nothing: it begins again with every frame that is taken.
func TestGateWaitsWhileFramesAreTaken(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(g *Gate)
		took time.Duration
	}{
		"until there is room": {func(*Gate) {}, 2700 * time.Millisecond},
		"until it is hidden":  {func(g *Gate) { g.Park() }, 1800 * time.Millisecond},
		"until it is closed":  {func(g *Gate) { g.Close() }, 1800 * time.Millisecond},
		"until another place": {func(g *Gate) { g.Discard() }, 1800 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewGate(Limits{Units: 10, Bytes: 1000})
				push(g, "Kddddddd")
				began := time.Now()
				go func() {
					for n := range 3 {
						time.Sleep(900 * time.Millisecond)
						if n == 1 {
							c.end(g)
						}
						g.take()
					}
				}()
				g.Wait(t.Context(), time.Second)
				kit.Expect(t, "waited", time.Since(began), c.took)
				time.Sleep(time.Second)
			})
		})
	}
}

// Whoever waits for a unit gets it as soon as there is one to give out.
func TestTakeIsWoken(t *testing.T) {
	for name, c := range map[string]struct {
		before, then func(g *numbered)
		unit         string
	}{
		"by a unit":        {func(*numbered) {}, func(g *numbered) { g.push("K") }, "K"},
		"when it is shown": {func(g *numbered) { g.Park(); g.push("K") }, func(g *numbered) { g.Unpark() }, "K"},
		"by a further slice": {func(g *numbered) {
			g.push("K")
			drain(g.Gate, 1)
		}, func(g *numbered) { g.Amend(1, []byte("+")) }, "K+"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newNumbered(Limits{Units: 6, Bytes: 1000})
				c.before(g)
				got := make(chan string, 1)
				go func() {
					u, err := g.Take(t.Context())
					if err == nil {
						got <- string(u.Data)
					}
				}()
				synctest.Wait()
				c.then(g)
				synctest.Wait()
				select {
				case unit := <-got:
					kit.Expect(t, "unit", unit, c.unit)
				default:
					t.Error("nobody is woken")
				}
			})
		})
	}
}
