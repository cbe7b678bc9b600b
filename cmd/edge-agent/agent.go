package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

// agent is one running configuration: the place where the packages meet. A stream's
// frames go from its session straight to the renderer; whatever is to be told goes
// from everywhere to MQTT and the log.
//
//	ingest.Session ──Frame──▶ stream ──Push──▶ decode.Renderer ──▶ screen
//	     └──Report, Fragment──▶ │                    │ Report
//	                            └───────▶ agent ◀────┘
//	                                      │   ▲
//	                                      ▼   │ Execute
//	                              log, mqtt.Client
//
// Every stream is pulled; one is shown, see show.go. Commands arrive in control.go, a new
// configuration in reload.go.
type agent struct {
	file      string           // of the configuration; "" when there is none to read again
	hangup    <-chan os.Signal // asks for a reload; nil for none
	level     *slog.LevelVar   // of log; nil when it cannot be changed
	started   Config           // the configuration that this run began with
	service   *ingest.Service
	log       *slog.Logger
	events    eventLog
	recent    recentEvents
	beat      heartbeat // of tick
	began     time.Time
	session   string // id of this run
	positions *positionStore
	stateDir  string // where state is kept; "" when it cannot be
	renderer  *decode.Renderer
	turning   sync.Mutex // one Show at a time
	prober    *prober
	mqtt      *mqtt.Client    // nil without a broker
	info      contract.Info   // as last published
	working   context.Context // of everything that works; set by Run
	retick    chan struct{}   // has something when the telemetry's interval has changed
	look      chan struct{}   // has something when states and slate have to be looked at
	address   boxAddress
	carrying  sync.Mutex // one command, desired configuration or signal to reload at a time

	mu      sync.Mutex
	cfg     Config       // in effect: changed by apply
	settled Config       // the same, but for what commands have set
	invalid ConfigErrors // why this agent only waits for a valid configuration; nil for one that works
	picture pictureFault
	shadow  shadowed
	streams []*stream // replaced as a whole, never changed in place
}

// readClock asks whether this box's clock can be trusted. Tests run where nobody keeps it.
var readClock = ingest.ReadClock

// newAgent checks what can be checked before anything runs. load makes the service, while the renderer process starts.
// Its caller runs it, once, and closes it.
func newAgent(cfg Config, load func() (*ingest.Service, error), log *slog.Logger) (*agent, error) {
	a := agentOf(cfg, log)
	return a, a.prepare(load)
}

// agentOfFile is newAgent with a configuration that was read from a file. The agent reads it again when it is asked to;
// what the device shadow desired last stands over it.
func agentOfFile(file string, cfg Config, load func(Config) (*ingest.Service, error), logger func(LogConfig) (*slog.Logger, *slog.LevelVar)) (*agent, error) {
	cfg, shadow := underShadow(file, cfg)
	log, level := logger(cfg.Log)
	a, err := newAgent(cfg, func() (*ingest.Service, error) { return load(cfg) }, log)
	if err != nil {
		return nil, err
	}
	a.file, a.level, a.shadow = file, level, shadow
	if len(cfg.Streams) == 0 {
		log.Warn("no [[streams]] are configured, so there is nothing to show", "config", file)
	}
	return a, nil
}

// reloadOn has the agent read its file again at each signal. Called before Run.
func (a *agent) reloadOn(hangup <-chan os.Signal) { a.hangup = hangup }

// close ends what outlives Run.
func (a *agent) close() { a.service.Close() }

// topics are those of this agent on its broker. It has one.
func (a *agent) topics() contract.Topics { return a.mqtt.Topics() }

// decoders is what was found out last about the decoders of this box; empty before anything was.
func (a *agent) decoders() decode.ProbeReport { return a.prober.last() }

// pictures is how decoding and showing stand.
func (a *agent) pictures() decode.Stats { return a.renderer.Stats() }

