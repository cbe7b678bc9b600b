package contract

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
	"github.com/edge-agent/edge-agent/test/kit"
)

var (
	t0 = contracttest.T0
	t1 = time.Date(2026, 3, 1, 13, 0, 10, 500_900_000, time.FixedZone("CET", 3600))
)

// payloads are one of each kind, with every field filled, and their empty selves.
var payloads = map[string]any{
	"info": Info{
		Version: "1.2.3", Commit: "abcdef0", Arch: "arm64", OS: "Debian GNU/Linux 12", GStreamer: "1.22.0",
		SessionID: "0195f3a1-0000-7000-8000-000000000001", ConfigHash: "9f86d081",
		Decoders:   []Decoder{{Name: "avdec_h264", Codec: "h264", Kind: "software", Result: "passed", FPS: 310.5}},
		Displays:   []Display{{Connector: "HDMI-A-1", Sink: "kms", Width: 1920, Height: 1080}},
		PassedOver: []string{"wayland: WAYLAND_DISPLAY is not set", "x11: DISPLAY is not set"},
		Commands:   []string{"status"}, Shown: "door",
	},
	"state": State{
		State: Backoff, Since: Time{t1}, Code: "ingest.cut", Message: "the connection broke", Attempt: 2,
		Decoder: "avdec_h264", FragmentNumber: "91343852333181432392682062607743920146264321",
	},
	"telemetry": Telemetry{
		From: Time{t0}, To: Time{t1}, Fragments: 5, Frames: 300, Bytes: 2500000, BitrateBPS: 2000000, FPS: 29.97,
		ShownFrames: 295, DroppedFrames: 1, Reconnects: 1, Decoder: "avdec_h264", Clock: ClockSynced,
		Lag: Lag{
			Service: &Distribution{Last: 120, Min: -5, P50: 110, P95: 180, Max: 200},
			Local:   &Distribution{Last: 40, Min: 30, P50: 41, P95: 60, Max: 90},
		},
		DroppedBy: Reasons{"late": 1}, HiddenFrames: 3, QueuedFrames: 6,
		Audio: &Audio{Frames: 470, Bytes: 120000, Codec: "A_AAC", SampleRate: 48000, Channels: 2},
	},
	"event": Event{
		ID: "0195f3a1-0000-7000-8000-000000000002", Seq: 7, TS: Time{t1}, Severity: SeverityError,
		Code: "kvs.media.4500", Stream: "door", Message: "access to the key was denied", Count: 3,
		FirstTS: Time{t0}, LastTS: Time{t1}, Detail: map[string]any{"error_id": 4500, "error_code": "KMS_KEY_ACCESS_DENIED"},
	},
	"shadow-reported": ShadowReported{
		Version: "1.2.3", ConfigHash: "9f86d081", Shown: "door", Complete: true,
		Desired: ShadowOutcome{
			Version: 17, Status: ShadowRejected, Code: "config.invalid", Reason: `mqtt.telemetry_interval = "0s" is too short. The least is "1s".`,
			Faults: map[string]ShadowFault{"mqtt.telemetry_interval": {Code: "config.invalid", Reason: `= "0s" is too short. The least is "1s".`}},
		},
		Config: ShadowConfig{
			MQTT: ShadowMQTT{TelemetryInterval: "10s"}, Display: ShadowDisplay{Connector: new(""), Show: new("door"), SlateAfter: "3s"},
			Decode: ShadowDecode{Order: []string{"va", "software"}}, Log: ShadowLog{Level: "info"},
			Streams: map[string]ShadowStreamConfig{"door": {StreamName: new("door-camera"), Start: "now", MaxLag: "10s", OnLag: "jump", DecodeOrder: []string{}, VideoTrack: new("2")}},
		},
		Streams: map[string]ShadowStream{"door": {State: Playing, Decoder: "vah264dec"}},
	},
	"shadow-reported-empty": ShadowReported{Desired: ShadowOutcome{Status: ShadowNone}},
	"shadow-desired": ShadowDesired{Config: ShadowConfig{
		MQTT: ShadowMQTT{TelemetryInterval: "30s"}, Display: ShadowDisplay{Connector: new("HDMI-A-1"), Show: new("yard"), SlateAfter: "5s"},
		Decode: ShadowDecode{Order: []string{"v4l2", "software"}}, Log: ShadowLog{Level: "debug"},
		Streams: map[string]ShadowStreamConfig{
			"door": {StreamName: new("door-camera"), Start: "resume", MaxLag: "20s", OnLag: "stay", DecodeOrder: []string{"software"}, VideoTrack: new("main")},
			"yard": {StreamARN: new("arn:aws:kinesisvideo:eu-west-1:123456789012:stream/yard/1600000000000")},
		},
	}},
	"shadow-desired-empty": ShadowDesired{},
	"state-empty":          State{State: Starting, Since: Time{t0}},
	"telemetry-empty":      Telemetry{From: Time{t0}, To: Time{t1}, Clock: ClockUnknown},
	"event-empty":          Event{Code: "agent.started", Severity: SeverityInfo, Count: 1},
}

