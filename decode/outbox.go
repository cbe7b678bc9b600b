package decode

import (
	"context"
	"sync"
)

// outbox is what others than its feeder want to send to a child: the newest slate and the newest request for a picture.
// Whoever puts something in never waits for the child, which may have stopped reading; post sends it.
type outbox struct {
	filled chan struct{} // holds a token after something was put in

	mu       sync.Mutex
	slate    bool            // there is a newer one
	snapshot *pictureRequest // nil for none
}

// pictureRequest is a numbered request for a picture.
type pictureRequest struct {
	number  int64
	payload []byte
}

func (o *outbox) putSlate() {
	o.mu.Lock()
	o.slate = true
	o.mu.Unlock()
	o.fill()
}

// putSnapshot puts in a request, in place of one that was not sent: nobody waits for that any more.
func (o *outbox) putSnapshot(p pictureRequest) {
	o.mu.Lock()
	o.snapshot = &p
	o.mu.Unlock()
	o.fill()
}

func (o *outbox) fill() {
	select {
	case o.filled <- struct{}{}:
	default:
	}
}

// empty gives what there is to send.
func (o *outbox) empty() (slate bool, snapshot *pictureRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	slate, snapshot = o.slate, o.snapshot
	o.slate, o.snapshot = false, nil
	return slate, snapshot
}

// post sends what is put into the outbox, until the context ends.
func (a *attempt) post(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-a.greeted:
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.outbox.filled:
		}
		slate, snapshot := a.outbox.empty()
		if slate {
			if err := a.sendSlate(); err != nil {
				return broken(ctx, err)
			}
		}
		if snapshot != nil {
			if err := a.out.Raw(KindSnapshot, 0, snapshot.number, snapshot.payload); err != nil {
				return broken(ctx, err)
			}
		}
	}
}
