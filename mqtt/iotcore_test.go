package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// The tests of this file run against brokertest.IoTCore, with the policies to be copied.

const policyDir = "../packaging/aws-iot"

func readPolicies(t *testing.T, names ...string) *brokertest.Policy {
	t.Helper()
	var documents [][]byte
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(policyDir, name))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, text)
	}
	p, err := brokertest.ParsePolicy(documents...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// iotSite is a stand-in for AWS IoT Core and an agent of it.
type iotSite struct {
	*brokertest.IoTCore
	t       *testing.T
	policy  *brokertest.Policy
	config  Config
	log     *logBuffer
	desired chan Desired
}

// newIoTSite makes the agent gate-7, whose certificate is of the thing.
func newIoTSite(t *testing.T, thing string) *iotSite {
	t.Helper()
	return newIoTSiteWith(t, thing, readPolicies(t, "policy.json", "shadow-policy.json"))
}

func newIoTSiteWith(t *testing.T, thing string, policy *brokertest.Policy) *iotSite {
	t.Helper()
	s := &iotSite{t: t, policy: policy, log: &logBuffer{lines: make(chan string, 1000)}, desired: make(chan Desired, 100)}
	authority, dir := newAuthority(t), t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var err error
	s.IoTCore, err = brokertest.StartIoTCore(ctx, brokertest.IoTOptions{Authority: authority, Policy: s.policy, Things: []string{"gate-7"}, ALPN: true})
	if errors.Is(err, brokertest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	s.config = Config{
		Profile: AWSIoT, AgentID: "gate-7", Logger: slog.New(slog.NewTextHandler(s.log, nil)),
		Broker: Broker{ClientID: "gate-7", URL: "mqtts://localhost:443", CAFile: writeCA(t, authority, dir)},
		Shadow: &Shadow{Thing: "gate-7", Desire: func(_ context.Context, d Desired) { s.desired <- d }},
	}
	if s.config.Broker.CertFile, s.config.Broker.KeyFile, err = authority.WriteCert(dir, thing); err != nil {
		t.Fatal(err)
	}
	return s
}

// client runs until the test ends, or stop is called.
func (s *iotSite) client() (c *Client, stop func()) {
	s.t.Helper()
	c, err := New(s.config)
	if err != nil {
		s.t.Fatal(err)
	}
	return c, s.run(c)
}

func (s *iotSite) run(c *Client) (stop func()) {
	c.dial = func(ctx context.Context, network, _ string) (net.Conn, error) { // port 443 is where the front is
		return (&net.Dialer{}).DialContext(ctx, network, s.FrontAddr())
	}
	ended := start(c)
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			ended()
		}
	}
	s.t.Cleanup(stop)
	return stop
}

// until waits for the shadow to be as wanted.
func (s *iotSite) until(what string, wanted func(brokertest.ShadowState) bool) brokertest.ShadowState {
	s.t.Helper()
	deadline := time.After(patience)
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		state := s.Shadows.State("gate-7", contract.ShadowName)
		if wanted(state) {
			return state
		}
		select {
		case <-look.C:
		case <-deadline:
			s.t.Fatalf("the shadow does not have %s: %+v\n%v\n%s", what, state, s.Violations(), s.log)
		}
	}
}

func (s *iotSite) nextDesired() Desired {
	s.t.Helper()
	select {
	case d := <-s.desired:
		return d
	case <-time.After(patience):
		s.t.Fatalf("nothing is desired\n%s", s.log)
		return Desired{}
	}
}

func (s *iotSite) noViolations() {
	s.t.Helper()
	if v := s.Violations(); len(v) > 0 {
		s.t.Errorf("AWS IoT Core would have closed the connection, or dropped the message:\n%s", strings.Join(v, "\n"))
	}
}

