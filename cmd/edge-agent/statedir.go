package main

import (
	"errors"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// codeStateMissing is of a state directory, or a file in it, that was removed while the agent runs.
const codeStateMissing = "storage.missing"

// tellDamage reports what was found damaged in the state directory at the start. The MQTT client reports its own files.
func (a *agent) tellDamage() {
	for _, err := range []*statefile.Damage{a.positions.damage, a.prober.damage} {
		if err != nil {
			a.event(statefile.Code, "", err.Error(), map[string]any{"moved_to": err.Aside})
		}
	}
}

// checkStateDir finds a state directory that was removed, or whose files were damaged, while the agent runs,
// and starts over in a new one.
func (a *agent) checkStateDir() {
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
