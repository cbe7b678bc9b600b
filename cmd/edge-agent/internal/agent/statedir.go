package agent

import (
	"errors"
	"fmt"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

const (
	codeStateMissing  = "storage.missing"  // a state directory, or a file in it, that was removed while the agent runs
	CodeStateUnusable = "storage.unusable" // a state directory in which nothing can be kept
)

// useStateDir opens the state directory. One that cannot be used would fail everything that keeps something there: it
// is told once, by tellStateDir, and the agent works without it.
func (a *Agent) useStateDir(dir string) {
	a.positions = OpenPositions(dir)
	if a.positions.Err() == nil {
		a.stateDir = dir
	}
	a.prober.cache = cacheFile(a.stateDir)
}

// tellStateDir reports a state directory that cannot be used, or what was found damaged in it at the start. The MQTT
// client reports its own files.
func (a *Agent) tellStateDir() {
	if err := a.positions.Err(); err != nil {
		a.event(CodeStateUnusable, "", fmt.Sprintf("the state directory %s cannot be used: %v; positions, events and what is known of the decoders are lost when the agent ends",
			a.started.Agent.StateDir, config.RootCause(err)), nil)
	}
	for _, err := range []*statefile.Damage{a.positions.damage, a.prober.damage} {
		if err != nil {
			a.event(statefile.Code, "", err.Error(), map[string]any{"moved_to": err.Aside})
		}
	}
}

// checkStateDir finds a state directory that was removed, or whose files were damaged, while the agent runs,
// and starts over in a new one.
func (a *Agent) checkStateDir() {
	found, err := a.positions.Renew()
	if found == nil {
		return
	}
	message, detail := found.Error(), map[string]any{}
	if err != nil {
		detail["cause"] = err.Error()
		message += "; positions wait in memory, because no new file could be started"
	}
	switch damage, damaged := errors.AsType[*statefile.Damage](found); {
	case damaged:
		detail["moved_to"] = damage.Aside
		a.event(statefile.Code, "", message, detail)
	case errors.Is(found, statefile.ErrMissing):
		a.event(codeStateMissing, "", message, detail)
	default:
		a.event(ingest.CodePosition, "", message, detail)
	}
}