// picturePNG is the picture on the display as PNG.
func (a *agent) picturePNG(ctx context.Context) ([]byte, error) {
	return a.renderer.Snapshot(ctx, decode.Snapshot{PNG: true})
}

// statuses are how the streams stand, in the order of the configuration.
func (a *agent) statuses() (list []streamStatus) {
	for _, s := range a.all() {
		list = append(list, s.status())
	}
	return list
}

// streamCount is how many streams are pulled.
func (a *agent) streamCount() int { return len(a.all()) }

// agentOf makes an agent that does nothing before prepare.
func agentOf(cfg Config, log *slog.Logger) *agent {
	return &agent{
		cfg: cfg, settled: cfg, started: cfg, log: log, began: time.Now(),
		session: uuid.Must(uuid.NewV7()).String(), retick: make(chan struct{}, 1), look: make(chan struct{}, 1),
	}
}

// prepare checks what can be checked before anything runs; see newAgent.
func (a *agent) prepare(load func() (*ingest.Service, error)) (err error) {
	cfg, log := a.cfg, a.log
	program := programOf(cfg.Decode)
	a.prober = newProber(cfg, log, func(r decode.ProbeReport) { a.renderer.SetProbe(r) })
	a.prober.program = program
	a.renderer = decode.New(decode.Config{
		Program: program, Sandbox: sandboxOf(cfg.Decode),
		Sink: decode.Sink(cfg.Display.Sink), Connector: cfg.Display.Connector,
		Prefer: preference(cfg), Latency: time.Duration(cfg.Display.Latency), Log: log,
		Report: a.pictureReport, Devices: a.prober.devices,
	})
	a.renderer.Start() // it takes longer than all that follows
	defer func() {
		if err != nil {
			a.renderer.Stop()
		}
	}()
	if a.service, err = load(); err != nil {
		return err
	}
	a.service.SetLog(log)
	a.useStateDir(cfg.Agent.StateDir)
	if err := a.newClient(cfg); err != nil {
		return err
	}
	a.prober.remembered()
	for _, sc := range cfg.Streams {
		s, err := a.newStream(cfg, sc, nil)
		if err != nil {
			return err // checked with the configuration
		}
		if cfg.Display.Show == sc.Name || len(a.streams) == 0 {
			a.renderer.Show(s.input)
		}
		a.streams = append(a.streams, s)
	}
	return nil
}

// commandClock is how far commands can rely on this box's clock.
func commandClock(c ControlConfig) contract.Clock {
	if c.Clock == clockSystem {
		return contract.ClockSynced
	}
	return contract.Clock(readClock())
}

// brokerOf says how the broker is reached.
func brokerOf(cfg Config) mqtt.Broker {
	broker := mqtt.Broker{
		URL: cfg.MQTT.Broker, ClientID: cfg.MQTT.ClientID, Username: cfg.MQTT.Username, PasswordFile: cfg.MQTT.PasswordFile,
		AllowPlaintext: cfg.MQTT.AllowPlaintext,
	}
	broker.CAFile, broker.CertFile, broker.KeyFile = cfg.tlsFiles()
	if cfg.isAWSIoT() { // where policies identify the client as the thing
		broker.ClientID = cfg.thing()
	}
	return broker
}

