// Package mqtt tells the outside world about one agent, and the agent what the outside
// world wants of it.
//
// In: what the agent reports (Info, State, Telemetry, Event), from any
// goroutine; no call blocks on the network. Out: the messages of docs/mqtt.md
// on an MQTT 3.1.1 broker. The other way round, commands from the broker are
// admitted or rejected and, one at a time, carried out by the agent's Executor.
//
// The Client owns the connection, everything still to be sent, and the files in
// StateDir. Run keeps the connection on the goroutine that calls it. It starts two
// more and waits for them: one copies events to the disk, one carries out commands.
// Those of the paho library live as long as one connection and end before the next.
//
// A message takes this way:
//
//	SetInfo, SetState, Telemetry, Snapshot ──▶ pending ─┐
//	                                  ▲                 ├─▶ Run: drain ─▶ link.send ─▶ broker
//	                                  │ responses       │
//	Event ──▶ repeats ──▶ outbox ─────┼─────────────────┘
//	                        │ keep    │
//	                        ▼         │
//	                      store ◀── control ◀── queue ◀── cmd/+ ◀── broker
//	                                  │ ▲
//	                                  ▼ │
//	                                Executor
//
// At AWS IoT Core (Config.Profile) messages stay within the limits of the service, and requests to
// its device shadow (Config.Shadow) go between those of pending and the events; what the shadow
// desires takes the place of a command, and Shadow.Desire that of the Executor.
//
// The other end is here too: Listen and Watch hear agents, Caller commands one.
//
// Read contract first, then client.go, events.go and control.go, in the order of a message.
package mqtt

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

const (
	// minRetry is the least time between two attempts to connect; AWS IoT Core
	// allows one CONNECT a second for a client id.
	minRetry = 1 * time.Second
	maxRetry = 60 * time.Second
	// stableAfter is how long a connection has to last for the back-off to start again.
	stableAfter = 30 * time.Second
	// flapsAfter is how many connections in a row that do not last are too many.
	flapsAfter = 3
	// farewellTimeout bounds what is sent after Run was told to stop. With
	// handoverTimeout and goodbyeTimeout at worst, Run ends within 2 s.
	farewellTimeout = 700 * time.Millisecond
	// lastWordTimeout is how much of that a command that is cut off may take to end.
	lastWordTimeout = farewellTimeout / 2
)

// Client publishes for one agent. All its methods are safe for concurrent use
// and none but Run blocks on the network.
type Client struct {
	config Config
	id     string // at the broker
	topics contract.Topics
	log    *slog.Logger
	dial   dialFunc
	bounds bounds // what the broker takes

	pending pending
	outbox  *outbox
	store   *store // nil: nothing outlives the process
	streams *streams
	control *control      // nil: commands are not listened to
	shadow  *shadow       // nil: no device shadow is kept
	home    *home         // nil: Home Assistant is told nothing
	wake    chan struct{} // has room for one: something is to be sent
	obeyed  chan struct{} // closed when the last command has ended
	cursor  uint64        // Run's own: the last event sent on this connection

	retain retainCheck // Run's own

	mu      sync.Mutex // guards what follows
	repeats repeats
	outage  tally // attempts that failed and were not yet reported
	status  Status
}

// New checks the configuration and opens the files in StateDir, which Run closes.
// Its errors have the code mqtt.config; files that cannot be used are none, but
// reported as mqtt.storage.
func New(config Config) (*Client, error) {
	config.Prefix = cmp.Or(config.Prefix, contract.DefaultPrefix)
	topics, err := contract.NewTopics(config.Prefix, config.AgentID)
	if err != nil {
		return nil, err
	}
	if _, err := config.Broker.check(); err != nil {
		return nil, err
	}
	if err := errors.Join(config.checkProfile(), config.HomeAssistant.check()); err != nil {
		return nil, err
	}
	c := &Client{
		config: config,
		id:     cmp.Or(config.Broker.ClientID, config.Prefix+"-"+config.AgentID),
		topics: topics,
		bounds: config.Profile.bounds(),
		log:    cmp.Or(config.Logger, slog.Default()),
		dial:   (&net.Dialer{}).DialContext,
		outbox: newOutbox(defaultLimits),
		wake:   make(chan struct{}, 1),
		obeyed: make(chan struct{}),
		status: Status{Since: time.Now()},
	}
	held := c.openStore(config.StateDir)
	c.streams = &streams{store: c.store, retained: held.streams}
	if config.Control != nil {
		c.control = newControl(*config.Control, newRecords(c.store, held.records))
	}
	if config.Shadow != nil {
		c.shadow = newShadow(config.Shadow.Thing, c.wake, c.noteShadow)
	}
	c.pending.every = c.bounds.retainEvery
	c.pending.take(topics.Availability())                         // an agent that has just stopped may have said "offline"
	c.pending.set(topics.Availability(), []byte(contract.Online)) // set first, so it goes first
	c.setHome(held.told)
	return c, nil
}

