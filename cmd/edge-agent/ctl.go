package main

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/terminal"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

// ctlCommand is the other end of the commands that agents obey, and a view of all of them.
type ctlCommand struct {
	ctlFlags

	Status   ctlStatus   `cmd:"" help:"Say how the agent and its streams stand."`
	Start    ctlStart    `cmd:"" help:"Start a stream that was stopped."`
	Stop     ctlStop     `cmd:"" help:"Stop a stream."`
	Restart  ctlRestart  `cmd:"" help:"Stop a stream and start it again."`
	Seek     ctlSeek     `cmd:"" help:"Let a stream go on at another place."`
	Show     ctlShow     `cmd:"" help:"Put a stream on the display."`
	Set      ctlSet      `cmd:"" help:"Change settings until the next start or reload."`
	Snapshot ctlSnapshot `cmd:"" help:"Save what is on the display as a JPEG."`
	Probe    ctlProbe    `cmd:"" help:"Try out the decoders of the box."`
	Reload   ctlReload   `cmd:"" help:"Let the agent read its configuration again."`
	Explain  ctlExplain  `cmd:"" help:"Let the agent say what a code means."`
	Watch    ctlWatch    `cmd:"" help:"Show all agents on the broker, live."`
}

// ctlFlags may stand before and after the verb.
type ctlFlags struct {
	Broker         string        `required:"" placeholder:"URL" help:"Broker: mqtts://host or mqtt://host."`
	ClientID       string        `name:"client-id" placeholder:"ID" help:"Client id at the broker, where it has to be a certain one; by default a random one."`
	Username       string        `placeholder:"NAME" help:"User name at the broker."`
	PasswordFile   string        `placeholder:"FILE" help:"File with the password on its first line."`
	CA             string        `name:"ca" placeholder:"FILE" help:"Authorities to trust instead of the system's, PEM."`
	Cert           string        `placeholder:"FILE" help:"Certificate of this client, PEM."`
	Key            string        `placeholder:"FILE" help:"Key of the certificate, PEM."`
	AllowPlaintext bool          `help:"Permit mqtt:// to another machine."`
	Prefix         string        `default:"edge-agent" placeholder:"WORD" help:"First level of the topics (${default})."`
	ID             string        `name:"id" placeholder:"AGENT" help:"Agent to command; not for watch."`
	SignKey        string        `placeholder:"FILE" help:"Ed25519 key to sign with, PEM; for agents that have [control] public_keys."`
	Timeout        time.Duration `placeholder:"TIME" help:"Wait no longer than this, such as 10s; by default as long as the verb may take. Watch ends after it."`
	JSON           bool          `name:"json" help:"The response as JSON; not for watch."`
}

// ctlVerb is what is to be done with these flags.
type ctlVerb interface {
	run(ctx context.Context, std stdio, flags ctlFlags) error
}

// ctlCall is a complete command line of ctl.
type ctlCall struct {
	ctlFlags
	verb ctlVerb
}

func (c ctlCall) Run(ctx context.Context, std stdio) error {
	ctx, cancel := c.limit(ctx)
	defer cancel()
	return advise(c.verb.run(ctx, std, c.ctlFlags))
}

// ctlActions says what to do about errors of the broker here, where there is no configuration file:
// what the code table says is for who looks after an agent.
var ctlActions = map[string]string{
	"mqtt.unreachable": "Check --broker, network and firewall, and that the broker runs.",
	"mqtt.refused":     "Check --username, --password-file and --client-id, and what the broker allows this client.",
	"mqtt.tls":         "Check --ca, --cert and --key, their dates, the host name in --broker and the clock of this machine.",
	"mqtt.config":      "Correct the flags; they are called as the keys are, such as --allow-plaintext.",
}

// advise puts what to do in front of a terminal to an error of the broker.
func advise(err error) error {
	e, ok := errors.AsType[*contract.Error](err)
	if !ok || ctlActions[e.Code] == "" {
		return err
	}
	return &failure.Failure{Code: e.Code, Message: e.Error(), Action: ctlActions[e.Code], Err: err}
}

func (c ctlFlags) broker() mqtt.Broker {
	return mqtt.Broker{
		URL: c.Broker, ClientID: c.ClientID, Username: c.Username, PasswordFile: c.PasswordFile,
		CAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key, AllowPlaintext: c.AllowPlaintext,
	}
}

type ctlStatus struct {
	Stream string `arg:"" optional:"" help:"Only this stream."`
}

type ctlStart struct {
	Stream string `arg:"" help:"Stream, by its name in topics."`
}

type ctlStop struct {
	Stream string `arg:"" help:"Stream, by its name in topics."`
}

type ctlRestart struct {
	Stream string `arg:"" help:"Stream, by its name in topics."`
}

type ctlSeek struct {
	Stream string `arg:"" help:"Stream, by its name in topics."`
	To     string `arg:"" complete:"places" help:"now, earliest, fragment:<number>, server:<RFC 3339> or producer:<RFC 3339>."`
}

type ctlShow struct {
	Stream  string `arg:"" help:"Stream, by its name in topics."`
	Display string `placeholder:"CONNECTOR" help:"Show on this connector, such as HDMI-A-2, until the next start or reload."`
}

