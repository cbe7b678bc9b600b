package mqtt

import "testing"

// The payload that is on its way is not the newest any more: that one has to follow.
func TestAStateThatChangesWhileItIsSentIsSentAgain(t *testing.T) {
	var p pending
	p.open()
	p.set("state", []byte("old"))
	_, sent, _ := p.next()
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

// An event that was dropped while it was on its way must not take the next one with it.
func TestRemoveTouchesOnlyItsEvent(t *testing.T) {
	o := memoryOutbox{limit: 2}
	o.put(Event{Code: "a"})
	o.put(Event{Code: "b"})
	onItsWay, _ := o.first()
	if dropped := o.put(Event{Code: "c"}); len(dropped) != 1 || dropped[0].Code != "a" {
		t.Errorf("dropped %+v", dropped)
	}
	o.remove(onItsWay.Seq)
	if first, _ := o.first(); first.Code != "b" || o.size() != 2 {
		t.Errorf("first is %s, size %d", first.Code, o.size())
	}
}
