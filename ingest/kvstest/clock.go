package kvstest

import (
	"context"
	"math"
	"time"
)

// clock is the time of a Server: from its beginning on, it runs at a speed of its own.
type clock struct {
	wall  func() time.Time
	base  time.Time
	speed float64
}

func (c *clock) now() time.Time {
	return c.base.Add(time.Duration(float64(c.wall().Sub(c.base)) * c.speed))
}

// timer fires when d of this clock is over.
func (c *clock) timer(d time.Duration) *time.Timer {
	return time.NewTimer(time.Duration(math.Ceil(float64(d) / c.speed)))
}

// sleepUntil returns at a time of this clock; an error only when ctx is over before.
func (c *clock) sleepUntil(ctx context.Context, t time.Time) error {
	timer := c.timer(t.Sub(c.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
