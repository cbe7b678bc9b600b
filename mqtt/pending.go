package mqtt

import "sync"

// message is one publication.
type message struct {
	topic    string
	qos      byte
	retained bool
	payload  []byte
}

// maxTelemetry bounds the telemetry that waits while the connection is busy.
const maxTelemetry = 64

// pending holds what is to be published and is not an event.
//
// Of a retained topic the newest payload counts: a newer one takes its place, and
// it is kept after sending, so that a broker that lost everything gets it again.
// Telemetry is only of use now: without a connection, or with maxTelemetry
// waiting, it is dropped and counted.
type pending struct {
	mu        sync.Mutex
	connected bool
	retained  map[string]*latest
	order     []string // topics of retained, in the order they were first set
	telemetry []message
	dropped   uint64 // telemetry
}

// latest is the newest payload of a retained topic; revision counts its changes.
type latest struct {
	payload        []byte
	revision, sent uint64
}

// set replaces the retained payload of a topic.
func (p *pending) set(topic string, payload []byte) {
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
	l.payload = payload
	l.revision++
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

// open begins a connection: everything retained has to be sent again, since the
// broker may be another one or may have forgotten.
func (p *pending) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected = true
	for _, l := range p.retained {
		l.sent = 0
	}
}

// close ends a connection.
func (p *pending) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.connected = false
	p.dropped += uint64(len(p.telemetry))
	p.telemetry = nil
}

// next returns a message to send and what to call once it is sent; retained
// topics go first.
func (p *pending) next() (m message, sent func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, topic := range p.order {
		if l := p.retained[topic]; l.sent != l.revision {
			revision := l.revision
			sent = func() { p.sent(l, revision) }
			return message{topic: topic, qos: 1, retained: true, payload: l.payload}, sent, true
		}
	}
	if len(p.telemetry) > 0 {
		m, p.telemetry = p.telemetry[0], p.telemetry[1:]
		return m, func() {}, true
	}
	return message{}, nil, false
}

func (p *pending) sent(l *latest, revision uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.sent = revision
}

// forget marks a retained topic as sent: its payload is not to go out any more.
func (p *pending) forget(topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.retained[topic]; l != nil {
		l.sent = l.revision
	}
}

func (p *pending) droppedTelemetry() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped
}
