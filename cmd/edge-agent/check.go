package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/terminal"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/web"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

const (
	codeCheckDNS   = "check.dns"   // a name cannot be resolved
	codeCheckClock = "check.clock" // nobody sets the clock
)

// What came of looking at something.
const (
	fine    = "ok"
	problem = "problem"
	unknown = "unknown" // it could not be looked at; why is said
)

// finding is one thing that was looked at.
type finding struct {
	Check   string `json:"check"`   // what was looked at
	Result  string `json:"result"`  // fine, problem or unknown
	Code    string `json:"code"`    // what is wrong, of the table of codes; "" when nothing is
	Message string `json:"message"` // what was found
	Action  string `json:"action"`  // what to do; "" when there is nothing
}

// check collects what is found, in the order of the things that depend on each other.
type check struct {
	command  checkCommand
	cfg      config.Config
	valid    bool // the configuration is
	lacking  bool // credentials are
	found    func(finding)
	problems int
}

// Run looks at everything that a picture needs, says what it finds, and fails if there is a problem. Where the service
// runs, it is asked about what it holds, such as the display; else a short run is made.
func (c checkCommand) Run(ctx context.Context, std stdio) error {
	k := &check{command: c, found: printFinding(std.Out)}
	if c.JSON {
		out := json.NewEncoder(std.Out)
		k.found = func(f finding) { _ = out.Encode(f) }
	}
	k.configuration()
	k.stateDir()
	k.clock()
	k.devices()
	service, running := k.service(ctx)
	k.broker(ctx)
	if running {
		k.itsCredentials(service)
		k.judge(service)
	} else if err := k.trial(ctx, std, k.credentials(ctx)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return usageError("it was interrupted, so not everything was looked at")
	}
	if k.problems > 0 {
		return errProblems(k.problems)
	}
	return nil
}

// errProblems ends a check that found some; they have been printed.
type errProblems int

func (e errProblems) Error() string { return fmt.Sprintf("problems: %d", int(e)) }

// printFinding writes findings for people: a line for each, and under a problem what to do.
func printFinding(w io.Writer) func(finding) {
	mark := map[string]string{fine: "ok", problem: "PROBLEM", unknown: "?"}
	return func(f finding) {
		code := ""
		if f.Code != "" {
			code = f.Code + ": "
		}
		fmt.Fprintf(w, "%-8s %-14s %s%s\n", mark[f.Result], f.Check, code, terminal.Plain(f.Message))
		if f.Action != "" {
			fmt.Fprintf(w, "%-8s %-14s → %s\n", "", "", f.Action)
		}
	}
}

func (k *check) ok(what, format string, args ...any) {
	k.found(finding{Check: what, Result: fine, Message: fmt.Sprintf(format, args...)})
}

func (k *check) unknown(what, format string, args ...any) {
	k.found(finding{Check: what, Result: unknown, Message: fmt.Sprintf(format, args...)})
}

// problem is something that has to be mended. What to do is the table's, unless action says it.
func (k *check) problem(what, code, message, action string) {
	k.problems++
	if action == "" {
		known, _ := contract.Lookup(code)
		action = known.Action
	}
	message, _, _ = strings.Cut(message, "; trying again in ") // the agent's words, which goes on
	k.found(finding{what, problem, code, strings.ReplaceAll(message, "\n", " "), action})
}

func (k *check) failed(what string, err error) {
	f := failure.Of(err)
	k.problem(what, f.Code, f.Message, f.Action)
}

// configuration reads the file. With one that cannot be used the box is looked at all the same, with the defaults.
func (k *check) configuration() {
	const what = "configuration"
	cfg, err := config.Load(k.command.Config)
	if err == nil {
		k.cfg, k.valid = cfg, true
		k.ok(what, "%s is valid; streams: %d", k.command.Config, len(cfg.Streams))
		return
	}
	k.cfg = config.Defaults()
	faults, ok := err.(config.Errors)
	if !ok {
		k.failed(what, err)
	}
	for _, fault := range faults {
		k.problem(what, fault.Code, fault.Fault(), fault.Action)
	}
}

// leastRoom is how much a state directory needs, in bytes: the outbox, positions and results of trials.
const leastRoom = 50 << 20

