package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// demoStatus is what the view shows of a running demo.
type demoStatus struct {
	agent.StreamStatus
	picture           decode.Stats
	telemetry, events int // that came back over MQTT
}

// view shows a demo in the terminal: the status in a few lines that are drawn again and
// again, and under it what happened last. Where the output is no terminal, everything is
// a line of its own. It takes the agent's log (slog.Handler).
type view struct {
	out      io.Writer
	terminal bool
	began    time.Time

	mu     sync.Mutex
	recent []string // what happened last, oldest first
	drawn  int      // lines that are on the terminal
}

const (
	viewInterval  = 250 * time.Millisecond // between two drawings
	plainInterval = time.Second            // between two lines of status
	viewRecent    = 8                      // lines of what happened last
	viewWidth     = 100                    // where the terminal does not tell its own
)

func newView(out io.Writer) *view {
	f, ok := out.(*os.File)
	return &view{out: out, terminal: ok && isTerminal(f), began: time.Now()}
}

// run shows the status until ctx ends.
func (v *view) run(ctx context.Context, status func() demoStatus) {
	interval := plainInterval
	if v.terminal {
		interval = viewInterval
	}
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if s := status(); v.terminal {
			v.draw(v.screen(s))
		} else {
			v.line("%s", v.short(s))
		}
	}
}

// close leaves the last drawing where it is.
func (v *view) close() { fmt.Fprintln(v.out) }

// screen is the status for a terminal.
func (v *view) screen(s demoStatus) []string {
	picture := "none yet"
	if s.Frames.Shown > 0 {
		display := s.picture.Display.String()
		if s.picture.Display.Sink == plan.None {
			display = "no display"
		}
		picture = fmt.Sprintf("%.1f fps   %s on %s   shown %d   dropped %d",
			s.Telem.FPS, s.picture.Decoder, display, s.Frames.Shown, s.Frames.DroppedSum())
	}
	state := fmt.Sprintf("%s for %v", s.State.State, time.Since(s.State.Since.Time).Round(time.Second))
	if s.State.Code != "" {
		state += "   " + s.State.Code + ": " + s.State.Message
	}
	return []string{
		fmt.Sprintf("edge-agent demo   %v", time.Since(v.began).Round(time.Second)),
		"",
		"  state    " + state,
		fmt.Sprintf("  stream   fragments %d   reconnects %d   %.1f Mbit/s", s.Fragments, s.Reconnects, float64(s.Telem.BitrateBPS)/1e6),
		"  lag      " + lagText(s.Telem.Lag),
		"  picture  " + picture,
		fmt.Sprintf("  mqtt     %d telemetry, %d events came back", s.telemetry, s.events),
		"",
	}
}

// short is the status in a line.
func (v *view) short(s demoStatus) string {
	return fmt.Sprintf("state=%s fragments=%d reconnects=%d lag: %s fps=%.1f decoder=%s shown=%d dropped=%d mqtt: %d telemetry %d events",
		s.State.State, s.Fragments, s.Reconnects, lagText(s.Telem.Lag), s.Telem.FPS, orNone(s.picture.Decoder),
		s.Frames.Shown, s.Frames.DroppedSum(), s.telemetry, s.events)
}

func lagText(l contract.Lag) string {
	part := func(name string, d *contract.Distribution) string {
		if d == nil {
			return name + " unknown"
		}
		return fmt.Sprintf("%s %d ms", name, d.P50)
	}
	return part("service", l.Service) + "   " + part("producer", l.Producer) + "   " + part("local", l.Local)
}

// draw puts lines in the place of those drawn before.
func (v *view) draw(lines []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	lines = append(lines, v.recent...)
	width := v.width()
	var b strings.Builder
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", v.drawn) // cursor up
	}
	for _, l := range lines {
		if r := []rune(l); len(r) > width {
			l = string(r[:width-1]) + "…"
		}
		b.WriteString("\r" + l + "\x1b[K\n") // erase the rest of the line
	}
	b.WriteString("\x1b[J") // and what is below
	v.drawn = len(lines)
	io.WriteString(v.out, b.String())
}

func (v *view) width() int {
	if f, ok := v.out.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 1 {
			return columns
		}
	}
	return viewWidth
}

// say tells of something that happened.
func (v *view) say(text string) {
	line := time.Now().Format("15:04:05") + "  " + text
	if !v.terminal {
		v.line("%s", line)
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.recent = append(v.recent, line)
	v.recent = v.recent[max(0, len(v.recent)-viewRecent):]
}

func (v *view) line(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fmt.Fprintf(v.out, format+"\n", args...)
}

// Enabled takes what somebody in front of the demo wants to know.
func (v *view) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// Handle takes a line of the agent's log. What has no code is detail that only
// matters when something is wrong.
func (v *view) Handle(_ context.Context, r slog.Record) error {
	code := ""
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "code" {
			code = a.Value.String()
		}
		return code == ""
	})
	if code != "" || r.Level >= slog.LevelWarn {
		v.say(fmt.Sprintf("%-16s %s", code, r.Message))
	}
	return nil
}

// WithAttrs gives the view itself: it shows codes and messages only.
func (v *view) WithAttrs([]slog.Attr) slog.Handler { return v }

// WithGroup gives the view itself.
func (v *view) WithGroup(string) slog.Handler { return v }
