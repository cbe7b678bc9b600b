// Package build says which build this program is.
package build

import "runtime/debug"

// Set by the linker, see the Makefile; a plain go build leaves them as they are.
var (
	Version = "dev"
	commit  = ""
)

// Commit is the commit this binary was built from, or "unknown".
func Commit() string {
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
