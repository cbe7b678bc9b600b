package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

// obedient runs a client that obeys on a real broker, and returns who commands it.
func obedient(t *testing.T, h *hands, change func(*Control)) (Caller, *Client) {
	t.Helper()
	b := startBroker(t, brokertest.Options{})
	c := newObedient(t, b, h, change)
	in := listen(t, c.config.Broker)
	t.Cleanup(start(c))
	in.wait(c.Topics().Availability(), contract.Online)
	return Caller{Broker: c.config.Broker, Agent: "gate-7"}, c
}

// newObedient makes a client that obeys.
func newObedient(t *testing.T, b *brokertest.Broker, h *hands, change func(*Control)) *Client {
	t.Helper()
	control := &Control{Enabled: true, Allow: contract.Verbs(), Executor: h, Clock: func() contract.Clock { return contract.ClockSynced }}
	if change != nil {
		change(control)
	}
	c, err := New(Config{Broker: Broker{URL: b.URL()}, AgentID: "gate-7", StateDir: t.TempDir(), Control: control, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func callContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func TestCall(t *testing.T) {
	h := &hands{}
	caller, _ := obedient(t, h, nil)
	var progress []contract.Response
	caller.Progress = func(r contract.Response) { progress = append(progress, r) }
	r, err := caller.Call(callContext(t), contract.VerbSeek, contract.SeekArgs{Stream: "door", To: "earliest"})
	if err != nil || r.Status != contract.StatusSucceeded {
		t.Fatalf("%+v, %v", r, err)
	}
	if a := h.done[0].Args.(*contract.SeekArgs); a.To != "earliest" {
		t.Errorf("done %+v", a)
	}
	if len(progress) != 1 || progress[0].Status != contract.StatusInProgress {
		t.Errorf("progress %+v", progress)
	}
	r, err = caller.Call(callContext(t), contract.VerbSeek, contract.SeekArgs{Stream: "door", To: "nowhere"})
	if err != nil || r.Status != contract.StatusRejected || r.Code != "control.malformed" || !strings.Contains(r.Reason, "nowhere") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := caller.Call(callContext(t), contract.VerbStatus, nil); err != nil || r.Status != contract.StatusSucceeded {
		t.Errorf("without args: %+v, %v", r, err)
	}
}

func TestCallWithASignature(t *testing.T) {
	private, err := secret.ParsePrivateKey(contracttest.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	public, err := secret.ParsePublicKey(contracttest.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	caller, _ := obedient(t, &hands{}, func(c *Control) { c.PublicKeys = append(c.PublicKeys, public) })
	if r, err := caller.Call(callContext(t), contract.VerbStatus, nil); err != nil || r.Code != "control.signature" {
		t.Errorf("without: %+v, %v", r, err)
	}
	caller.Key = private
	if r, err := caller.Call(callContext(t), contract.VerbStatus, nil); err != nil || r.Status != contract.StatusSucceeded {
		t.Errorf("with: %+v, %v", r, err)
	}
}

func TestCallForASnapshot(t *testing.T) {
	picture := bytes.Repeat([]byte{0xff, 0xd8}, 50<<10/2)
	var client *Client
	h := &hands{do: func(context.Context, contract.Command) (any, error) {
		return contract.SnapshotData{Stream: "door", Bytes: len(picture), SHA256: sum(picture)}, client.Snapshot("door", picture)
	}}
	caller, c := obedient(t, h, nil)
	client = c
	jpeg, r, err := caller.Snapshot(callContext(t), "door")
	if err != nil || r.Status != contract.StatusSucceeded || !bytes.Equal(jpeg, picture) {
		t.Errorf("%d bytes, %+v, %v", len(jpeg), r, err)
	}
}

func TestCallsWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	caller, _ := obedient(t, &hands{}, nil)
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		t.Cleanup(cancel)
		return ctx
	}
	nobody := caller
	nobody.Agent = "gate-8"
	_, err := nobody.Call(short(), contract.VerbStatus, nil)
	wantCode(t, err, "control.no_answer")

	gone, err := New(Config{Broker: caller.Broker, AgentID: "gate-9"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fleet, err := Watch(ctx, caller.Broker, "")
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	defer func() { cancel(); <-fleet.Ended() }()
	stop := start(gone)
	waitFleet(t, fleet, "gate-9", func(agents []AgentView) bool { return len(agents) == 2 && agents[1].Online })
	stop()
	nobody.Agent = "gate-9"
	_, err = nobody.Call(callContext(t), contract.VerbStatus, nil)
	wantCode(t, err, "control.offline")

	nobody.Agent = "Gate 9"
	_, err = nobody.Call(callContext(t), contract.VerbStatus, nil)
	wantCode(t, err, "mqtt.config")
	_, err = caller.Call(callContext(t), "shell", nil)
	wantCode(t, err, "control.unknown")
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var coded *contract.Error
	if !errors.As(err, &coded) || coded.Code != code {
		t.Errorf("err = %v, want code %s", err, code)
	}
}

// The broker is killed while a command is carried out: it is answered all the same, and done once.
func TestACallSurvivesABrokerRestart(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	begun, goOn := make(chan struct{}), make(chan struct{})
	h := &hands{do: func(context.Context, contract.Command) (any, error) {
		close(begun)
		<-goOn
		return contract.StreamData{Stream: "door", State: contract.Starting}, nil
	}}
	c := newObedient(t, b, h, nil)
	in := listen(t, c.config.Broker)
	defer start(c)()
	in.wait(c.Topics().Availability(), contract.Online)
	var lost []error
	caller := Caller{Broker: c.config.Broker, Agent: "gate-7", Lost: func(err error) { lost = append(lost, err) }}
	answer := make(chan error)
	var r contract.Response
	go func() {
		var err error
		r, err = caller.Call(callContext(t), contract.VerbRestart, contract.StreamArgs{Stream: "door"})
		answer <- err
	}()
	<-begun
	b.Kill()
	close(goOn) // nobody hears what came of it
	restart(t, b)
	if err := <-answer; err != nil || r.Status != contract.StatusSucceeded || !bytes.Contains(r.Data, []byte(`"starting"`)) {
		t.Errorf("%+v %s, %v", r, r.Data, err)
	}
	if len(lost) == 0 || h.times() != 1 {
		t.Errorf("lost %v, done %d times", lost, h.times())
	}
}

// An agent that is not there when the command is sent gets it when it comes.
func TestACallWaitsForAnAgentThatIsReconnecting(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	h := &hands{}
	c := newObedient(t, b, h, nil)
	open := newGate(c).shut()
	defer start(c)()
	defer open()
	sender := listen(t, c.config.Broker)
	answer := make(chan error)
	go func() {
		_, err := Caller{Broker: c.config.Broker, Agent: "gate-7"}.Call(callContext(t), contract.VerbStop, contract.StreamArgs{Stream: "door"})
		answer <- err
	}()
	sender.wait(c.Topics().Command(contract.VerbStop), "door") // which nobody else has heard
	open()
	if err := <-answer; err != nil || h.times() != 1 {
		t.Errorf("err = %v, done %d times", err, h.times())
	}
}

// Wherever the caller's connection is cut, the command is done once and answered.
func TestACallSurvivesACutAtAnyByte(t *testing.T) {
	t.Parallel()
	const step, most = 31, 900 // of about 850 bytes from CONNECT to the last response
	b := startBroker(t, brokertest.Options{})
	var calls sync.WaitGroup // all at once: each waits a second or more before it connects again
	defer calls.Wait()
	for at := 1; at < most; at += step {
		h := &hands{}
		c, err := New(Config{
			Broker: Broker{URL: b.URL()}, AgentID: fmt.Sprint("gate-", at), Logger: slog.New(slog.DiscardHandler),
			Control: &Control{Enabled: true, Allow: contract.Verbs(), Executor: h, Clock: func() contract.Clock { return contract.ClockSynced }},
		})
		if err != nil {
			t.Fatal(err)
		}
		in := listenTo(t, c.config.Broker, c.Topics().Availability())
		t.Cleanup(start(c))
		in.wait(c.Topics().Availability(), contract.Online)
		proxy, ctx := startProxy(t, b), callContext(t)
		proxy.CutAfter(at)
		calls.Go(func() {
			caller := Caller{Broker: Broker{URL: "mqtt://" + proxy.Addr()}, Agent: c.config.AgentID}
			r, err := caller.Call(ctx, contract.VerbRestart, contract.StreamArgs{Stream: "door"})
			if isBroken(err) && at < 80 { // before there was a connection
				return
			}
			if err != nil || r.Status != contract.StatusSucceeded || h.times() != 1 {
				t.Errorf("cut behind byte %d: %+v, %v, done %d times", at, r, err, h.times())
			}
		})
	}
}

// An agent that is said to be offline is so, unless that may come of the break that the caller saw too.
func TestOfflineIsAnAnswerUntilTheConnectionBreaks(t *testing.T) {
	k, err := Caller{Agent: "gate-7"}.newCall(t.Context(), contract.VerbStatus, nil)
	if err != nil {
		t.Fatal(err)
	}
	offline := Message{Topic: k.topics.Availability(), Payload: []byte(contract.Offline), Retained: true}
	_, _, err = k.take(t.Context(), nil, offline)
	wantCode(t, err, "control.offline")
	k.lost = errRefused
	if _, done, err := k.take(t.Context(), nil, offline); done || err != nil {
		t.Errorf("after a break: %v, %v", done, err)
	}
}

func TestACallWhoseBrokerStaysAway(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	caller := Caller{Broker: Broker{URL: b.URL()}, Agent: "gate-7"}
	lost := make(chan struct{}, 1)
	caller.Lost = func(error) { nudge(lost) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in := listen(t, caller.Broker)
	answer := make(chan error)
	go func() {
		_, err := caller.Call(ctx, contract.VerbStatus, nil)
		answer <- err
	}()
	in.wait(contract.DefaultPrefix+"/v1/gate-7/cmd/status", "id")
	b.Kill()
	<-lost
	cancel()
	err := <-answer
	wantCode(t, err, "control.no_answer")
	if !strings.Contains(err.Error(), "the broker at 127.0.0.1") {
		t.Errorf("err = %v", err)
	}
	_, err = caller.Call(callContext(t), contract.VerbStatus, nil) // and one that never had it
	wantCode(t, err, "mqtt.unreachable")
}

func TestAWatchSurvivesABrokerRestart(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	c := newObedient(t, b, &hands{}, nil)
	defer start(c)()
	ctx, cancel := context.WithCancel(t.Context())
	fleet, err := Watch(ctx, c.config.Broker, "")
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	defer func() { cancel(); <-fleet.Ended() }()
	there := func(agents []AgentView) bool { return fleet.Err() == nil && len(agents) == 1 && agents[0].Online }
	gone, err := New(Config{Broker: c.config.Broker, AgentID: "gate-9", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	stop := start(gone)
	waitFleet(t, fleet, "both agents", func(agents []AgentView) bool { return len(agents) == 2 && agents[0].Online && agents[1].Online })
	b.Kill()
	stop()
	waitFleet(t, fleet, "the end of the connection", func(agents []AgentView) bool { return fleet.Err() != nil && len(agents) == 2 })
	restart(t, b) // it has forgotten both, and one comes again
	waitFleet(t, fleet, "the agent again", there)
}

func TestWatch(t *testing.T) {
	caller, c := obedient(t, &hands{}, nil)
	c.SetInfo(contract.Info{Version: "1.2.3"})
	c.SetStreams([]string{"door", "yard"})
	c.SetState("door", contract.State{State: contract.Playing})
	c.SetState("yard", contract.State{State: contract.Backoff, Code: "ingest.cut"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	fleet, err := Watch(ctx, caller.Broker, "")
	if err != nil {
		t.Fatal(err)
	}
	c.Telemetry("door", contract.Telemetry{To: contract.Time{Time: contracttest.T0}, Frames: 25})
	c.Event(contract.Event{Code: "lag.high", Stream: "yard", Detail: map[string]any{"a": 1}})
	waitFleet(t, fleet, "all that was said", func(agents []AgentView) bool {
		return len(agents) == 1 && agents[0].Online && agents[0].Info.Version == "1.2.3" && agents[0].LastEvent.Code == "lag.high" &&
			len(agents[0].Streams) == 2 && agents[0].Streams[0].Telemetry.Frames == 25 && agents[0].Streams[1].State.Code == "ingest.cut"
	})
	c.SetStreams([]string{"door"})
	waitFleet(t, fleet, "that the yard is gone", func(agents []AgentView) bool { return len(agents[0].Streams) == 1 })
	cancel()
	<-fleet.Ended()
	if err := fleet.Err(); err != nil {
		t.Error(err)
	}
}

func waitFleet(t *testing.T, f *Fleet, what string, reached func([]AgentView) bool) {
	t.Helper()
	late := time.After(patience)
	for !reached(f.Agents()) {
		select {
		case <-f.Changed():
		case <-f.Ended():
			t.Fatalf("the watch ended: %v", f.Err())
		case <-late:
			t.Fatalf("%s was not seen within %s: %+v", what, patience, f.Agents())
		}
	}
}

func TestAFleetTakesWhateverComes(t *testing.T) {
	f := newFleet()
	for topic, payload := range map[string]string{
		"edge-agent":                            "x",
		"edge-agent/v1/a":                       "x",
		"edge-agent/v1/a/info":                  "{",
		"edge-agent/v1/a/streams/door":          "{}",
		"edge-agent/v1/a/streams/door/state":    "7",
		"edge-agent/v1/a/events":                "",
		"edge-agent/v1/a/elsewhere":             "x",
		"edge-agent/v1/b/streams/x/telemetry":   "[]",
		"edge-agent/v1/a/streams/x/y/z/strange": "{}",
	} {
		if f.apply(topic, []byte(payload)) {
			t.Errorf("%s %q was of use", topic, payload)
		}
	}
	f.apply("edge-agent/v1/a/events", []byte(`{"code":"x","detail":{"old":1}}`))
	f.apply("edge-agent/v1/a/events", []byte(`{"code":"y","detail":{"new":1}}`))
	if e := f.Agents()[0].LastEvent; len(e.Detail) != 1 || e.Code != "y" {
		t.Errorf("event %+v", e)
	}
	for _, topic := range []string{"availability", "info", "streams/door/state"} { // as one who clears all of it
		f.apply("edge-agent/v1/a/"+topic, nil)
	}
	if slices.ContainsFunc(f.Agents(), func(a AgentView) bool { return a.ID == "a" }) {
		t.Error("an agent that was cleared is still there")
	}
}
