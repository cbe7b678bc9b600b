package main

import (
	"io"
	"log/slog"
)

// newLogger writes as [log] says; the configuration was checked. Its level can be changed.
func newLogger(c LogConfig, w io.Writer) (*slog.Logger, *slog.LevelVar) {
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