// Everything that an agent says, and hears, is within the limits and allowed by the policies;
// and they allow nothing else.
func TestThePolicyAllowsWhatTheAgentDoesAndNothingElse(t *testing.T) {
	t.Parallel()
	s := newIoTSite(t, "gate-7")
	s.config.Control = &Control{Enabled: true, Allow: []contract.Verb{contract.VerbStatus}, Executor: echo{}, Clock: func() contract.Clock { return contract.ClockSynced }}
	if err := s.Shadows.Desire("gate-7", contract.ShadowName, `{"config":{"log":{"level":"debug"}}}`); err != nil {
		t.Fatal(err)
	}
	behind := Broker{URL: s.URL()}
	seen := listen(t, behind)
	c, stop := s.client()
	s.nextDesired()
	c.SetInfo(contract.Info{Version: "1", Commands: []string{string(contract.VerbStatus)}})
	c.SetState("door", contract.State{State: contract.Playing})
	c.Event(contract.Event{Code: "agent.started"})
	c.SetShadow(contract.ShadowReported{Version: "1"})
	s.until("the report", func(st brokertest.ShadowState) bool { return st.Reported["version"] == "1" })
	c.Telemetry("door", contract.Telemetry{})
	if err := c.Snapshot("door", make([]byte, maxSnapshot)); err != nil {
		t.Error(err)
	}
	caller := Caller{Broker: behind, Agent: "gate-7"}
	if _, err := caller.Call(t.Context(), contract.VerbStatus, contract.StatusArgs{}); err != nil {
		t.Error(err)
	}
	for _, topic := range []string{c.topics.Info(), c.topics.State("door"), c.topics.Events(), c.topics.Telemetry("door"), c.topics.Snapshot("door")} {
		seen.wait(topic, "")
	}
	// what only happens when something is refused
	s.Shadows.Refuse(func(string) int { return 400 })
	s.updateNow(c)
	c.SetShadow(contract.ShadowReported{Version: "2"})
	waitLine(t, s.log, "shadow.refused")
	s.Shadows.Refuse(func(topic string) int { return map[bool]int{true: 500}[strings.HasSuffix(topic, "/get")] })
	if err := s.Shadows.Desire("gate-7", contract.ShadowName, `{"config":{"log":{"level":"warn"}}}`); err != nil {
		t.Fatal(err)
	}
	waitLine(t, s.log, "500 refused for a test")
	stop()

	s.noViolations()
	if unused := s.policy.Unused(); len(unused) > 0 {
		t.Errorf("the policies allow what the agent does not do:\n%s", strings.Join(unused, "\n"))
	}
	if k := s.KeepAlive(); k != keepAlive {
		t.Errorf("keep-alive %v", k)
	}
}

// updateNow lets the next update go at once.
func (s *iotSite) updateNow(c *Client) {
	c.shadow.mu.Lock()
	defer c.shadow.mu.Unlock()
	c.shadow.nextUpdate = time.Time{}
}

// echo carries out every command by doing nothing.
type echo struct{}

func (echo) Execute(context.Context, contract.Command) (any, error) {
	return contract.StatusData{}, nil
}

// AWS allows a policy 2,048 characters that are no white space.
func TestPoliciesAreSmallEnough(t *testing.T) {
	files, err := filepath.Glob(policyDir + "/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(text) {
			t.Errorf("%s is no JSON", name)
		}
		filled := strings.NewReplacer("REGION", "ap-southeast-2", "ACCOUNT", "123456789012").Replace(string(text))
		if n := len(strings.Join(strings.Fields(filled), "")); n > 2048 {
			t.Errorf("%s has %d characters", name, n)
		}
	}
}

// The certificate of another thing does not let in, and the reason can be found.
func TestTheCertificateOfAnotherThing(t *testing.T) {
	t.Parallel()
	s := newIoTSite(t, "gate-8")
	c, _ := s.client()
	waitLine(t, s.log, "a policy that does not allow the login")
	if c.Status().Connected {
		t.Error("connected")
	}
	if v := s.Violations(); len(v) == 0 || !strings.Contains(v[0], "gate-8") {
		t.Errorf("violations %v", v)
	}
}

// A certificate without the policy of the shadow has no shadow, says so, and all else works.
func TestWithoutThePolicyOfTheShadow(t *testing.T) {
	t.Parallel()
	s := newIoTSiteWith(t, "gate-7", readPolicies(t, "policy.json"))
	seen := listen(t, Broker{URL: s.URL()})
	c, stop := s.client()
	seen.wait(c.topics.Events(), `"code":"mqtt.refused"`)
	c.SetShadow(contract.ShadowReported{Version: "1"})
	c.Event(contract.Event{Code: "agent.started"})
	seen.wait(c.topics.Events(), "agent.started")
	stop()
	if requests := s.Shadows.Requests(); len(requests) > 0 {
		t.Errorf("requests %v", requests)
	}
	for _, v := range s.Violations() {
		if !strings.Contains(v, "does not allow to subscribe to $aws") {
			t.Error(v)
		}
	}
}

// What waited while there was no network goes out at a pace of which the service drops nothing.
func TestABacklogIsWithinTheRate(t *testing.T) {
	t.Parallel()
	s := newIoTSite(t, "gate-7")
	seen := listen(t, Broker{URL: s.URL()})
	c, err := New(s.config)
	if err != nil {
		t.Fatal(err)
	}
	const backlog = 250
	for i := range backlog {
		c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint(i)})
		c.SetState("door", contract.State{Attempt: i})
	}
	s.run(c)
	seen.wait(c.topics.Events(), fmt.Sprintf(`"stream":"%d"`, backlog-1))
	s.noViolations()
	if status := c.Status(); status.Attempts > 0 || status.Err != nil || status.DroppedEvents > 0 {
		t.Errorf("%+v", status)
	}
}

