package mqtt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
	"github.com/edge-agent/edge-agent/test/kit"
)

// told are the discovery messages of agents of several kinds, by the name of their golden file.
func told(t *testing.T) map[string]discovery {
	t.Helper()
	topics, err := contract.NewTopics(contract.DefaultPrefix, "gate-7")
	if err != nil {
		t.Fatal(err)
	}
	all := texts(contract.Verbs())
	homes := map[string]*home{
		"homeassistant":        {version: "1.2.3", allowed: all, streams: []string{"door", "yard"}},
		"homeassistant-signed": {version: "1.2.3", allowed: all, signed: true, streams: []string{"door"}, removed: []string{"yard"}},
		"homeassistant-empty":  {version: "1.2.3"},
	}
	messages := make(map[string]discovery)
	for name, h := range homes {
		messages[name] = h.discovery(topics, deviceID(contract.DefaultPrefix, "gate-7"), "gate-7")
	}
	return messages
}

func texts(verbs []contract.Verb) (list []string) {
	for _, v := range verbs {
		list = append(list, string(v))
	}
	return list
}

func TestDiscoveryIsAsHomeAssistantDocumentsIt(t *testing.T) {
	schema := contracttest.Schema(t, filepath.Join("testdata", "homeassistant.schema.json"))
	for name, message := range told(t) {
		t.Run(name, func(t *testing.T) {
			text, err := json.MarshalIndent(message, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			kit.Golden(t, name+".json", string(append(text, '\n')))
			if err := schema.Validate(contracttest.JSON(t, text)); err != nil {
				t.Error(err)
			}
			seen := make(map[string]bool)
			for key, c := range message.Components {
				if c.UniqueID != "" && seen[c.UniqueID] {
					t.Errorf("%s: another has the unique_id %s too", key, c.UniqueID)
				}
				seen[c.UniqueID] = true
			}
		})
	}
}

// What may not be commanded has no entity, and one that was there before is removed.
func TestNothingToPressWithoutControl(t *testing.T) {
	for _, name := range []string{"homeassistant-signed", "homeassistant-empty"} {
		message := told(t)[name]
		for key, c := range message.Components {
			if c.CommandTopic != "" {
				t.Errorf("%s: %s commands", name, key)
			}
		}
		if c, ok := message.Components["show"]; !ok || c.Name != "" {
			t.Errorf("%s: show is %+v, %v", name, c, ok)
		}
	}
}

// render evaluates templates with a real Jinja2.
func render(t *testing.T, jobs []job) []string {
	t.Helper()
	const python = "/usr/bin/python3" // Debian's, which has Debian's Jinja2
	if err := exec.Command(python, "-c", "import jinja2").Run(); err != nil {
		t.Skipf("no Jinja2 (Debian package python3-jinja2): %v", err)
	}
	in, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, filepath.Join("testdata", "homeassistant.py"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, errs.String())
	}
	var rendered []string
	if err := json.Unmarshal(out.Bytes(), &rendered); err != nil || len(rendered) != len(jobs) {
		t.Fatalf("%v: %s", err, out.String())
	}
	return rendered
}

// job is one template to render; see testdata/homeassistant.py.
type job struct {
	Template string `json:"template"`
	Value    string `json:"value"`
	Received bool   `json:"received"`
}

