package main

import (
	"context"

	"github.com/edge-agent/edge-agent/gst"
)

// Run is the renderer child's life.
func (rendererCommand) Run(ctx context.Context, _ stdio) error { return gst.Main(ctx) }
