package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/ingest"
)

// Run is the daemon: it works until ctx ends.
func (c runCommand) Run(ctx context.Context, std stdio) error {
	var hangup chan os.Signal
	waits := c.waits(os.Getenv, onTerminal())
	if waits {
		hangup = make(chan os.Signal, 1)
		signal.Notify(hangup, syscall.SIGHUP)
		defer signal.Stop(hangup)
	}
	cfg, err := config.Load(c.Config)
	var a *agent.Agent
	if err == nil {
		a, err = c.agent(ctx, cfg, std)
	}
	if faults, ok := errors.AsType[config.Errors](err); ok && waits {
		if cfg, err = c.awaitValid(ctx, faults, hangup, std); err == nil {
			a, err = c.agent(ctx, cfg, std)
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	defer a.Close()
	a.ReloadOn(hangup)
	defer settle(ctx, a).Wait()
	a.Run(ctx)
	return nil
}

// How Go's runtime is set once the start, which it does best with all it may use, is over.
const (
	startUp = 2 * time.Second

	// Streams allocate their buffers once, and then hardly anything: what the collector would let the heap grow by, in
	// per cent of what is in use, is mostly wasted.
	gcPercent = 15

	// A stream takes a few per cent of a small board's core. Each further core that goroutines may run on is woken up
	// for every frame, to look for work that is not there: that takes as much again as one stream does.
	streamsPerCore = 8
)

// settle sets Go's runtime after the start, and whenever there are more or fewer streams. It ends with ctx. Who sets
// GOMAXPROCS knows better.
func settle(ctx context.Context, a *agent.Agent) *sync.WaitGroup {
	var all sync.WaitGroup
	all.Go(func() {
		ticker := time.NewTicker(startUp)
		defer ticker.Stop()
		cores := runtime.GOMAXPROCS(0)
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			debug.SetGCPercent(gcPercent)
			if os.Getenv("GOMAXPROCS") == "" {
				runtime.GOMAXPROCS(min(cores, 1+a.StreamCount()/streamsPerCore))
			}
		}
	})
	return &all
}

// agent makes the agent of a configuration.
func (c runCommand) agent(ctx context.Context, cfg config.Config, std stdio) (*agent.Agent, error) {
	return agent.FromFile(c.Config, cfg, func(cfg config.Config) (*ingest.Service, error) { return loadService(ctx, c.Config, cfg) }, std.logger)
}

// loadService reads what the AWS tools' own files and the environment add to a configuration. What is wrong with that
// is a fault of the configuration as well: nothing can be pulled before somebody changes it.
func loadService(ctx context.Context, file string, cfg config.Config) (*ingest.Service, error) {
	s, err := ingest.LoadService(ctx, cfg.AWS.Region, cfg.AWS.Endpoint, cfg.AWS.IoT.Credentials())
	if err == nil && len(cfg.Streams) > 0 {
		err = s.CheckRegion()
	}
	if err != nil {
		return nil, config.Errors{{
			Code: config.CodeInvalid, File: file, Key: "aws", Message: "cannot be used: " + strings.TrimPrefix(err.Error(), ingest.CodeConfig+": "), Err: err,
			Action: "Write the region of the streams into [aws] region, or correct AWS_REGION, AWS_PROFILE or ~/.aws/config.",
		}}
	}
	return s, nil
}

// valid is the configuration in the file, if an agent can be made of it.
func (c runCommand) valid(ctx context.Context) (config.Config, error) {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return config.Config{}, err
	}
	s, err := loadService(ctx, c.Config, cfg)
	if err != nil {
		return config.Config{}, err
	}
	s.Close()
	return cfg, nil
}