// newClient makes the connection to the broker, if there is one.
func (a *agent) newClient(cfg Config) (err error) {
	if cfg.MQTT.Broker == "" {
		return nil
	}
	control := &mqtt.Control{
		Enabled: cfg.Control.Enabled, Executor: a,
		Clock: func() contract.Clock { return commandClock(cfg.Control) },
	}
	for _, v := range cfg.Control.Allow {
		control.Allow = append(control.Allow, contract.Verb(v))
	}
	for _, text := range cfg.Control.PublicKeys {
		key, err := secret.ParsePublicKey(text)
		if err != nil {
			return err // checked with the configuration
		}
		control.PublicKeys = append(control.PublicKeys, key)
	}
	var home *mqtt.HomeAssistant
	if ha := cfg.HomeAssistant; ha.Enabled {
		home = &mqtt.HomeAssistant{DiscoveryPrefix: ha.DiscoveryPrefix, BirthTopic: ha.BirthTopic}
	}
	broker := brokerOf(cfg)
	var shadow *mqtt.Shadow
	if cfg.isAWSIoT() && a.invalid == nil {
		shadow = &mqtt.Shadow{Thing: cfg.thing(), Desire: a.desire}
	}
	a.mqtt, err = mqtt.New(mqtt.Config{
		Broker: broker, Profile: mqtt.Profile(cfg.MQTT.Profile), Shadow: shadow,
		Prefix: cfg.MQTT.TopicPrefix, AgentID: cfg.Agent.ID, StateDir: a.stateDir, Control: control, Logger: a.log,
		HomeAssistant: home,
	})
	return err
}

// config is the configuration in effect.
func (a *agent) config() Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg
}

// all are the streams, in the order of the configuration.
func (a *agent) all() []*stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.streams
}

// preference is what the configuration says about decoders.
func preference(cfg Config) decode.Preference {
	return decode.Preference{Order: families(cfg.Decode.Order), Vendor: cfg.Decode.VendorElements, Trusted: cfg.Decode.TrustedElements}
}

// streamPreference is preference for one stream.
func streamPreference(cfg Config, s StreamConfig) decode.Preference {
	p := preference(cfg)
	if len(s.DecodeOrder) > 0 {
		p.Order = families(s.DecodeOrder)
	}
	return p
}

func families(names []string) []decode.Family {
	var out []decode.Family
	for _, n := range names {
		if n == bothV4L2 {
			out = append(out, decode.V4L2Stateless, decode.V4L2Stateful)
		} else {
			out = append(out, decode.Family(n))
		}
	}
	return out
}

// Run works until ctx ends and everything has stopped. "offline" goes out first, so that
// nobody takes a stopping agent for a working one.
func (a *agent) Run(ctx context.Context) {
	background := context.WithoutCancel(ctx)
	telling, stopTelling := context.WithCancel(background)
	working, stop := context.WithCancel(background)
	var tell, work errgroup.Group
	a.working = working
	a.publishInfo()
	a.updateSlate()
	if !a.waitsForConfig() {
		a.nameStreams()
		a.reportShadow()
		a.tellShadow()
		a.event("agent.started", "", fmt.Sprintf("edge-agent %s runs, streams: %d", version, len(a.all())), nil)
	}
	a.tellStateDir()
	work.Go(func() error { return a.renderer.Run(working) })
	for _, s := range a.all() {
		s.start(working)
	}
	work.Go(func() error { a.tick(working); return nil })
	work.Go(func() error { a.obeyHangups(working); return nil })
	work.Go(func() error {
		a.prober.keepUp(working, func() bool { return a.renderer.Stats().Shown > 0 })
		return nil
	})

	work.Go(func() error { a.serveHTTP(working); return nil })
	a.beat.strike(time.Now())
	work.Go(func() error { a.attend(working); return nil })
	if a.mqtt != nil { // last, because commands come with it
		tell.Go(func() error { return a.mqtt.Run(telling) })
	}

	<-ctx.Done()
	a.event("agent.stopped", "", stopReason(ctx), nil)
	stopTelling()
	tell.Wait()
	stop()
	work.Wait()
	for _, s := range a.all() {
		s.stop()
	}
	if err := a.positions.Close(); err != nil {
		a.log.Error("the places to resume at could not be stored", "code", ingest.CodePosition, "cause", err)
	}
}

