package decode

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

// used is how many bytes a pool has handed out.
func (p *pool) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// Whatever gates do, the memory that they share stays within its limit, frames keep their bytes as long as they are
// needed, and all memory is given back.
func TestPoolProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limits := Limits{Units: 50, Bytes: 1 << 20, Total: 4 << 20}
		memory := limits.pool()
		gates := make([]*Gate, 3)
		for i := range gates {
			if gates[i] = newGate(limits, memory, &ledger{}); i > 0 {
				gates[i].Park()
			}
		}
		taken := make([]Unit, len(gates))
		number := uint64(0)
		whole := func(u Unit) {
			if want := bytes.Repeat([]byte{byte(u.Number)}, len(u.Data)); !bytes.Equal(u.Data, want) {
				t.Fatalf("the bytes of unit %d were overwritten", u.Number)
			}
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			i := rapid.IntRange(0, len(gates)-1).Draw(t, "gate")
			g := gates[i]
			switch rapid.SampledFrom([]string{"push", "push", "push", "take", "take", "amend", "rewind", "park", "unpark", "release"}).Draw(t, "step") {
			case "push":
				number++
				g.ledger.open(number)
				g.Push(Unit{
					Number: number, Key: rapid.IntRange(0, 9).Draw(t, "key") == 0, Disposable: rapid.Bool().Draw(t, "disposable"),
					Data: bytes.Repeat([]byte{byte(number)}, rapid.SampledFrom([]int{0, 10, 5000, 70000, 140000, 400000}).Draw(t, "size")),
				})
			case "take":
				if u, ok := g.take(); ok {
					taken[i] = u
				} else {
					taken[i] = Unit{}
				}
			case "amend":
				if last := len(g.units) - 1; last >= 0 {
					n := g.units[last].Number
					g.Amend(n, bytes.Repeat([]byte{byte(n)}, 100))
				}
			case "rewind":
				g.Rewind()
			case "park":
				g.Park()
			case "unpark":
				g.Unpark()
			case "release":
				g.Release()
				taken[i] = Unit{}
			}
			if memory.inUse() > memory.limit {
				t.Fatalf("%d bytes are in use, of %d", memory.inUse(), memory.limit)
			}
			for i, g := range gates {
				whole(taken[i])
				for _, u := range g.units {
					whole(u)
				}
			}
		}
		for _, g := range gates {
			g.Close()
			g.Release()
			c := g.ledger.snapshot()
			if c.Received != c.Shown+c.Hidden+c.DroppedSum()+c.Queued {
				t.Fatalf("%+v does not add up", c)
			}
		}
		if memory.inUse() != 0 {
			t.Fatalf("%d bytes were not given back", memory.inUse())
		}
	})
}

// Streams that are not shown leave the one that is its room, however large their frames are.
func TestOneBoundForAllInputs(t *testing.T) {
	limits := Limits{Units: 600, Bytes: 4 << 20, Total: 16 << 20}
	r := New(Config{Limits: limits})
	frame := lengthsOf(3 << 20)
	push := func(in *Input, key bool) {
		in.Push(&mkv.Frame{Track: h264Track, Data: frame, Key: key}, 0, false, time.Time{})
	}
	shown := r.Input("shown", plan.Preference{})
	r.Show(shown)
	var hidden []*Input
	for range 8 {
		hidden = append(hidden, r.Input("hidden", plan.Preference{}))
		push(hidden[len(hidden)-1], true)
	}
	kept := 0
	for _, in := range hidden {
		kept += len(in.gate.units)
		kit.Expect(t, "dropped while hidden", in.Counts().DroppedSum(), 0)
	}
	if kept == 0 || kept == len(hidden) {
		t.Errorf("%d of %d hidden streams have kept their frame", kept, len(hidden))
	}
	push(shown, true)
	kit.Expect(t, "units of the stream that is shown", len(shown.gate.units), 1)
	push(shown, false)
	kit.Expect(t, "queue full", shown.Counts().Dropped[report.DropQueueFull], 2)
	if used := r.memory.inUse(); used > limits.Total {
		t.Errorf("%d bytes in use, of %d", used, limits.Total)
	}
	for _, in := range append(hidden, shown) {
		in.Close()
	}
	kit.Expect(t, "in use at the end", r.memory.inUse(), 0)
}

// lengthsOf is an access unit of n bytes with one IDR slice.
func lengthsOf(n int) []byte {
	frame := append([]byte{byte((n - 4) >> 24), byte((n - 4) >> 16), byte((n - 4) >> 8), byte(n - 4)}, 0x65, 0x88)
	return append(frame, make([]byte, n-6)...)
}

var h264Track = &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: formattest.AVCC}

// In steady state no frame takes memory of its own, whether the stream is shown or not.
func TestFramesTakeNoMemory(t *testing.T) {
	for name, shown := range map[string]bool{"shown": true, "hidden": false} {
		r := New(Config{})
		in := r.Input("cam", plan.Preference{})
		if shown {
			r.Show(in)
		}
		key, delta := lengthsOf(90<<10), lengthsOf(15<<10)
		n := 0
		push := func() {
			data := delta
			if n%30 == 0 {
				data = key
			}
			in.Push(&mkv.Frame{Track: h264Track, Data: data, Key: n%30 == 0}, time.Duration(n)*time.Millisecond, false, time.Time{})
			n++
			if u, ok := in.gate.take(); ok {
				in.ledger.settle(u.Number, report.Shown)
			}
		}
		for range 100 {
			push()
		}
		if each := testing.AllocsPerRun(600, push); each >= 1 {
			t.Errorf("%s: %v allocations for each frame", name, each)
		}
		if n := testing.AllocsPerRun(20, func() {
			for range 30 {
				push()
			}
		}); n >= 1 {
			t.Errorf("%s: %v allocations for each group of pictures", name, n)
		}
	}
}

// 64 streams of 4 Mbit/s that are not shown keep two seconds of each and little more.
func TestMemoryOfHiddenStreams(t *testing.T) {
	r := New(Config{})
	inputs := make([]*Input, 64)
	for i := range inputs {
		inputs[i] = r.Input("cam", plan.Preference{})
	}
	key, delta := lengthsOf(100<<10), lengthsOf(15<<10) // 1 MB in 2 s
	for n := range 300 {
		for _, in := range inputs {
			data := delta
			if n%60 == 0 {
				data = key
			}
			in.Push(&mkv.Frame{Track: h264Track, Data: data, Key: n%60 == 0}, time.Duration(n)*time.Millisecond, false, time.Time{})
		}
	}
	kept := 0
	for _, in := range inputs {
		kept += in.gate.bytes
		kit.Expect(t, "units kept", len(in.gate.units), 60)
	}
	if used := r.memory.inUse(); used > kept+kept/5 {
		t.Errorf("%d bytes of memory for %d bytes of frames", used, kept)
	}
	for _, in := range inputs {
		in.Close()
	}
}
