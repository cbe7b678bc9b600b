package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// herdRole is a herd alone: what it takes is measured.
const herdRole = "herd"

// telemetryEvery is how often a member of a herd tells how it stands.
const telemetryEvery = 10 * time.Second

// member is one of a herd.
type member interface {
	tell() // sends telemetry
	stop()
}

// herd runs members of a kind, with a broker, a number of them and a folder. It says "ready" when all have been
// started.
func herd(args []string, in io.Reader, out io.Writer) error {
	n, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	add := newAgent
	if args[0] == pahoClient {
		add = newPaho
	}
	members := make([]member, n)
	for i := range members {
		if members[i], err = add(args[1], args[3], memberName(i)); err != nil {
			return err
		}
	}
	fmt.Fprintln(out, "ready")
	ended := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { tellInTurn(members, ended) })
	_, err = io.Copy(io.Discard, in)
	close(ended)
	telling.Wait()
	var stopping sync.WaitGroup
	for _, m := range members {
		stopping.Go(m.stop)
	}
	stopping.Wait()
	return err
}

func memberName(i int) string { return fmt.Sprintf("gate-%04d", i) }

// tellInTurn has each member tell how it stands once in telemetryEvery, as boxes do that were not all started at once.
func tellInTurn(members []member, ended <-chan struct{}) {
	ticker := time.NewTicker(telemetryEvery / time.Duration(max(1, len(members))))
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ended:
			return
		case <-ticker.C:
		}
		if len(members) > 0 {
			members[i%len(members)].tell()
		}
	}
}

// What all members say, much as an agent with one stream does.
var (
	someTime = contract.Time{Time: time.Now()}
	some     = &contract.Distribution{Last: 200, Min: 150, P50: 200, P95: 250, Max: 300}
	someInfo = contract.Info{
		Version: "1.0.0", Commit: "0123456789ab", Arch: "amd64", OS: "linux", GStreamer: "1.22.0",
		SessionID: "0195f3a1-0000-7000-8000-000000000003", ConfigHash: "0123456789abcdef",
		Decoders: []contract.Decoder{{Name: "avdec_h264", Codec: "H264", Kind: "software", Result: "passed", FPS: 300}},
		Displays: []contract.Display{}, Commands: []string{string(contract.VerbStatus)},
	}
	someState     = contract.State{State: contract.Playing, Since: someTime, Decoder: "avdec_h264", FragmentNumber: strings.Repeat("9", 38)}
	someTelemetry = contract.Telemetry{
		From: someTime, To: someTime, Fragments: 5, Frames: 300, Bytes: 6 << 20, BitrateBPS: 5_000_000, FPS: 30, ShownFrames: 300,
		Decoder: "avdec_h264", Clock: contract.ClockSynced, Lag: contract.Lag{Service: some, Producer: some, Local: some},
	}
	someStatus = contract.StatusData{
		Version: "1.0.0", SessionID: someInfo.SessionID, StartedAt: someTime, Clock: contract.ClockSynced, Shown: streamName,
		Streams: []contract.StreamStatus{{Name: streamName, State: someState, Telemetry: someTelemetry}},
	}
)

// agentMember is an agent without its video.
type agentMember struct {
	client *mqtt.Client
	end    context.CancelFunc
	ended  chan struct{}
}

func newAgent(broker, dir, name string) (member, error) {
	client, err := mqtt.New(mqtt.Config{
		Broker: mqtt.Broker{URL: broker}, AgentID: name, StateDir: filepath.Join(dir, name), Logger: slog.New(slog.DiscardHandler),
		Control: &mqtt.Control{
			Enabled: true, Allow: []contract.Verb{contract.VerbStatus}, Executor: answerer{},
			Clock: func() contract.Clock { return contract.ClockSynced },
		},
	})
	if err != nil {
		return nil, err
	}
	client.SetInfo(someInfo)
	client.SetStreams([]string{streamName})
	client.SetState(streamName, someState)
	client.Event(contract.Event{Code: "agent.started", Message: "edge-agent runs, streams: 1"})
	ctx, end := context.WithCancel(context.Background())
	m := &agentMember{client, end, make(chan struct{})}
	go func() {
		defer close(m.ended)
		_ = client.Run(ctx)
	}()
	return m, nil
}

func (m *agentMember) tell() { m.client.Telemetry(streamName, someTelemetry) }
func (m *agentMember) stop() { m.end(); <-m.ended }

// answerer carries out the command status.
type answerer struct{}

func (answerer) Execute(context.Context, contract.Command) (any, error) { return someStatus, nil }

// pahoClient is the peer.
const pahoClient = "bare paho"

// pahoMember says and answers the same with the MQTT library alone, as its examples have it: no events, nothing on
// disk, and reconnection as the library does it.
type pahoMember struct {
	client paho.Client
	topics contract.Topics
}

func newPaho(broker, _, name string) (member, error) {
	topics, err := contract.NewTopics(contract.DefaultPrefix, name)
	if err != nil {
		return nil, err
	}
	m := &pahoMember{topics: topics}
	m.client = paho.NewClient(paho.NewClientOptions().AddBroker(broker).SetClientID(name).SetProtocolVersion(4).
		SetWill(topics.Availability(), contract.Offline, 1, true).
		SetConnectRetry(true).SetConnectRetryInterval(time.Second).
		SetOnConnectHandler(func(paho.Client) { m.connected() }))
	m.client.Connect()
	return m, nil
}

// connected runs on a goroutine of its own.
func (m *pahoMember) connected() {
	m.client.Publish(m.topics.Availability(), 1, true, contract.Online)
	m.publish(m.topics.Info(), 1, true, someInfo)
	m.publish(m.topics.State(streamName), 1, true, someState)
	m.client.Subscribe(m.topics.Command(contract.VerbStatus), 1, func(_ paho.Client, command paho.Message) { m.answer(command.Payload()) })
}

func (m *pahoMember) answer(command []byte) {
	var c struct{ ID string }
	if json.Unmarshal(command, &c) != nil {
		return
	}
	r := contract.Response{ID: c.ID, Status: contract.StatusInProgress}
	m.publish(m.topics.Response(contract.VerbStatus), 1, false, r)
	r.Status = contract.StatusSucceeded
	r.Data, _ = json.Marshal(someStatus) // it is fit for JSON
	m.publish(m.topics.Response(contract.VerbStatus), 1, false, r)
}

func (m *pahoMember) publish(topic string, qos byte, retained bool, payload any) {
	text, _ := json.Marshal(payload) // it is fit for JSON
	m.client.Publish(topic, qos, retained, text)
}

func (m *pahoMember) tell() {
	if m.client.IsConnectionOpen() {
		m.publish(m.topics.Telemetry(streamName), 0, false, someTelemetry)
	}
}

func (m *pahoMember) stop() { m.client.Disconnect(uint(stopTimeout.Milliseconds() / 2)) }
