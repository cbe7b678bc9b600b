package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

const control = `
[control]
enabled = true
allow = ["status", "start", "stop", "restart", "seek", "show", "set", "snapshot", "probe", "reload", "explain"]
`

const yardStream = `
[[streams]]
name = "yard"
stream_name = "other"
`

// steered is a running agent, and what a person has who steers it.
type steered struct {
	*site
	*watcher
	t    *testing.T
	file string // its configuration
	self *process
}

// steer runs an agent with these tables and streams; there are "camera" and "other", both since five minutes ago.
func steer(t *testing.T, more string) *steered {
	t.Helper()
	history := kvstest.StreamConfig{History: 5 * time.Minute}
	s := newSiteWith(t, clip.H264(), history)
	source, err := kvstest.ReadSource(clip.H265())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.server.Add("other", source, history); err != nil {
		t.Fatal(err)
	}
	w := s.watch()
	file := s.config("none", more)
	p := start(t, nil, "run", "--config", file)
	w.shown()
	return &steered{site: s, watcher: w, t: t, file: file, self: p}
}

// ctl runs `edge-agent ctl` with the words of line.
func (s *steered) ctl(line string) (status int, out, errs string) {
	s.t.Helper()
	return run(append([]string{"ctl", "--broker", s.broker.URL(), "--id", "box"}, strings.Fields(line)...)...)
}

