package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// Set by the linker, see the Makefile; a plain go build leaves them as they are.
var (
	version = "dev"
	commit  = ""
)

// Run prints the version in one line.
func (versionCommand) Run(_ context.Context, std stdio) error {
	_, err := fmt.Fprintf(std.Out, "edge-agent %s (commit %s, %s, %s/%s)\n",
		version, buildCommit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// buildCommit is the commit this binary was built from, or "unknown".
func buildCommit() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
