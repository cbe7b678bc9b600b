package mqtt

import "testing"

// The payload that is on its way is not the newest any more: that one has to follow.
func TestAStateThatChangesWhileItIsSentIsSentAgain(t *testing.T) {
	var p pending
	p.open()
	p.set("state", []byte("old"))
	_, sent, _ := p.next()
	if m, _, ok := p.next(); ok {
		t.Errorf("%q is sent twice at once", m.payload)
	}
	p.set("state", []byte("new"))
	sent()
	m, sent, ok := p.next()
	if !ok || string(m.payload) != "new" {
		t.Fatalf("next: %q, %v", m.payload, ok)
	}
	sent()
	if m, _, ok := p.next(); ok {
		t.Errorf("%q is sent for nothing", m.payload)
	}
}

func TestTelemetryIsBoundedAndGoesAfterState(t *testing.T) {
	var p pending
	p.open()
	for range maxTelemetry + 5 {
		p.add(message{topic: "telemetry"})
	}
	p.set("state", []byte("new"))
	if m, _, _ := p.next(); m.topic != "state" {
		t.Errorf("%s goes first", m.topic)
	}
	if p.droppedTelemetry() != 5 {
		t.Errorf("%d dropped", p.droppedTelemetry())
	}
	p.close()
	if p.droppedTelemetry() != maxTelemetry+5 {
		t.Errorf("%d dropped once the connection is gone", p.droppedTelemetry())
	}
}

// The broker forgets the topic, and then so do we.
func TestAClearedTopicIsSentEmptyOnce(t *testing.T) {
	var p pending
	p.open()
	p.set("state", []byte("old"))
	cleared := 0
	p.clear("state", func() { cleared++ })
	m, sent, ok := p.next()
	if !ok || !m.retained || len(m.payload) != 0 {
		t.Fatalf("next: %+v, %v", m, ok)
	}
	sent()
	p.open() // another connection
	if m, _, ok := p.next(); ok || cleared != 1 {
		t.Errorf("after it was cleared %d times: %+v", cleared, m)
	}
}

func TestAStateSetAgainWhileItIsClearedIsKept(t *testing.T) {
	var p pending
	p.open()
	p.clear("state", func() { t.Error("cleared") })
	_, sent, _ := p.next()
	p.set("state", []byte("back"))
	sent()
	if m, _, ok := p.next(); !ok || string(m.payload) != "back" {
		t.Errorf("next: %+v, %v", m, ok)
	}
}

func TestResponsesWaitForTheirConfirmation(t *testing.T) {
	var p pending
	for i := range maxResponses + 2 {
		p.respond(message{topic: "response", payload: []byte{byte(i)}})
	}
	p.open()
	first, sent, _ := p.next()
	if first.payload[0] != 2 {
		t.Errorf("the oldest is %d", first.payload[0])
	}
	sent()
	p.next() // and the connection breaks
	p.close()
	p.open()
	if m, _, ok := p.next(); !ok || m.payload[0] != 3 {
		t.Errorf("the next is %+v, %v", m, ok)
	}
}

func TestSnapshotsAreOnlyForNow(t *testing.T) {
	var p pending
	if p.addSnapshot(message{}) {
		t.Error("a snapshot is taken without a connection")
	}
	p.open()
	p.respond(message{topic: "response"})
	for range maxSnapshots {
		if !p.addSnapshot(message{topic: "snapshot"}) {
			t.Error("a snapshot is refused")
		}
	}
	if p.addSnapshot(message{}) {
		t.Error("too many snapshots wait")
	}
	if m, _, _ := p.next(); m.topic != "snapshot" {
		t.Errorf("%s goes first", m.topic)
	}
}
