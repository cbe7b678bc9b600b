package decode

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// pushTo pushes frames written as letters to an input.
func (r *rig) pushTo(in *Input, units string) {
	for _, u := range units {
		r.n++
		in.Push(&mkv.Frame{Track: r.track, Data: lengths, Key: u == 'K'}, time.Duration(r.n), false, time.Time{})
	}
}

func TestShowBeginsWithTheKeptGroup(t *testing.T) {
	r := start(t, "none")
	a, b := r.Input("a", Preference{}), r.Input("b", Preference{})
	r.Show(a)
	r.pushTo(b, "KddKddd")
	r.pushTo(a, "Kd")
	r.shown(2)
	expect(t, "fed", r.Stats().Fed, 2) // what is not shown costs nothing
	expect(t, "a is shown", a.Shown(), true)
	r.Show(b)
	expect(t, "b is shown", b.Shown(), true)
	r.until("the kept group", func() bool { return strings.HasSuffix(r.got(), "/|krrd") })
	r.pushTo(b, "d")
	r.pushTo(a, "dKd")
	r.until("the next frame", func() bool { return strings.HasSuffix(r.got(), "|krrdd") })
	r.Show(a)
	r.until("the first stream again", func() bool { return strings.HasSuffix(r.got(), "/|kd") })
	expect(t, "dropped", r.Stats().Dropped, 0)
	expect(t, "restarts", r.Stats().Restarts, 0)
}

func TestShowOfAStreamThatHasNothing(t *testing.T) {
	r := start(t, "none")
	a := r.Input("a", Preference{})
	r.push("Kd")
	r.shown(2)
	r.Show(a)
	r.Show(a)
	r.until("the end of the other", func() bool { return strings.HasSuffix(r.got(), "|Kd/") })
	r.pushTo(a, "Kd")
	r.until("the first frames", func() bool { return strings.HasSuffix(r.got(), "/|Kd") })
}

func TestParkedGate(t *testing.T) {
	g := NewGate(Limits{Units: 6, Bytes: 1000})
	push(g, "KdKdd")
	drain(g, 3)
	g.Park()
	expect(t, "kept", len(g.units), 3)
	expect(t, "units", drain(g, -1), "")
	expect(t, "dropped by a long group", push(g, "ddddddKd"), 0)
	expect(t, "kept", len(g.units), 2)
	g.Unpark()
	expect(t, "units", drain(g, -1), "!kd")
	g.Park()
	push(g, "dddddd") // longer than the gate is
	g.Unpark()
	expect(t, "units", drain(g, -1), "")
	push(g, "dK")
	expect(t, "units", drain(g, -1), "!K")
	expect(t, "dropped", g.Stats().Dropped, 1)
}

// What is closed keeps nothing, and what it cost stays counted.
func TestClosedInput(t *testing.T) {
	r := start(t, "none")
	a, b := r.Input("a", Preference{}), r.Input("b", Preference{})
	r.Show(a)
	r.pushTo(a, "Kdd")
	r.shown(3)
	large := append(binary.BigEndian.AppendUint32(nil, uint32(DefaultLimits.Bytes)), 0x65, 0x88)
	large = append(large, make([]byte, DefaultLimits.Bytes-2)...)
	a.Push(&mkv.Frame{Track: r.track, Data: large, Key: true}, 100, false, time.Time{})
	r.pushTo(b, "Kdd")
	b.Close()
	b.Close()
	r.Show(b)
	expect(t, "a closed input is shown", b.Shown(), false)
	a.Close()
	expect(t, "a closed input is shown", a.Shown() || b.Shown(), false)
	r.pushTo(a, "Kd")
	r.pushTo(b, "Kd")
	for _, in := range []*Input{a, b} {
		expect(t, "units kept", len(in.gate.units), 0)
		expect(t, "bytes kept", in.gate.bytes, 0)
	}
	expect(t, "inputs", len(r.inputs), 1)
	expect(t, "dropped", r.Stats().Dropped, 1)
	expect(t, "too large", r.Stats().Frames.Dropped[DropTooLarge], 1)
	expect(t, "on their way", r.Stats().Frames.Queued, 0)
	c := r.Input("c", Preference{})
	r.pushTo(c, "Kd")
	r.Show(c)
	r.until("another input", func() bool { return strings.HasSuffix(r.got(), "|kd") })
	expect(t, "restarts", r.Stats().Restarts, 0)
}

func TestPreferChangesTheChoice(t *testing.T) {
	r := New(Config{})
	in := r.Input("a", Preference{})
	r.Show(in)
	found := []string{"avdec_h264", "vah264dec"}
	before, _ := r.best(Format{Codec: H264}, found)
	in.Prefer(Preference{Order: []Family{Software}})
	after, _ := r.best(Format{Codec: H264}, found)
	expect(t, "before", before.Element, "vah264dec")
	expect(t, "after", after.Element, "avdec_h264")
}
