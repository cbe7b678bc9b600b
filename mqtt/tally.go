package mqtt

import (
	"time"

	"github.com/google/uuid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// droppedEvent tells of events that were dropped.
func droppedEvent(t tally) contract.Event {
	t.code, t.message = "mqtt.dropped", "events were dropped: the oldest of too many, or those not yet stored when the agent was killed"
	e := t.event()
	e.ID = uuid.Must(uuid.NewV7()).String()
	return e
}

// isSum tells that an event was made by droppedEvent.
func isSum(e contract.Event) bool { return e.Code == "mqtt.dropped" }

// tally sums up what cannot be reported yet.
type tally struct {
	count       int64
	code        string
	message     string
	first, last time.Time
}

// add takes in more, in whatever order: what is dropped is not always the oldest.
func (t *tally) add(first, last time.Time, count int64) {
	if t.count == 0 || first.Before(t.first) {
		t.first = first
	}
	if t.count == 0 || last.After(t.last) {
		t.last = last
	}
	t.count += count
}

// event is the tally as one event.
func (t tally) event() contract.Event {
	last := contract.Time{Time: t.last}
	return contract.Event{
		Code: t.code, Severity: severityOf(t.code), Message: t.message,
		TS: last, FirstTS: contract.Time{Time: t.first}, LastTS: last, Count: t.count,
	}
}
