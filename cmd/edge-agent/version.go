package main

import (
	"context"
	"fmt"
	"runtime"
)

// Run prints the version in one line.
func (versionCommand) Run(_ context.Context, std stdio) error {
	_, err := fmt.Fprintf(std.Out, "edge-agent %s (commit %s, %s, %s/%s)\n",
		version, buildCommit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
