package web

import (
	"context"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Source is the agent that is asked. Its methods may be called from any goroutine.
type Source interface {
	// Status gives how the agent stands now.
	Status() Status

	// Alive says why the agent does not work any more, nil when it does.
	Alive() error

	// Picture gives what is on the display as JPEG, if that is this stream.
	Picture(ctx context.Context, stream string) ([]byte, error)
}

// Status is how one agent stands: what the MQTT command status answers, what the topic info says, and what only
// people at this machine and its own monitoring ask for.
type Status struct {
	Agent   string              `json:"agent"`  // its id
	Status  contract.StatusData `json:"status"` // as the MQTT command status answers
	Info    contract.Info       `json:"info"`   // as in the topic info
	Broker  Broker              `json:"broker"`
	Totals  []Totals            `json:"totals"`            // of the streams, in the order of Status.Streams
	Restart int                 `json:"renderer_restarts"` // renderer processes that ended, since the start
	Events  []contract.Event    `json:"events"`            // the newest, oldest first

	// EventCounts says how often each code was reported since the start.
	EventCounts map[string]int64 `json:"event_counts"`
}

// Broker is how the agent and its MQTT broker stand.
type Broker struct {
	URL       string `json:"url"` // "" for none
	Connected bool   `json:"connected"`
	Error     string `json:"error"` // why it is not connected, or was not last; "" when it always was
	Published uint64 `json:"published"`
}

// Totals are the figures of one stream since the start of the agent.
type Totals struct {
	Stream     string            `json:"stream"`
	Fragments  int64             `json:"fragments"`
	Bytes      int64             `json:"bytes"`
	Received   uint64            `json:"frames"`
	Shown      uint64            `json:"shown_frames"`
	Hidden     uint64            `json:"hidden_frames"`
	Queued     uint64            `json:"queued_frames"`
	Dropped    map[string]uint64 `json:"dropped_by"`
	Reconnects map[string]int64  `json:"reconnects_by"` // attempts to connect again, by the code of what came before
	History    []Point           `json:"-"`             // of the lag, oldest first
}

// Point is the lag of a stream at one time: what 95 % of its fragments or pictures were not above. A negative value is
// not known.
type Point struct {
	At                       time.Time
	Service, Producer, Local time.Duration
}

// unreadiness lists why the agent does not do all that is asked of it. A stream that was stopped on request and a
// display that is off are as they are to be.
func (s *Status) unreadiness() (reasons []string) {
	for _, stream := range s.Status.Streams {
		state := stream.State
		code, _ := contract.Lookup(state.Code)
		switch {
		case state.State == contract.Stopped:
		case state.State != contract.Playing:
			reasons = append(reasons, stream.Name+" is "+string(state.State)+reason(state))
		case code.Severity == contract.SeverityError:
			reasons = append(reasons, stream.Name+" is not shown"+reason(state))
		}
	}
	return reasons
}

func reason(s contract.State) string {
	if s.Code == "" {
		return ""
	}
	return ": " + s.Code + ": " + s.Message
}
