package mqtt

import (
	"context"
	"errors"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
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
	s, l, held, damaged, err := openStore(dir)
	defer func() { // once the outbox is restored
		for _, d := range damaged {
			c.noteDamage(d)
		}
	}()
	if err != nil {
		c.noteStorage("events and responses are kept in memory only, and lost when the agent ends", err)
		return stored{}
	}
	c.store = s
	s.changed = c.outbox.changed
	c.outbox.restore(held.events, held.totals, l, time.Now())
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
	if err := c.renewStore(); err != nil {
		return err
	}
	changes, done := c.outbox.changes()
	err := c.store.save(changes)
	done(err)
	return err
}

// renewStore starts a new file when the old one was damaged or removed while in use. Events and the names of the
// streams are written again. Records of commands that it held are lost: until they have expired, only the memory of
// this process prevents that they are carried out twice.
func (c *Client) renewStore() error {
	cause := c.store.db.Check()
	if cause == nil {
		return nil
	}
	damage, err := c.store.db.Renew()
	if damage != nil {
		c.noteDamage(damage)
	} else if errors.Is(cause, statefile.ErrMissing) {
		c.log.Warn("the file of events was removed", "code", "storage.missing", "err", cause)
		c.Event(contract.Event{Code: "storage.missing", Message: cause.Error()})
	}
	if err = errors.Join(err, c.outbox.ledger.renew()); err != nil {
		return err
	}
	c.store.notes.again()
	c.outbox.copyAgain()
	return nil
}

// noteDamage tells that a file was moved aside.
func (c *Client) noteDamage(d *statefile.Damage) {
	c.log.Warn(d.Error(), "code", statefile.Code)
	c.Event(contract.Event{Code: statefile.Code, Message: d.Error(), Detail: map[string]any{"moved_to": d.Aside}})
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
	c.Event(contract.Event{Code: "mqtt.storage", Message: message, Detail: map[string]any{"cause": err.Error()}})
}
