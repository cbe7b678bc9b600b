package agent

import (
	"errors"
	"fmt"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// What the display shows while there is no picture, for a technician who stands in front of it.

// updateSlate sets what the display shows while there is no picture.
func (a *Agent) updateSlate() { a.renderer.SetSlate(a.slate()) }

func (a *Agent) slate() decode.Slate {
	cfg := a.config()
	slate := decode.Slate{
		Device: cfg.Agent.ID, After: time.Duration(cfg.Display.SlateAfter),
		Version: "edge-agent " + build.Version, Address: a.address.now(time.Now()), Broker: a.broker(),
	}
	if a.waitsForConfig() {
		return a.invalidSlate(slate)
	}
	if s := a.shownStream(); s == nil {
		slate.State = "No stream is configured"
		slate.Action = "Add [[streams]] to the configuration file and reload it, or restart the agent."
	} else {
		status := s.status()
		slate.Stream, slate.State = s.name, inWords(status.State)
		slate.Code, slate.Since = status.State.Code, status.wrongSince
		if slate.Code == "" {
			slate.Since = status.State.Since.Time
		}
		slate.Alive = status.State.State == contract.Playing && status.State.Code == ""
		slate.Picture = oldPicture(a.renderer.Stats().Wall, time.Now())
		if status.State.State == contract.Stopped {
			slate.Action = "The command start starts it again."
		}
	}
	if code, ok := contract.Lookup(slate.Code); ok {
		slate.Message, slate.Action = code.Summary, code.Action
	}
	slate.Since = slate.Since.Truncate(time.Second)
	return slate
}

// pictureAge is from which age on a picture is old. A slate that named every picture would be sent and drawn for each.
const pictureAge = time.Second

// oldPicture is when the newest picture came, if it is old.
func oldPicture(at, now time.Time) time.Time {
	if at.IsZero() || now.Sub(at) < pictureAge {
		return time.Time{}
	}
	return at.Truncate(time.Second)
}

// inWords is a state for somebody who stands before the screen.
func inWords(s contract.State) string {
	text := map[contract.StreamState]string{
		contract.Starting: "Connecting",
		contract.Playing:  "Connected, waiting for a picture",
		contract.Stalled:  "Connected, but nothing arrives",
		contract.Backoff:  "Not connected, trying again",
		contract.Stopped:  "Stopped on request",
		contract.Failed:   "Cannot be shown",
	}[s.State]
	if s.State == contract.Playing && s.Code != "" && s.Code != ingest.CodeLagHigh {
		text = "Connected, but no picture can be shown"
	}
	if s.Attempt > 1 {
		text += fmt.Sprintf(" (attempt %d)", s.Attempt)
	}
	return text
}

// broker is how the connection to the broker stands.
func (a *Agent) broker() string {
	if a.mqtt == nil {
		return "MQTT off"
	}
	return brokerInWords(a.mqtt.Status())
}

func brokerInWords(s mqtt.Status) string {
	if s.Connected {
		return "MQTT connected"
	}
	if e, ok := errors.AsType[*contract.Error](s.Err); ok {
		return "MQTT not connected: " + e.Code
	}
	return "MQTT not connected"
}
