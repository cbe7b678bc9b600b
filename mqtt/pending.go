package mqtt

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// What waits at most; the oldest response goes, of the others the newest.
const (
	maxTelemetry = 64
	maxSnapshots = 4
	maxResponses = 64
)

// pending holds what is to be published and is not an event.
//
// Of a retained topic the newest payload counts: a newer one takes its place, and
// it is kept after sending, so that a broker that lost everything gets it again.
// An empty one clears the topic and is then forgotten.
// Telemetry and snapshots are only of use now: without a connection, or with too many
// waiting, they are dropped; telemetry is counted. Responses to commands wait for
// the next connection.
type pending struct {
	every time.Duration // the least time between two payloads of a retained topic

	mu        sync.Mutex
	connected bool
	retained  map[string]*latest
	order     []string // topics of retained, in the order they were first set
	responses []*response
	snapshots []message
	telemetry []message
	dropped   uint64 // telemetry

	taken map[string]time.Time // when a retained topic was last taken, for as long as every holds it back
}

// latest is the newest payload of a retained topic; revision counts its changes,
// and taken is the one that is on its way or sent.
type latest struct {
	payload         []byte
	revision, taken uint64
	cleared         func() // called once an empty payload is sent; may be nil
}

// response waits until it is confirmed.
type response struct {
	message
	taken bool // it is on its way
}

// set replaces the retained payload of a topic.
func (p *pending) set(topic string, payload []byte) { p.replace(topic, payload, nil) }

// clear makes the broker forget a retained topic; cleared is called when it has.
func (p *pending) clear(topic string, cleared func()) { p.replace(topic, []byte{}, cleared) }

func (p *pending) replace(topic string, payload []byte, cleared func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.retained[topic]
	if l == nil {
		if p.retained == nil {
			p.retained = make(map[string]*latest)
		}
		l = &latest{}
		p.retained[topic] = l
		p.order = append(p.order, topic)
	}
	l.payload, l.cleared = payload, cleared
	l.revision++
}

// again has the retained payload of a topic sent once more.
func (p *pending) again(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.retained[topic]; l != nil {
		l.revision++
	}
}

// add queues telemetry.
func (p *pending) add(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.connected || len(p.telemetry) == maxTelemetry {
		p.dropped++
		return
	}
	p.telemetry = append(p.telemetry, m)
}

// addSnapshot queues a snapshot, if there is a connection and room.
func (p *pending) addSnapshot(m message) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.connected || len(p.snapshots) == maxSnapshots {
		return false
	}
	p.snapshots = append(p.snapshots, m)
	return true
}

// respond queues a response.
func (p *pending) respond(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.responses) == maxResponses {
		p.responses = p.responses[1:]
	}
	p.responses = append(p.responses, &response{message: m})
}

// open begins a connection: everything retained has to be sent again, since the
// broker may be another one or may have forgotten.
func (p *pending) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected = true
	for _, l := range p.retained {
		l.taken = 0
	}
	for _, r := range p.responses {
		r.taken = false
	}
}

// close ends a connection.
func (p *pending) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected = false
	p.dropped += uint64(len(p.telemetry))
	p.telemetry, p.snapshots = nil, nil
}

// next takes a message to send and says what to call once it is sent. A snapshot goes
// before the response that announces it.
func (p *pending) next() (m message, sent func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, topic := range p.order {
		if l := p.retained[topic]; l.taken != l.revision && p.wait(topic) <= 0 {
			l.taken = l.revision
			p.take(topic)
			revision := l.revision
			sent = func() { p.sent(topic, revision) }
			return message{topic: topic, qos: 1, retained: true, payload: l.payload}, sent, true
		}
	}
	if m, ok = takeFirst(&p.snapshots); ok {
		return m, func() {}, true
	}
	for _, r := range p.responses {
		if !r.taken {
			r.taken = true
			return r.message, func() { p.responded(r) }, true
		}
	}
	m, ok = takeFirst(&p.telemetry)
	return m, func() {}, ok
}

// take notes that a retained topic is sent now. The caller holds p.mu, if p is in use.
func (p *pending) take(topic string) {
	if p.every == 0 {
		return
	}
	maps.DeleteFunc(p.taken, func(_ string, at time.Time) bool { return time.Since(at) > p.every })
	if p.taken == nil {
		p.taken = make(map[string]time.Time)
	}
	p.taken[topic] = time.Now()
}

// wait is for how long a topic is held back. The caller holds p.mu.
func (p *pending) wait(topic string) time.Duration {
	at, recently := p.taken[topic]
	if !recently {
		return 0
	}
	return p.every - time.Since(at)
}

// hold is for how long a retained topic may not be published to.
func (p *pending) hold(topic string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wait(topic)
}

// held returns a channel that fires when a topic that is held back may be sent.
func (p *pending) held() <-chan time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	soonest := time.Duration(0)
	for topic, l := range p.retained {
		if wait := p.wait(topic); l.taken != l.revision && wait > 0 && (soonest == 0 || wait < soonest) {
			soonest = wait
		}
	}
	if soonest == 0 {
		return nil
	}
	return time.After(soonest)
}

func takeFirst(queue *[]message) (message, bool) {
	if len(*queue) == 0 {
		return message{}, false
	}
	m := (*queue)[0]
	*queue = (*queue)[1:]
	return m, true
}

// sent forgets a topic that was cleared.
func (p *pending) sent(topic string, revision uint64) {
	p.mu.Lock()
	l := p.retained[topic]
	gone := l != nil && l.revision == revision && len(l.payload) == 0
	if gone {
		delete(p.retained, topic)
		p.order = slices.DeleteFunc(p.order, func(t string) bool { return t == topic })
	}
	p.mu.Unlock()
	if gone && l.cleared != nil {
		l.cleared()
	}
}

func (p *pending) responded(r *response) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.responses = slices.DeleteFunc(p.responses, func(other *response) bool { return other == r })
}

// forget marks a retained topic as sent: its payload is not to go out any more.
func (p *pending) forget(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.retained[topic]; l != nil {
		l.taken = l.revision
	}
}

func (p *pending) droppedTelemetry() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}
