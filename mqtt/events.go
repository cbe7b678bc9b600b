package mqtt

import (
	"time"

	"github.com/google/uuid"
)

// What an event may take, in bytes, so that no topic limit is passed and the outbox
// holds many.
const (
	maxMessage = 1 << 10
	maxDetail  = 8 << 10
)

// Event reports something that happened. It is kept until the broker has
// confirmed it, or dropped as the oldest of too many. Severity defaults to that
// of the code and TS to now; ID, Seq, Count, FirstTS and LastTS are set here.
// Detail must not be changed any more. A Message is cut at 1 KiB, and a Detail that takes more
// than 8 KiB is left out.
func (c *Client) Event(e Event) { c.events(e, 1) }

// events reports something that happened so many times.
func (c *Client) events(e Event, count int64) {
	if text, ok := c.marshal(c.topics.Events(), e.Detail); !ok || len(text) > maxDetail {
		e.Detail = nil
	}
	e.Message = cut(e.Message, maxMessage)
	if e.Severity == "" {
		e.Severity = severityOf(e.Code)
	}
	if e.TS.IsZero() {
		e.TS.Time = time.Now()
	}
	e.Count, e.FirstTS, e.LastTS = count, e.TS, e.TS
	c.outbox.ledger.report(count)

	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.putAll(c.repeats.due(now))
	if c.repeats.add(e, now) {
		c.put(e)
	}
	nudge(c.wake)
}

func severityOf(code string) Severity {
	if entry, ok := Lookup(code); ok {
		return entry.Severity
	}
	return SeverityError // a code that nobody described deserves a look
}

// putDueRepeats puts the sums that are due into the outbox.
func (c *Client) putDueRepeats() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putAll(c.repeats.due(time.Now()))
}

// repeatsDue returns a channel that fires when there is a sum to put.
func (c *Client) repeatsDue() <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.repeats.next()
	if !ok {
		return nil
	}
	return time.After(time.Until(at))
}

func (c *Client) putAllRepeats() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putAll(c.repeats.all(time.Now()))
}

// putHeld puts all that waits for something else than the broker, so that it is stored when the client ends.
func (c *Client) putHeld() {
	c.putAllRepeats()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putOutage()
}

func (c *Client) putAll(events []Event) {
	for _, e := range events {
		c.put(e)
	}
}

// put gives an event its id and hands it to the outbox. The caller holds c.mu,
// so that ids, seq and order agree.
func (c *Client) put(e Event) {
	e.ID = uuid.Must(uuid.NewV7()).String()
	c.outbox.put(e)
}

// droppedEvent tells of events that were dropped.
func droppedEvent(t tally) Event {
	t.code, t.message = "mqtt.dropped", "events were dropped: the oldest of too many, or those not yet stored when the agent was killed"
	e := t.event()
	e.ID = uuid.Must(uuid.NewV7()).String()
	return e
}

// isSum tells that an event was made by droppedEvent.
func isSum(e Event) bool { return e.Code == "mqtt.dropped" }

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
func (t tally) event() Event {
	last := Time{t.last}
	return Event{
		Code: t.code, Severity: severityOf(t.code), Message: t.message,
		TS: last, FirstTS: Time{t.first}, LastTS: last, Count: t.count,
	}
}
