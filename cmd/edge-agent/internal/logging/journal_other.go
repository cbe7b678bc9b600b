//go:build !linux

package logging

import (
	"io"
	"log/slog"
)

// journalOf is nil: only Linux has a journal.
func journalOf(io.Writer, slog.Leveler) slog.Handler { return nil }
