package mqtt

import (
	"time"

	"github.com/google/uuid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
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
func (c *Client) Event(e contract.Event) { c.events(e, 1) }

// events reports something that happened so many times.
func (c *Client) events(e contract.Event, count int64) {
	if text, ok := c.marshal(c.topics.Events(), e.Detail); !ok || len(text) > maxDetail {
		e.Detail = nil
	}
	e.Message = contract.Cut(e.Message, maxMessage)
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

func severityOf(code string) contract.Severity {
	if entry, ok := contract.Lookup(code); ok {
		return entry.Severity
	}
	return contract.SeverityError // a code that nobody described deserves a look
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

func (c *Client) putAll(events []contract.Event) {
	for _, e := range events {
		c.put(e)
	}
}

// put gives an event its id and hands it to the outbox. The caller holds c.mu,
// so that ids, seq and order agree.
func (c *Client) put(e contract.Event) {
	e.ID = uuid.Must(uuid.NewV7()).String()
	c.outbox.put(e)
}
