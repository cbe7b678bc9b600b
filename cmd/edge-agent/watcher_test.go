package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// once holds what comes over MQTT to how often it may: an event once and in its order, a state and an info only when it
// differs from the one before, telemetry of each time once, and each response to a command once. A message that is lost with a
// connection may come again after it.
type once struct {
	topics  contract.Topics
	repeats bool // commands are sent twice

	events    map[string]bool // by id
	seq       uint64          // of the newest event; 0 before the first
	retained  map[string]string
	told      map[string]time.Time // end of the newest telemetry, by topic
	responses map[string]bool      // by topic, id and status
}

func newOnce(topics contract.Topics) *once {
	o := &once{topics: topics}
	o.connected()
	return o
}

// connected begins again: the agent has another connection to the broker.
func (o *once) connected() {
	o.events, o.seq, o.retained = map[string]bool{}, 0, map[string]string{}
	o.told, o.responses = map[string]time.Time{}, map[string]bool{}
}

// take says what is wrong with the next message.
func (o *once) take(m mqtt.Message) error {
	var f struct {
		ID, Status string
		Seq        uint64
		From, To   time.Time
	}
	_ = json.Unmarshal(m.Payload, &f)
	switch {
	case m.Retained: // the newest of a time before
		return nil
	case m.Topic == o.topics.Availability():
		o.connected()
	case m.Topic == o.topics.Events():
		if o.events[f.ID] || o.seq != 0 && f.Seq != o.seq+1 {
			return fmt.Errorf("event %d follows event %d: %s", f.Seq, o.seq, m.Payload)
		}
		o.events[f.ID], o.seq = true, f.Seq
	case m.Topic == o.topics.Info(), strings.HasSuffix(m.Topic, "/state"):
		if o.retained[m.Topic] == string(m.Payload) && len(m.Payload) > 0 {
			return fmt.Errorf("it came twice: %s %s", m.Topic, m.Payload)
		}
		o.retained[m.Topic] = string(m.Payload)
	case strings.HasSuffix(m.Topic, "/telemetry"):
		if f.From.Before(o.told[m.Topic]) || !f.To.After(f.From) {
			return fmt.Errorf("telemetry up to %v was there already: %s", o.told[m.Topic], m.Payload)
		}
		o.told[m.Topic] = f.To
	case strings.HasSuffix(m.Topic, "/response") && f.ID != "":
		key := m.Topic + " " + f.ID + " " + f.Status // accepted, and then what came of it
		if o.responses[key] && !o.repeats {
			return fmt.Errorf("a second response: %s %s", m.Topic, m.Payload)
		}
		o.responses[key] = true
	}
	return nil
}

// rest takes what nobody has waited for, when the test is over.
func (w *watcher) rest() {
	for {
		select {
		case m, ok := <-w.messages:
			if !ok {
				return
			}
			w.take(m)
		default:
			return
		}
	}
}

func (w *watcher) take(m mqtt.Message) {
	w.t.Helper()
	if err := w.once.take(m); err != nil {
		w.t.Error(err)
	}
}

// The tests of the whole agent fail on messages that come twice, or in another order.
func TestOnce(t *testing.T) {
	topics, err := contract.NewTopics(contract.DefaultPrefix, "box")
	if err != nil {
		t.Fatal(err)
	}
	message := func(topic, payload string) mqtt.Message {
		return mqtt.Message{Topic: topic, Payload: []byte(payload)}
	}
	event := func(id string, seq int) mqtt.Message {
		return message(topics.Events(), fmt.Sprintf(`{"id":%q,"seq":%d}`, id, seq))
	}
	telemetry := func(from, to string) mqtt.Message {
		return message(topics.Telemetry("gate"), fmt.Sprintf(`{"from":"2026-01-01T00:00:%sZ","to":"2026-01-01T00:00:%sZ"}`, from, to))
	}
	online, response := message(topics.Availability(), contract.Online), message(topics.Response(contract.VerbStop), `{"id":"a"}`)
	state := message(topics.State("gate"), `{"state":"playing"}`)
	for name, c := range map[string]struct {
		messages []mqtt.Message
		wrong    int // the messages that are
	}{
		"an event again":                  {[]mqtt.Message{event("a", 1), event("a", 1)}, 1},
		"an event of the same id":         {[]mqtt.Message{event("a", 1), event("a", 2)}, 1},
		"a hole":                          {[]mqtt.Message{event("a", 1), event("b", 3)}, 1},
		"two events":                      {[]mqtt.Message{event("a", 1), event("b", 2)}, 0},
		"an event again after connecting": {[]mqtt.Message{event("a", 1), online, event("a", 1)}, 0},
		"the same state":                  {[]mqtt.Message{state, state}, 1},
		"a state again":                   {[]mqtt.Message{state, message(state.Topic, `{"state":"stalled"}`), state}, 0},
		"a retained state":                {[]mqtt.Message{state, {Topic: state.Topic, Payload: state.Payload, Retained: true}}, 0},
		"the same telemetry":              {[]mqtt.Message{telemetry("01", "02"), telemetry("01", "02")}, 1},
		"telemetry that overlaps":         {[]mqtt.Message{telemetry("01", "03"), telemetry("02", "04")}, 1},
		"telemetry of no time":            {[]mqtt.Message{telemetry("01", "01")}, 1},
		"telemetry":                       {[]mqtt.Message{telemetry("01", "03"), telemetry("03", "04")}, 0},
		"two responses":                   {[]mqtt.Message{response, response}, 1},
	} {
		o, wrong := newOnce(topics), 0
		for m := range slices.Values(c.messages) {
			if o.take(m) != nil {
				wrong++
			}
		}
		if wrong != c.wrong {
			t.Errorf("%s: %d messages are wrong, not %d", name, wrong, c.wrong)
		}
	}
}
