// Package agent is one running configuration: the place where ingest, decode and mqtt meet.
//
// Read agent.go, then stream.go (one stream: frames, lag, states) and show.go (the one on the display). What changes a
// running agent comes in by control.go (commands), reload.go (the file) and shadow.go (a device shadow). What it tells
// goes out by http.go, slate.go, systemd.go and the events of recent.go. invalid.go is an agent that only waits for a
// valid file. Its goroutines are its own.
package agent

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

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

// Agent is one running configuration: the place where the packages meet. A stream's
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
type Agent struct {
	file      string           // of the configuration; "" when there is none to read again
	hangup    <-chan os.Signal // asks for a reload; nil for none
	level     *slog.LevelVar   // of log; nil when it cannot be changed
	started   config.Config    // the configuration that this run began with
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
	cfg     config.Config // in effect: changed by apply
	settled config.Config // the same, but for what commands have set
	invalid config.Errors // why this agent only waits for a valid configuration; nil for one that works
	picture pictureFault
	shadow  shadowed
	streams []*stream // replaced as a whole, never changed in place
}

// ReadClock asks whether this box's clock can be trusted. Tests run where nobody keeps it.
var ReadClock = ingest.ReadClock

// New checks what can be checked before anything runs. load makes the service, while the renderer process starts.
// Its caller runs it, once, and closes it.
func New(cfg config.Config, load func() (*ingest.Service, error), log *slog.Logger) (*Agent, error) {
	a := agentOf(cfg, log)
	return a, a.prepare(load)
}

// FromFile is New with a configuration that was read from a file. The agent reads it again when it is asked to;
// what the device shadow desired last stands over it.
func FromFile(file string, cfg config.Config, load func(config.Config) (*ingest.Service, error), logger func(config.Log) (*slog.Logger, *slog.LevelVar)) (*Agent, error) {
	cfg, shadow := underShadow(file, cfg)
	log, level := logger(cfg.Log)
	a, err := New(cfg, func() (*ingest.Service, error) { return load(cfg) }, log)
	if err != nil {
		return nil, err
	}
	a.file, a.level, a.shadow = file, level, shadow
	if len(cfg.Streams) == 0 {
		log.Warn("no [[streams]] are configured, so there is nothing to show", "config", file)
	}
	return a, nil
}

// ReloadOn has the agent read its file again at each signal. Called before Run.
func (a *Agent) ReloadOn(hangup <-chan os.Signal) { a.hangup = hangup }

// Close ends what outlives Run.
func (a *Agent) Close() { a.service.Close() }

// Topics are those of this agent on its broker. It has one.
func (a *Agent) Topics() contract.Topics { return a.mqtt.Topics() }

// Decoders is what was found out last about the decoders of this box; empty before anything was.
func (a *Agent) Decoders() decode.ProbeReport { return a.prober.last() }

// Pictures is how decoding and showing stand.
func (a *Agent) Pictures() decode.Stats { return a.renderer.Stats() }

// PicturePNG is the picture on the display as PNG.
func (a *Agent) PicturePNG(ctx context.Context) ([]byte, error) {
	return a.renderer.Snapshot(ctx, decode.Snapshot{PNG: true})
}

// Statuses are how the streams stand, in the order of the configuration.
func (a *Agent) Statuses() (list []StreamStatus) {
	for _, s := range a.all() {
		list = append(list, s.status())
	}
	return list
}

// StreamCount is how many streams are pulled.
func (a *Agent) StreamCount() int { return len(a.all()) }

// agentOf makes an agent that does nothing before prepare.
func agentOf(cfg config.Config, log *slog.Logger) *Agent {
	now := time.Now()
	return &Agent{
		cfg: cfg, settled: cfg, started: cfg, log: log, began: now, beat: heartbeat{began: now},
		session: uuid.Must(uuid.NewV7()).String(), retick: make(chan struct{}, 1), look: make(chan struct{}, 1),
	}
}

