package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/term"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// A service whose configuration is not valid at its start does not end: nobody would see why the screen is black. It
// shows the faults on the display and reports them over MQTT as far as the rest of the file says where, until the file
// is valid.
//
//	          faults                      valid file
//	start ───────────▶ waiting for a file ───────────▶ the agent as usual
//	                    ▲       │ changed, SIGHUP
//	                    └───────┘ other faults

// lookAtFile is how often it is looked whether the file has changed.
const lookAtFile = time.Second

// readAnyway is in which of these looks the file is read even if it has not changed.
const readAnyway = 10

// errValid ends the wait for a valid configuration.
var errValid = errors.New("the configuration is valid now")

// stopReason says why an agent ends.
func stopReason(ctx context.Context) string {
	if errors.Is(context.Cause(ctx), errValid) {
		return errValid.Error() + "; starting with it"
	}
	return "the agent was told to stop"
}

// waits says whether to wait for a valid configuration instead of ending: as it was asked for, else whether a service
// manager has started this process. systemd sets INVOCATION_ID, also for what runs in a terminal of a desktop session.
func (c runCommand) waits(getenv func(string) string, terminal bool) bool {
	switch c.InvalidConfig {
	case "wait":
		return true
	case "exit":
		return false
	}
	return getenv("INVOCATION_ID") != "" && !terminal
}

// onTerminal says that somebody reads what this process says, or types into it.
func onTerminal() bool { return isTerminal(os.Stdin) || isTerminal(os.Stderr) }

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// awaitValid waits until the file is valid, and shows and reports its faults meanwhile. The error is that of ctx.
func (c runCommand) awaitValid(ctx context.Context, faults ConfigErrors, hangup <-chan os.Signal, std stdio) (Config, error) {
	kept := salvageConfig(c.Config, faults)
	log, _ := newLogger(kept.Log, std.Err)
	a, err := newWaiting(kept, faults, agentOf(kept.Config, log))
	if err != nil && kept.MQTT.Broker != "" {
		log.Warn("MQTT cannot be used before the configuration is valid", "cause", err)
		kept.MQTT = Defaults().MQTT
		a, err = newWaiting(kept, faults, agentOf(kept.Config, log))
	}
	if err != nil {
		return Config{}, err
	}
	defer a.service.Close()
	waiting, end := context.WithCancelCause(ctx)
	defer end(nil)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.tellInvalid(faults)
		a.Run(waiting)
	}()
	cfg, err := watchFile(waiting, c.Config, c.valid, faults, hangup, a.stillInvalid)
	if err == nil {
		end(errValid)
	}
	<-ended
	return cfg, err
}

// newWaiting makes an agent that shows faults and does nothing else. It pulls no stream, so its service is never asked.
func newWaiting(kept salvaged, faults ConfigErrors, a *agent) (*agent, error) {
	a.invalid = faults
	if err := a.prepare(func() (*ingest.Service, error) { return ingest.NewService(aws.Config{}, ""), nil }); err != nil {
		return nil, err
	}
	a.nameWaiting(kept.streams)
	return a, nil
}

// nameWaiting tells the broker that no stream is shown, whatever it has retained of an earlier run.
func (a *agent) nameWaiting(streams []string) {
	if a.mqtt == nil {
		return
	}
	a.mu.Lock()
	first := a.invalid[0]
	a.mu.Unlock()
	a.mqtt.SetStreams(streams)
	for _, name := range streams {
		a.mqtt.SetState(name, contract.State{State: contract.Failed, Since: contract.Time{Time: a.began}, Code: first.Code, Message: first.Error()})
	}
}

// watchFile waits until the file is valid: it reads it when it has changed and then stayed the same for a moment, since
// it may still be being written, when somebody asks for that, and now and then, because a fault may be in the files of
// the AWS tools. invalid is told of faults that are not those known, and each time somebody has asked.
func watchFile(ctx context.Context, path string, valid func(context.Context) (Config, error), known ConfigErrors, hangup <-chan os.Signal, invalid func(ConfigErrors)) (Config, error) {
	ticker := time.NewTicker(lookAtFile)
	defer ticker.Stop()
	var read, before stamp // the file may have changed since known was found out: it is read once more
	for looks := 1; ; looks++ {
		asked := false
		select {
		case <-ctx.Done():
			return Config{}, ctx.Err()
		case <-hangup:
			asked, read = true, fileStamp(path)
		case <-ticker.C:
			now := fileStamp(path)
			settled := now == before
			before = now
			if !settled || now == read && looks%readAnyway != 0 {
				continue
			}
			read = now
		}
		cfg, err := valid(ctx)
		if err == nil {
			return cfg, nil
		}
		if faults, ok := errors.AsType[ConfigErrors](err); ok && (asked || faults.Error() != known.Error()) {
			known = faults
			invalid(faults)
		}
	}
}

// tellInvalid reports the faults of the file.
func (a *agent) tellInvalid(faults ConfigErrors) {
	for _, f := range faults {
		a.log.Error("the configuration is not valid; waiting for a valid file", "code", f.Code, "fault", f.Error())
	}
	if a.mqtt != nil {
		a.mqtt.Event(contract.Event{
			Code: faults[0].Code, Message: faults[0].Error(), Detail: map[string]any{"faults": len(faults)},
		})
	}
}

// stillInvalid takes in that the file has changed and is not valid either, or that somebody has asked and it is as before.
func (a *agent) stillInvalid(faults ConfigErrors) {
	a.mu.Lock()
	news := faults.Error() != a.invalid.Error()
	a.invalid = faults
	a.mu.Unlock()
	a.tellInvalid(faults)
	if news {
		a.nameWaiting(salvageConfig(faults[0].File, faults).streams)
	}
	a.lookAgain()
}

func (a *agent) waitsForConfig() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.invalid != nil
}

// invalidSlate says what is wrong with the configuration.
func (a *agent) invalidSlate(slate decode.Slate) decode.Slate {
	a.mu.Lock()
	faults := a.invalid
	a.mu.Unlock()
	first := faults[0]
	slate.State, slate.Code, slate.Since = "The configuration is not valid", first.Code, a.began.Truncate(time.Second)
	slate.Message = strings.TrimSpace(first.Key + " " + first.Message)
	if first.Line > 0 {
		slate.Message = fmt.Sprintf("Line %d: %s", first.Line, slate.Message)
	}
	slate.Action = strings.TrimSpace(first.Action + " File: " + first.File + ".")
	if n := len(faults); n > 1 {
		slate.Action += fmt.Sprintf(" It has %d faults; the log lists all.", n)
	}
	slate.Action += " The agent starts when the file is valid."
	return slate
}
