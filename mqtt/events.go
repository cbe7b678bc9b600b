package mqtt

import (
	"time"

	"github.com/google/uuid"
)

// Event reports something that happened. It is kept until the broker has
// confirmed it, or dropped as the oldest of too many. Severity defaults to that
// of the code and TS to now; ID, Seq, Count, FirstTS and LastTS are set here.
// Detail must not be changed any more.
func (c *Client) Event(e Event) {
	if _, ok := c.marshal(c.topics.Events(), e.Detail); !ok {
		e.Detail = nil
	}
	if e.Severity == "" {
		e.Severity = severityOf(e.Code)
	}
	if e.TS.IsZero() {
		e.TS.Time = time.Now()
	}
	e.Count, e.FirstTS, e.LastTS = 1, e.TS, e.TS

	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.putAll(c.repeats.due(now))
	if c.repeats.add(e, now) {
		c.put(e)
	}
	c.signal()
}

func severityOf(code string) Severity {
	if entry, ok := Lookup(code); ok {
		return entry.Severity
	}
	return SeverityError // a code that nobody described deserves a look
}

// flushRepeats puts the sums that are due into the outbox and returns a channel
// that fires when the next ones are.
func (c *Client) flushRepeats() <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putAll(c.repeats.due(time.Now()))
	at, ok := c.repeats.next()
	if !ok {
		return nil
	}
	return time.After(time.Until(at))
}

func (c *Client) flushAllRepeats() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.putAll(c.repeats.all(time.Now()))
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
	for _, lost := range c.outbox.put(e) {
		c.dropped.add(lost.FirstTS.Time, lost.LastTS.Time, lost.Count)
		c.status.DroppedEvents += uint64(lost.Count)
	}
}

// putTally reports a tally as one event and empties it. The caller holds c.mu.
func (c *Client) putTally(t *tally) {
	last := Time{t.last}
	c.put(Event{
		Code: t.code, Severity: severityOf(t.code), Message: t.message,
		TS: last, FirstTS: Time{t.first}, LastTS: last, Count: t.count,
	})
	*t = tally{}
}

// reportDropped makes an event of the events dropped so far, if any.
func (c *Client) reportDropped() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dropped.count == 0 {
		return false
	}
	c.dropped.code, c.dropped.message = "mqtt.dropped", "the outbox was full and the oldest events were dropped"
	c.putTally(&c.dropped)
	return true
}

// tally sums up what cannot be reported yet.
type tally struct {
	count       int64
	code        string
	message     string
	first, last time.Time
}

func (t *tally) add(first, last time.Time, count int64) {
	if t.count == 0 {
		t.first = first
	}
	t.count += count
	t.last = last
}