// stateDir tries whether this user can keep something in the state directory.
func (k *check) stateDir() {
	const what = "state"
	dir := k.cfg.Agent.StateDir
	f, err := os.CreateTemp(dir, "check-")
	if err != nil {
		k.problem(what, agent.CodeStateUnusable, fmt.Sprintf("%s cannot be written to: %v", dir, config.RootCause(err)),
			"Run the check as the user of the service (sudo -u edge-agent), or correct the owner, or name another folder in [agent] state_dir.")
		return
	}
	_ = f.Close()
	_ = os.Remove(f.Name())
	room, err := roomIn(dir)
	switch {
	case err != nil:
		k.unknown(what, "%s can be written to; how much room there is cannot be seen: %v", dir, err)
	case room < leastRoom:
		k.problem(what, agent.CodeStateUnusable, fmt.Sprintf("%s has room for %d MiB only", dir, room>>20), "Make room, or name another folder in [agent] state_dir.")
	default:
		k.ok(what, "%s can be written to and has room for %d MiB", dir, room>>20)
	}
}

func (k *check) clock() {
	const what = "clock"
	if k.cfg.Control.Clock == config.ClockSystem {
		k.ok(what, "[control] clock says that it is kept right; it is %s", time.Now().UTC().Format("2006-01-02 15:04:05 UTC"))
		return
	}
	switch now := time.Now().UTC().Format("2006-01-02 15:04:05 UTC"); agent.ReadClock() {
	case ingest.ClockSynced:
		k.ok(what, "synchronised; it is %s", now)
	case ingest.ClockUnsynced:
		k.problem(what, codeCheckClock, "the kernel says that nobody keeps the clock right; it is "+now, "")
	default:
		k.unknown(what, "whether it is synchronised cannot be seen; it is %s", now)
	}
}

// devices looks for device nodes that this user may not open.
func (k *check) devices() {
	const what = "permissions"
	if closed := decode.ClosedDevices(); len(closed) > 0 {
		k.problem(what, report.CodeAccess, "this user may not open "+strings.Join(closed, ", "), "")
		return
	}
	k.ok(what, "all device nodes of decoders and displays can be opened by this user")
}

// service asks a running service.
func (k *check) service(ctx context.Context) (web.Status, bool) {
	const what = "service"
	s, _, err := web.Ask(ctx, k.command.Socket)
	if err != nil {
		k.unknown(what, "%v: a short run follows instead", err)
		return s, false
	}
	k.ok(what, "edge-agent %s runs since %s", s.Info.Version, s.Status.StartedAt.Local().Format("2006-01-02 15:04:05"))
	return s, true
}

// broker tries name, connection and login, as another client than the service.
func (k *check) broker(ctx context.Context) {
	const what = "broker"
	if k.cfg.MQTT.Broker == "" {
		if k.valid {
			k.ok(what, "none is configured")
		}
		return
	}
	for _, file := range []string{k.cfg.MQTT.PasswordFile, k.cfg.MQTT.KeyFile, k.cfg.MQTT.CertFile, k.cfg.MQTT.CAFile} {
		if ofTheService(file) {
			k.unknown(what, "only the service has %s: start it, and check again", file)
			return
		}
	}
	if u, err := url.Parse(k.cfg.MQTT.Broker); err == nil && !k.resolves(ctx, what, u.Hostname()) {
		return
	}
	if err := mqtt.Reach(ctx, agent.BrokerOf(k.cfg), mqtt.Profile(k.cfg.MQTT.Profile)); err != nil {
		k.failed(what, err)
		return
	}
	k.ok(what, "%s can be used", k.cfg.MQTT.Broker)
}

// resolves looks a name up; an address is none.
func (k *check) resolves(ctx context.Context, what, host string) bool {
	if net.ParseIP(host) != nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, host); err != nil {
		k.problem(what, codeCheckDNS, err.Error(), "")
		return false
	}
	return true
}

// itsCredentials judges those of a running service, which may have others than this user: by what its streams say.
func (k *check) itsCredentials(s web.Status) {
	const what = "credentials"
	for _, stream := range s.Status.Streams {
		if stream.State.State == contract.Playing {
			k.ok(what, "the service has some that work")
			return
		}
	}
	k.unknown(what, "no stream of the service plays; what is wrong is said with the streams")
}

// ofTheService says that a file is a credential of systemd (LoadCredential=), which is there only while the service runs,
// and that it is not there now.
func ofTheService(file string) bool {
	if file == "" || !strings.HasPrefix(file, "/run/credentials/") && strings.ContainsRune(file, '/') {
		return false
	}
	_, err := os.Stat(secret.Credential(file))
	return errors.Is(err, fs.ErrNotExist)
}

// serviceHasCredentials says that a drop-in of the unit, below the folder of the unit's name, gives the service
// credentials of AWS.
func serviceHasCredentials(unit string) bool {
	dropIns, _ := filepath.Glob(filepath.Join(unit+".d", "*.conf")) // the only error is one of the pattern
	return slices.ContainsFunc(dropIns, func(path string) bool {
		text, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(text), "\nEnvironment=AWS_")
	})
}