func init() {
	for v, args := range goldenArgs {
		text, _ := json.Marshal(args)
		payloads["command-"+string(v)] = Order{Schema: new(Schema), ID: "0195f3a1-0000-7000-8000-000000000003", IssuedAt: Time{t0}, ExpiresAt: Time{t0.Add(time.Minute)}, Args: text}
	}
	for v, data := range goldenData {
		text, _ := json.Marshal(data)
		payloads["response-"+string(v)] = Response{ID: "0195f3a1-0000-7000-8000-000000000003", Status: StatusSucceeded, Data: text}
	}
	payloads["response-stop-empty"] = Response{
		ID: "0195f3a1-0000-7000-8000-000000000003", Status: StatusRejected, Code: "control.not_allowed", Reason: "[control] allow does not name stop",
	}
}

// goldenArgs are the arguments of every verb, with every field filled.
var goldenArgs = map[Verb]any{
	VerbStatus:   StatusArgs{Stream: "door"},
	VerbStart:    StreamArgs{Stream: "door"},
	VerbStop:     StreamArgs{Stream: "door"},
	VerbRestart:  StreamArgs{Stream: "door"},
	VerbSeek:     SeekArgs{Stream: "door", To: "server:2026-03-01T11:00:00Z"},
	VerbShow:     ShowArgs{Stream: "door", Display: "HDMI-A-1"},
	VerbSet:      SetArgs{LogLevel: "debug", DecodeOrder: []string{"va", "software"}, MaxLag: new(Millis(5000)), Stream: "door", TelemetryInterval: new(Millis(2000))},
	VerbSnapshot: SnapshotArgs{Stream: "door"},
	VerbProbe:    ProbeArgs{},
	VerbReload:   ReloadArgs{},
	VerbExplain:  ExplainArgs{Code: "kvs.media.4500"},
}

// goldenData are the data of every verb, with every field filled.
var goldenData = map[Verb]any{
	VerbStatus: StatusData{
		Version: "1.2.3", SessionID: "0195f3a1-0000-7000-8000-000000000001", StartedAt: Time{t0}, Clock: ClockSynced, Shown: "door",
		Streams: []StreamStatus{{Name: "door", State: payloads["state"].(State), Telemetry: payloads["telemetry"].(Telemetry)}},
		MQTT:    LinkStatus{ConnectedSince: Time{t0}, QueuedEvents: 1, DroppedEvents: 2, DroppedTelemetry: 3},
	},
	VerbStart:    StreamData{Stream: "door", State: Starting},
	VerbStop:     StreamData{Stream: "door", State: Stopped},
	VerbRestart:  StreamData{Stream: "door", State: Starting},
	VerbSeek:     SeekData{Stream: "door", From: "91343852333181432392682062607743920146264321", To: "server:2026-03-01T11:00:00Z"},
	VerbShow:     ShowData{Stream: "door", Before: "yard", Display: "HDMI-A-1"},
	VerbSet:      SetData{Changed: []Change{{Name: "max_lag_ms", Stream: "door", Old: 10000, New: 5000}}},
	VerbSnapshot: SnapshotData{Stream: "door", Bytes: 40000, SHA256: strings.Repeat("0f", 32), Width: 1280, Height: 720},
	VerbProbe: ProbeData{
		GStreamer: "1.22.0",
		Decoders:  []Decoder{{Name: "avdec_h264", Codec: "h264", Kind: "software", Result: "passed", FPS: 310.5}},
		Displays:  []Display{{Connector: "HDMI-A-1", Sink: "kms", Width: 1920, Height: 1080}},
	},
	VerbReload:  ReloadData{ConfigHash: "9f86d081", Added: []string{"yard"}, Changed: []string{"door"}, Restart: []string{"mqtt.broker"}},
	VerbExplain: ExplainData(codeIndex["kvs.media.4500"]),
}

