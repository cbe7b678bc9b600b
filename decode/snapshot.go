package decode

import (
	"context"
	"encoding/json"
)

// Snapshot gives what is on the screen, as an image.
func (r *Renderer) Snapshot(ctx context.Context, wanted Snapshot) ([]byte, error) {
	r.snapshots.Lock()
	defer r.snapshots.Unlock()
	r.mu.Lock()
	a := r.current
	r.mu.Unlock()
	if a == nil {
		return nil, errorf(CodeNoPicture, "the renderer process is not running")
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
	if err := a.out.Raw(KindSnapshot, 0, request, payload); err != nil {
		return nil, &Error{Code: CodeNoPicture, Message: "the renderer process is gone", Err: err}
	}
	select {
	case <-ctx.Done():
		return nil, &Error{Code: CodeNoPicture, Message: "no picture came in time", Err: ctx.Err()}
	case p := <-waiter:
		return p.image, p.err
	}
}

// answer hands a picture to the one who waits for it.
func (a *attempt) answer(m Message) {
	p := picture{image: append([]byte(nil), m.Payload...)}
	if m.Flags&FlagFailed != 0 {
		p = picture{err: errorf(CodeNoPicture, "%s", m.Payload)}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiter != nil && m.Time == a.request {
		a.waiter <- p
		a.waiter = nil
	}
}
