package logging

import (
	"log/slog"
	"maps"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
)

func TestJournal(t *testing.T) {
	type line struct {
		text     string
		priority journal.Priority
		fields   map[string]string
	}
	var got []line
	h := &journalHandler{level: slog.LevelInfo, send: func(text string, p journal.Priority, fields map[string]string) error {
		got = append(got, line{text, p, fields})
		return nil
	}}
	log := slog.New(h).With("stream", "gate")
	log.Debug("not wanted")
	log.Info("frames are coming", "code", "ingest.playing")
	log.Warn("a cut", "wait-for", "1 s", "empty", "")
	log.Error("worse")
	want := []line{
		{"frames are coming stream=gate code=ingest.playing", journal.PriInfo, map[string]string{"EDGE_AGENT_STREAM": "gate", "EDGE_AGENT_CODE": "ingest.playing"}},
		{`a cut stream=gate wait-for="1 s" empty=""`, journal.PriWarning, map[string]string{"EDGE_AGENT_STREAM": "gate", "EDGE_AGENT_WAIT_FOR": "1 s", "EDGE_AGENT_EMPTY": ""}},
		{"worse stream=gate", journal.PriErr, map[string]string{"EDGE_AGENT_STREAM": "gate"}},
	}
	if len(got) != len(want) {
		t.Fatalf("%d lines: %+v", len(got), got)
	}
	for i, w := range want {
		w.fields["SYSLOG_IDENTIFIER"] = "edge-agent"
		if got[i].text != w.text || got[i].priority != w.priority || !maps.Equal(got[i].fields, w.fields) {
			t.Errorf("got %+v\nwant %+v", got[i], w)
		}
	}
}
