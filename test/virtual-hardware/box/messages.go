package box

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// messages are all that the agent has said, and which of it the test has taken.
type messages struct {
	t      *testing.T
	topics contract.Topics

	mu    sync.Mutex
	all   []mqtt.Message
	taken map[int]bool  // by Event
	more  chan struct{} // closed and replaced with each message
}

// collect listens until the end of the test.
func collect(t *testing.T, broker mqtt.Broker) *messages {
	t.Helper()
	topics, err := contract.NewTopics(contract.DefaultPrefix, AgentID)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := mqtt.Listen(t.Context(), broker, topics.All())
	if err != nil {
		t.Fatal(err)
	}
	m := &messages{t: t, topics: topics, taken: map[int]bool{}, more: make(chan struct{})}
	ended := make(chan struct{})
	go func() { m.keep(listener.Messages); close(ended) }()
	t.Cleanup(func() { <-ended }) // the test's context has ended by then, and with it the listener
	return m
}

func (m *messages) keep(from <-chan mqtt.Message) {
	for message := range from {
		m.mu.Lock()
		m.all = append(m.all, message)
		close(m.more)
		m.more = make(chan struct{})
		m.mu.Unlock()
	}
}

// Event waits for an event with the code, and takes it: the next call waits for the next one. The agent
// sends the same code at most every 10 s.
func (m *messages) Event(code string) contract.Event {
	m.t.Helper()
	var event contract.Event
	m.wait("the event "+code, 0, m.topics.Events(), func(i int, payload []byte) bool {
		if m.taken[i] || !decode(payload, &event) || event.Code != code {
			return false
		}
		m.taken[i] = true
		return true
	})
	return event
}

// Events are those so far, taken or not.
func (m *messages) Events() []contract.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var events []contract.Event
	for _, message := range m.all {
		var e contract.Event
		if message.Topic == m.topics.Events() && decode(message.Payload, &e) {
			events = append(events, e)
		}
	}
	return events
}

// Telemetry waits for telemetry of the stream that comes from now on.
func (m *messages) Telemetry(what string, ok func(contract.Telemetry) bool) contract.Telemetry {
	m.t.Helper()
	var telemetry contract.Telemetry
	m.wait("telemetry of "+what, m.count(), m.topics.Telemetry(StreamName), func(_ int, payload []byte) bool {
		return decode(payload, &telemetry) && ok(telemetry)
	})
	return telemetry
}

// Decoding waits until pictures of this decoder, such as "avdec_h264", are shown.
func (m *messages) Decoding(element string) contract.Telemetry {
	m.t.Helper()
	return m.Telemetry("pictures of "+element, func(t contract.Telemetry) bool { return t.Decoder == element && t.ShownFrames > 0 })
}

// State waits for a state of the stream, which may be the present one.
func (m *messages) State(want contract.StreamState) contract.State {
	m.t.Helper()
	var state contract.State
	newest := m.newest(m.topics.State(StreamName))
	m.wait("the state "+string(want), newest, m.topics.State(StreamName), func(_ int, payload []byte) bool {
		return decode(payload, &state) && state.State == want
	})
	return state
}

// Info waits for what the agent says of itself and the box; the present info may be it.
func (m *messages) Info(what string, ok func(contract.Info) bool) contract.Info {
	m.t.Helper()
	var info contract.Info
	m.wait("info with "+what, m.newest(m.topics.Info()), m.topics.Info(), func(_ int, payload []byte) bool {
		return decode(payload, &info) && ok(info)
	})
	return info
}

// decode fills in to anew.
func decode[T any](payload []byte, to *T) bool {
	*to = *new(T)
	return json.Unmarshal(payload, to) == nil
}

func (m *messages) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all)
}

// newest is the number of the newest message with the topic, 0 if there is none.
func (m *messages) newest(topic string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, message := range slices.Backward(m.all) {
		if message.Topic == topic {
			return i
		}
	}
	return 0
}

// wait waits for a message with the topic that is wanted, from a number on. wanted is called with the lock held.
func (m *messages) wait(what string, from int, topic string, wanted func(i int, payload []byte) bool) {
	m.t.Helper()
	deadline := time.After(Patience)
	for {
		m.mu.Lock()
		for ; from < len(m.all); from++ {
			if m.all[from].Topic == topic && wanted(from, m.all[from].Payload) {
				m.mu.Unlock()
				return
			}
		}
		more := m.more
		m.mu.Unlock()
		select {
		case <-more:
		case <-deadline:
			m.t.Fatalf("%s did not come; what came:\n%s", what, m)
		}
	}
}

// String shows the newest messages.
func (m *messages) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var lines []string
	for _, message := range m.all[max(0, len(m.all)-20):] {
		lines = append(lines, fmt.Sprintf("%s %s", message.Topic, message.Payload))
	}
	return strings.Join(lines, "\n")
}
