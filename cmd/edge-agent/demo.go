package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

const (
	demoStream   = "clock"
	demoSnapshot = "demo-snapshot.png"
	// demoDelay is what a producer and its network take, as it is on the way of a real one.
	demoDelay = 150 * time.Millisecond
	// demoFaultsAt is when the faults are injected into a demo without an end.
	demoFaultsAt = 20 * time.Second
	// snapshotTime is how long a picture may take.
	snapshotTime = 10 * time.Second
)

// demo is the agent between a simulated service and a real broker, all on this machine.
type demo struct {
	service *kvstest.Server
	broker  *brokertest.Broker // nil when mosquitto is not installed
	agent   *agent.Agent
	view    *view
	dir     string // for what the agent keeps

	mu        sync.Mutex
	telemetry int      // messages that came back over MQTT
	events    []string // codes that came back over MQTT
}

// Run shows the whole way until the time is over, and says whether it worked.
func (c demoCommand) Run(ctx context.Context, std stdio) error {
	d := &demo{view: newView(std.Out)}
	defer d.close()
	if err := d.setUp(ctx, std); err != nil {
		return err
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var all sync.WaitGroup
	all.Go(func() { d.agent.Run(working) })
	if err := d.listen(working, &all); err != nil {
		stop()
		all.Wait()
		return err
	}
	all.Go(func() { d.injectFaults(working, c.For) })
	all.Go(func() { d.view.run(working, d.status) })

	wait(ctx, c.For)
	saved, err := d.savePicture()
	state := d.status().State // before it is that of a stream that was stopped
	stop()
	all.Wait()
	d.view.close()
	if err != nil {
		return err
	}
	if saved {
		fmt.Fprintf(std.Out, "There is no display here (%s), so the picture is in %s.\n",
			strings.Join(d.agent.Pictures().Passed, "; "), demoSnapshot)
	}
	return d.verdict(state)
}

// wait waits for the end of ctx or, if it is not 0, of a time.
func wait(ctx context.Context, d time.Duration) {
	if d == 0 {
		<-ctx.Done()
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}

// setUp starts the service and the broker and makes an agent for them.
func (d *demo) setUp(ctx context.Context, std stdio) error {
	var err error
	if d.dir, err = os.MkdirTemp("", "edge-agent-demo-"); err != nil {
		return &failure.Failure{Code: "demo.failed", Message: err.Error(), Err: err}
	}
	if err := d.startService(); err != nil {
		return &failure.Failure{Code: "demo.failed", Message: "the simulated service does not start: " + err.Error(), Err: err}
	}
	cfg := config.Defaults()
	cfg.Agent = config.Agent{ID: "demo", StateDir: d.dir}
	cfg.AWS = config.AWS{Region: "us-east-1", Endpoint: d.service.URL()}
	cfg.MQTT.TelemetryInterval = config.Duration(time.Second)
	if cfg.HTTP.Listen, err = freeAddress(); err != nil {
		return &failure.Failure{Code: "demo.failed", Message: err.Error(), Err: err}
	}
	cfg.Streams = []config.Stream{{Name: demoStream, StreamName: demoStream, Start: "now"}}

	switch d.broker, err = brokertest.Start(ctx, brokertest.Options{}); {
	case errors.Is(err, brokertest.ErrNotInstalled):
		fmt.Fprintf(std.Out, "%v: going on without MQTT.\n", err)
	case err != nil:
		return &failure.Failure{Code: "demo.failed", Message: "the broker does not start: " + err.Error(), Err: err}
	default:
		cfg.MQTT.Broker = d.broker.URL()
	}
	service := ingest.NewService(aws.Config{
		Region:      cfg.AWS.Region,
		Credentials: aws.NewCredentialsCache(credentials.StaticCredentialsProvider{Value: kvstest.Credentials()}),
	}, cfg.AWS.Endpoint)
	d.agent, err = agent.New(cfg, func() (*ingest.Service, error) { return service, nil }, slog.New(d.view))
	fmt.Fprintf(std.Out, "The service is simulated at %s, the broker is at %s.\nThe status page is at http://%s/ .\n\n",
		cfg.AWS.Endpoint, orNone(cfg.MQTT.Broker), cfg.HTTP.Listen)
	return err
}

// freeAddress is an address of this machine that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (d *demo) startService() error {
	source, err := kvstest.ReadSource(clip.H264())
	if err != nil {
		return err
	}
	d.service = kvstest.NewServer(kvstest.Config{})
	if _, err := d.service.Add(demoStream, source, kvstest.StreamConfig{Delay: demoDelay}); err != nil {
		return err
	}
	return d.service.Start("127.0.0.1:0")
}

// close ends what was started, as far as it was.
func (d *demo) close() {
	if d.broker != nil {
		d.broker.Stop()
	}
	if d.service != nil {
		d.service.Close()
	}
	if d.dir != "" {
		os.RemoveAll(d.dir)
	}
}

// listen counts what comes back over MQTT, as a fleet's own software would see it.
func (d *demo) listen(ctx context.Context, all *sync.WaitGroup) error {
	if d.broker == nil {
		return nil
	}
	topics := d.agent.Topics()
	listener, err := mqtt.Listen(ctx, mqtt.Broker{URL: d.broker.URL()}, topics.All())
	if err != nil {
		return err
	}
	all.Go(func() {
		for m := range listener.Messages {
			d.received(topics, m)
		}
	})
	return nil
}

func (d *demo) received(topics contract.Topics, m mqtt.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch m.Topic {
	case topics.Telemetry(demoStream):
		d.telemetry++
	case topics.Events():
		var e struct{ Code string }
		if json.Unmarshal(m.Payload, &e) == nil {
			d.events = append(d.events, e.Code)
		}
	}
}

// injectFaults cuts the connection once two thirds of the time are over, and a little later
// lets the service fail in the body.
func (d *demo) injectFaults(ctx context.Context, length time.Duration) {
	first := length * 2 / 3
	if length == 0 {
		first = demoFaultsAt
	}
	stream := d.service.Stream(demoStream)
	wait(ctx, max(first, time.Nanosecond))
	if ctx.Err() == nil {
		d.view.say("the demo cuts the connection")
		stream.Cut()
	}
	wait(ctx, max(first/8, time.Nanosecond))
	if ctx.Err() == nil {
		d.view.say("the demo lets the service fail with error 4500")
		stream.Fail(4500)
	}
}

// status is what the view shows.
func (d *demo) status() demoStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	return demoStatus{
		StreamStatus: d.agent.Statuses()[0],
		picture:      d.agent.Pictures(),
		telemetry:    d.telemetry, events: len(d.events),
	}
}

