// Package logging writes the log: as text, as JSON, or with priorities and fields where it goes to the journal of systemd.
package logging

import (
	"io"
	"log/slog"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
)

// New writes as [log] says; the configuration was checked. Its level can be changed.
func New(c config.Log, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	level := new(slog.LevelVar)
	_ = level.UnmarshalText([]byte(c.Level))
	options := &slog.HandlerOptions{Level: level}
	if journal := journalOf(w, level); journal != nil && c.Format == "text" {
		return slog.New(journal), level
	}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options)), level
	}
	return slog.New(slog.NewTextHandler(w, options)), level
}