type ctlSet struct {
	LogLevel          string         `placeholder:"LEVEL" complete:"levels" help:"debug, info, warn or error."`
	DecodeOrder       []string       `placeholder:"FAMILY" complete:"families" help:"Decoder families, most wanted first."`
	MaxLag            *time.Duration `placeholder:"TIME" help:"How far streams may fall behind, such as 10s; 0s: any distance."`
	Stream            string         `placeholder:"NAME" help:"Whose --max-lag; by default that of all."`
	TelemetryInterval *time.Duration `placeholder:"TIME" help:"How often telemetry is published, such as 10s."`
}

type ctlSnapshot struct {
	Stream string `arg:"" help:"Stream, by its name in topics. It has to be on the display."`
	Output string `short:"o" default:"snapshot.jpg" placeholder:"FILE" help:"Where to save it (${default}); - is standard output."`
}

type ctlProbe struct{}

type ctlReload struct{}

type ctlExplain struct {
	Code string `arg:"" complete:"codes" help:"Code as in a log line or an MQTT event."`
}

func (c ctlStatus) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbStatus, contract.StatusArgs{Stream: c.Stream})
}

func (c ctlStart) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbStart, contract.StreamArgs{Stream: c.Stream})
}

func (c ctlStop) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbStop, contract.StreamArgs{Stream: c.Stream})
}

func (c ctlRestart) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbRestart, contract.StreamArgs{Stream: c.Stream})
}

func (c ctlSeek) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbSeek, contract.SeekArgs{Stream: c.Stream, To: c.To})
}

func (c ctlShow) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbShow, contract.ShowArgs{Stream: c.Stream, Display: c.Display})
}

func (c ctlSet) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbSet, contract.SetArgs{
		LogLevel: c.LogLevel, DecodeOrder: c.DecodeOrder, Stream: c.Stream,
		MaxLag: optionalMillis(c.MaxLag), TelemetryInterval: optionalMillis(c.TelemetryInterval),
	})
}

func optionalMillis(d *time.Duration) *contract.Millis {
	if d == nil {
		return nil
	}
	return new(contract.Millis(d.Milliseconds()))
}

func (ctlProbe) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbProbe, nil)
}

func (ctlReload) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbReload, nil)
}

func (c ctlExplain) run(ctx context.Context, std stdio, f ctlFlags) error {
	return f.call(ctx, std, contract.VerbExplain, contract.ExplainArgs{Code: c.Code})
}

// run saves the picture. With it on standard output, the response goes to standard error.
func (c ctlSnapshot) run(ctx context.Context, std stdio, f ctlFlags) error {
	caller, err := f.caller(std)
	if err != nil {
		return err
	}
	jpeg, response, err := caller.Snapshot(ctx, c.Stream)
	if err != nil {
		return err
	}
	if c.Output == "-" {
		if _, err := std.Out.Write(jpeg); err != nil {
			return err
		}
		std.Out = std.Err
	} else if jpeg != nil {
		if err := os.WriteFile(c.Output, jpeg, 0o644); err != nil {
			return &failure.Failure{Code: agent.CodeFailed, Message: "the picture cannot be saved: " + err.Error(), Err: err}
		}
	}
	return f.print(std.Out, contract.VerbSnapshot, response)
}

// call sends a command and prints the response to it.
func (c ctlFlags) call(ctx context.Context, std stdio, v contract.Verb, args any) error {
	caller, err := c.caller(std)
	if err != nil {
		return err
	}
	response, err := caller.Call(ctx, v, args)
	if err != nil {
		return err
	}
	return c.print(std.Out, v, response)
}

func (c ctlFlags) caller(std stdio) (mqtt.Caller, error) {
	if c.ID == "" {
		return mqtt.Caller{}, usageError("missing flags: --id=AGENT")
	}
	key, err := readSignKey(c.SignKey)
	lost := func(err error) { sayLost(std.Err, err) }
	return mqtt.Caller{Broker: c.broker(), Prefix: c.Prefix, Agent: c.ID, Key: key, Lost: lost}, err
}

// sayLost tells that the connection to the broker broke.
func sayLost(w io.Writer, err error) {
	f := failure.Of(err)
	fmt.Fprintf(w, "edge-agent: %s: %s; trying again\n", f.Code, terminal.Plain(f.Message))
}

func readSignKey(file string) (ed25519.PrivateKey, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usageError("--sign-key: " + err.Error())
	}
	key, err := secret.ParsePrivateKey(string(text))
	if err != nil {
		return nil, usageError(fmt.Sprintf("--sign-key %s: %v", file, err))
	}
	return key, nil
}

func (c ctlFlags) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.Timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, c.Timeout)
}

// print writes a response. The error is that of the agent, so that the exit status tells of it.
func (c ctlFlags) print(w io.Writer, v contract.Verb, r contract.Response) error {
	if c.JSON {
		if err := json.NewEncoder(w).Encode(r); err != nil {
			return err
		}
	} else if r.Status == contract.StatusSucceeded {
		if err := printData(w, v, r.Data); err != nil {
			return err
		}
	}
	if r.Status == contract.StatusSucceeded {
		return nil
	}
	return &failure.Failure{Code: r.Code, Message: fmt.Sprintf("%s %s: %s", v, r.Status, r.Reason)}
}