// Topics returns the agent's topic names.
func (c *Client) Topics() contract.Topics { return c.topics }

// Run connects and publishes until ctx ends, and connects again whenever the
// connection breaks. When ctx ends it publishes "offline", then what is still
// waiting, stores the rest and returns, all within 2 s unless the disk hangs. Call it
// once. It always returns nil: what goes wrong is logged, stands in Status and is
// reported as an event afterwards.
func (c *Client) Run(ctx context.Context) error {
	connected, disconnected := context.WithCancel(context.WithoutCancel(ctx))
	var keeping sync.WaitGroup
	keeping.Go(func() { c.keep(connected) })
	go func() {
		defer close(c.obeyed)
		c.obey(ctx)
	}()
	c.connect(ctx)
	<-c.obeyed
	c.putHeld()
	disconnected()
	keeping.Wait()
	c.closeStore()
	return nil
}

// connect holds a connection until ctx ends.
func (c *Client) connect(ctx context.Context) {
	retry := newBackOff()
	short := 0 // connections in a row that did not last
	for {
		lasted, err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		switch {
		case lasted > stableAfter:
			retry.Reset()
			short = 0
		case lasted > 0:
			short++
		}
		wait := retry.NextBackOff()
		c.noteFailure(err, wait)
		if short >= flapsAfter && !c.retain.refused() {
			c.noteFlapping(short)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// newBackOff waits 1 to 3 s, then 2 to 6 s and so on. It is spread by half, so
// that a fleet does not come back all at once, and never below minRetry.
func newBackOff() *backoff.ExponentialBackOff {
	return &backoff.ExponentialBackOff{InitialInterval: 2 * minRetry, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: maxRetry}
}

// once is one connection from its beginning to its end. It lasted no time when there
// was none.
func (c *Client) once(ctx context.Context) (lasted time.Duration, err error) {
	c.log.Debug("connecting to the MQTT broker", "broker", c.config.Broker.URL, "client_id", c.id)
	l, err := c.login(ctx)
	if err != nil {
		return 0, err
	}
	l.pace = c.bounds.pace()
	began := time.Now()
	c.pending.open()
	c.cursor = 0
	c.noteConnected(l.addr)
	if err = c.subscribe(ctx, l); err == nil {
		err = c.serve(ctx, l)
	}
	if ctx.Err() == nil {
		l.close(false)
	} else {
		l.close(c.farewell(ctx, l))
		c.noteStopped()
	}
	l.settle()
	err = c.ended(l, err)
	c.pending.close()
	if c.shadow != nil {
		c.shadow.close()
	}
	return max(time.Since(began), 1), err
}

// subscribe asks for what the client listens to: not for commands while they are disabled.
func (c *Client) subscribe(ctx context.Context, l *link) (err error) {
	if c.control != nil && c.control.rules.Enabled {
		err = c.subscribeTo(ctx, l, c.topics.Commands(), contract.MaxCommand, c.control.receive, "no commands will arrive")
	}
	if c.home != nil && err == nil {
		err = c.subscribeTo(ctx, l, c.home.birth, maxBirth, c.receiveBirth, "starts of Home Assistant will not be noticed")
	}
	if c.shadow != nil && err == nil {
		err = c.subscribeShadow(ctx, l)
	}
	return err
}

// subscribeTo asks for one filter. A broker that does not grant it is of use all the same,
// so that is reported, with what follows from it, and the connection kept.
func (c *Client) subscribeTo(ctx context.Context, l *link, filter string, limit int, handler paho.MessageHandler, without string) error {
	err := l.subscribe(ctx, filter, limit, handler)
	var coded *contract.Error
	if errors.As(err, &coded) && coded.Code == "mqtt.refused" {
		c.log.Error(without, "code", coded.Code, "err", err)
		c.Event(contract.Event{Code: coded.Code, Message: err.Error()})
		return nil
	}
	if err == nil {
		c.log.Debug("subscribed", "filter", filter)
	}
	return err
}

// serve publishes what comes until the link breaks or ctx ends.
func (c *Client) serve(ctx context.Context, l *link) error {
	for {
		if err := c.drain(ctx, l); err != nil {
			return err
		}
		var shadowDue <-chan time.Time
		if c.shadow != nil {
			shadowDue = c.shadow.due()
		}
		select {
		case <-c.wake:
		case <-c.repeatsDue():
		case <-c.pending.held():
		case <-shadowDue:
		case err := <-l.lost:
			return l.breaks(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drain publishes everything that waits, and what comes meanwhile, a window of it at a time. An event stays
// in the outbox until it is confirmed.
func (c *Client) drain(ctx context.Context, l *link) error {
	for {
		c.putDueRepeats() // there may always be something to confirm
		if err := c.fill(l); err != nil {
			return err
		}
		if len(l.inflight) == 0 {
			return nil
		}
		if err := l.confirm(ctx, c.wake); err != nil {
			return err
		}
	}
}

// fill sends until the window is full or nothing waits, no faster than the broker takes it.
func (c *Client) fill(l *link) error {
	for len(l.inflight) < maxInflight {
		m, sent, ok := c.next()
		if !ok {
			return nil
		}
		if err := c.bounds.admit(m); err != nil {
			c.noteUnfit(err)
			sent() // so that it does not come again
			continue
		}
		time.Sleep(l.pace.Reserve().Delay()) // a few milliseconds at most
		c.log.Debug("publishing", "topic", m.topic, "qos", m.qos, "bytes", len(m.payload))
		if _, err := l.send(m, func() { sent(); c.notePublished() }); err != nil {
			return err
		}
	}
	return nil
}

// next takes the next message and says what to call once it is sent. Events come
// last: the others are few and bounded.
func (c *Client) next() (m message, sent func(), ok bool) {
	if m, sent, ok = c.pending.next(); ok {
		return m, sent, true
	}
	if c.shadow != nil {
		if m, ok = c.shadow.next(time.Now()); ok {
			return m, func() {}, true
		}
	}
	for {
		e, ok := c.outbox.after(c.cursor)
		if !ok && c.outbox.reportDropped(droppedEvent) {
			e, ok = c.outbox.after(c.cursor)
		}
		if !ok {
			return message{}, nil, false
		}
		c.cursor = e.seq
		m = message{topic: c.topics.Events(), qos: 1, payload: e.payload}
		if err := c.bounds.admit(m); err == nil {
			return m, func() { c.outbox.remove(e.seq) }, true
		}
		c.outbox.drop(e.seq)
	}
}

// farewell publishes "offline", then what is left, and tells whether the broker
// has confirmed "offline". If not, the will has to say it.
func (c *Client) farewell(ctx context.Context, l *link) (confirmed bool) {
	offline := message{topic: c.topics.Availability(), qos: 1, retained: true, payload: []byte(contract.Offline)}
	time.Sleep(c.pending.hold(offline.topic))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellTimeout)
	defer cancel()
	d, err := l.send(offline, c.notePublished)
	if err == nil {
		err = l.awaitDelivery(ctx, d)
	}
	if err != nil {
		c.log.Warn("could not sign off from the MQTT broker, which will do it for us", "code", "mqtt.unreachable", "err", err)
		return false
	}
	c.pending.forget(c.topics.Availability()) // "online", should it still wait
	select {
	case <-c.obeyed: // so that its last response and its last count are sent too
	case <-time.After(lastWordTimeout):
	case <-ctx.Done():
	}
	c.putAllRepeats()
	if err := c.drain(ctx, l); err != nil {
		c.log.Info("stopped before the broker confirmed everything", "err", err)
	}
	return true
}

// SetInfo publishes what the agent is.
func (c *Client) SetInfo(info contract.Info) {
	info.Decoders = append([]contract.Decoder{}, info.Decoders...) // [] rather than null
	info.Displays = append([]contract.Display{}, info.Displays...)
	info.PassedOver = append([]string{}, info.PassedOver...)
	info.Commands = append([]string{}, info.Commands...)
	c.tellInfo(info) // first: what it announces is then followed by its state
	c.setRetained(c.topics.Info(), info)
}

// SetState publishes where a stream stands. The stream's name must satisfy ValidName.
func (c *Client) SetState(stream string, state contract.State) {
	if c.validStream(stream) {
		c.setRetained(c.topics.State(stream), state)
	}
}

func (c *Client) setRetained(topic string, payload any) {
	if text, ok := c.marshal(topic, payload); ok {
		c.pending.set(topic, text)
		nudge(c.wake)
	}
}

// Telemetry publishes what happened to a stream. Without a connection it is
// dropped and counted. The stream's name must satisfy ValidName.
func (c *Client) Telemetry(stream string, telemetry contract.Telemetry) {
	if !c.validStream(stream) {
		return
	}
	topic := c.topics.Telemetry(stream)
	if text, ok := c.marshal(topic, telemetry); ok {
		c.pending.add(message{topic: topic, payload: text})
		nudge(c.wake)
	}
}

func (c *Client) validStream(stream string) bool {
	err := contract.ValidName(stream)
	if err != nil {
		c.log.Error("a stream name cannot be used in topics, nothing is published for it", "code", "internal", "stream", stream, "err", err)
	}
	return err == nil
}

// marshal fails only on values that JSON does not have, such as NaN.
func (c *Client) marshal(topic string, payload any) ([]byte, bool) {
	text, err := json.Marshal(payload)
	if err != nil {
		c.log.Error("a value cannot be published", "code", "internal", "topic", topic, "err", err)
	}
	return text, err == nil
}
