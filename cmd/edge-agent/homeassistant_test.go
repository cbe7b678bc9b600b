package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt"
)

// A running agent tells Home Assistant what it may press, and which stream is shown after that.
func TestHomeAssistant(t *testing.T) {
	s := newSite(t, clip.H264())
	home, err := mqtt.Listen(t.Context(), mqtt.Broker{URL: s.broker.URL()}, "homeassistant/device/#")
	if err != nil {
		t.Fatal(err)
	}
	w := s.watch()
	start(t, nil, "run", "--config", s.config("none", `
[homeassistant]
enabled = true
[control]
enabled = true
allow = ["show", "status"]
`+cameraStream+yardStream))
	told := (&watcher{t: t, topics: w.topics, messages: home.Messages, once: newOnce(w.topics)}).until("discovery", func(mqtt.Message, map[string]any) bool { return true })
	var message struct {
		Components map[string]struct {
			Name    string
			Options []string
		}
	}
	if err := json.Unmarshal(told.Payload, &message); err != nil {
		t.Fatal(err)
	}
	of := message.Components
	if told.Topic != "homeassistant/device/edge-agent_box/config" || of["gate_state"].Name == "" || of["gate_restart"].Name != "" ||
		strings.Join(of["show"].Options, " ") != "gate yard" {
		t.Errorf("%s %s", told.Topic, told.Payload)
	}
	for _, shown := range []string{"gate", "yard"} {
		w.until(shown+" shown", func(m mqtt.Message, f map[string]any) bool { return m.Topic == w.topics.Info() && f["shown"] == shown })
		if status, _, errs := run("ctl", "--broker", s.broker.URL(), "--id", "box", "show", "yard"); status != exitOK {
			t.Fatal(errs)
		}
	}
}
