package ingest

import (
	"context"
	"sync"
	"time"
)

// The service takes five GetMedia calls a second for a stream (API reference, GetMedia). The window is longer
// than a second, because calls do not all take the same time to reach the service.
const (
	maxCalls   = 5
	callWindow = 1200 * time.Millisecond
)

// callLimit keeps the GetMedia calls for one stream below the service's limit: a call waits only when maxCalls
// were made within callWindow, so that the first retry after a cut does not wait. It may be used from any goroutine.
type callLimit struct {
	mu   sync.Mutex
	made [maxCalls]time.Time // of the last calls; a ring
	next int                 // the oldest of them
}

// wait returns when a call may be made, and counts it; an error only when ctx is over before.
func (l *callLimit) wait(ctx context.Context) error {
	for {
		d := l.reserve(time.Now())
		if d == 0 {
			return ctx.Err()
		}
		sleep(ctx, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// reserve counts a call and gives 0, or gives how long it is too early for one.
func (l *callLimit) reserve(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if oldest := l.made[l.next]; !oldest.IsZero() {
		if d := oldest.Add(callWindow).Sub(now); d > 0 {
			return d
		}
	}
	l.made[l.next] = now
	l.next = (l.next + 1) % maxCalls
	return 0
}