func TestPayloadsAreAsWrittenDown(t *testing.T) {
	for name, payload := range payloads {
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(payload, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			kit.Golden(t, name+".json", string(append(got, '\n')))
		})
	}
}

func TestPayloadsReadBack(t *testing.T) {
	sent := payloads["telemetry"].(Telemetry)
	text, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	var got Telemetry
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Schema != 1 || !got.From.Equal(t0) || !got.To.Equal(t1.Truncate(time.Millisecond)) {
		t.Errorf("schema %d, from %v, to %v", got.Schema, got.From, got.To)
	}
	if !reflect.DeepEqual(got.Lag, sent.Lag) {
		t.Errorf("lag %+v, want %+v", got.Lag, sent.Lag)
	}
}

func TestTopics(t *testing.T) {
	topics, err := NewTopics("edge-agent", "gate-7")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		topics.Availability():    "edge-agent/v1/gate-7/availability",
		topics.Info():            "edge-agent/v1/gate-7/info",
		topics.Events():          "edge-agent/v1/gate-7/events",
		topics.State("door"):     "edge-agent/v1/gate-7/streams/door/state",
		topics.Telemetry("door"): "edge-agent/v1/gate-7/streams/door/telemetry",
		topics.All():             "edge-agent/v1/gate-7/#",
	}
	for got, want := range want {
		if got != want {
			t.Errorf("topic %q, want %q", got, want)
		}
	}
}

func TestNamesThatWouldBreakTopicsAreRefused(t *testing.T) {
	for _, name := range []string{"", "Door", "a/b", "+", "#", "a b", "ä", "$sys", "a_b", "a.b", strings.Repeat("a", 65)} {
		if ValidName(name) == nil {
			t.Errorf("%q is taken for a name", name)
		}
		if _, err := NewTopics(DefaultPrefix, name); err == nil {
			t.Errorf("%q is taken for an agent id", name)
		}
		if _, err := NewTopics(name, "gate-7"); err == nil {
			t.Errorf("%q is taken for a prefix", name)
		}
	}
	for _, name := range []string{"a", "0", "gate-7", strings.Repeat("a", 64)} {
		if err := ValidName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// docs/mqtt.md is the contract for people: it names every topic, verb, field and code of a rejection.
func TestTheContractIsWrittenDown(t *testing.T) {
	text, err := os.ReadFile("../../docs/mqtt.md")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{
		"availability", "info", "streams/<name>/state", "streams/<name>/telemetry", "events",
		"cmd/<verb>", "cmd/<verb>/response", "snapshot/<name>",
	}
	for _, typ := range []reflect.Type{reflect.TypeFor[Info](), reflect.TypeFor[State](), reflect.TypeFor[Telemetry](), reflect.TypeFor[Event]()} {
		names = append(names, jsonNames(typ)...)
	}
	for _, v := range Verbs() {
		names = append(names, string(v))
		names = append(names, jsonNames(reflect.TypeOf(verbs[v].args()).Elem())...)
	}
	for _, c := range Codes() {
		if strings.HasPrefix(c.Code, "control.") && strings.Contains(c.Summary, "was rejected because") {
			names = append(names, c.Code)
		}
	}
	for _, name := range names {
		if !bytes.Contains(text, []byte("`"+name+"`")) && !bytes.Contains(text, []byte("`"+name+"?`")) && !bytes.Contains(text, []byte(`"`+name+`"`)) {
			t.Errorf("docs/mqtt.md does not name %s", name)
		}
	}
}

// docs/aws-iot.md names what is reported, what became of what is desired, and every code of a shadow.
func TestTheShadowIsWrittenDown(t *testing.T) {
	text, err := os.ReadFile("../../docs/aws-iot.md")
	if err != nil {
		t.Fatal(err)
	}
	names := append(jsonNames(reflect.TypeFor[ShadowReported]()), jsonNames(reflect.TypeFor[ShadowOutcome]())...)
	names = append(names, jsonNames(reflect.TypeFor[ShadowStream]())...)
	for _, status := range []ShadowStatus{ShadowNone, ShadowApplied, ShadowRejected, ShadowOverridden} {
		names = append(names, string(status))
	}
	for _, c := range Codes() {
		if strings.HasPrefix(c.Code, "shadow.") && c.Code != "shadow.storage" {
			names = append(names, c.Code)
		}
	}
	for _, name := range names {
		if name != "schema" && !strings.Contains(string(text), "`"+name+"`") && !strings.Contains(string(text), "`desired."+name+"`") {
			t.Errorf("docs/aws-iot.md does not name %s", name)
		}
	}
}
