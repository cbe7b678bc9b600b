package mqtt

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/uuid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// AgentView is what an agent has said of itself.
type AgentView struct {
	ID        string
	Online    bool
	Info      contract.Info
	Streams   []StreamView   // by name
	LastEvent contract.Event // Code "" when none came since the watch began
}

// StreamView is what an agent has said of a stream.
type StreamView struct {
	Name      string
	State     contract.State
	Telemetry contract.Telemetry // To is zero when none came since the watch began
}

// What a Fleet remembers at most; agents and streams beyond are not seen.
const (
	maxAgents       = 10_000
	maxAgentStreams = 256
)

// Fleet is the newest that the agents on a broker have said. Safe for concurrent use.
type Fleet struct {
	broker  Broker
	prefix  string
	changed chan struct{}
	ended   chan struct{}

	mu     sync.Mutex
	agents map[string]*watched
	err    error
}

// watched is an AgentView that grows.
type watched struct {
	view    AgentView
	streams map[string]*StreamView
}

// Watch follows all agents below a prefix ("" means DefaultPrefix) and returns once the broker
// has granted the subscriptions. One goroutine keeps the connection until ctx ends, and opens
// another when it breaks.
func Watch(ctx context.Context, b Broker, prefix string) (*Fleet, error) {
	prefix = cmp.Or(prefix, contract.DefaultPrefix)
	if err := contract.ValidName(prefix); err != nil {
		return nil, contract.ConfigError("topic_prefix %q cannot be used in topics: %w", prefix, err)
	}
	f := newFleet()
	f.broker, f.prefix = b, prefix
	l, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	go f.keep(ctx, l)
	return f, nil
}

func newFleet() *Fleet {
	return &Fleet{changed: make(chan struct{}, 1), ended: make(chan struct{}), agents: make(map[string]*watched)}
}

// open connects and subscribes. What the agents said before is forgotten: the broker brings what is still true.
func (f *Fleet) open(ctx context.Context) (*link, error) {
	l, err := openLink(ctx, f.broker, (&net.Dialer{}).DialContext, cmp.Or(f.broker.ClientID, "watch-"+uuid.NewString()), nil)
	if err != nil {
		return nil, err
	}
	f.forget()
	all := contract.OfEveryAgent(f.prefix)
	for _, filter := range []string{all.Availability(), all.Info(), all.Events(), all.State("+"), all.Telemetry("+")} {
		if err := l.subscribe(ctx, filter, maxAnswer, f.receive); err != nil {
			l.close(true)
			return nil, err
		}
	}
	return l, nil
}

// keep holds a connection until ctx ends.
func (f *Fleet) keep(ctx context.Context, l *link) {
	defer close(f.ended)
	for l != nil {
		select {
		case <-ctx.Done():
			l.close(true)
			return
		case err := <-l.lost:
			l.close(false)
			f.note(l.lostError(err))
		}
		l = f.reopen(ctx)
	}
}

// reopen tries until there is a connection again; nil when ctx ends before that.
func (f *Fleet) reopen(ctx context.Context) *link {
	retry := newBackOff()
	for {
		select {
		case <-time.After(retry.NextBackOff()):
		case <-ctx.Done():
			return nil
		}
		l, err := f.open(ctx)
		if ctx.Err() == nil {
			f.note(err)
		}
		if err == nil {
			return l
		}
	}
}

func (f *Fleet) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.agents = make(map[string]*watched)
}

func (f *Fleet) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	nudge(f.changed)
}

// Changed has something to receive when Agents or Err differs from what it was.
func (f *Fleet) Changed() <-chan struct{} { return f.changed }

// Ended is closed when ctx has ended and nothing more will come.
func (f *Fleet) Ended() <-chan struct{} { return f.ended }

// Err is why there is no connection now; nil while there is one. Agents is then what they said before.
func (f *Fleet) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Agents returns all agents by id.
func (f *Fleet) Agents() []AgentView {
	f.mu.Lock()
	defer f.mu.Unlock()
	var views []AgentView
	for _, id := range slices.Sorted(maps.Keys(f.agents)) {
		a := f.agents[id]
		view := a.view
		for _, name := range slices.Sorted(maps.Keys(a.streams)) {
			view.Streams = append(view.Streams, *a.streams[name])
		}
		views = append(views, view)
	}
	return views
}

// receive runs on paho's goroutine and must not block.
func (f *Fleet) receive(_ paho.Client, m paho.Message) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.apply(m.Topic(), m.Payload()) {
		nudge(f.changed)
	}
}

// apply takes in one message and tells whether it was of use. An empty payload means
// that the broker has been told to forget.
func (f *Fleet) apply(topic string, payload []byte) bool {
	levels := strings.Split(topic, "/") // <prefix> v1 <agent> …
	if len(levels) < 4 {
		return false
	}
	id, what := levels[2], levels[3:]
	if len(payload) == 0 && f.agents[id] == nil {
		return false // what is left of an agent that is gone
	}
	if len(payload) == 0 && what[0] == "availability" {
		delete(f.agents, id)
		return true
	}
	a := f.agent(id)
	switch {
	case a == nil || len(payload) == 0 && what[0] != "streams":
		return false
	case what[0] == "availability":
		a.view.Online = string(payload) == contract.Online
		return true
	case what[0] == "info":
		return replaceBy(&a.view.Info, payload)
	case what[0] == "events":
		return replaceBy(&a.view.LastEvent, payload)
	case what[0] == "streams" && len(what) == 3:
		return a.apply(what[1], what[2], payload)
	}
	return false
}

func (f *Fleet) agent(id string) *watched {
	a := f.agents[id]
	if a == nil && len(f.agents) < maxAgents {
		a = &watched{view: AgentView{ID: id}, streams: make(map[string]*StreamView)}
		f.agents[id] = a
	}
	return a
}

func (a *watched) apply(stream, what string, payload []byte) bool {
	if len(payload) == 0 {
		delete(a.streams, stream)
		return true
	}
	s := a.streams[stream]
	if s == nil {
		if len(a.streams) == maxAgentStreams {
			return false
		}
		s = &StreamView{Name: stream}
		a.streams[stream] = s
	}
	if what == "state" {
		return replaceBy(&s.State, payload)
	}
	return replaceBy(&s.Telemetry, payload)
}

// replaceBy decodes a payload, leaving nothing of the old value.
func replaceBy[T any](into *T, payload []byte) bool {
	var fresh T
	if json.Unmarshal(payload, &fresh) != nil {
		return false
	}
	*into = fresh
	return true
}
