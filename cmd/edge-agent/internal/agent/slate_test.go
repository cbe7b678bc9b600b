package agent

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// The texts of slates, as a technician reads them: in testdata/slates.txt.
func TestSlateTexts(t *testing.T) {
	said := func(state ingest.State, code string) func(*stream) {
		return func(s *stream) { s.Report(ingest.Report{State: state, Code: code}) }
	}
	picture := func(code string) func(*stream) {
		return func(s *stream) {
			said(ingest.Playing, ingest.CodePlaying)(s)
			s.agent.pictureReport(report.Report{Code: code, Message: "details"})
		}
	}
	var b strings.Builder
	for _, c := range []struct {
		name string
		as   func(*stream)
	}{
		{"no stream is configured", func(s *stream) { s.agent.streams = nil }},
		{"at the start", func(*stream) {}},
		{"connecting", said(ingest.Starting, "")},
		{"connected", said(ingest.Playing, ingest.CodePlaying)},
		{"the producer is silent", said(ingest.Stalled, ingest.CodeIdle)},
		{"no network", said(ingest.Backoff, "ingest.unreachable")},
		{"tried often", func(s *stream) {
			s.Report(ingest.Report{State: ingest.Backoff, Code: "ingest.unreachable", Attempt: 12})
		}},
		{"no such stream", said(ingest.Backoff, "kvs.http.ResourceNotFoundException")},
		{"no right to the stream", said(ingest.Backoff, "kvs.http.AccessDeniedException")},
		{"no decoder", picture(report.CodeNoDecoder)},
		{"a decoder that crashes", picture(report.CodeCrash)},
		{"stopped", said(ingest.Stopped, "")},
	} {
		s := loneStream(t)
		s.agent.cfg.Agent.ID = "gate-7"
		s.report.State = ingest.Starting
		c.as(s)
		slate := s.agent.slate()
		if code, known := contract.Lookup(slate.Code); known {
			if slate.Message != code.Summary || slate.Action != code.Action {
				t.Errorf("%s: the slate says other than the table: %+v", c.name, slate)
			}
			slate.Message, slate.Action = "(of the code)", "(of the code)"
		}
		fmt.Fprintf(&b, "%s\n", c.name)
		for _, text := range []string{slate.State, slate.Code, slate.Message, slate.Action} {
			if text != "" {
				fmt.Fprintf(&b, "  %s\n", text)
			}
		}
		if slate.Device != "gate-7" || slate.Version != "edge-agent "+build.Version || slate.Address == "" || slate.Broker != "MQTT off" {
			t.Errorf("%s: %+v", c.name, slate)
		}
	}
	kit.Golden(t, "slates.txt", b.String())
}

// Before its session has begun a stream connects: nobody has stopped it.
func TestNewStreamIsNotStopped(t *testing.T) {
	a := loneStream(t).agent
	s, err := a.newStream(a.cfg, config.DefaultStream(), nil)
	if err != nil {
		t.Fatal(err)
	}
	a.streams = []*stream{s}
	a.renderer.Show(s.input)
	if got := a.slate().State; got != "Connecting" {
		t.Errorf("the slate says %q", got)
	}
}

// Only a picture that is old is named: the slate of a stream that plays does not change all the time.
func TestOldPicture(t *testing.T) {
	now := time.Date(2026, 1, 31, 8, 15, 0, 500e6, time.UTC)
	for at, want := range map[time.Time]time.Time{
		{}:                                    {},
		now:                                   {},
		now.Add(-999 * time.Millisecond):      {},
		now.Add(-time.Second):                 now.Add(-1500 * time.Millisecond),
		now.Add(-2*time.Hour - time.Second/4): now.Add(-2*time.Hour - time.Second/2),
	} {
		if got := oldPicture(at, now); !got.Equal(want) {
			t.Errorf("%v: %v, want %v", at, got, want)
		}
	}
}

func TestBrokerInWords(t *testing.T) {
	for want, status := range map[string]mqtt.Status{
		"MQTT connected":                          {Connected: true, Err: errors.New("earlier")},
		"MQTT not connected":                      {},
		"MQTT not connected: mqtt.unreachable":    {Err: fmt.Errorf("attempt: %w", &contract.Error{Code: "mqtt.unreachable", Message: "no route"})},
		"MQTT not connected: mqtt.not_authorized": {Err: &contract.Error{Code: "mqtt.not_authorized"}},
	} {
		if got := brokerInWords(status); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
