package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// desiredConfig is the configuration of a device shadow that is in effect over the file, as it is kept
// for a restart without a network.
type desiredConfig struct {
	Thing   string          `json:"thing"`
	Version int64           `json:"version"` // of the shadow when it was first seen
	Config  json.RawMessage `json:"config"`  // empty: the file alone counts
}

const desiredName = "desired.json"

// maxDesired bounds the file, in bytes; a device shadow has at most 8 KB.
const maxDesired = 64 << 10

// readDesired reads what an earlier run has kept; nothing if it is of another thing.
func readDesired(dir, thing string) (d desiredConfig, err error) {
	damage, err := statefile.Read(filepath.Join(dir, desiredName), maxDesired, func(text []byte) error { return json.Unmarshal(text, &d) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return desiredConfig{}, nil
	case damage != nil:
		return desiredConfig{}, damage
	case err != nil || d.Thing != thing:
		return desiredConfig{}, err
	}
	return d, nil
}

// keep writes it so that a power cut leaves the old file or the new one.
func (d desiredConfig) keep(dir string) error {
	path := filepath.Join(dir, desiredName)
	if len(d.Config) == 0 {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return statefile.Replace(path, append(text, '\n'))
}

// applied is the outcome of a configuration that is in effect.
func (d desiredConfig) applied() contract.ShadowOutcome {
	if len(d.Config) == 0 {
		return contract.ShadowOutcome{Version: d.Version, Status: contract.ShadowNone}
	}
	return contract.ShadowOutcome{Version: d.Version, Status: contract.ShadowApplied}
}

// rejected is the outcome of one that has changed nothing.
func rejected(version int64, err error) contract.ShadowOutcome {
	out := contract.ShadowOutcome{Version: version, Status: contract.ShadowRejected}
	if faults, ok := errors.AsType[config.Errors](err); ok {
		out.Code, out.Reason, out.Faults = faults[0].Code, config.Shorten(faults.Error()), config.ShadowFaults(faults)
		return out
	}
	f := failure.Of(err)
	out.Code, out.Reason = f.Code, config.Shorten(f.Message)
	return out
}

// shadowed is how an agent stands with its device shadow.
type shadowed struct {
	over    desiredConfig          // in effect over the file
	wish    desiredConfig          // the newest, in effect or rejected
	outcome contract.ShadowOutcome // of wish
}

// underShadow is the configuration that a start begins with: the file, with what the shadow
// desired last over it. When the two do not go together any more, the file alone counts.
func underShadow(file string, cfg config.Config) (config.Config, shadowed) {
	none := desiredConfig{Thing: cfg.Thing()}
	alone := shadowed{over: none, wish: none, outcome: none.applied()}
	if !cfg.IsAWSIoT() || !cfg.Control.Shadow {
		return cfg, alone
	}
	kept, err := readDesired(cfg.Agent.StateDir, cfg.Thing())
	if err != nil {
		alone.outcome.Code, alone.outcome.Reason = "shadow.storage", config.Shorten(err.Error())
		if errors.Is(err, statefile.ErrDamaged) {
			alone.outcome.Code = statefile.Code
		}
		return cfg, alone
	}
	if len(kept.Config) == 0 {
		return cfg, alone
	}
	both, err := config.LoadUnder(file, kept.Config)
	if err != nil {
		return cfg, shadowed{over: none, wish: kept, outcome: rejected(kept.Version, err)}
	}
	return both, shadowed{over: kept, wish: kept, outcome: kept.applied()}
}

// tellShadow tells at the start what became of the configuration that was kept.
func (a *Agent) tellShadow() {
	switch o := a.shadow.outcome; {
	case o.Status == contract.ShadowApplied:
		a.log.Info("the configuration last desired in the device shadow is in effect over the file", "version", o.Version, "config", string(a.shadow.over.Config))
	case o.Status == contract.ShadowRejected:
		a.event("shadow.rejected", "", "the configuration last desired in the device shadow does not go with the file any more, which counts alone: "+o.Reason,
			map[string]any{"version": o.Version, "cause": o.Code, "faults": o.Faults})
	case o.Code != "":
		a.event(o.Code, "", "the configuration last desired in the device shadow cannot be read: "+o.Reason, nil)
	}
}

// desire puts a configuration into effect that is desired in the device shadow, the way a reload
// does: all of it, or nothing. mqtt.Client calls it, in turn with commands.
func (a *Agent) desire(_ context.Context, d mqtt.Desired) {
	a.carrying.Lock()
	defer a.carrying.Unlock()
	a.mu.Lock()
	over := a.shadow.over
	wish := desiredConfig{Thing: over.Thing, Version: d.Version, Config: d.Config}
	a.shadow.wish = wish
	a.mu.Unlock()
	if bytes.Equal(d.Config, over.Config) {
		a.settleShadow(over.applied())
	} else {
		a.settleShadow(a.tryDesired(wish))
	}
}

// desireAgain tries once more what was rejected, after the file has changed.
func (a *Agent) desireAgain() {
	a.mu.Lock()
	shadow := a.shadow
	a.mu.Unlock()
	if shadow.outcome.Status == contract.ShadowRejected {
		a.settleShadow(a.tryDesired(shadow.wish))
	}
}

func (a *Agent) settleShadow(o contract.ShadowOutcome) {
	a.mu.Lock()
	a.shadow.outcome = o
	a.mu.Unlock()
	a.reportShadow()
}

func (a *Agent) tryDesired(d desiredConfig) contract.ShadowOutcome {
	if err := a.applyDesired(d); err != nil {
		outcome := rejected(d.Version, err)
		a.event("shadow.rejected", "", "the configuration desired in the device shadow was rejected: "+outcome.Reason,
			map[string]any{"version": d.Version, "cause": outcome.Code, "faults": outcome.Faults})
		return outcome
	}
	message := "the configuration desired in the device shadow is in effect"
	if len(d.Config) == 0 {
		message = "nothing is desired in the device shadow any more, and the file alone counts"
	}
	a.event("shadow.applied", "", message, map[string]any{"version": d.Version, "config": d.Config})
	if a.stateDir == "" {
		return d.applied() // told at the start
	}
	if err := d.keep(a.stateDir); err != nil {
		a.event("shadow.storage", "", "the configuration desired in the device shadow cannot be kept for a restart", map[string]any{"cause": err.Error()})
	}
	return d.applied()
}

func (a *Agent) applyDesired(d desiredConfig) error {
	if len(d.Config) > 0 && !a.started.Control.Shadow {
		return &failure.Failure{Code: "shadow.not_allowed", Message: "[control] shadow is false"}
	}
	_, err := a.reconfigure(d, func(config.Config) error { return nil }) // the file has not changed: it may be the shadow that had the streams
	return err
}

// reportShadow reports in the device shadow.
func (a *Agent) reportShadow() {
	if a.mqtt == nil || !a.started.IsAWSIoT() {
		return
	}
	a.mu.Lock()
	cfg, outcome, wanted, settled := a.cfg, a.shadow.outcome, a.shadow.over.Config, a.settled
	a.mu.Unlock()
	if outcome.Status == contract.ShadowApplied && !reflect.DeepEqual(config.ShadowDocument(cfg, wanted), config.ShadowDocument(settled, wanted)) {
		outcome.Status, outcome.Reason = contract.ShadowOverridden, "a command has changed it until the next start, reload or other desired configuration"
	}
	streams := make(map[string]contract.ShadowStream)
	for _, s := range a.all() {
		state := s.status().State
		streams[s.name] = contract.ShadowStream{State: state.State, Code: state.Code, Decoder: state.Decoder}
	}
	a.mqtt.SetShadow(contract.ShadowReported{
		Version: build.Version, ConfigHash: cfg.Hash(), Shown: a.shown(), Desired: outcome, Config: config.ShadowDocument(cfg, wanted), Streams: streams,
	})
}