// Every template, with what the agent publishes, gives what the entity can take.
func TestValueTemplates(t *testing.T) {
	lag := &contract.Distribution{P50: 420}
	producer := contract.Telemetry{Clock: contract.ClockUnsynced, Lag: contract.Lag{Producer: lag}}
	synced := producer
	synced.Clock = contract.ClockSynced
	tests := []struct {
		template string
		payload  any
		want     string
	}{
		{stateTemplate, contract.State{State: contract.Backoff}, "backoff"},
		{problemTemplate, contract.State{State: contract.Playing}, "OFF"},
		{problemTemplate, contract.State{State: contract.Playing, Code: "lag.high"}, "ON"},
		{problemTemplate, contract.State{State: contract.Playing, Code: "decode.no_video"}, "ON"},
		{problemTemplate, contract.State{State: contract.Playing, Code: "display.lost"}, "ON"},
		{problemTemplate, contract.State{State: contract.Starting, Code: "display.lost"}, "ON"},
		{problemTemplate, contract.State{State: contract.Stopped, Code: "display.none"}, "ON"},
		{problemTemplate, contract.State{State: contract.Starting, Code: "ingest.connecting"}, "OFF"},
		{problemTemplate, contract.State{State: contract.Stopped, Code: "ingest.stopped"}, "OFF"},
		{problemTemplate, contract.State{State: contract.Stalled}, "ON"},
		{problemTemplate, contract.State{State: contract.Backoff}, "ON"},
		{problemTemplate, contract.State{State: contract.Failed}, "ON"},
		{fpsTemplate, contract.Telemetry{FPS: 24.9}, "24.9"},
		{droppedTemplate, contract.Telemetry{DroppedFrames: 7}, "7"},
		{reasonsTemplate, contract.Telemetry{}, "{}"},
		{reasonsTemplate, contract.Telemetry{DroppedBy: contract.Reasons{"late": 7}}, `{"late": 7}`},
		{serviceTemplate, contract.Telemetry{}, "None"},
		{serviceTemplate, contract.Telemetry{Lag: contract.Lag{Service: lag}}, "420"},
		{producerTemplate, contract.Telemetry{}, "None"},
		{producerTemplate, producer, "None"},
		{producerTemplate, synced, "420"},
		{localTemplate, contract.Telemetry{}, "None"},
		{localTemplate, contract.Telemetry{Lag: contract.Lag{Local: lag}}, "420"},
		{shownTemplate, contract.Info{}, "None"},
		{shownTemplate, contract.Info{Shown: "door"}, "door"},
		{isShownTemplate("door"), contract.Info{Shown: "door"}, "online"},
		{isShownTemplate("door"), contract.Info{Shown: "yard"}, "offline"},
		{
			attributesTemplate,
			contract.State{Since: contract.Time{Time: contracttest.T0}, Code: "ingest.cut", Message: `it's "<cut>"`, Attempt: 2},
			`{"attempt": 2, "code": "ingest.cut", "decoder": "", "message": "it\u0027s \"\u003ccut\u003e\"", "since": "2026-03-01T12:00:00.000Z"}`,
		},
	}
	var jobs []job
	for _, test := range tests {
		text, err := json.Marshal(test.payload)
		if err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job{test.template, string(text), true})
	}
	for i, got := range render(t, jobs) {
		if got != tests[i].want {
			t.Errorf("%s of %s: %q, want %q", tests[i].template, jobs[i].Value, got, tests[i].want)
		}
	}
}

// All templates of a message are among those that are tested.
func TestNoTemplateIsLeftOut(t *testing.T) {
	known := []string{
		stateTemplate, attributesTemplate, problemTemplate, fpsTemplate, droppedTemplate, reasonsTemplate, serviceTemplate, producerTemplate, localTemplate,
		shownTemplate, isShownTemplate("door"), isShownTemplate("yard"), commandTemplate,
	}
	text, err := os.ReadFile(filepath.Join("testdata", "homeassistant.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)_template": (".*?"),?$`).FindAllSubmatch(text, -1) {
		var template string
		if err := json.Unmarshal(m[1], &template); err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(known, template) {
			t.Errorf("nobody has tried %s", template)
		}
	}
}

// What Home Assistant sends for every entity that commands is carried out by an agent on a real broker, and
// no two commands have one id.
func TestCommandsOfHomeAssistantAreObeyed(t *testing.T) {
	t.Parallel()
	h := &hands{}
	caller, c := obedient(t, h, nil)
	in := listen(t, caller.Broker)
	entities := told(t)["homeassistant"].Components
	maps.DeleteFunc(entities, func(_ string, e haComponent) bool { return e.CommandTopic == "" })
	keys := slices.Sorted(maps.Keys(entities))
	if want := []string{"door_restart", "door_snapshot", "show", "yard_restart", "yard_snapshot"}; !slices.Equal(keys, want) {
		t.Fatalf("entities that command: %v", keys)
	}
	var jobs []job
	for _, key := range keys {
		value := entities[key].PayloadPress
		if key == "show" {
			value = entities[key].Options[1]
		}
		jobs = append(jobs, job{Template: entities[key].CommandTemplate, Value: value})
	}
	payloads := render(t, slices.Concat(jobs, jobs))
	ids := make(map[string]bool)
	for i, payload := range payloads {
		var o contract.Order
		if err := json.Unmarshal([]byte(payload), &o); err != nil {
			t.Fatalf("%v: %s", err, payload)
		}
		ids[o.ID] = true
		if i >= len(keys) {
			continue
		}
		e := entities[keys[i]]
		publishAs(t, caller.Broker, e.CommandTopic, payload)
		in.wait(e.CommandTopic+"/response", fmt.Sprintf(`"id":%q,"status":"succeeded"`, o.ID))
	}
	if len(ids) != len(payloads) {
		t.Errorf("%d ids of %d commands: %v", len(ids), len(payloads), ids)
	}
	if len(h.done) != len(keys) || h.done[2].Args.(*contract.ShowArgs).Stream != "yard" {
		t.Errorf("done %+v", h.done)
	}
	if got := c.Topics().Command(contract.VerbShow); got != entities["show"].CommandTopic {
		t.Errorf("the agent listens on %s", got)
	}
}

func publishAs(t *testing.T, b Broker, topic, payload string) {
	t.Helper()
	l, err := openLink(t.Context(), b, (&net.Dialer{}).DialContext, "home-assistant", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close(true)
	if _, err := l.send(message{topic: topic, qos: 1, payload: []byte(payload)}, func() {}); err != nil {
		t.Fatal(err)
	}
	if err := l.confirm(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
}

const homeTopic = "homeassistant/device/edge-agent_gate-7/config"

func TestHomeAssistantIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClientWith(t, f, Config{HomeAssistant: &HomeAssistant{}})
		c.SetStreams([]string{"door"})
		c.SetInfo(contract.Info{Version: "1.2.3"})
		defer start(c)()
		synctest.Wait()
		count := func(want int, when string) (last string) {
			t.Helper()
			got := f.received(homeTopic)
			if len(got) != want {
				t.Fatalf("told %d times %s, want %d", len(got), when, want)
			}
			return string(got[want-1])
		}
		if text := count(1, "at first"); !strings.Contains(text, `"door_state":{"platform":"sensor","unique_id":"edge-agent_gate-7_door_state"`) {
			t.Errorf("told %s", text)
		}
		c.SetInfo(contract.Info{Version: "1.2.3", Shown: "door"})
		synctest.Wait()
		count(1, "after a change that is none to it")

		f.send(DefaultBirthTopic, true, []byte("online"))
		f.send(DefaultBirthTopic, false, []byte("offline"))
		synctest.Wait()
		count(1, "after a retained birth and a will")
		f.send(DefaultBirthTopic, false, []byte("online"))
		synctest.Wait()
		count(2, "after its start")

		c.SetStreams([]string{"yard"})
		synctest.Wait()
		if text := count(3, "after a change of streams"); !strings.Contains(text, `"door_state":{"platform":"sensor"}`) || !strings.Contains(text, `yard_state","name"`) {
			t.Errorf("told %s", text)
		}
		c.SetStreams([]string{"door", "yard"})
		synctest.Wait()
		if text := count(4, "after a stream came back"); !strings.Contains(text, `door_state","name"`) || strings.Contains(text, `"sensor"}`) {
			t.Errorf("told %s", text)
		}
	})
}

