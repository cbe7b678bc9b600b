package logging

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
)

// journalOf is a handler that writes to systemd's journal, when that is where w ends; else nil.
func journalOf(w io.Writer, level slog.Leveler) slog.Handler {
	if w != os.Stderr {
		return nil
	}
	if ours, err := journal.StderrIsJournalStream(); err != nil || !ours {
		return nil
	}
	return &journalHandler{level: level, send: journal.Send}
}

// journalHandler writes each line with its priority, and its attributes as fields: `journalctl EDGE_AGENT_CODE=ingest.cut`
// finds the lines with a code. The text has them as well, for those who read it.
type journalHandler struct {
	level slog.Leveler
	attrs []slog.Attr
	send  func(message string, priority journal.Priority, fields map[string]string) error
}

// fieldPrefix keeps the fields apart from those of others.
const fieldPrefix = "EDGE_AGENT_"

// Enabled says whether lines of a level are written.
func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle writes a line.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "edge-agent"}
	var text strings.Builder
	text.WriteString(r.Message)
	add := func(a slog.Attr) bool {
		value := a.Value.Resolve().String()
		fields[fieldName(a.Key)] = value
		fmt.Fprintf(&text, " %s=%s", a.Key, quotedValue(value))
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	return h.send(text.String(), priorityOf(r.Level), fields)
}

// WithAttrs gives a handler that adds attributes to all its lines.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	more := *h
	more.attrs = append(append([]slog.Attr(nil), h.attrs...), attrs...)
	return &more
}

// WithGroup gives the handler itself: the agent's log has no groups.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }

func priorityOf(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}

// fieldName is a key as the journal allows it: upper-case letters, digits and underscores.
func fieldName(key string) string {
	return fieldPrefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
}

// quotedValue is a value as slog's own text has it.
func quotedValue(value string) string {
	if value == "" || strings.ContainsAny(value, " =\"\n\t") {
		return fmt.Sprintf("%q", value)
	}
	return value
}