// do is ctl of what has to work, with the data of the response.
func (s *steered) do(line string) map[string]any {
	s.t.Helper()
	status, out, errs := s.ctl("--json " + line)
	var r struct {
		Status string
		Data   map[string]any
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != exitOK || r.Status != "succeeded" {
		s.t.Fatalf("%s: status %d, %q, %q", line, status, out, errs)
	}
	return r.Data
}

// fails wants a command to end with a code and a text in its reason.
func (s *steered) fails(line, code, text string) {
	s.t.Helper()
	status, out, errs := s.ctl(line)
	if status != exitFailed || out != "" || !strings.HasPrefix(errs, "edge-agent: "+code+": ") || !strings.Contains(errs, text) {
		s.t.Errorf("%s: status %d, %q, %q, want %s and %q", line, status, out, errs, code, text)
	}
}

// streamState waits for the state of a stream.
func (s *steered) streamState(stream, state string) {
	s.t.Helper()
	s.until(stream+" "+state, func(m mqtt.Message, f map[string]any) bool {
		return m.Topic == s.topics.State(stream) && f["state"] == state
	})
}

func (s *steered) rewrite(change func(string) string) {
	s.t.Helper()
	text, err := os.ReadFile(s.file)
	if err == nil {
		err = os.WriteFile(s.file, []byte(change(string(text))), 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func TestCtlStatus(t *testing.T) {
	s := steer(t, control+cameraStream+yardStream)
	data := s.do("status")
	if streams, _ := data["streams"].([]any); len(streams) != 2 || data["shown"] != "gate" || data["version"] != build.Version {
		t.Errorf("%v", data)
	}
	if streams, _ := s.do("status yard")["streams"].([]any); len(streams) != 1 {
		t.Errorf("%v", streams)
	}
	_, out, _ := s.ctl("status gate")
	if !strings.Contains(out, "STREAM") || !strings.Contains(out, "gate") || !strings.Contains(out, "playing") {
		t.Errorf("%s", out)
	}
	s.fails("status garage", agent.CodeFailed, `no stream "garage"`)
	if data := s.do("explain kvs.media.4500"); data["code"] != "kvs.media.4500" {
		t.Errorf("%v", data)
	}
	if list, _ := s.do("probe")["decoders"].([]any); len(list) == 0 {
		t.Error("no decoders")
	}
}

func TestCtlStartStopSeek(t *testing.T) {
	s := steer(t, control+cameraStream)
	calls := s.stream.Sessions()
	s.do("stop gate")
	s.state("stopped")
	s.fails("seek gate earliest", agent.CodeFailed, "stopped")
	s.do("start gate")
	s.state("playing")
	if data := s.do("start gate"); data["state"] != "playing" {
		t.Errorf("%v", data)
	}
	before := time.Now()
	s.do("restart gate")
	s.until("that it plays again", func(m mqtt.Message, f map[string]any) bool { // of quick changes only the last may be seen
		since, err := time.Parse(time.RFC3339, fmt.Sprint(f["since"]))
		return m.Topic == s.topics.State("gate") && f["state"] == "playing" && err == nil && since.After(before)
	})
	if now := s.stream.Sessions(); now != calls {
		t.Errorf("%d sessions, there were %d", now, calls)
	}

	if data := s.do("seek gate earliest"); data["to"] != "earliest" || data["from"] == "" {
		t.Errorf("%v", data)
	}
	s.until("a lag of minutes", func(m mqtt.Message, f map[string]any) bool {
		lag, _ := f["lag"].(map[string]any)
		service, _ := lag["service_ms"].(map[string]any)
		ms, _ := service["max"].(float64)
		return m.Topic == s.topics.Telemetry("gate") && ms > 200_000
	})
	s.do("seek gate now")
	s.until("the newest", func(m mqtt.Message, f map[string]any) bool {
		lag, _ := f["lag"].(map[string]any)
		service, _ := lag["service_ms"].(map[string]any)
		ms, ok := service["max"].(float64)
		return m.Topic == s.topics.Telemetry("gate") && ok && ms < 20_000
	})
	s.fails("seek gate yesterday", "control.malformed", "yesterday")
}

func TestCtlShowAndSnapshot(t *testing.T) {
	s := steer(t, control+cameraStream+yardStream)
	file := filepath.Join(t.TempDir(), "a.jpg")
	wide := func(stream string, want int) {
		t.Helper()
		s.do("snapshot " + stream + " -o " + file)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		img, format, err := image.Decode(bytes.NewReader(b))
		if err != nil || format != "jpeg" || img.Bounds().Dx() != want {
			t.Fatalf("%d bytes of %s, %v", len(b), format, err)
		}
		if _, err := clip.ReadFrameNumber(img); err != nil {
			t.Error(err)
		}
	}
	wide("gate", 1280)
	s.fails("snapshot yard", agent.CodeFailed, "not on the display")
	if data := s.do("show yard"); data["before"] != "gate" || data["stream"] != "yard" {
		t.Errorf("%v", data)
	}
	wide("yard", 640) // although the picture of the other may still be there
	s.fails("show gate --display HDMI-A-9", report.CodeConnector, "has no connectors")
	s.fails("show garage", agent.CodeFailed, "garage")
}

func TestCtlSet(t *testing.T) {
	s := steer(t, control+cameraStream)
	got, _ := json.Marshal(s.do("set --log-level debug --decode-order software,va --max-lag 3s --telemetry-interval 2s")["changed"])
	order, _ := json.Marshal(config.Defaults().Decode.Order)
	want := `[{"name":"log_level","new":"debug","old":"info","stream":""},` +
		`{"name":"decode_order","new":["software","va"],"old":` + string(order) + `,"stream":""},` +
		`{"name":"max_lag_ms","new":3000,"old":10000,"stream":"gate"},` +
		`{"name":"telemetry_interval_ms","new":2000,"old":1000,"stream":""}]`
	if string(got) != want {
		t.Errorf("%s", got)
	}
	s.self.until(`level=DEBUG msg="frames reached the decoder"`, `msg="a fragment has come" stream=gate`, `msg=publishing topic=edge-agent/v1/box/streams/gate/telemetry`)
	s.shown()
	_, out, _ := s.ctl("set --max-lag 0s --stream gate")
	if out != "gate max_lag_ms: 0, was 3000\n" {
		t.Errorf("%q", out)
	}
	s.fails("set --decode-order magic", agent.CodeFailed, "magic")
	s.fails("set --max-lag 1s --stream garage", agent.CodeFailed, "garage")
	s.fails("set", "control.malformed", "args")
}

func TestCtlReload(t *testing.T) {
	s := steer(t, control+cameraStream)
	calls := len(s.server.Calls())
	s.rewrite(func(text string) string { return text + yardStream + "[display]\n" })
	s.fails("reload", "config.syntax", "config.toml:")
	s.rewrite(func(text string) string { return strings.Replace(text, "[display]\n", "nonsense = 1\n", 2) })
	s.fails("reload", config.CodeUnknownKey, "nonsense")
	if n := len(s.server.Calls()); n != calls {
		t.Errorf("%d calls after two faulty configurations, %d before", n, calls)
	}
	s.rewrite(func(string) string {
		text, _ := os.ReadFile(s.config("none", control+cameraStream+yardStream))
		return string(text)
	})
	data := s.do("reload")
	if fmt.Sprint(data["added"], data["removed"], data["changed"], data["restart"]) != "[yard] [] [] [agent.state_dir]" {
		t.Errorf("%v", data)
	}
	s.streamState("yard", "playing")
	s.rewrite(func(text string) string {
		text = strings.Replace(text, cameraStream, "", 1)
		return strings.Replace(text, `"other"`, "\"other\"\nmax_lag = \"3s\"", 1)
	})
	data = s.do("reload")
	if fmt.Sprint(data["added"], data["removed"], data["changed"]) != "[] [gate] [yard]" {
		t.Errorf("%v", data)
	}
	s.until("the state of the removed stream is cleared", func(m mqtt.Message, _ map[string]any) bool {
		return m.Topic == s.topics.State("gate") && len(m.Payload) == 0
	})
	later, pictures := s.site.watch(), 0
	for _, w := range []*watcher{s.watcher, later} { // it publishes nothing any more, and nothing of it is retained
		pictures = 0
		w.until("pictures of the other, three times", func(m mqtt.Message, f map[string]any) bool {
			if strings.Contains(m.Topic, "/gate") {
				t.Errorf("of the stream that is gone: %s %s", m.Topic, m.Payload)
			}
			if n, _ := f["shown_frames"].(float64); m.Topic == s.topics.Telemetry("yard") && n > 0 {
				pictures++
			}
			return pictures == 3
		})
	}
	kit.Await(t, "the end of the session with the stream that is gone", func() bool { return s.stream.Sessions() == 0 })
	media := 0
	for _, call := range s.server.Calls() {
		if call.Stream == "other" {
			media++
		}
	}
	if media > 2 { // its endpoint and one session
		t.Errorf("the stream that stayed was called for %d times", media)
	}
}

// A file that is just being written has no streams yet. Removing all of them has to be written.
func TestCtlReloadWithoutStreams(t *testing.T) {
	s := steer(t, control+cameraStream)
	s.rewrite(func(text string) string { return strings.Replace(text, cameraStream, "", 1) })
	s.fails("reload", config.CodeInvalid, "streams = []")
	if data := s.do("status"); len(data["streams"].([]any)) != 1 {
		t.Errorf("%v", data)
	}
	s.rewrite(func(text string) string { return "streams = []\n" + text })
	if data := s.do("reload"); fmt.Sprint(data["removed"]) != "[gate]" {
		t.Errorf("%v", data)
	}
}

// A stream that is another one now begins anew, in its place on the display; one beside it goes on.
func TestCtlReloadOfAnotherStream(t *testing.T) {
	s := steer(t, control+cameraStream+yardStream)
	s.rewrite(func(text string) string { return strings.Replace(text, `"camera"`, `"other"`, 1) })
	if data := s.do("reload"); fmt.Sprint(data["added"], data["removed"], data["changed"]) != "[] [] [gate]" {
		t.Errorf("%v", data)
	}
	// An interval that began before may have pictures of the stream before and the decoder of the other.
	reloaded := time.Now()
	s.until("pictures of the other", func(m mqtt.Message, f map[string]any) bool {
		n, _ := f["shown_frames"].(float64)
		from, err := time.Parse(time.RFC3339, fmt.Sprint(f["from"]))
		return m.Topic == s.topics.Telemetry("gate") && n > 0 && f["decoder"] == "avdec_h265" && err == nil && from.After(reloaded)
	})
	if data := s.do("snapshot gate -o " + filepath.Join(t.TempDir(), "a.jpg")); data["width"] != 640.0 {
		t.Errorf("%v", data)
	}
	kit.Await(t, "the end of the session with the stream that is gone", func() bool { return s.stream.Sessions() == 0 })
}

// With public_keys, a command has to be signed.
func TestCtlSigned(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "control.pem")
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	s := steer(t, control+fmt.Sprintf("public_keys = [%q]\n", base64.StdEncoding.EncodeToString(public))+cameraStream)
	s.fails("status", "control.signature", "not signed")
	s.do("--sign-key " + key + " status")
}

// What is not allowed is rejected with its reason, and is not in info.
func TestCtlNotAllowed(t *testing.T) {
	s := steer(t, "[control]\nenabled = true\nallow = [\"status\", \"restart\"]\n"+cameraStream)
	s.fails("stop gate", "control.not_allowed", "stop rejected")
	s.event("control.rejected")
	s.do("status")
	again := s.site.watch()
	again.until("info with the verbs that are allowed", func(m mqtt.Message, f map[string]any) bool {
		return m.Topic == s.topics.Info() && fmt.Sprint(f["commands"]) == "[restart status]"
	})
}

func TestCtlDisabled(t *testing.T) {
	s := steer(t, cameraStream)
	s.fails("status", "control.disabled", "enabled is false")
}

// A command that arrives twice is carried out once and answered twice, also when the agent was
// started again in between.
func TestRepeatedCommand(t *testing.T) {
	s := steer(t, control+cameraStream)
	s.once.repeats = true
	o := paho.NewClientOptions().AddBroker(strings.Replace(s.broker.URL(), "mqtt://", "tcp://", 1)).SetClientID("sender")
	sender := paho.NewClient(o)
	if token := sender.Connect(); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer sender.Disconnect(100)
	now := time.Now().UTC()
	payload := fmt.Sprintf(`{"id":"once","issued_at":%q,"expires_at":%q,"args":{"stream":"gate"}}`,
		now.Format(time.RFC3339), now.Add(5*time.Minute).Format(time.RFC3339))
	order := func() {
		t.Helper()
		if token := sender.Publish(s.topics.Command(contract.VerbRestart), 1, false, payload); token.Wait() && token.Error() != nil {
			t.Fatal(token.Error())
		}
		s.until("the response", func(m mqtt.Message, f map[string]any) bool {
			return m.Topic == s.topics.Response(contract.VerbRestart) && f["id"] == "once" && f["status"] == "succeeded"
		})
	}
	order()
	order()
	if n := strings.Count(s.self.output(), "command accepted"); n != 1 {
		t.Errorf("carried out %d times", n)
	}
	s.self.cmd.Process.Kill()
	<-s.self.done
	s.self = start(t, nil, "run", "--config", s.file)
	s.shown()
	order()
	if n := strings.Count(s.self.output(), "command accepted"); n != 0 {
		t.Errorf("%d commands were carried out after the restart", n)
	}
}

func TestCtlWatch(t *testing.T) {
	s := steer(t, control+cameraStream)
	p := start(t, nil, "ctl", "--broker", s.broker.URL(), "watch")
	p.until("agent=box stream=gate", `state="playing"`, "decoder=avdec_h264")
	s.stream.Cut()
	p.until("gate ingest.")
	if err := s.broker.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.until("mqtt.unreachable", "; trying again", "connected to the broker again")
	s.do("stop gate")
	p.until(`state="stopped`)
}

func TestFleetTable(t *testing.T) {
	rows := fleetRows([]mqtt.AgentView{
		{ID: "dock-3"},
		{ID: "dock-4", Streams: []mqtt.StreamView{{
			Name: "ramp", State: contract.State{State: contract.Playing, Decoder: "vah264dec"}, Telemetry: contract.Telemetry{To: contract.Time{Time: time.Unix(1, 0)}, FPS: 25},
		}}},
		{ID: "gate-7", Online: true, Streams: []mqtt.StreamView{{Name: "door", State: contract.State{State: contract.Playing, Decoder: "vah264dec"}}}},
	})
	if got := fleetTable(rows, &contract.Error{Code: "mqtt.unreachable", Message: "gone"}); got[0] != "edge-agent: mqtt.unreachable: gone; trying again" {
		t.Errorf("without a connection: %s", strings.Join(got, "\n"))
	}
	got := fleetTable(rows, nil)
	if len(got) != 4 || !slices.Equal(strings.Fields(got[1]), strings.Fields("dock-3 - offline - - - - - -")) ||
		!slices.Equal(strings.Fields(got[2]), strings.Fields("dock-4 ramp offline - - - - - -")) ||
		!slices.Equal(strings.Fields(got[3]), strings.Fields("gate-7 door playing - - - - vah264dec -")) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}

// The status says why there is no picture, and why frames were dropped.
func TestStatusSaysWhatIsWrong(t *testing.T) {
	var out bytes.Buffer
	printStatus(&out, contract.StatusData{Streams: []contract.StreamStatus{
		{
			Name: "gate", State: contract.State{State: contract.Playing, Code: "decode.no_video", Message: "no video track"},
			Telemetry: contract.Telemetry{DroppedBy: contract.Reasons{"overload": 2, "late": 1}},
		},
		{Name: "yard", State: contract.State{State: contract.Playing}},
	}})
	for _, text := range []string{"gate: decode.no_video: no video track\n", "gate: dropped in the last interval: late 1, overload 2\n"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("it does not say %q:\n%s", text, &out)
		}
	}
	if strings.Contains(out.String(), "yard:") {
		t.Errorf("it says something of a stream that is well:\n%s", &out)
	}
}