// tick publishes telemetry at its interval. Every second it stores the places to resume
// at, and looks whether there is news that has no event of its own.
func (a *agent) tick(ctx context.Context) {
	telemetry := time.NewTicker(time.Duration(a.config().MQTT.TelemetryInterval))
	defer telemetry.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-telemetry.C:
			clock := contract.Clock(readClock())
			for _, s := range a.all() {
				s.publishTelemetry(clock)
			}
		case <-a.retick:
			telemetry.Reset(time.Duration(a.config().MQTT.TelemetryInterval))
		case <-a.look:
			a.updateSlate()
			a.publishStates()
		case now := <-second.C:
			a.checkStateDir()
			if err := a.positions.Flush(); err != nil {
				a.event(ingest.CodePosition, "", "the places to resume at cannot be stored", map[string]any{"cause": err.Error()})
			}
			a.publishInfo()
			a.reportShadow()
			for _, s := range a.all() {
				s.watchOverload(now)
			}
			a.updateSlate()
			a.publishStates()
			a.beat.strike(now)
		}
	}
}

func (a *agent) publishStates() {
	for _, s := range a.all() {
		s.publishState()
	}
}

// event tells of something: in the log, and over MQTT.
func (a *agent) event(code, stream, message string, detail map[string]any) {
	a.recent.add(contract.Event{Code: code, Stream: stream, Message: message, Detail: detail}, time.Now())
	a.events.write(a.log, code, stream, message, detail)
	if a.mqtt != nil {
		a.mqtt.Event(contract.Event{Code: code, Stream: stream, Message: message, Detail: detail})
	}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// inform gives what the agent is and what it found.
func (a *agent) inform() contract.Info {
	stats := a.renderer.Stats()
	return contract.Info{
		Version: version, Commit: buildCommit(), Arch: runtime.GOARCH, OS: runtime.GOOS,
		GStreamer: stats.GStreamer, SessionID: a.session, ConfigHash: a.config().hash(),
		Decoders: decoders(stats.Decoders, a.prober.last()), Displays: displays(stats), PassedOver: stats.Passed, Commands: a.commands(),
		Shown: a.shown(),
	}
}

// publishInfo tells what the agent is and what it found, when that is news.
func (a *agent) publishInfo() {
	if a.mqtt == nil {
		return
	}
	info := a.inform()
	if !reflect.DeepEqual(info, a.info) {
		a.info = info
		a.mqtt.SetInfo(info)
	}
}

// commands are the verbs that are obeyed.
func (a *agent) commands() []string {
	if !a.started.Control.Enabled {
		return []string{}
	}
	return slices.Sorted(slices.Values(a.started.Control.Allow))
}

// nameStreams tells the broker which streams there are, and so which are no more.
func (a *agent) nameStreams() {
	if a.mqtt == nil {
		return
	}
	var names []string
	for _, s := range a.all() {
		names = append(names, s.name)
	}
	a.mqtt.SetStreams(names)
}

// decoders are those that were found and, once they were, tried out.
func decoders(found []decode.Decoder, probed decode.ProbeReport) []contract.Decoder {
	out := []contract.Decoder{}
	if len(probed.Candidates) == 0 {
		for _, d := range found {
			out = append(out, contract.Decoder{Name: d.Element, Codec: string(d.Codec), Kind: string(d.Family), Result: string(decode.Untried)})
		}
	}
	for _, c := range probed.Candidates {
		out = append(out, contract.Decoder{
			Name: c.Element, Codec: string(c.Codec), Kind: string(c.Family), Device: c.Device, Driver: c.Driver,
			Result: string(c.Result), FPS: c.FPS, Code: resultCode(probed, c),
		})
	}
	return out
}

// resultCode says what is wrong with a decoder, also with one that passed.
func resultCode(r decode.ProbeReport, c decode.Candidate) string {
	if r.Differs(c.Element, c.Codec) {
		return decode.CodeDiffers
	}
	return c.Code
}

func displays(stats decode.Stats) []contract.Display {
	d := stats.Display
	if d.Sink == "" || d.Sink == decode.None {
		return []contract.Display{}
	}
	return []contract.Display{{Connector: d.Connector, Sink: string(d.Sink), Width: stats.Mode.Width, Height: stats.Mode.Height}}
}
