package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
)

// Run prints the version in one line.
func (versionCommand) Run(_ context.Context, std stdio) error {
	_, err := fmt.Fprintf(std.Out, "edge-agent %s (commit %s, %s, %s/%s)\n",
		build.Version, build.Commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
