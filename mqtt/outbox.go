package mqtt

import "sync"

// outbox keeps events until the broker has confirmed them. It is bounded: when it
// is full the oldest event goes. Safe for concurrent use.
type outbox interface {
	// put appends an event, gives it its Seq and returns the events dropped for it.
	put(Event) (dropped []Event)
	// first returns the oldest event without removing it.
	first() (e Event, ok bool)
	// remove deletes an event, if it is still there.
	remove(seq uint64)
	// size is the number of events kept.
	size() int
}

// maxEvents bounds the memory of the outbox: about 1 MB with events of usual size.
const maxEvents = 2000

// memoryOutbox is an outbox that ends with the process.
type memoryOutbox struct {
	mu     sync.Mutex
	limit  int
	seq    uint64
	events []Event // oldest first
}

func (o *memoryOutbox) put(e Event) (dropped []Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	e.Seq = o.seq
	if len(o.events) == o.limit {
		dropped = []Event{o.events[0]}
		o.events = o.events[1:]
	}
	o.events = append(o.events, e)
	return dropped
}

func (o *memoryOutbox) first() (Event, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.events) == 0 {
		return Event{}, false
	}
	return o.events[0], true
}

func (o *memoryOutbox) remove(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.events) > 0 && o.events[0].Seq == seq {
		o.events = o.events[1:]
	}
}

func (o *memoryOutbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.events)
}
