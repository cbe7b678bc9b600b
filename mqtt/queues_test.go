package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
	p.addSnapshot(message{topic: "snapshot"})
	p.close()
	if p.droppedTelemetry() != maxTelemetry+5 {
		t.Errorf("%d dropped once the connection is gone", p.droppedTelemetry())
	}
	p.open()
	if m, _, _ := p.next(); m.topic != "state" {
		t.Errorf("%s goes first on the next connection", m.topic)
	}
	if m, _, ok := p.next(); ok {
		t.Errorf("%s of the last connection is sent", m.topic)
	}
}

// What is not to go out any more waits for the next connection.
func TestAForgottenTopicWaitsForTheNextConnection(t *testing.T) {
	var p pending
	p.open()
	p.set("state", []byte("x"))
	p.forget("state")
	p.forget("of nobody")
	if m, _, ok := p.next(); ok {
		t.Errorf("%s is sent", m.topic)
	}
	p.open()
	if m, _, ok := p.next(); !ok || m.topic != "state" {
		t.Errorf("on the next connection: %q, %v", m.topic, ok)
	}
}

// At a broker with a limit each retained topic is held back by itself, to the moment, and only while it has changed.
func TestATopicIsHeldBackByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pending{every: time.Second}
		p.open()
		began := time.Now()
		take := func(want string, at time.Duration) {
			t.Helper()
			m, sent, ok := p.next()
			if !ok || string(m.payload) != want || time.Since(began) != at {
				t.Errorf("after %s: %q, %v, want %q after %s", time.Since(began), m.payload, ok, want, at)
				return
			}
			sent()
		}
		nothing := func() {
			t.Helper()
			if m, _, ok := p.next(); ok {
				t.Errorf("after %s: %q", time.Since(began), m.payload)
			}
		}
		if p.held() != nil {
			t.Error("there is something to wait for before anything was set")
		}
		p.set("b", []byte("b1"))
		take("b1", 0)
		if p.held() != nil {
			t.Error("there is something to wait for though nothing has changed")
		}
		time.Sleep(400 * time.Millisecond)
		p.set("a", []byte("a1"))
		take("a1", 400*time.Millisecond)
		p.set("a", []byte("a2"))
		p.set("b", []byte("b2"))
		p.set("b", []byte("b3"))
		nothing()
		if p.hold("a") != time.Second || p.hold("b") != 600*time.Millisecond || p.hold("c") != 0 {
			t.Errorf("held back for %s, %s and %s", p.hold("a"), p.hold("b"), p.hold("c"))
		}
		<-p.held()
		take("b3", time.Second)
		nothing()
		<-p.held()
		take("a2", 1400*time.Millisecond)
		nothing()
		if p.held() != nil {
			t.Error("there is something to wait for in the end")
		}
	})
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

// Of 64 responses that wait the oldest gives way to one more, and no other.
func TestResponsesAreBounded(t *testing.T) {
	const most = 64
	for _, n := range []int{most - 1, most, most + 1, most + 2, 2*most + 1} {
		var p pending
		for i := range n {
			p.respond(message{topic: "response", payload: []byte(fmt.Sprint(i))})
		}
		p.open()
		for i := max(0, n-most); i < n; i++ {
			m, sent, ok := p.next()
			if !ok || string(m.payload) != fmt.Sprint(i) {
				t.Fatalf("of %d the next is %q, %v, want %d", n, m.payload, ok, i)
			}
			sent()
		}
		if m, _, ok := p.next(); ok {
			t.Errorf("of %d there is one more: %q", n, m.payload)
		}
	}
}

// A response is sent once on each connection, until it is confirmed.
func TestResponsesWaitForTheirConfirmation(t *testing.T) {
	var p pending
	p.respond(message{topic: "first"})
	p.respond(message{topic: "second"})
	p.respond(message{topic: "third"})
	for _, want := range []string{"first second third", "first third", "third", ""} {
		p.open()
		var got []string
		confirmed := func() {} // which are, of each connection, the second or else the first
		for m, sent, ok := p.next(); ok; m, sent, ok = p.next() {
			if got = append(got, m.topic); len(got) == 1 || m.topic == "second" {
				confirmed = sent
			}
		}
		confirmed()
		p.close()
		if strings.Join(got, " ") != want {
			t.Errorf("sent %q, want %q", got, want)
		}
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
