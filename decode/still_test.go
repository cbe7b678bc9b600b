package decode

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// unitOf makes a frame of H.264, of one NAL unit that begins with a byte.
func unitOf(header byte, size int) Unit {
	data := append(binary.BigEndian.AppendUint32(nil, uint32(size)), make([]byte, size)...)
	data[4] = header
	return Unit{Format: &format.Format{Codec: format.H264, Stream: format.AVC, LengthSize: 4}, Data: data}
}

func TestStillness(t *testing.T) {
	const slice, filler = 0x41, 0x0c
	restless, calm := unitOf(slice, restlessSize), unitOf(slice, restlessSize-1)
	filled := unitOf(slice, restlessSize-1)
	filled.Data = append(filled.Data, unitOf(filler, restlessSize).Data...)
	key := unitOf(slice, restlessSize)
	key.Key = true
	base := time.Unix(1000, 0)
	for name, c := range map[string]struct {
		unit     Unit
		sent     int
		status   Status
		after    time.Duration
		patience time.Duration
		still    bool
	}{
		"stands still":              {restless, 30, Status{Fresh: 5, Decoded: 40}, 5 * time.Second, 5 * time.Second, true},
		"not long enough":           {restless, 30, Status{Fresh: 5, Decoded: 40}, 4 * time.Second, 5 * time.Second, false},
		"moves":                     {restless, 30, Status{Fresh: 6, Decoded: 40}, 5 * time.Second, 5 * time.Second, false},
		"few frames":                {restless, 29, Status{Fresh: 5, Decoded: 40}, 5 * time.Second, 5 * time.Second, false},
		"few pictures":              {restless, 30, Status{Fresh: 5, Decoded: 39}, 5 * time.Second, 5 * time.Second, false},
		"frames that say as before": {calm, 30, Status{Fresh: 5, Decoded: 40}, 5 * time.Second, 5 * time.Second, false},
		"and are filled up":         {filled, 30, Status{Fresh: 5, Decoded: 40}, 5 * time.Second, 5 * time.Second, false},
		"key frames only":           {key, 30, Status{Fresh: 5, Decoded: 40}, 5 * time.Second, 5 * time.Second, false},
		"endless patience":          {restless, 30, Status{Fresh: 5, Decoded: 40}, time.Hour, 0, false},
	} {
		var s stillness
		s.advance(Status{Fresh: 5, Decoded: 10}, base)
		for range c.sent {
			s.sent(c.unit)
		}
		s.advance(c.status, base.Add(c.after))
		err := s.check(c.status, c.patience, 30, base.Add(c.after))
		if (err != nil) != c.still {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// When the processor's decoder stands still as well, the stream does: that one goes on, and what was blamed before
// takes over again.
func TestStreamThatStandsStill(t *testing.T) {
	r := start(t, "still", func(c *Config) { c.Patience.Still, c.Patience.More = 100*time.Millisecond, 3 })
	restless := unitOf(0x41, restlessSize).Data
	r.push("Kdd")
	r.shown(3)
	r.pushData(restless, "dddddddd")
	stale := r.report(report.CodeStale)
	kit.Expect(t, "element", stale.Detail["element"], any("vah264dec"))
	r.report(report.CodeFallback)
	r.until("hardware to take over", func() bool {
		if r.Stats().Waiting == 0 {
			r.pushData(restless, "Kddddddd")
		}
		return r.Stats().Decoder == "vah264dec"
	})
	r.report(report.CodeRecovered)
	kit.Expect(t, "denied", len(r.Stats().Denied), 0)
	kit.Expect(t, "children that ended", r.Stats().Restarts, 1)
	r.mu.Lock()
	caps := r.Renderer.shown.still.caps
	r.mu.Unlock()
	kit.Expect(t, "known", r.standsStill(plan.Plan{Caps: caps}), true)
	kit.Expect(t, "known of another format", r.standsStill(plan.Plan{Caps: "b"}), false)
	r.Show(r.Input("another", plan.Preference{}))
	kit.Expect(t, "known of another stream", r.standsStill(plan.Plan{Caps: caps}), false)
}

// A processor that leaves frames out says nothing about the stream: of a clip that is played in a loop, the few pictures
// that it makes come again. Hardware that is behind may be so because it is broken.
func TestStillAndBehind(t *testing.T) {
	for name, c := range map[string]struct {
		software, behind, still bool
	}{
		"hardware":             {false, false, true},
		"hardware behind":      {false, true, true},
		"the processor":        {true, false, true},
		"the processor behind": {true, true, false},
	} {
		now := time.Unix(1000, 0)
		p := progress{patience: DefaultPatience, atWork: func() bool { return true }}
		n := p.open(c.software, now)
		p.opened(n, now)
		var err error
		for s := (Status{Number: n, Fresh: 3}); s.Fed < 300; now = now.Add(StatusInterval) {
			for range 5 {
				p.sent(unitOf(0x41, restlessSize), now)
			}
			s.Fed, s.Decoded = s.Fed+5, s.Decoded+5
			if c.behind {
				s.Decoded, s.Skipped = s.Decoded-2, s.Skipped+2
			}
			p.hearing(now, true)
			p.advance(s, now)
			err = cmp.Or(err, p.check(now))
		}
		var f *failure
		if still := errors.As(err, &f) && f.Code == report.CodeStale; still != c.still {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOverweight(t *testing.T) {
	r := start(t, "memory", func(c *Config) { c.Memory = 256 << 20 })
	r.push("Kddd")
	got := r.report(report.CodeMemory)
	if got.Detail["memory_bytes"].(uint64) <= 256<<20 {
		t.Errorf("%+v", got)
	}
	r.report(report.CodeFallback)
}

func TestStalePictures(t *testing.T) {
	r := start(t, "stale", func(c *Config) { c.Patience.Still, c.Patience.More = 100*time.Millisecond, 3 })
	r.push("Kdd")
	r.shown(3)
	frame := append([]byte{0, 0, 4, 0, 0x41}, bytes.Repeat([]byte{1}, 1023)...)
	r.pushData(frame, "dddddddd")
	r.report(report.CodeStale)
	r.report(report.CodeFallback)
}

func TestMemoryOfThisProcess(t *testing.T) {
	if limit := memoryLimit(); limit < 64<<20 || limit > mostMemory {
		t.Errorf("a renderer may take %d bytes", limit)
	}
	if has := residentMemory(1 << 30); has != 0 {
		t.Errorf("a process that does not exist has %d bytes", has)
	}
	kit.Expect(t, "state of a process that does not exist", processState(1<<30), "gone")
}

func TestHangSaysWhatTheProcessDoes(t *testing.T) {
	r := start(t, "hang", func(c *Config) { c.Patience.Status = 500 * time.Millisecond })
	r.push("Kddd")
	kit.Expect(t, "state", r.report(report.CodeHang).Detail["process_state"], any("stopped by a signal"))
	var f *failure
	if err := (&child{}).examine(failed(report.CodeSilent, "")); !errors.As(err, &f) || f.Detail != nil {
		t.Errorf("silence says %+v", f)
	}
}

// When the software decoder makes no pictures either, it is the stream: no decoder is blamed, and the software
// decoder continues, for the frame of which there is a picture.
func TestStreamWithoutPicturesIsNotTheDecodersFault(t *testing.T) {
	r := start(t, "blind", func(c *Config) { c.Patience.First, c.Patience.Frames = 100*time.Millisecond, 3 })
	r.push("Kddddd")
	r.report(report.CodeSilent)
	got := r.report(report.CodeStream)
	kit.Expect(t, "element", got.Detail["element"], any("avdec_h264"))
	if s := r.Stats(); len(s.Denied) != 0 || s.Restarts != 1 {
		t.Errorf("denied: %v, restarts: %d", s.Denied, s.Restarts)
	}
	r.push("dddddd")
	r.until("the frames", func() bool { return r.Stats().Fed >= 18 })
	kit.Expect(t, "restarts", r.Stats().Restarts, 1)
}

// A parser does not touch the hardware: what it finds wrong is wrong with the stream.
func TestParserErrorIsNotTheDecodersFault(t *testing.T) {
	f := Failure{Code: report.CodeError, Element: "h264parse", Message: "No valid frames found"}.failure()
	a := &attempt{plan: &plan.Plan{Element: "vah264dec"}}
	if !errors.As(a.blame(f), &f) || f.Code != report.CodeStream || f.plan != nil {
		t.Errorf("%+v", f)
	}
}
