package main

import (
	"context"
	"fmt"

	"github.com/BurntSushi/toml"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
)

// Run says whether the configuration is valid. It looks at nothing else; edge-agent check does.
func (c configCheckCommand) Run(_ context.Context, std stdio) error {
	cfg, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(std.Out, "%s is valid; streams: %d\n", c.Config, len(cfg.Streams))
	return err
}

// Run prints the configuration in effect: the defaults, the file and the environment. Nothing in it is secret: secrets
// are in files of their own, and addresses that hold some are refused.
func (c configPrintCommand) Run(_ context.Context, std stdio) error {
	cfg := config.Defaults()
	if !c.Defaults {
		var err error
		if cfg, err = config.Load(c.Config); err != nil {
			return err
		}
	}
	return toml.NewEncoder(std.Out).Encode(cfg)
}

// Run prints the JSON schema.
func (configSchemaCommand) Run(_ context.Context, std stdio) error {
	_, err := std.Out.Write(config.Schema)
	return err
}
