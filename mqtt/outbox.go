package mqtt

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// limits bound what waits for the broker. When one is passed, the oldest events go.
type limits struct {
	events int
	bytes  int // of the payloads
	age    time.Duration
}

var defaultLimits = limits{events: 10_000, bytes: 4 << 20, age: 7 * 24 * time.Hour}

// outbox keeps events, oldest first, until the broker has confirmed them. What is
// dropped is counted and reported as mqtt.dropped.
//
// It lives in memory, where limits keep it small, and is copied to a file that a
// restart reads. The copy is made behind its back (Client.keep), so a disk that is
// slow, full or missing holds up neither those who report nor the broker. What the
// copy does not have yet when the process is killed is counted by the ledger, and
// so reported as dropped. For every event that was ever put, then, one of these is true:
//
//	confirmed by the broker │ in the outbox │ in the count of the dropped
//
// Safe for concurrent use.
type outbox struct {
	limits  limits
	ledger  *ledger       // may be nil
	changed chan struct{} // has room for one: there are changes to copy

	mu      sync.Mutex
	queue   []entry
	bytes   int
	seq     uint64 // of the newest event
	total   uint64 // occurrences ever put, less those confirmed before they were copied
	dropped tally  // not yet reported
	lost    uint64 // occurrences dropped since the start, reported or not

	copied  uint64   // events up to this seq are in the file, but for those removed
	removed []uint64 // events that the file has and the queue does not
}

// entry is an event that waits.
type entry struct {
	seq         uint64
	payload     []byte // the event as JSON
	count       int64
	counted     bool // in outbox.total
	sum         bool // of events that were dropped
	first, last time.Time
	born        time.Time // when its age began, by the monotonic clock
}

func newOutbox(l limits) *outbox {
	return &outbox{limits: l, changed: make(chan struct{}, 1)}
}

// put appends an event and gives it its Seq. Detail must be fit for JSON.
func (o *outbox) put(e contract.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.append(e, true)
	o.total += uint64(e.Count)
	o.trim(time.Now())
}

func (o *outbox) append(e contract.Event, counted bool) {
	o.seq++
	o.ledger.sequence(o.seq)
	e.Seq = o.seq
	payload, err := json.Marshal(e)
	if err != nil { // Client.Event has made sure of this
		panic(err)
	}
	o.bytes += len(payload)
	nudge(o.changed)
	o.queue = append(o.queue, entry{
		seq: o.seq, payload: payload, count: e.Count, counted: counted, sum: isSum(e),
		first: e.FirstTS.Time, last: e.LastTS.Time, born: time.Now(),
	})
}

// trim drops the oldest events until the rest is within the limits.
func (o *outbox) trim(now time.Time) {
	for len(o.queue) > 0 {
		e := o.queue[0]
		if len(o.queue) <= o.limits.events && o.bytes <= o.limits.bytes && now.Sub(e.born) <= o.limits.age {
			return
		}
		o.lose(0)
	}
}

// drop gives up the event with that seq, if it is still there: it cannot be sent.
func (o *outbox) drop(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if i, found := o.find(seq); found {
		o.lose(i)
	}
}

// lose counts the event at an index as dropped.
func (o *outbox) lose(i int) {
	e := o.queue[i]
	o.dropped.add(e.first, e.last, e.count)
	if !e.sum { // else they have been counted before
		o.lost += uint64(e.count)
	}
	o.take(i)
}

// take removes the event at an index.
func (o *outbox) take(i int) {
	e := o.queue[i]
	o.bytes -= len(e.payload)
	nudge(o.changed)
	if e.seq <= o.copied {
		o.removed = append(o.removed, e.seq)
	}
	if i > 0 {
		o.queue = slices.Delete(o.queue, i, i+1)
		return
	}
	o.queue[0] = entry{} // for the garbage collector
	o.queue = o.queue[1:]
}

// after returns the oldest event that is newer than seq.
func (o *outbox) after(seq uint64) (entry, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.trim(time.Now())
	i, _ := o.find(seq + 1)
	if i == len(o.queue) {
		return entry{}, false
	}
	return o.queue[i], true
}

// find returns the index of the event with that seq, or where it would stand.
func (o *outbox) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(o.queue, seq, func(e entry, seq uint64) int {
		switch {
		case e.seq < seq:
			return -1
		case e.seq > seq:
			return 1
		}
		return 0
	})
}

// remove deletes an event, if it is still there.
func (o *outbox) remove(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i, found := o.find(seq)
	if !found {
		return
	}
	if e := o.queue[i]; e.counted && e.seq > o.copied { // nobody has to miss it
		o.total -= uint64(e.count)
		o.ledger.report(-e.count)
	}
	o.take(i)
}

// reportDropped makes an event of what was dropped, if anything was. It adds
// nothing to what was put: its count is that of events put before.
func (o *outbox) reportDropped(report func(tally) contract.Event) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dropped.count == 0 {
		return false
	}
	t := o.dropped
	o.dropped = tally{}
	o.append(report(t), false)
	return true
}

// size is the number of events kept and of those dropped since the start.
func (o *outbox) size() (kept int, lost uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue), o.lost
}

// changes is what the file lacks. When it is to be written into the file, done
// has to be called with the result.
func (o *outbox) changes() (c changes, done func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	from, _ := o.find(o.copied + 1)
	c = changes{
		added: slices.Clone(o.queue[from:]), removed: o.removed,
		totals: totals{Seq: o.seq, Put: o.total, Dropped: o.dropped.count, First: o.dropped.first, Last: o.dropped.last},
	}
	before := o.copied
	o.copied, o.removed = o.seq, nil // what is removed from now on, the file will have to be told
	return c, func(err error) {
		if err == nil {
			return
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.copied = before
		later := slices.DeleteFunc(o.removed, func(seq uint64) bool { return seq > before })
		o.removed = append(c.removed, later...)
		nudge(o.changed)
	}
}

// copyAgain makes the next changes those of a file that has nothing.
func (o *outbox) copyAgain() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.copied, o.removed = 0, nil
	nudge(o.changed)
}

// changes of the outbox since the file was last written.
type changes struct {
	added   []entry
	removed []uint64
	totals  totals
}

// totals are what the file has to know besides the events.
type totals struct {
	Seq         uint64    // of the newest event
	Put         uint64    // occurrences ever put
	Dropped     int64     // occurrences dropped and not yet reported
	First, Last time.Time // of these
}

// restore fills an empty outbox with what the file held and counts as dropped
// what had been reported but did not get into the file.
func (o *outbox) restore(queue []entry, t totals, l *ledger, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ledger = l
	o.queue, o.seq, o.total, o.copied = queue, t.Seq, t.Put, t.Seq
	for _, e := range queue {
		o.bytes += len(e.payload)
	}
	o.dropped = tally{count: t.Dropped, first: t.First, last: t.Last}
	reported, seq := o.ledger.read()
	o.seq = max(o.seq, seq)
	if reported > o.total {
		missing := reported - o.total
		o.dropped.add(now, now, int64(missing))
		o.lost += missing
		o.total = reported
	}
	o.ledger.set(o.total, o.seq)
	o.trim(now)
}

// nudge wakes whoever waits on a channel that has room for one.
func nudge(wake chan struct{}) {
	select {
	case wake <- struct{}{}:
	default: // it has not yet seen the last one
	}
}
