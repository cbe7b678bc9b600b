package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// attend tells the service manager that the agent is ready, and from then on that it works, until ctx ends: as long as
// the main loop comes round. No network, no stream and no renderer can hold that up. Without a service manager it does
// nothing.
func (a *Agent) attend(ctx context.Context) {
	notify := func(state string) { _, _ = daemon.SdNotify(false, state) } // an error: nobody listens any more
	watched, _ := daemon.SdWatchdogEnabled(false)                         // 0: nobody wants to know
	a.notifyWhile(ctx, notify, watched)
}

// statusEvery is how often systemctl status gets another line.
const statusEvery = 10 * time.Second

// notifyWhile is attend with the service manager's ends given.
func (a *Agent) notifyWhile(ctx context.Context, notify func(state string), watched time.Duration) {
	notify(daemon.SdNotifyReady + "\nSTATUS=" + a.summary())
	if !a.waitsForConfig() { // else another agent follows in this process
		defer notify(daemon.SdNotifyStopping)
	}
	var feeding <-chan time.Time // nil for nobody who watches
	if watched > 0 {
		ticker := time.NewTicker(feedEvery(watched))
		defer ticker.Stop()
		feeding = ticker.C
	}
	status := time.NewTicker(statusEvery)
	defer status.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-status.C:
			notify("STATUS=" + a.summary())
		case <-feeding:
			if a.beat.age(time.Now()) < max(feedEvery(watched), slowBeat) {
				notify(daemon.SdNotifyWatchdog)
			}
		}
	}
}

// slowBeat is how long the main loop, which comes round every second, may take on a busy box.
const slowBeat = 2 * time.Second

// feedEvery is a third of the time after which the watchdog bites, but not so short that it costs anything.
func feedEvery(watched time.Duration) time.Duration { return max(watched/3, 100*time.Millisecond) }

// summary is how the agent stands, in a line.
func (a *Agent) summary() string {
	a.mu.Lock()
	faults := a.invalid
	a.mu.Unlock()
	if faults != nil {
		return "waiting for a valid configuration: " + faults[0].Error()
	}
	streams := a.all()
	var playing int
	wrong := ""
	for _, s := range streams {
		state := s.status().State
		if state.State == contract.Playing && state.Code == "" {
			playing++
		} else if wrong == "" {
			wrong = fmt.Sprintf("; %s: %s %s", s.name, state.State, state.Code)
		}
	}
	return fmt.Sprintf("%d of %d streams play%s", playing, len(streams), wrong)
}