// What was told is taken back by a run that tells nothing, or tells it elsewhere.
func TestHomeAssistantIsToldNoMore(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		run := func(h *HomeAssistant) {
			c := newTestClientWith(t, f, Config{StateDir: dir, HomeAssistant: h})
			c.SetStreams([]string{"door"})
			c.SetInfo(contract.Info{Version: "1.2.3"})
			stop := start(c)
			synctest.Wait()
			stop()
		}
		run(&HomeAssistant{})
		run(&HomeAssistant{DiscoveryPrefix: "elsewhere"})
		run(nil)
		run(nil)
		for _, topic := range []string{homeTopic, "elsewhere" + strings.TrimPrefix(homeTopic, "homeassistant")} {
			if got := f.received(topic); len(got) != 2 || len(got[0]) == 0 || len(got[1]) != 0 {
				t.Errorf("%s: %q", topic, got)
			}
		}
	})
}

func TestTopicsThatHomeAssistantCannotUseAreRefused(t *testing.T) {
	for _, topic := range []string{"/", "a/", "/a", "a//b", "a/+", "#", "a b", "ä", strings.Repeat("a", 129)} {
		for _, h := range []HomeAssistant{{DiscoveryPrefix: topic}, {BirthTopic: topic}} {
			_, err := New(Config{Broker: Broker{URL: "mqtt://localhost"}, AgentID: "gate-7", HomeAssistant: &h})
			wantCode(t, err, "mqtt.config")
		}
	}
}

// A real broker hands the message to a Home Assistant that comes later.
func TestHomeAssistantMayComeLater(t *testing.T) {
	b := startBroker(t, brokertest.Options{})
	broker := Broker{URL: b.URL()}
	c, err := New(Config{Broker: broker, AgentID: "gate-7", HomeAssistant: &HomeAssistant{}})
	if err != nil {
		t.Fatal(err)
	}
	c.SetInfo(contract.Info{Version: "1.2.3"})
	defer start(c)()
	listen(t, broker).wait(c.Topics().Info(), "1.2.3") // which follows it
	in := listenTo(t, broker, "homeassistant/#")
	if m := in.wait(homeTopic, `"sw_version":"1.2.3"`); !m.Retained {
		t.Error("it is not retained")
	}
	publishAs(t, broker, DefaultBirthTopic, "online")
	in.wait(homeTopic, `"sw_version":"1.2.3"`)
}