// Without a name in the TLS handshake the service does not speak MQTT on port 443.
func TestTheProtocolIsNamedInTheHandshake(t *testing.T) {
	t.Parallel()
	s := newIoTSite(t, "gate-7")
	s.config.Broker.URL = "mqtts://localhost:8883" // as if it were the other port
	s.client()
	waitLine(t, s.log, "mqtt.tls")
	if v := s.Violations(); len(v) == 0 || !strings.Contains(v[0], "did not name the protocol") {
		t.Errorf("violations %v", v)
	}
}

// An operator makes, changes and takes back what is desired; the agent hears of each, and what
// it reports arrives, also what is no longer there.
func TestShadowIsKept(t *testing.T) {
	t.Parallel()
	s := newIoTSite(t, "gate-7")
	c, _ := s.client()
	if d := s.nextDesired(); d.Config != nil || d.Version != 0 {
		t.Errorf("at first %+v", d)
	}
	streams := func(names ...string) map[string]contract.ShadowStream {
		m := make(map[string]contract.ShadowStream)
		for _, n := range names {
			m[n] = contract.ShadowStream{State: contract.Playing}
		}
		return m
	}
	c.SetShadow(contract.ShadowReported{Version: "1", Streams: streams("door", "yard")})
	s.until("two streams", func(st brokertest.ShadowState) bool {
		all, _ := st.Reported["streams"].(map[string]any)
		return len(all) == 2
	})

	for _, step := range []struct{ desire, want string }{
		{`{"config":{"log":{"level":"debug"},"display":{"show":"door"}}}`, `{"display":{"show":"door"},"log":{"level":"debug"}}`},
		{`{"config":{"display":null}}`, `{"log":{"level":"debug"}}`}, // of which no delta tells
		{`null`, ``},
	} {
		if err := s.Shadows.Desire("gate-7", contract.ShadowName, step.desire); err != nil {
			t.Fatal(err)
		}
		if d := s.nextDesired(); string(d.Config) != step.want || d.Version == 0 {
			t.Errorf("after %s: %s, version %d", step.desire, d.Config, d.Version)
		}
	}

	s.updateNow(c)
	c.SetShadow(contract.ShadowReported{Version: "1", Streams: streams("yard")})
	s.until("one stream", func(st brokertest.ShadowState) bool {
		all, _ := st.Reported["streams"].(map[string]any)
		return len(all) == 1
	})

	// the shadow is deleted, and made again by the next report
	s.Shadows.Delete("gate-7", contract.ShadowName)
	s.updateNow(c)
	c.SetShadow(contract.ShadowReported{Version: "2", Streams: streams("yard")})
	s.until("all of the report", func(st brokertest.ShadowState) bool {
		return st.Reported["version"] == "2" && st.Reported["streams"] != nil
	})
	s.noViolations()
}

// What changes while the agent is away is found at the next connection, and told once.
func TestShadowIsReadAtEveryConnection(t *testing.T) {
	t.Parallel()
	s := newIoTSite(t, "gate-7")
	_, stop := s.client()
	s.nextDesired()
	stop()
	for i := range 3 {
		if err := s.Shadows.Desire("gate-7", contract.ShadowName, fmt.Sprintf(`{"config":{"log":{"level":"%d"}}}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := s.client()
	if d := s.nextDesired(); string(d.Config) != `{"log":{"level":"2"}}` || d.Version != 3 {
		t.Errorf("%s, version %d", d.Config, d.Version)
	}
	// a connection that breaks while something is desired, and nothing changes after that
	s.Cut()
	waitLine(t, s.log, "trying again")
	waitLine(t, s.log, "connected to the MQTT broker")
	c.SetShadow(contract.ShadowReported{Version: "1"})
	s.until("the report", func(st brokertest.ShadowState) bool { return st.Reported["version"] == "1" })
	select {
	case d := <-s.desired:
		t.Errorf("told again: %+v", d)
	default:
	}
	s.noViolations()
}

// The report of an agent that changes all the time costs an update every five seconds.
func TestReportsOnlyWhatHasChanged(t *testing.T) {
	t.Parallel()
	s := newIoTSite(t, "gate-7")
	c, stop := s.client()
	s.nextDesired()
	c.SetShadow(contract.ShadowReported{Version: "1"})
	s.until("the report", func(st brokertest.ShadowState) bool { return st.Reported["version"] == "1" })
	for i := range 50 {
		c.SetShadow(contract.ShadowReported{Version: "1", Shown: fmt.Sprint(i)})
	}
	for range 50 {
		c.SetShadow(contract.ShadowReported{Version: "1"})
	}
	stop()
	if requests := s.Shadows.Requests(); len(requests) > 3 {
		t.Errorf("requests %v", requests)
	}
}

func TestShadowGoldenIsSmall(t *testing.T) {
	text, err := os.ReadFile("contract/testdata/shadow-reported.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > maxShadow/4 {
		t.Errorf("a report with one stream has %d bytes", len(text))
	}
}
