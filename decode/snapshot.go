package decode

import (
	"bytes"
	"context"
	"encoding/json"

	"github.com/edge-agent/edge-agent/decode/report"
)

// Snapshot gives what is on the screen, as an image.
func (r *Renderer) Snapshot(ctx context.Context, wanted Snapshot) ([]byte, error) {
	select {
	case r.snapshots <- struct{}{}:
	case <-ctx.Done():
		return nil, &report.Error{Code: report.CodeNoPicture, Message: "another snapshot was being taken", Err: ctx.Err()}
	}
	defer func() { <-r.snapshots }()
	r.mu.Lock()
	a := r.current
	r.mu.Unlock()
	if a == nil {
		return nil, report.Errorf(report.CodeNoPicture, "the renderer process is not running")
	}
	return a.snapshot(ctx, wanted)
}

// picture is the answer to a snapshot.
type picture struct {
	image []byte
	err   error
}

// snapshot asks for the picture on the screen and waits for it.
func (a *attempt) snapshot(ctx context.Context, wanted Snapshot) ([]byte, error) {
	payload, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	waiter := make(chan picture, 1)
	a.mu.Lock()
	a.request++
	request := a.request
	a.waiter = waiter
	a.mu.Unlock()
	defer a.forgetWaiter(request)
	a.outbox.putSnapshot(pictureRequest{request, payload})
	select {
	case <-ctx.Done():
		return nil, &report.Error{Code: report.CodeNoPicture, Message: "no picture came in time", Err: ctx.Err()}
	case <-a.over:
		return nil, report.Errorf(report.CodeNoPicture, "the renderer process ended before the picture came; try again")
	case p := <-waiter:
		return p.image, p.err
	}
}

// forgetWaiter takes in that nobody waits for a picture any more: one that comes late costs no memory.
func (a *attempt) forgetWaiter(request int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.request == request {
		a.waiter = nil
	}
}

// answer hands a picture to the one who waits for it, if anybody does.
func (a *attempt) answer(m Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiter == nil || m.Time != a.request {
		return
	}
	p := picture{image: bytes.Clone(m.Payload)}
	if m.Flags&FlagFailed != 0 {
		p = picture{err: report.Errorf(report.CodeNoPicture, "%s", shortened(string(m.Payload[:min(len(m.Payload), 2*mostText)]), mostText))}
	}
	a.waiter <- p
	a.waiter = nil
}
