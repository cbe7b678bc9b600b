package mqtt

import (
	"context"
	"time"
)

const (
	// copyEvery is the least time between two transactions. What comes in it is written
	// together; that it is rarely needed, for the sake of flash memory, repeats sees to.
	copyEvery = 100 * time.Millisecond
	// copyRetry is how long to wait after one that failed.
	copyRetry = 10 * time.Second
)

// openStore brings back what an earlier run has left in dir.
func (c *Client) openStore(dir string) (held stored) {
	if dir == "" {
		return held
	}
	s, l, held, aside, err := openStore(dir)
	if err != nil {
		c.noteStorage("events and responses are kept in memory only, and lost when the agent ends", err)
		return stored{}
	}
	c.store = s
	c.outbox.restore(held.events, held.totals, l, time.Now())
	if aside != nil {
		c.noteStorage("a broken "+storeName+" was put aside as "+storeName+".broken and a new one begun", aside)
	}
	return held
}

// keep copies the outbox to its file soon after it has changed, until ctx ends, and
// then once more.
func (c *Client) keep(ctx context.Context) {
	if c.store == nil {
		return
	}
	broken := false
	for ctx.Err() == nil {
		select {
		case <-c.outbox.changed:
		case <-ctx.Done():
			continue
		}
		err := c.copyOutbox()
		wait := copyEvery
		switch {
		case err != nil && !broken:
			c.noteStorage("events cannot be written to the disk and wait in memory", err)
			fallthrough
		case err != nil:
			wait = copyRetry
		case broken:
			c.log.Info("events are written to the disk again")
		}
		broken = err != nil
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	if err := c.copyOutbox(); err != nil {
		kept, _ := c.outbox.size()
		c.log.Warn("events could not be stored, those not sent are lost", "code", "mqtt.storage", "events", kept, "err", err)
	}
}

// copyOutbox writes what the file lacks in one transaction.
func (c *Client) copyOutbox() error {
	changes, done := c.outbox.changes()
	err := c.store.save(changes)
	done(err)
	return err
}

func (c *Client) closeStore() {
	if c.store == nil {
		return
	}
	if err := c.store.db.Close(); err != nil {
		c.log.Warn("the store was not closed cleanly", "code", "mqtt.storage", "err", err)
	}
	c.outbox.ledger.close()
}

// noteStorage tells that the disk fails us.
func (c *Client) noteStorage(message string, err error) {
	c.log.Warn(message, "code", "mqtt.storage", "err", err)
	c.Event(Event{Code: "mqtt.storage", Message: message, Detail: map[string]any{"cause": err.Error()}})
}
