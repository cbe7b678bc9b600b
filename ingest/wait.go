package ingest

import (
	"context"
	"errors"
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

// When a session that is open counts as stalled. A fragment lasts 10 s at most, and the service ends a body after
// 3 s without fragments (API reference, GetMedia and PutMedia), so whatever takes longer is not a live stream any more.
const (
	// stallTimeout is how long an open body may bring neither a frame of any track nor the end of a fragment.
	// Bytes alone do not count: padding and garbage can come for ever.
	stallTimeout = 10 * time.Second
	// maxPace bounds the time for streams whose frames come more rarely than that: twice the time between
	// the last two frames.
	maxPace = 30 * time.Second
	// A large frame may take longer over a slow connection, as long as its bytes come at slowFrame bytes a second or
	// more: 64 kbit/s. maxFrameTime bounds that.
	slowFrame    = 8 << 10
	maxFrameTime = time.Minute
)

// errExpired ends the reading of a body; watched.reason says why.
var errExpired = errors.New("the time for the next frame is over")

// watched is a body that has to bring frames. It belongs to the goroutine that reads.
type watched struct {
	body     io.Reader
	cancel   context.CancelCauseFunc // ends the read in progress
	timer    *time.Timer             // calls cancel
	consumed func() int64            // bytes of the body that belong to whole elements, so far
	total    int64                   // bytes read
	limit    time.Duration           // between two signs of progress
	progress time.Time               // the last sign of progress
	last     time.Time               // when the last Read returned
	failure  error                   // what to end with, at giveUp
	giveUp   time.Time
}

// watch ends the reading of body, by cancel, when no progress is noted for too long.
func watch(body io.Reader, cancel context.CancelCauseFunc) *watched {
	w := &watched{
		body: body, cancel: cancel, consumed: func() int64 { return 0 },
		limit: stallTimeout, progress: time.Now(), last: time.Now(),
	}
	w.timer = time.AfterFunc(stallTimeout, func() { cancel(errExpired) })
	w.timer.Stop()
	return w
}

// note says that a frame or a whole fragment has come and has been taken, and how much time lies between two frames of
// the stream. What whoever takes a frame does with it does not count as waiting.
func (w *watched) note(pace time.Duration) {
	w.progress = time.Now()
	w.limit = min(max(stallTimeout, 2*pace), maxPace)
}

// expect ends the reading with failure after d, unless something else ends it before.
func (w *watched) expect(failure error, d time.Duration) {
	if w.failure == nil {
		w.failure, w.giveUp = failure, time.Now().Add(d)
	}
}

// pending is how many bytes the parser has and cannot use yet. They are the beginning of one element: padding, garbage
// and elements that nobody needs are consumed as they come.
func (w *watched) pending() int64 { return w.total - w.consumed() }

// deadline is when a read that begins now has to end.
func (w *watched) deadline(now time.Time) time.Time {
	if w.failure != nil {
		return w.giveUp
	}
	slow := time.Duration(w.pending()) * time.Second / slowFrame
	end := w.progress.Add(min(w.limit+slow, max(maxFrameTime, w.limit)))
	if silent := now.Add(w.limit); silent.Before(end) {
		return silent
	}
	return end
}

// reason is why the reading was ended by errExpired.
func (w *watched) reason() error {
	if w.failure != nil {
		return w.failure
	}
	return &Error{
		Code: CodeStall,
		Message: fmt.Sprintf("the connection is open, but no frame was received for %v (%d bytes of an incomplete element)",
			time.Since(w.progress).Round(time.Second), w.pending()),
	}
}

func (w *watched) Read(p []byte) (int, error) {
	now := time.Now()
	left := w.deadline(now).Sub(now)
	if left <= 0 {
		w.cancel(errExpired)
		return 0, errExpired
	}
	w.timer.Reset(left)
	n, err := w.body.Read(p)
	w.timer.Stop()
	w.total += int64(n)
	w.last = time.Now()
	return n, err
}
