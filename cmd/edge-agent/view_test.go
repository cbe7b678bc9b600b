package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

func demoForTest() demoStatus {
	var s demoStatus
	s.State = contract.State{State: contract.Playing, Since: contract.Time{Time: time.Now()}}
	s.Telem = contract.Telemetry{FPS: 25, BitrateBPS: 1_500_000, Lag: contract.Lag{
		Service: &contract.Distribution{P50: 120}, Local: &contract.Distribution{P50: 30},
	}}
	s.Fragments, s.Reconnects, s.telemetry, s.events = 7, 2, 5, 3
	s.Frames = report.FrameCounts{Shown: 40, Dropped: map[report.Reason]uint64{report.DropLate: 2, report.DropOverload: 1}}
	s.picture.Decoder, s.picture.Display = "avdec_h264", plan.Display{Sink: plan.None}
	return s
}

func TestViewOfADemo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newView(new(bytes.Buffer))
		s := demoForTest()
		<-time.After(90 * time.Second)
		want := `edge-agent demo   1m30s

  state    playing for 1m30s
  stream   fragments 7   reconnects 2   1.5 Mbit/s
  lag      service 120 ms   producer unknown   local 30 ms
  picture  25.0 fps   avdec_h264 on no display   shown 40   dropped 3
  mqtt     5 telemetry, 3 events came back
`
		if got := strings.Join(v.screen(s), "\n"); got != want {
			t.Errorf("%s\nwant\n%s", got, want)
		}
		const short = "state=playing fragments=7 reconnects=2 lag: service 120 ms   producer unknown   local 30 ms fps=25.0 " +
			"decoder=avdec_h264 shown=40 dropped=3 mqtt: 5 telemetry 3 events"
		if got := v.short(s); got != short {
			t.Errorf("%s\nwant\n%s", got, short)
		}
		s.Frames.Shown, s.State.Code, s.State.Message = 0, "decode.none", "no decoder"
		got := strings.Join(v.screen(s), "\n")
		if !strings.Contains(got, "picture  none yet\n") || !strings.Contains(got, "playing for 1m30s   decode.none: no decoder\n") {
			t.Errorf("%s", got)
		}
	})
}

// In the place of what was drawn before comes the status, and under it the eight newest lines of what happened, none of
// them longer than a line of the terminal.
func TestViewDrawsOverItself(t *testing.T) {
	out := new(bytes.Buffer)
	v := newView(out)
	v.terminal = true
	for n := range 10 {
		v.say(fmt.Sprintf("event %d", n))
	}
	if out.Len() > 0 {
		t.Errorf("it was written between drawings: %q", out)
	}
	long, fits := strings.Repeat("é", 101), strings.Repeat("é", 100)
	v.draw([]string{long, fits})
	first := out.String()
	lines := strings.Split(first, "\n")
	if len(lines) != 2+8+1 || lines[0] != "\r"+strings.Repeat("é", 99)+"…\x1b[K" || lines[1] != "\r"+fits+"\x1b[K" ||
		!strings.Contains(lines[2], "event 2") || !strings.Contains(lines[9], "event 9") || lines[10] != "\x1b[J" {
		t.Errorf("%q", lines)
	}
	out.Reset()
	v.draw([]string{"one"})
	if got := out.String(); !strings.HasPrefix(got, "\x1b[10A\rone\x1b[K\n") {
		t.Errorf("%q", got)
	}
	out.Reset()
	v.draw(nil)
	if got := out.String(); !strings.HasPrefix(got, "\x1b[9A") {
		t.Errorf("%q", got)
	}
}

// Without a terminal there is a line of status every second; with one it is drawn four times as often.
func TestViewRuns(t *testing.T) {
	for terminal, want := range map[bool]int{false: 10, true: 40} {
		synctest.Test(t, func(t *testing.T) {
			out := new(bytes.Buffer)
			v := newView(out)
			v.terminal = terminal
			ctx, stop := context.WithTimeout(t.Context(), 10*time.Second+time.Millisecond)
			defer stop()
			asked := 0
			v.run(ctx, func() demoStatus { asked++; return demoForTest() })
			if asked != want || strings.Count(out.String(), "reconnects") != want || strings.Contains(out.String(), "\x1b") != terminal {
				t.Errorf("terminal %v: asked %d times, not %d: %q", terminal, asked, want, out)
			}
		})
	}
}

// Lines with a code are shown, and warnings; of others only what somebody in front of a demo wants to know.
func TestViewOfTheLog(t *testing.T) {
	out := new(bytes.Buffer)
	log := slog.New(newView(out)).With("a", 1).WithGroup("b")
	log.Debug("too small", "code", "x.debug")
	log.Info("not interesting", "cause", "x.info")
	log.Info("connected", "more", 1, "code", "ingest.playing", "stream", "gate")
	log.Warn("odd", "cause", errors.New("no"))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], "  ingest.playing   connected") || !strings.HasSuffix(lines[1], strings.Repeat(" ", 19)+"odd") {
		t.Errorf("%q", lines)
	}
}
