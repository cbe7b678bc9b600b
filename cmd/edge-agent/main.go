// Command edge-agent shows Amazon Kinesis Video Streams on the display of a
// gateway box and tells over MQTT how that goes.
//
// In go a command line and, for the daemon, a configuration file; out come
// pictures, MQTT messages and a log. This file holds the grammar of the command
// line; every command is a plain struct with a Run method in a file of its own,
// so that tests call it without flags. The agent (agent.go) is the one place
// that knows all packages and wires them; the goroutines are its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/logging"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/terminal"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// grammar is the command line. The names and helps of all flags stand here and
// nowhere else.
type grammar struct {
	Run      runCommand      `cmd:"" help:"Run the daemon: pull the configured streams, show them, report over MQTT."`
	Demo     demoCommand     `cmd:"" help:"Show the whole way on this machine: a simulated service, a broker, the agent, a picture."`
	Inspect  inspectCommand  `cmd:"" help:"List what is in a GetMedia capture."`
	Probe    probeCommand    `cmd:"" help:"Try out every video decoder of this box and list the results."`
	Simulate simulateCommand `cmd:"" help:"Serve files as live Kinesis video streams, for those without AWS at hand."`
	Ctl      ctlCommand      `cmd:"" help:"Steer a running agent over MQTT, or watch all of them."`
	Check    checkCommand    `cmd:"" help:"Look at everything that a picture needs, and say what is wrong and what to do."`
	Status   statusCommand   `cmd:"" help:"Say how the agent of this machine stands, also without a network."`
	Config   configCommands  `cmd:"" help:"Check or print the configuration."`
	Explain  explainCommand  `cmd:"" help:"Say what an error code means and what to do."`
	Version  versionCommand  `cmd:"" help:"Print version, commit and platform."`

	Completion completionCommand `cmd:"" help:"Print the script with which a shell completes this program's command lines."`
	Man        manCommand        `cmd:"" hidden:"" name:"__man" help:"Print a manual page. The packages are built with it."`
	Complete   completeCommand   `cmd:"" name:"__complete" hidden:"" passthrough:"" help:"Say what may come next on a command line. The scripts of completion ask this."`
}

type runCommand struct {
	Config        string `default:"/etc/edge-agent/config.toml" placeholder:"FILE" help:"Configuration to use (${default})."`
	InvalidConfig string `default:"auto" enum:"auto,wait,exit" placeholder:"WHAT" help:"With a configuration that is not valid: show that on the display and wait until it is (wait), or end with status 1 (exit). Default: wait for a service of systemd, else exit."`
}

type demoCommand struct {
	For time.Duration `placeholder:"TIME" help:"End after this time, such as 20s; without, a signal ends it (Ctrl-C)."`
}

type inspectCommand struct {
	JSON bool   `name:"json" help:"One JSON object a line instead of a table."`
	File string `arg:"" help:"Capture to read; - is standard input."`
}

type simulateCommand struct {
	Listen  string       `default:"127.0.0.1:0" placeholder:"ADDR" help:"Address to listen on (${default}); port 0 takes a free one."`
	Streams []streamFile `name:"stream" xor:"source" sep:"none" placeholder:"NAME=FILE" help:"Serve this Matroska file or GetMedia capture as the stream NAME. May be repeated. Without it and --script: a clip of the program's own, as the stream clock."`
	Script  string       `xor:"source" placeholder:"FILE" help:"Serve what this TOML file says: streams, how their producers write, and which faults are injected when. docs/simulator.md describes it."`
	Keys    []accessKey  `name:"credentials" sep:"none" placeholder:"ID:SECRET[:TOKEN]" help:"Accept calls signed with this access key, and with its session token if it has one. May be repeated. Replaces the built-in key, and those of the script."`
}

type probeCommand struct {
	Config string `default:"/etc/edge-agent/config.toml" placeholder:"FILE" help:"Configuration to use (${default}): the order of decoders, and where results are kept."`
	JSON   bool   `name:"json" help:"One JSON object a line instead of a table."`
	Again  bool   `help:"Try again what is known from before. Without, that is done when driver, kernel, device or GStreamer have changed."`
	Report string `type:"path" placeholder:"FILE" help:"Write a report for the issue form, after it was shown: the probe, messages of video drivers, versions, and EDIDs without serial numbers."`
}

type checkCommand struct {
	Config string `default:"/etc/edge-agent/config.toml" placeholder:"FILE" help:"Configuration to use (${default})."`
	Socket string `default:"/run/edge-agent/status.sock" placeholder:"PATH" help:"Socket of the service (${default}), which is asked if it runs."`
	Unit   string `hidden:"" default:"/etc/systemd/system/edge-agent.service" help:"Unit of the service; what gives it credentials stands in the folder of this name with .d at its end."`
	JSON   bool   `name:"json" help:"One JSON object a line: check, result (ok, problem, unknown), code, message, action."`
}

type statusCommand struct {
	Socket string `default:"/run/edge-agent/status.sock" placeholder:"PATH" help:"Socket of the agent (${default})."`
	JSON   bool   `name:"json" help:"Print everything as one JSON object."`
}

type manCommand struct {
	Section string `arg:"" enum:"1,5"`
}

