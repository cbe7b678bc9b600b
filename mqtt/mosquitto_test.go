package mqtt

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// The tests of this file run against a real mosquitto.

// patience bounds every wait of these tests. It says nothing about speed.
const patience = 30 * time.Second

// childBroker makes this test binary run a Client against that URL instead of the
// tests; see runReporter.
const childBroker = "MQTT_TEST_CHILD_BROKER"

func TestMain(m *testing.M) {
	if url := os.Getenv(childBroker); url != "" {
		if err := runReporter(url, os.Getenv(childState)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// The parallel tests are those that wait for back-offs and time-outs with a real broker: they
	// need time, not processors.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

func startBroker(t *testing.T, options brokertest.Options) *brokertest.Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := brokertest.Start(ctx, options)
	if errors.Is(err, brokertest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func restart(t *testing.T, b *brokertest.Broker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Restart(ctx); err != nil {
		t.Fatal(err)
	}
}

// newRealClient has a log that can be searched.
func newRealClient(t *testing.T, b Broker) (*Client, *logBuffer) {
	t.Helper()
	log := &logBuffer{lines: make(chan string, 100)}
	c, err := New(Config{Broker: b, AgentID: "gate-7", Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return c, log
}

// logBuffer can be waited on: every line is sent to lines if there is room.
type logBuffer struct {
	mu    sync.Mutex
	text  bytes.Buffer
	lines chan string
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.lines <- string(p):
	default:
	}
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// inbox is a Listener that can be asked for one message after the other, in
// whatever order they came: that of retained messages is up to the broker.
type inbox struct {
	*Listener
	t    *testing.T
	seen []Message // and not asked for
}

func listen(t *testing.T, b Broker) *inbox {
	t.Helper()
	return listenTo(t, b, contract.DefaultPrefix+"/v1/gate-7/#")
}

func listenTo(t *testing.T, b Broker, filter string) *inbox {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l, err := Listen(ctx, b, filter)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		for range l.Messages { // closed once it has stopped
		}
	})
	return &inbox{Listener: l, t: t}
}

// wait returns the first message on the topic that contains text and was not returned before.
func (in *inbox) wait(topic, text string) Message {
	in.t.Helper()
	matches := func(m Message) bool { return m.Topic == topic && bytes.Contains(m.Payload, []byte(text)) }
	if i := slices.IndexFunc(in.seen, matches); i >= 0 {
		m := in.seen[i]
		in.seen = slices.Delete(in.seen, i, i+1)
		return m
	}
	late := time.After(patience)
	for {
		select {
		case m, ok := <-in.Messages:
			if !ok {
				in.t.Fatalf("the listener broke: %v", in.Err())
			}
			if matches(m) {
				return m
			}
			in.seen = append(in.seen, m)
		case <-late:
			in.t.Fatalf("no %q on %s within %s", text, topic, patience)
		}
	}
}

func TestAvailabilityOverACleanStop(t *testing.T) {
	b := startBroker(t, brokertest.Options{})
	broker := Broker{URL: b.URL()}
	in := listen(t, broker)
	c, _ := newRealClient(t, broker)
	stop := start(c)
	in.wait(c.Topics().Availability(), contract.Online)
	stop()
	in.wait(c.Topics().Availability(), contract.Offline)
	if m := listen(t, broker).wait(c.Topics().Availability(), ""); string(m.Payload) != contract.Offline || !m.Retained {
		t.Errorf("retained: %+v", m)
	}
	if log := b.Log(); strings.Contains(log, "closed its connection") || strings.Contains(log, "Socket error") {
		t.Errorf("the client left without DISCONNECT:\n%s", log)
	}
}

func TestTheBrokerSaysOfflineForAKilledAgent(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	broker := Broker{URL: b.URL()}
	in := listen(t, broker)
	child := startReporter(t, b.URL(), t.TempDir(), 0, 0)
	in.wait(contract.DefaultPrefix+"/v1/gate-7/availability", contract.Online)
	child.kill()
	in.wait(contract.DefaultPrefix+"/v1/gate-7/availability", contract.Offline)
}

// The broker forgets everything; the client brings it back, and what happened meanwhile.
func TestABrokerRestartLosesNothing(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	broker := Broker{URL: b.URL()}
	c, log := newRealClient(t, broker)
	gate := newGate(c)
	defer start(c)()
	c.SetInfo(contract.Info{Version: "1.2.3"})
	c.SetState("door", contract.State{State: contract.Playing})
	in := listen(t, broker)
	in.wait(c.Topics().Availability(), contract.Online)
	in.wait(c.Topics().Info(), `"1.2.3"`)
	in.wait(c.Topics().State("door"), `"playing"`)

	open := gate.shut()
	defer open()
	b.Kill()
	waitLine(t, log, "trying again")
	c.SetState("door", contract.State{State: contract.Stalled})
	c.Event(contract.Event{Code: "ingest.stall", Stream: "door"})
	c.Telemetry("door", contract.Telemetry{})
	restart(t, b)

	in = listen(t, broker)
	open()
	in.wait(c.Topics().Availability(), contract.Online)
	in.wait(c.Topics().Info(), `"1.2.3"`)
	in.wait(c.Topics().State("door"), `"stalled"`)
	in.wait(c.Topics().Events(), `"ingest.stall"`)
	in.wait(c.Topics().Events(), `"mqtt.unreachable"`)
	if s := c.Status(); s.DroppedTelemetry != 1 {
		t.Errorf("Status %+v", s)
	}
}

func waitLine(t *testing.T, log *logBuffer, text string) {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case line := <-log.lines:
			if strings.Contains(line, text) {
				return
			}
		case <-late:
			t.Fatalf("no %q in the log:\n%s", text, log)
		}
	}
}

// gate holds connecting back while it is closed: a broker that was restarted
// keeps no events for a subscriber that comes after the client.
type gate struct {
	mu   sync.Mutex
	open chan struct{}
}

func newGate(c *Client) *gate {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	dial := c.dial
	c.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		g.mu.Lock()
		open := g.open
		g.mu.Unlock()
		select {
		case <-open:
			return dial(ctx, network, address)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return g
}

// shut closes the gate and returns what opens it.
func (g *gate) shut() (open func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
	return sync.OnceFunc(func() { close(g.open) })
}

// The broker hangs with events on the way, is killed, and comes back empty.
func TestEventsSurviveABrokerThatIsKilled(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	broker := Broker{URL: b.URL()}
	c, _ := newRealClient(t, broker)
	gate := newGate(c)
	in := listen(t, broker)
	defer start(c)()
	const rounds, perRound = 2, 200
	for round := range rounds {
		in.wait(c.Topics().Availability(), contract.Online)
		if err := b.Pause(); err != nil {
			t.Fatal(err)
		}
		open := gate.shut()
		defer open()
		for i := range perRound {
			c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprintf("round-%d-%d", round, i)})
		}
		b.Kill()
		restart(t, b)
		in = listen(t, broker)
		open()
		for i := range perRound {
			in.wait(c.Topics().Events(), fmt.Sprintf(`"round-%d-%d"`, round, i))
		}
	}
}

func TestAWrongPasswordIsNamedAndNeverShown(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{Username: "gate", Password: "right-canary"})
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("wrong-canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := Broker{URL: b.URL(), Username: "gate", PasswordFile: file}
	c, log := newRealClient(t, broker)
	gate := newGate(c)
	defer start(c)()
	waitLine(t, log, "trying again")
	open := gate.shut()
	defer open()
	var coded *contract.Error
	s := c.Status()
	if !errors.As(s.Err, &coded) || coded.Code != "mqtt.refused" || !strings.Contains(s.Err.Error(), "refused the login") {
		t.Errorf("Status %+v", s)
	}

	// The right one is picked up without a restart, and the refusal is reported.
	if err := os.WriteFile(file, []byte("right-canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	in := listen(t, broker)
	open()
	event := in.wait(c.Topics().Events(), "mqtt.refused")
	shown := log.String() + s.Err.Error() + fmt.Sprintf("%+v", c.Status()) + string(event.Payload) + b.Log()
	if strings.Contains(shown, "canary") {
		t.Errorf("a password is shown:\n%s", shown)
	}
}

func TestWithoutABrokerTheClientKeepsTryingAndSaysWhy(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	b.Kill()
	c, log := newRealClient(t, Broker{URL: b.URL()})
	defer start(c)()
	waitLine(t, log, "trying again")
	waitLine(t, log, "trying again")
	var coded *contract.Error
	s := c.Status()
	if !errors.As(s.Err, &coded) || coded.Code != "mqtt.unreachable" || !strings.Contains(s.Err.Error(), "connection refused") || s.Attempts < 2 {
		t.Errorf("Status %+v", s)
	}
	restart(t, b)
	waitLine(t, log, "connected to the MQTT broker")
}

func TestListen(t *testing.T) {
	b := startBroker(t, brokertest.Options{})
	if _, err := Listen(t.Context(), Broker{URL: b.URL()}, "not/a#/filter"); err == nil {
		t.Error("a filter that is none is accepted")
	}
	in := listen(t, Broker{URL: b.URL()})
	b.Kill()
	for range in.Messages { // closed because the connection broke
	}
	if in.Err() == nil {
		t.Error("Err is nil after the broker died")
	}
}
