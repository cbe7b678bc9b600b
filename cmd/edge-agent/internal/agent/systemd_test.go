package agent

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
)

// The watchdog bites when the main loop stands still, whatever else goes on.
func TestStuckMainLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := agentOf(config.Defaults(), nil)
		beat := time.NewTicker(time.Second)
		defer beat.Stop()
		var fed []time.Duration
		began := time.Now()
		ended := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			defer close(ended)
			a.notifyWhile(ctx, func(state string) {
				if state == "WATCHDOG=1" {
					fed = append(fed, time.Since(began))
				}
			}, 30*time.Second)
		}()
		for range 60 {
			a.beat.strike(<-beat.C)
		}
		if a.Alive() != nil {
			t.Error("it is alive")
		}
		time.Sleep(10 * time.Minute) // nobody strikes
		stop()
		<-ended
		if len(fed) < 5 || slices.Max(fed) > 70*time.Second {
			t.Errorf("fed at %v", fed)
		}
		if a.Alive() == nil {
			t.Error("a main loop that stands still is alive")
		}
	})
}

// However short the watchdog waits, an agent that works is not taken for stuck.
func TestShortWatchdog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := agentOf(config.Defaults(), nil)
		a.beat.strike(time.Now())
		began := time.Now()
		var longest, last time.Duration
		ended := make(chan struct{})
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			defer close(ended)
			a.notifyWhile(ctx, func(state string) {
				if state == "WATCHDOG=1" {
					now := time.Since(began)
					longest, last = max(longest, now-last), now
				}
			}, time.Second)
		}()
		beat := time.NewTicker(time.Second)
		defer beat.Stop()
		for range 20 {
			a.beat.strike(<-beat.C)
		}
		stop()
		<-ended
		if last == 0 || longest >= time.Second {
			t.Errorf("not fed for %v", longest)
		}
	})
}

// An agent that only waited for a valid configuration is followed by one that works: the service does not stop.
func TestWaitingIsNotStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := agentOf(config.Defaults(), nil)
		a.invalid = config.Errors{{Code: config.CodeInvalid, File: "c.toml", Key: "mqtt.broker", Message: "is wrong"}}
		ctx, stop := context.WithCancel(t.Context())
		stop()
		var told []string
		a.notifyWhile(ctx, func(state string) { told = append(told, state) }, 0)
		if len(told) != 1 || told[0] != "READY=1\nSTATUS=waiting for a valid configuration: c.toml: mqtt.broker is wrong" {
			t.Errorf("%q", told)
		}
		a.invalid, told = nil, nil
		a.notifyWhile(ctx, func(state string) { told = append(told, state) }, 0)
		if len(told) != 2 || told[1] != "STOPPING=1" {
			t.Errorf("%q", told)
		}
	})
}
