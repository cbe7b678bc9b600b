package ingest

import (
	"context"
	"fmt"
	"io"
	"time"
)

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// watched is a body that may not be silent for long.
type watched struct {
	body    io.Reader
	timeout time.Duration
	timer   *time.Timer
	last    time.Time // when the last Read returned
}

// watch ends ctx, by cancel, when a single Read of body takes longer than timeout. What the reader
// does between two Reads does not count.
func watch(body io.Reader, timeout time.Duration, cancel context.CancelCauseFunc) *watched {
	t := time.AfterFunc(timeout, func() {
		cancel(&Error{Code: CodeStall, Message: fmt.Sprintf("the connection is open, but no byte came for %v", timeout)})
	})
	t.Stop()
	return &watched{body: body, timeout: timeout, timer: t}
}

func (w *watched) Read(p []byte) (int, error) {
	w.timer.Reset(w.timeout)
	n, err := w.body.Read(p)
	w.timer.Stop()
	w.last = time.Now()
	return n, err
}
