package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

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
	cfg, err := LoadConfig(c.Config)
	if faults, ok := errors.AsType[ConfigErrors](err); ok && waits {
		cfg, err = c.awaitValid(ctx, faults, hangup, std)
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	cfg, shadow := underShadow(c.Config, cfg)
	log, level := newLogger(cfg.Log, std.Err)
	a, err := newAgent(cfg, func() (*ingest.Service, error) {
		return ingest.LoadService(ctx, cfg.AWS.Region, cfg.AWS.Endpoint, cfg.AWS.IoT.credentials())
	}, log)
	if err != nil {
		return err
	}
	defer a.service.Close()
	a.file, a.level = c.Config, level
	a.shadow = shadow
	if len(cfg.Streams) == 0 {
		log.Warn("no [[streams]] are configured, so there is nothing to show", "config", c.Config)
	}
	a.hangup = hangup
	a.Run(ctx)
	return nil
}

// credentials are those of the device's certificate, or nil for the SDK's own ways.
func (c IoTConfig) credentials() *ingest.IoTCredentials {
	if c.Endpoint == "" {
		return nil
	}
	return &ingest.IoTCredentials{
		Endpoint: c.Endpoint, RoleAlias: c.RoleAlias, ThingName: c.ThingName,
		CertFile: c.CertFile, KeyFile: c.KeyFile, CAFile: c.CAFile,
	}
}

// newLogger writes as [log] says; the configuration was checked. Its level can be changed.
func newLogger(c LogConfig, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(c.Level))
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), level
	}
	return slog.New(slog.NewTextHandler(w, options)), level
}
