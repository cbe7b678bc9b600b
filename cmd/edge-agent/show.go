package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/mqtt"
)

// maxSnapshot keeps a snapshot within what every broker takes as one message.
const maxSnapshot = 127 << 10

// trouble is what is wrong with the picture, whatever the stream does.
type trouble struct {
	mu   sync.Mutex
	code string // "" when nothing is
	at   time.Time
}

// pictureReport takes a report of the renderer.
func (a *agent) pictureReport(r decode.Report) {
	if r.Stream == "" {
		r.Stream = a.shown()
	}
	if code, _ := mqtt.Lookup(r.Code); r.Stream == a.shown() {
		a.trouble.mu.Lock()
		switch code.Severity {
		case mqtt.SeverityWarning, mqtt.SeverityError:
			a.trouble.code, a.trouble.at = r.Code, time.Now()
		default:
			a.trouble.code = ""
		}
		a.trouble.mu.Unlock()
	}
	a.event(r.Code, r.Stream, r.Message, r.Detail)
}

// shownStream is the stream that is on the display; nil when there are no streams.
func (a *agent) shownStream() *stream {
	for _, s := range a.all() {
		if s.shown() {
			return s
		}
	}
	return nil
}

func (a *agent) shown() string {
	if s := a.shownStream(); s != nil {
		return s.name
	}
	return ""
}

// Show puts another stream on the display.
func (a *agent) Show(name string) error {
	a.turning.Lock()
	defer a.turning.Unlock()
	s, err := a.find(name)
	if err != nil {
		return err
	}
	a.settle()
	a.renderer.Show(s.input)
	a.updateSlate()
	return nil
}

// settle puts down to the streams what the renderer has done up to now, before another is shown.
func (a *agent) settle() {
	stats := a.renderer.Stats()
	for _, s := range a.all() {
		s.mu.Lock()
		s.settle(stats, s.shown())
		s.mu.Unlock()
	}
}

// find is the stream of this name.
func (a *agent) find(name string) (*stream, error) {
	for _, s := range a.all() {
		if s.name == name {
			return s, nil
		}
	}
	return nil, &failure{Code: codeFailed, Message: fmt.Sprintf("there is no stream %q", name)}
}

// Snapshot is what is on the display, as a JPEG that fits into a message.
func (a *agent) Snapshot(ctx context.Context) ([]byte, error) {
	return a.renderer.Snapshot(ctx, decode.Snapshot{Most: maxSnapshot})
}

// updateSlate says what stands on the display while there is no picture.
func (a *agent) updateSlate() { a.renderer.SetSlate(a.slate()) }

func (a *agent) slate() decode.Slate {
	cfg := a.config()
	slate := decode.Slate{Device: cfg.Agent.ID, After: time.Duration(cfg.Display.SlateAfter)}
	if s := a.shownStream(); s == nil {
		slate.State = "No stream is configured"
	} else {
		status := s.status().state
		slate.Stream, slate.State = s.name, inWords(status)
		slate.Code, slate.Since = status.Code, status.Since.Time
		slate.Alive = status.State == mqtt.Playing && status.Code == ""
	}
	a.trouble.mu.Lock()
	if slate.Code == "" && a.trouble.code != "" {
		slate.Code, slate.Since = a.trouble.code, a.trouble.at
	}
	a.trouble.mu.Unlock()
	if code, ok := mqtt.Lookup(slate.Code); ok {
		slate.Message = code.Summary
	}
	slate.Since = slate.Since.Truncate(time.Second)
	return slate
}

// inWords is a state for somebody who stands before the screen.
func inWords(s mqtt.State) string {
	text := map[mqtt.StreamState]string{
		mqtt.Starting: "Connecting",
		mqtt.Playing:  "Connected, waiting for a picture",
		mqtt.Stalled:  "Connected, but nothing arrives",
		mqtt.Backoff:  "Not connected, trying again",
		mqtt.Stopped:  "Stopped on request",
		mqtt.Failed:   "Cannot be shown",
	}[s.State]
	if s.Attempt > 1 {
		text += fmt.Sprintf(" (attempt %d)", s.Attempt)
	}
	return text
}
