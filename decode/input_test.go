package decode

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

// pushTo pushes frames written as letters to an input.
func (r *rig) pushTo(in *Input, units string) {
	for _, u := range units {
		r.n++
		in.Push(&mkv.Frame{Track: r.track, Data: formattest.Lengths, Key: u == 'K'}, time.Duration(r.n), false, time.Time{})
	}
}

func TestShowBeginsWithTheKeptGroup(t *testing.T) {
	r := start(t, "none")
	a, b := r.Input("a", plan.Preference{}), r.Input("b", plan.Preference{})
	r.Show(a)
	r.pushTo(b, "KddKddd")
	r.pushTo(a, "Kd")
	r.shown(2)
	kit.Expect(t, "fed", r.Stats().Fed, 2) // what is not shown costs nothing
	kit.Expect(t, "a is shown", a.Shown(), true)
	r.Show(b)
	kit.Expect(t, "b is shown", b.Shown(), true)
	r.until("the kept group", func() bool { return strings.HasSuffix(r.got(), "/|krrd") })
	r.pushTo(b, "d")
	r.pushTo(a, "dKd")
	r.until("the next frame", func() bool { return strings.HasSuffix(r.got(), "|krrdd") })
	r.Show(a)
	r.until("the first stream again", func() bool { return strings.HasSuffix(r.got(), "/|kd") })
	kit.Expect(t, "dropped", r.Stats().Dropped, 0)
	kit.Expect(t, "restarts", r.Stats().Restarts, 0)
}

func TestShowOfAStreamThatHasNothing(t *testing.T) {
	r := start(t, "none")
	a := r.Input("a", plan.Preference{})
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
	kit.Expect(t, "kept", len(g.units), 3)
	kit.Expect(t, "units", drain(g, -1), "")
	kit.Expect(t, "dropped by a long group", push(g, "ddddddKd"), 0)
	kit.Expect(t, "kept", len(g.units), 2)
	g.Unpark()
	kit.Expect(t, "units", drain(g, -1), "!kd")
	g.Park()
	push(g, "dddddd") // longer than the gate is
	g.Unpark()
	kit.Expect(t, "units", drain(g, -1), "")
	push(g, "dK")
	kit.Expect(t, "units", drain(g, -1), "!K")
	kit.Expect(t, "dropped", g.Stats().Dropped, 1)
}

// What is closed keeps nothing, and what it cost stays counted.
func TestClosedInput(t *testing.T) {
	r := start(t, "none")
	a, b := r.Input("a", plan.Preference{}), r.Input("b", plan.Preference{})
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
	kit.Expect(t, "a closed input is shown", b.Shown(), false)
	a.Close()
	kit.Expect(t, "a closed input is shown", a.Shown() || b.Shown(), false)
	r.pushTo(a, "Kd")
	r.pushTo(b, "Kd")
	for _, in := range []*Input{a, b} {
		kit.Expect(t, "units kept", len(in.gate.units), 0)
		kit.Expect(t, "bytes kept", in.gate.bytes, 0)
	}
	kit.Expect(t, "inputs", len(r.inputs), 1)
	kit.Expect(t, "dropped", r.Stats().Dropped, 1)
	kit.Expect(t, "too large", r.Stats().Frames.Dropped[report.DropTooLarge], 1)
	kit.Expect(t, "on their way", r.Stats().Frames.Queued, 0)
	c := r.Input("c", plan.Preference{})
	r.pushTo(c, "Kd")
	r.Show(c)
	r.until("another input", func() bool { return strings.HasSuffix(r.got(), "|kd") })
	kit.Expect(t, "restarts", r.Stats().Restarts, 0)
}

// A renderer that stalls for a minute costs no frame of a recording, however many there are in a group of pictures.
func TestRecordingWaitsForAStalledRenderer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{Limits: Limits{Units: 20, Bytes: 1 << 20}})
		in := r.Input("cam", plan.Preference{})
		r.Show(in)
		const frames = 500
		taken := make(chan int)
		go func() {
			n := 0
			for ; n < frames; n++ {
				if n == 30 || n == 200 {
					time.Sleep(time.Minute)
				}
				u, err := in.gate.Take(t.Context())
				if err != nil || u.Key != (n == 0) || u.Discont != (n == 0) {
					t.Errorf("frame %d: %v, key %v, discontinuity %v", n, err, u.Key, u.Discont)
				}
				in.ledger.settle(u.Number, report.Shown)
			}
			taken <- n
		}()
		for n := range frames {
			in.PushStored(t.Context(), &mkv.Frame{Track: h264Track, Data: formattest.Lengths, Key: n == 0}, time.Duration(n)*time.Second/25, false)
		}
		kit.Expect(t, "frames taken", <-taken, frames)
		kit.Expect(t, "shown", in.Counts().Shown, frames)
		kit.Expect(t, "dropped", r.Stats().Dropped, 0)
	})
}

// BenchmarkPush is what a frame of a stream of 4 Mbit/s costs its session.
func BenchmarkPush(b *testing.B) {
	annexB := append([]byte{0, 0, 0, 1}, lengthsOf(15 << 10)[4:]...)
	for i := range annexB[6:] {
		annexB[6+i] = byte(i*7 + i>>8)
	}
	for name, c := range map[string]struct {
		track *mkv.Track
		data  []byte
	}{
		"lengths": {h264Track, lengthsOf(15 << 10)},
		"Annex B": {&mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: formattest.AnnexBSets}, annexB},
	} {
		b.Run(name, func(b *testing.B) {
			in := New(Config{}).Input("cam", plan.Preference{})
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				in.Push(&mkv.Frame{Track: c.track, Data: c.data, Key: n%60 == 0}, time.Duration(n), false, time.Time{})
			}
		})
	}
}

func TestPreferChangesTheChoice(t *testing.T) {
	r := New(Config{})
	in := r.Input("a", plan.Preference{})
	r.Show(in)
	found := []string{"avdec_h264", "vah264dec"}
	before, _ := r.best(format.Format{Codec: format.H264}, found)
	in.Prefer(plan.Preference{Order: []plan.Family{plan.Software}})
	after, _ := r.best(format.Format{Codec: format.H264}, found)
	kit.Expect(t, "before", before.Element, "vah264dec")
	kit.Expect(t, "after", after.Element, "avdec_h264")
}