// prepare checks what can be checked before anything runs; see New.
func (a *Agent) prepare(load func() (*ingest.Service, error)) (err error) {
	cfg, log := a.cfg, a.log
	program := programOf(cfg.Decode)
	a.prober = newProber(cfg, log, func(r decode.ProbeReport) { a.renderer.SetProbe(r) })
	a.prober.program = program
	a.prober.places = func() *decode.Places { return a.renderer.Places() }
	a.renderer = decode.New(decode.Config{
		Program: program, Sandbox: sandboxOf(cfg.Decode),
		Sink: plan.Sink(cfg.Display.Sink), Connector: cfg.Display.Connector,
		Path: plan.Path(cfg.Display.Path), Rotate: cfg.Display.Rotate,
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
func commandClock(c config.Control) contract.Clock {
	if c.Clock == config.ClockSystem {
		return contract.ClockSynced
	}
	return contract.Clock(ReadClock())
}

// BrokerOf says how the broker is reached.
func BrokerOf(cfg config.Config) mqtt.Broker {
	broker := mqtt.Broker{
		URL: cfg.MQTT.Broker, ClientID: cfg.MQTT.ClientID, Username: cfg.MQTT.Username, PasswordFile: cfg.MQTT.PasswordFile,
		AllowPlaintext: cfg.MQTT.AllowPlaintext,
	}
	broker.CAFile, broker.CertFile, broker.KeyFile = cfg.TLSFiles()
	if cfg.IsAWSIoT() { // where policies identify the client as the thing
		broker.ClientID = cfg.Thing()
	}
	return broker
}

// newClient makes the connection to the broker, if there is one.
func (a *Agent) newClient(cfg config.Config) (err error) {
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
	broker := BrokerOf(cfg)
	var shadow *mqtt.Shadow
	if cfg.IsAWSIoT() && a.invalid == nil {
		shadow = &mqtt.Shadow{Thing: cfg.Thing(), Desire: a.desire}
	}
	a.mqtt, err = mqtt.New(mqtt.Config{
		Broker: broker, Profile: mqtt.Profile(cfg.MQTT.Profile), Shadow: shadow,
		Prefix: cfg.MQTT.TopicPrefix, AgentID: cfg.Agent.ID, StateDir: a.stateDir, Control: control, Logger: a.log,
		HomeAssistant: home,
	})
	return err
}

// config is the configuration in effect.
func (a *Agent) config() config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg
}

// all are the streams, in the order of the configuration.
func (a *Agent) all() []*stream {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.streams
}

// preference is what the configuration says about decoders.
func preference(cfg config.Config) plan.Preference {
	return plan.Preference{
		Order: families(cfg.Decode.Order), Vendor: cfg.Decode.VendorElements, Trusted: cfg.Decode.TrustedElements,
		IgnoredQuirks: cfg.Decode.IgnoreQuirks,
	}
}

// streamPreference is preference for one stream.
func streamPreference(cfg config.Config, s config.Stream) plan.Preference {
	p := preference(cfg)
	if len(s.DecodeOrder) > 0 {
		p.Order = families(s.DecodeOrder)
	}
	return p
}

func families(names []string) []plan.Family {
	var out []plan.Family
	for _, n := range names {
		if n == config.BothV4L2 {
			out = append(out, plan.V4L2Stateless, plan.V4L2Stateful)
		} else {
			out = append(out, plan.Family(n))
		}
	}
	return out
}

// Run works until ctx ends and everything has stopped. "offline" goes out first, so that
// nobody takes a stopping agent for a working one.
func (a *Agent) Run(ctx context.Context) {
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
		a.event("agent.started", "", fmt.Sprintf("edge-agent %s runs, streams: %d", build.Version, len(a.all())), nil)
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
func (a *Agent) tick(ctx context.Context) {
	telemetry := time.NewTicker(time.Duration(a.config().MQTT.TelemetryInterval))
	defer telemetry.Stop()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-telemetry.C:
			clock := contract.Clock(ReadClock())
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

func (a *Agent) publishStates() {
	for _, s := range a.all() {
		s.publishState()
	}
}

// event tells of something: in the log, and over MQTT.
func (a *Agent) event(code, stream, message string, detail map[string]any) {
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
func (a *Agent) inform() contract.Info {
	stats := a.renderer.Stats()
	return contract.Info{
		Version: build.Version, Commit: build.Commit(), Arch: runtime.GOARCH, OS: runtime.GOOS,
		GStreamer: stats.GStreamer, SessionID: a.session, ConfigHash: a.config().Hash(),
		Decoders: decoders(stats.Decoders, a.prober.last()), Displays: displays(stats), PassedOver: slices.Concat(stats.Passed, stats.PathNotes), Commands: a.commands(),
		Shown: a.shown(),
	}
}

// publishInfo tells what the agent is and what it found, when that is news.
func (a *Agent) publishInfo() {
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
func (a *Agent) commands() []string {
	if !a.started.Control.Enabled {
		return []string{}
	}
	return slices.Sorted(slices.Values(a.started.Control.Allow))
}

// nameStreams tells the broker which streams there are, and so which are no more.
func (a *Agent) nameStreams() {
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
func decoders(found []plan.Decoder, probed decode.ProbeReport) []contract.Decoder {
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
		return report.CodeDiffers
	}
	return c.Code
}

func displays(stats decode.Stats) []contract.Display {
	d := stats.Display
	if d.Sink == "" || d.Sink == plan.None {
		return []contract.Display{}
	}
	return []contract.Display{{Connector: d.Connector, Sink: string(d.Sink), Width: stats.Mode.Width, Height: stats.Mode.Height, Path: string(stats.Path)}}
}