// savePicture writes the picture to a file where there is no display to see it on.
func (d *demo) savePicture() (bool, error) {
	stats := d.agent.Pictures()
	if stats.Display.Sink != plan.None || stats.Shown == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), snapshotTime)
	defer cancel()
	picture, err := d.agent.PicturePNG(ctx)
	if err == nil {
		err = os.WriteFile(demoSnapshot, picture, 0o644)
	}
	if err != nil {
		return false, &failure.Failure{Code: "demo.failed", Message: "the picture cannot be saved: " + err.Error(), Err: err}
	}
	return true, nil
}

// verdict is nil when the whole way worked; else it says why not, as far as the stream's last state knows.
func (d *demo) verdict(state contract.State) error {
	s := d.status()
	fmt.Fprintf(d.view.out, "%d pictures shown by %s, %d fragments, %d reconnects; over MQTT came %d telemetry messages and %d events.\n",
		s.picture.Shown, orNone(s.picture.Decoder), s.Fragments, s.Reconnects, s.telemetry, s.events)
	switch {
	case s.picture.Shown == 0:
		return noPicture(state)
	case d.broker == nil:
		return &failure.Failure{Code: "demo.failed", Message: "no telemetry came back, as there is no broker", Action: "Install mosquitto, which the demo starts by itself."}
	case s.telemetry == 0:
		return &failure.Failure{Code: "demo.failed", Message: "no telemetry came back over MQTT"}
	}
	return nil
}

// noPicture says why a demo has shown nothing, and what to do about it.
func noPicture(state contract.State) error {
	f := &failure.Failure{Code: "demo.failed", Message: "no picture was shown"}
	if code, known := contract.Lookup(state.Code); known {
		f.Message += fmt.Sprintf(" (%s: %s)", state.Code, state.Message)
		f.Action = code.Action
	}
	return f
}