// expiresSoon is how long credentials must at least be valid. The SDK fetches others well before that, where it can.
const expiresSoon = 5 * time.Minute

// credentials fetches them; the service is nil when there are none to try with.
func (k *check) credentials(ctx context.Context) *ingest.Service {
	const what = "credentials"
	if !k.valid {
		return nil
	}
	s, err := loadService(ctx, k.command.Config, k.cfg)
	if err != nil {
		if faults, ok := err.(config.Errors); ok {
			k.problem(what, faults[0].Code, faults[0].Fault(), faults[0].Action)
		}
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	source, until, err := s.CredentialsUntil(asking)
	switch left := time.Until(until); {
	case err != nil && len(k.cfg.Streams) == 0:
		k.unknown(what, "there are none, and no streams that need them")
	case err != nil && serviceHasCredentials(k.command.Unit):
		k.lacking = true
		k.unknown(what, "this user has none, and the service gets some from its unit: start it, and check again")
	case err != nil:
		k.lacking = true
		f := failure.Of(err)
		if e, ok := errors.AsType[*ingest.Error](err); ok && e.Message != "" {
			f.Message = e.Message // its cause lists all that the SDK has tried
		}
		k.problem(what, f.Code, f.Message, "")
	case until.IsZero():
		k.ok(what, "from %s; they do not expire", source)
	case left < expiresSoon:
		k.problem(what, ingest.CodeCredentials, fmt.Sprintf("those from %s expire in %v", source, left.Round(time.Second)), "")
	default:
		k.ok(what, "from %s; valid for %v", source, left.Round(time.Minute))
	}
	return s
}

// trialTime is how long a short run may take. It ends as soon as all is known.
const trialTime = 45 * time.Second

// playFor is how long a stream must play before it is judged.
const playFor = 2 * time.Second

// trial lets an agent work for a moment, with the streams, the decoders and the display of the configuration, but
// without the broker and the state of the service.
func (k *check) trial(ctx context.Context, std stdio, service *ingest.Service) error {
	cfg := k.cfg
	cfg.MQTT.Broker, cfg.Control, cfg.HomeAssistant, cfg.HTTP = "", config.Control{}, config.HomeAssistant{}, config.HTTP{}
	if service == nil {
		cfg.Streams = nil
		service = ingest.NewService(aws.Config{}, "")
	}
	dir, err := os.MkdirTemp("", "edge-agent-check-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg.Agent.StateDir = dir
	a, err := agent.New(cfg, func() (*ingest.Service, error) { return service, nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer a.Close()
	fmt.Fprintln(std.Err, "looking at decoders, display and streams; this takes a moment")
	working, stop := context.WithTimeout(ctx, trialTime)
	defer stop()
	ended := make(chan struct{})
	go func() { a.Run(working); close(ended) }()
	agent.WaitFor(working, func() bool { return settled(a) }, trialTime)
	status := a.Status()
	stop()
	<-ended
	if ctx.Err() == nil {
		k.judge(status)
	}
	return nil
}

// settled says that no more is to be learned from a run: the renderer is there or will not be, decoders were tried, and
// each stream plays for a while or has failed.
func settled(a *agent.Agent) bool {
	s := a.Status()
	if s.Info.GStreamer == "" {
		return pictureTrouble(s).Code != "" && allTried(s)
	}
	if a.Decoders().Time.IsZero() {
		return false
	}
	for _, stream := range s.Status.Streams {
		state := stream.State
		playing := state.State == contract.Playing && time.Since(state.Since.Time) > playFor
		if shown := stream.Name == s.Status.Shown; playing && shown && state.Code == "" && totalsOf(s, stream.Name).Shown == 0 {
			return false
		}
		if !playing && state.Code == "" {
			return false
		}
	}
	return true
}

// allTried says that each stream plays for a while or could not be pulled, whatever becomes of its pictures.
func allTried(s web.Status) bool {
	return !slices.ContainsFunc(s.Status.Streams, func(stream contract.StreamStatus) bool {
		playing := stream.State.State == contract.Playing && time.Since(stream.State.Since.Time) > playFor
		return !playing && len(totalsOf(s, stream.Name).Reconnects) == 0
	})
}

// totalsOf are the totals of a stream; none where the agent, which may be of another version, does not give them.
func totalsOf(s web.Status, stream string) web.Totals {
	i := slices.IndexFunc(s.Totals, func(t web.Totals) bool { return t.Stream == stream })
	if i < 0 {
		return web.Totals{}
	}
	return s.Totals[i]
}

// judge turns what an agent says of itself into findings.
func (k *check) judge(s web.Status) {
	k.renderer(s)
	k.display(s)
	for _, stream := range s.Status.Streams {
		if s.Info.GStreamer == "" && agent.OfTheProcess[stream.State.Code] {
			k.undecoded(stream, s)
			continue
		}
		k.stream(stream, totalsOf(s, stream.Name), stream.Name == s.Status.Shown)
	}
}

// pictureTrouble is the newest event about the renderer itself.
func pictureTrouble(s web.Status) (last contract.Event) {
	for _, e := range s.Events {
		if agent.OfTheProcess[e.Code] {
			last = e
		}
	}
	return last
}

func (k *check) renderer(s web.Status) {
	if s.Info.GStreamer == "" {
		e := pictureTrouble(s)
		if e.Code == "" {
			k.unknown("renderer", "it has not answered yet")
			return
		}
		k.problem("renderer", e.Code, e.Message, "")
		return
	}
	k.ok("renderer", "GStreamer %s", s.Info.GStreamer)
	var passed, failed []string
	for _, d := range s.Info.Decoders {
		text := fmt.Sprintf("%s (%s)", d.Name, d.Codec)
		if d.Result == string(decode.Failed) {
			failed = append(failed, text+": "+d.Code)
		} else {
			passed = append(passed, text)
		}
	}
	if len(passed) == 0 {
		k.problem("decoders", report.CodeNoDecoder, "none works; "+orNone(strings.Join(failed, ", ")), "")
		return
	}
	text := strings.Join(passed, ", ")
	if len(failed) > 0 {
		text += "; failed: " + strings.Join(failed, ", ")
	}
	k.ok("decoders", "%s", text)
	k.faults(s)
}

// faults names the known faults of drivers that apply to this box.
func (k *check) faults(s web.Status) {
	r := decode.ProbeReport{GStreamer: s.Info.GStreamer}
	for _, d := range s.Info.Decoders {
		r.Candidates = append(r.Candidates, decode.Candidate{
			Element: d.Name, Codec: format.Codec(d.Codec), Device: d.Device, Driver: d.Driver,
		})
	}
	r.OnThisBox(os.DirFS("/sys"))
	for _, row := range r.Faults(plan.Preference{IgnoredQuirks: k.cfg.Decode.IgnoreQuirks}) {
		k.ok("known fault", "%s: %s", row.ID, row)
	}
}

func (k *check) display(s web.Status) {
	const what = "display"
	for _, d := range s.Info.Displays {
		k.ok(what, "%s by %s, %dx%d", orNone(d.Connector), d.Sink, d.Width, d.Height)
	}
	if len(s.Info.Displays) > 0 || k.cfg.Display.Sink == string(plan.None) {
		return
	}
	message := "none can be used: " + orNone(strings.Join(s.Info.PassedOver, "; "))
	if held := holders(); len(held) > 0 {
		message += "; a graphics card is in use by " + strings.Join(held, ", ")
	}
	k.problem(what, report.CodeNoDisplay, message, "")
}

func (k *check) stream(s contract.StreamStatus, totals web.Totals, shown bool) {
	what := "stream " + s.Name
	switch state := s.State; {
	case k.lacking && state.Code == ingest.CodeCredentials:
		k.unknown(what, "it cannot be asked for without credentials")
	case state.Code != "":
		k.problem(what, state.Code, state.Message, "")
	case state.State == contract.Stopped:
		k.ok(what, "stopped on request")
	case state.State != contract.Playing:
		k.unknown(what, "%s for %v", state.State, time.Since(state.Since.Time).Round(time.Second))
	case shown:
		k.ok(what, "plays; pictures shown: %d of %d frames, decoded by %s", totals.Shown, totals.Received, orNone(state.Decoder))
	default:
		k.ok(what, "plays; frames received: %d", totals.Received)
	}
}

// undecoded judges a stream that cannot be shown for want of a renderer, which has been said: by whether it comes.
func (k *check) undecoded(s contract.StreamStatus, all web.Status) {
	what := "stream " + s.Name
	if s.State.State == contract.Playing {
		k.ok(what, "comes; frames received: %d, which nothing can decode", totalsOf(all, s.Name).Received)
		return
	}
	for _, e := range slices.Backward(all.Events) {
		switch {
		case e.Stream != s.Name || e.Severity == contract.SeverityInfo || agent.OfTheProcess[e.Code]:
		case k.lacking && e.Code == ingest.CodeCredentials:
			k.unknown(what, "it cannot be asked for without credentials")
			return
		default:
			k.problem(what, e.Code, e.Message, "")
			return
		}
	}
	k.unknown(what, "%s for %v", s.State.State, time.Since(s.State.Since.Time).Round(time.Second))
}