type configCommands struct {
	Check  configCheckCommand  `cmd:"" help:"Say whether the configuration is valid, and look at nothing else."`
	Print  configPrintCommand  `cmd:"" help:"Print the configuration in effect: defaults, file and environment."`
	Schema configSchemaCommand `cmd:"" help:"Print the JSON schema of the configuration, for editors."`
}

type configCheckCommand struct {
	Config string `default:"/etc/edge-agent/config.toml" placeholder:"FILE" help:"Configuration to use (${default})."`
}

type configPrintCommand struct {
	Config   string `default:"/etc/edge-agent/config.toml" placeholder:"FILE" help:"Configuration to use (${default})."`
	Defaults bool   `help:"Print the defaults alone."`
}

type configSchemaCommand struct{}

type explainCommand struct {
	Code string `arg:"" optional:"" complete:"codes" help:"Code as in a log line or an MQTT event, such as kvs.media.4500. Without one, all are listed."`
}

type versionCommand struct{}

// streamFile is the value of simulate --stream.
type streamFile struct {
	Name, File string
}

// UnmarshalText reads NAME=FILE.
func (s *streamFile) UnmarshalText(text []byte) error {
	name, file, found := strings.Cut(string(text), "=")
	if !found || file == "" || name == "" {
		return fmt.Errorf("%q is not NAME=FILE", text)
	}
	if err := ingest.CheckStream(name, ""); err != nil {
		return err
	}
	s.Name, s.File = name, file
	return nil
}

// command is what every subcommand is. Run blocks until the work is done or ctx
// is over, and has then stopped whatever it started.
type command interface {
	Run(ctx context.Context, std stdio) error
}

// stdio is where a command reads and writes instead of the process's own files.
type stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// logger writes to the standard error as [log] says.
func (s stdio) logger(c config.Log) (*slog.Logger, *slog.LevelVar) { return logging.New(c, s.Err) }

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	std := stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	os.Exit(execute(context.Background(), os.Args[1:], std))
}

// execute parses args, runs the command they name and returns the exit status.
func execute(ctx context.Context, args []string, std stdio) int {
	name, cmd, err := parse(args, std)
	switch {
	case err != nil:
		return printError(std.Err, usageError(err.Error()))
	case cmd == nil:
		return exitOK // it was --help
	}
	if runtime.GOOS != "linux" && slices.Contains([]string{"run", "demo", "probe", "check", "status"}, name) {
		return printError(std.Err, usageError(name+" needs Linux; inspect, simulate, ctl and explain work here too"))
	}
	if stopsCleanly(name) {
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		// The second signal finds the default again and ends a stop that hangs.
		context.AfterFunc(ctx, stop)
	}
	return printError(std.Err, cmd.Run(ctx, std))
}

// stopsCleanly says that a signal ends the command's context. The other
// commands have nothing to put in order and die of the signal like any filter,
// even while they wait for standard input.
func stopsCleanly(name string) bool {
	return slices.Contains([]string{"run", "demo", "check", "simulate", "watch"}, name)
}

// parse returns the command that args name, with its flags filled in. It is nil
// when args ask for help, which has been printed then.
func parse(args []string, std stdio) (name string, cmd command, err error) {
	if slices.Equal(args, []string{"--version"}) { // as people try first
		args = []string{"version"}
	}
	helped := false
	var g grammar
	parser, err := newParser(&g, std, func(int) { helped = true })
	if err != nil {
		return "", nil, err
	}
	parsed, err := parser.Parse(args)
	if helped {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	node := parsed.Selected()
	target := node.Target.Addr().Interface()
	if verb, ok := target.(ctlVerb); ok {
		return node.Name, ctlCall{g.Ctl.ctlFlags, verb}, nil
	}
	return node.Name, target.(command), nil
}

// newParser reads the grammar. It calls exit after it has printed help.
func newParser(g *grammar, std stdio, exit func(int)) (*kong.Kong, error) {
	return kong.New(
		g,
		kong.Name("edge-agent"),
		kong.Description("Shows Amazon Kinesis Video Streams on the display of this box, and reports over MQTT."),
		kong.Writers(std.Out, std.Err),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true, WrapUpperBound: 100}),
	)
}

// usageError says what is wrong with a command line.
type usageError string

func (e usageError) Error() string { return string(e) }

// printError writes why a command ended, in one line or, for a configuration,
// one for each fault. It returns the exit status.
func printError(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[errProblems](err); ok {
		return exitFailed
	}
	if usage, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(w, "edge-agent: usage: %s See edge-agent --help.\n", sentence(string(usage)))
		return exitUsage
	}
	if faults, ok := errors.AsType[config.Errors](err); ok {
		for _, fault := range faults {
			fmt.Fprintf(w, "edge-agent: %s: %s\n", fault.Code, terminal.Plain(fault.Error()))
		}
		return exitFailed
	}
	f := failure.Of(err)
	action := f.Action
	if action == "" {
		code, _ := contract.Lookup(f.Code)
		action = code.Action
	}
	fmt.Fprintf(w, "edge-agent: %s %s\n", sentence(terminal.Plain(f.Error())), action)
	return exitFailed
}

// sentence ends s with a full stop, unless something ends it already.
func sentence(s string) string {
	if strings.HasSuffix(s, ".") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}
