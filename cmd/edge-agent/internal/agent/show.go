package agent

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/report"
)

// maxSnapshot keeps a snapshot within what every broker takes as one message.
const maxSnapshot = 127 << 10

// pictureReport takes a report of the renderer.
func (a *Agent) pictureReport(r report.Report) {
	shown := a.shown()
	if r.Stream == "" {
		r.Stream = shown
	}
	if r.Code == report.CodeDropped {
		if display, picture := a.conditions(r.Stream); display.code != "" || picture.code != "" {
			return // the queue is full because of that, and the frames are counted
		}
	}
	if r.Stream == shown {
		a.mu.Lock()
		a.picture.note(r, shown, time.Now())
		a.mu.Unlock()
	}
	a.event(r.Code, r.Stream, r.Message, r.Detail)
	a.lookAgain()
}

// lookAgain has the states published soon. It is for those who may not call back into what they report from.
func (a *Agent) lookAgain() {
	select {
	case a.look <- struct{}{}:
	default:
	}
}

// conditions are those of the display and the picture, for the stream on the display.
func (a *Agent) conditions(stream string) (display, picture condition) {
	a.mu.Lock()
	fault := a.picture
	a.mu.Unlock()
	return conditionOf(a.renderer.DisplayTrouble()), fault.of(stream, a.renderer.Stats().Wall)
}

// shownStream is the stream that is on the display; nil when there are no streams.
func (a *Agent) shownStream() *stream {
	for _, s := range a.all() {
		if s.shown() {
			return s
		}
	}
	return nil
}

func (a *Agent) shown() string {
	if s := a.shownStream(); s != nil {
		return s.name
	}
	return ""
}

// Show puts another stream on the display.
func (a *Agent) Show(name string) error {
	a.turning.Lock()
	defer a.turning.Unlock()
	s, err := a.find(name)
	if err != nil {
		return err
	}
	a.renderer.Show(s.input)
	a.updateSlate()
	return nil
}

// find is the stream of this name.
func (a *Agent) find(name string) (*stream, error) {
	for _, s := range a.all() {
		if s.name == name {
			return s, nil
		}
	}
	var names []string
	for _, s := range a.all() {
		names = append(names, s.name)
	}
	return nil, &failure.Failure{Code: CodeFailed, Message: fmt.Sprintf("there is no stream %q; there are: %s", name, cmp.Or(strings.Join(names, ", "), "none"))}
}

// Snapshot is what is on the display, as a JPEG that fits into a message.
func (a *Agent) Snapshot(ctx context.Context) ([]byte, error) {
	return a.renderer.Snapshot(ctx, decode.Snapshot{Most: maxSnapshot})
}
