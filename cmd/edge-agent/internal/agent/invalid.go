package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
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

// errValid ends the wait for a valid configuration.
var errValid = errors.New("the configuration is valid now")

// stopReason says why an agent ends.
func stopReason(ctx context.Context) string {
	if errors.Is(context.Cause(ctx), errValid) {
		return errValid.Error() + "; starting with it"
	}
	return "the agent was told to stop"
}

// Waiting makes an agent that shows faults of the file and does nothing else. It takes from the file what is
// valid, and does without MQTT if that cannot be used.
func Waiting(file string, faults config.Errors, logger func(config.Log) (*slog.Logger, *slog.LevelVar)) (*Agent, error) {
	kept := config.Salvage(file, faults)
	log, _ := logger(kept.Log)
	a, err := newWaiting(kept, faults, agentOf(kept.Config, log))
	if err != nil && kept.MQTT.Broker != "" {
		log.Warn("MQTT cannot be used before the configuration is valid", "cause", err)
		kept.MQTT = config.Defaults().MQTT
		a, err = newWaiting(kept, faults, agentOf(kept.Config, log))
	}
	return a, err
}

// Await runs the agent until watch has found a valid configuration, which it returns. The error is that of watch.
func (a *Agent) Await(ctx context.Context, watch func(context.Context) (config.Config, error)) (config.Config, error) {
	waiting, end := context.WithCancelCause(ctx)
	defer end(nil)
	var running sync.WaitGroup
	running.Go(func() {
		a.tellInvalid(a.invalid)
		a.Run(waiting)
	})
	cfg, err := watch(waiting)
	if err == nil {
		end(errValid)
	} else {
		end(err)
	}
	running.Wait()
	return cfg, err
}

// newWaiting makes an agent that shows faults and does nothing else. It pulls no stream, so its service is never asked.
func newWaiting(kept config.Salvaged, faults config.Errors, a *Agent) (*Agent, error) {
	a.invalid = faults
	if err := a.prepare(func() (*ingest.Service, error) { return ingest.NewService(aws.Config{}, ""), nil }); err != nil {
		return nil, err
	}
	a.nameWaiting(kept.Names)
	return a, nil
}

// nameWaiting tells the broker that no stream is shown, whatever it has retained of an earlier run.
func (a *Agent) nameWaiting(streams []string) {
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

// tellInvalid reports the faults of the file.
func (a *Agent) tellInvalid(faults config.Errors) {
	for _, f := range faults {
		a.log.Error("the configuration is not valid; waiting for a valid file", "code", f.Code, "fault", f.Error())
	}
	if a.mqtt != nil {
		a.mqtt.Event(contract.Event{
			Code: faults[0].Code, Message: faults[0].Error(), Detail: map[string]any{"faults": len(faults)},
		})
	}
}

// StillInvalid takes in that the file has changed and is not valid either, or that somebody has asked and it is as before.
func (a *Agent) StillInvalid(faults config.Errors) {
	a.mu.Lock()
	news := faults.Error() != a.invalid.Error()
	a.invalid = faults
	a.mu.Unlock()
	a.tellInvalid(faults)
	if news {
		a.nameWaiting(config.Salvage(faults[0].File, faults).Names)
	}
	a.lookAgain()
}

func (a *Agent) waitsForConfig() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.invalid != nil
}

// invalidSlate says what is wrong with the configuration.
func (a *Agent) invalidSlate(slate decode.Slate) decode.Slate {
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
