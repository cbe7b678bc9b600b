package main

import "runtime/debug"

// Set by the linker, see the Makefile; a plain go build leaves them as they are.
var (
	version = "dev"
	commit  = ""
)

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
