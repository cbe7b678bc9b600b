package decode

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/edge-agent/edge-agent/decode/drm"
	"github.com/edge-agent/edge-agent/decode/plan"
)

// askTimeout is how long a driver may take to look at an output.
const askTimeout = 5 * time.Second

// within calls f on a goroutine that is left behind when it takes too long: a driver may hold it in the kernel.
func within(limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("no answer within %v", limit)
	}
}

// askAbout has the kernel look at outputs of which it knows nothing yet. It looks at most of them by itself when it
// shows its console; where there is none, it is the first program that asks who learns that there is a screen, and its
// modes.
func askAbout(connectors []plan.Connector, dev string) error {
	var errs []error
	for _, c := range connectors {
		if !c.Unknown || c.Preferred != (plan.Mode{}) || c.ID == 0 {
			continue
		}
		err := within(askTimeout, func() error { return drm.Look(filepath.Join(dev, "dri", c.Card), c.ID) })
		if err != nil {
			errs = append(errs, fmt.Errorf("the kernel could not be asked about the output %s: %w", c.Name, err))
		}
	}
	return errors.Join(errs...)
}
