package main

import (
	"encoding/json"
	"fmt"
	"image/jpeg"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/web"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// get asks a running agent; "" while it does not answer.
func get(address, path string) (status int, body string) {
	r, err := http.Get("http://" + address + path)
	if err != nil {
		return 0, ""
	}
	defer r.Body.Close()
	text, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(text)
}

// The page, the metrics, the health and the socket of a whole agent, and what a second one says that wants the same
// address and socket.
func TestAskARunningAgent(t *testing.T) {
	t.Parallel()
	s := newSite(t, clip.H264())
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	config := s.config("none", fmt.Sprintf("[http]\nlisten = %q\nsocket = %q\n", address, socket)+cameraStream)
	p := start(t, nil, "run", "--config", config)
	await(t, "readiness", func() bool { status, _ := get(address, "/readyz"); return status == http.StatusOK })
	await(t, "pictures", func() bool {
		_, metrics := get(address, "/metrics")
		return strings.Contains(metrics, `edge_agent_decoder_in_use{decoder="avdec_h264",stream="gate"} 1`) &&
			!strings.Contains(metrics, `edge_agent_frames_shown_total{stream="gate"} 0`)
	})
	_, picture := get(address, "/picture/gate.jpg")
	if img, err := jpeg.Decode(strings.NewReader(picture)); err != nil || img.Bounds().Dx() != 1280 {
		t.Errorf("the picture: %v", err)
	}
	if status, page := get(address, "/"); status != http.StatusOK || !strings.Contains(page, "agent.started") {
		t.Errorf("the page: %d\n%s", status, page)
	}
	if status, text := get(address, "/healthz"); status != http.StatusOK || text != "ok\n" {
		t.Errorf("/healthz: %d %s", status, text)
	}

	code, out, stderr := run("status", "--socket", socket)
	for _, want := range []string{"box   edge-agent", "connected to mqtt://", "stream gate: playing", "on the display", "avdec_h264", "ingest.playing"} {
		if !strings.Contains(out, want) {
			t.Errorf("status lacks %q", want)
		}
	}
	if code != exitOK || t.Failed() {
		t.Errorf("status %d\n%s%s", code, out, stderr)
	}
	var all web.Status
	if _, out, _ := run("status", "--socket", socket, "--json"); json.Unmarshal([]byte(out), &all) != nil || all.Totals[0].Stream != "gate" {
		t.Errorf("status --json: %s", out)
	}

	second := start(t, nil, "run", "--config", s.config("none", fmt.Sprintf("[http]\nlisten = %q\nsocket = %q\n", address, socket)))
	second.until("code=agent.http", "another program uses the port", "code=agent.socket", "another edge-agent answers at "+socket)
	_ = p.cmd.Process.Kill()
	<-p.done
	second.until("the status can be asked for") // once the first has gone
}

func TestStatusWithoutAnAgent(t *testing.T) {
	status, _, stderr := run("status", "--socket", filepath.Join(t.TempDir(), "s"))
	if status != exitFailed || !strings.Contains(stderr, "agent.socket: no agent runs that answers at ") || !strings.Contains(stderr, "systemctl status edge-agent") {
		t.Errorf("%d %s", status, stderr)
	}
}

func TestSocketPath(t *testing.T) {
	for _, c := range []struct{ configured, dir, want string }{
		{"auto", "/run/edge-agent", "/run/edge-agent/status.sock"}, {"auto", "", ""}, {"", "/run/edge-agent", ""}, {"/s", "/run/edge-agent", "/s"},
	} {
		if got := socketPath(c.configured, func(string) string { return c.dir }); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if defaultSocket != "/run/edge-agent/status.sock" {
		t.Error("edge-agent status looks elsewhere")
	}
}

func TestHTTPConfig(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		`listen = "127.0.0.1:9464"`: "",
		`listen = "[::1]:9464"`:     "",
		`listen = "localhost:1"`:    "",
		`listen = "0.0.0.0:9464"`:   "http.listen",
		`listen = ":9464"`:          "http.listen",
		"listen = \":9464\"\nallow_remote = true":          "",
		"listen = \"192.0.2.1:9464\"\ntoken_file = \"/t\"": "",
		`listen = "127.0.0.1"`:                             "http.listen",
		`listen = "127.0.0.1:0"`:                           "http.listen",
		`listen = "127.0.0.1:99999"`:                       "http.listen",
		`token_file = "/t"`:                                "http.listen",
		`allow_remote = true`:                              "http.listen",
		`socket = "s.sock"`:                                "http.socket",
		`socket = ""`:                                      "",
	} {
		_, err := parseConfig("c.toml", "[http]\n"+text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want a fault of %s", text, err, want)
		}
	}
}

func TestRecentEvents(t *testing.T) {
	var r recentEvents
	at := time.Unix(1000, 0)
	add := func(code, stream, message string) {
		at = at.Add(time.Second)
		r.add(contract.Event{Code: code, Stream: stream, Message: message}, at)
	}
	for i := range 5 {
		add("ingest.cut", "a", fmt.Sprintf("again in %dms", i))
		add("ingest.playing", "b", "frames are coming")
	}
	add("ingest.cut", "a", "for another reason")
	events, counts := r.all()
	if len(events) != 3 || events[0].Count != 5 || events[0].Message != "again in 4ms" || events[0].LastTS.Sub(events[0].FirstTS.Time) != 8*time.Second ||
		events[0].Severity != contract.SeverityWarning || events[2].Count != 1 {
		t.Errorf("%+v", events)
	}
	if counts["ingest.cut"] != 6 || counts["ingest.playing"] != 5 {
		t.Errorf("%v", counts)
	}
	for i := range 2 * mostRecent {
		add("agent.started", fmt.Sprint(i), "")
	}
	if events, _ := r.all(); len(events) != mostRecent || events[mostRecent-1].Stream != fmt.Sprint(2*mostRecent-1) {
		t.Errorf("%d events, the last of %s", len(events), events[len(events)-1].Stream)
	}
}

func TestHistory(t *testing.T) {
	var h history
	at := time.Unix(0, 0)
	for i := range 2 * 3600 { // two hours, a second each
		h.add(at.Add(time.Duration(i)*time.Second), contract.Lag{Service: &contract.Distribution{P95: contract.Millis(i)}})
	}
	points := h.points()
	last := points[len(points)-1]
	if len(points) != 360 || last.Service != 7199*time.Millisecond || last.Producer >= 0 || last.At.Sub(points[0].At) != 3590*time.Second {
		t.Errorf("%d points, the last %+v", len(points), last)
	}
}

// The figures since the start go on when a stream is configured anew.
func TestTotalsGoOnOverAReload(t *testing.T) {
	before := &stream{earlier: counts{fragments: 3, bytes: 30}, window: window{counts: counts{fragments: 2, bytes: 20}}, retries: map[string]int64{"ingest.cut": 4}}
	before.history.add(time.Unix(1, 0), contract.Lag{})
	next := &stream{window: window{counts: counts{fragments: 1, bytes: 10}}}
	next.takeOver(before)
	if got := next.earlier.plus(next.window.counts); got.fragments != 6 || got.bytes != 60 || next.retries["ingest.cut"] != 4 || len(next.history.points()) != 1 {
		t.Errorf("%+v %v %v", got, next.retries, next.history)
	}
}

// Nothing secret comes out anywhere: not onto the page, into metrics, status or log of any level, and not out of a command.
func TestSecretsStayInside(t *testing.T) {
	t.Parallel()
	s := newSite(t, clip.H264())
	address, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{"canary-session-token", "canary-password", "canary-page-token", kvstest.Credentials().SecretAccessKey}
	dir := t.TempDir()
	files := map[string]string{"password": secrets[1], "token": secrets[2]}
	for name, secret := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := s.config("none", fmt.Sprintf("[http]\nlisten = %q\ntoken_file = %q\nsocket = %q\n[log]\nlevel = \"debug\"\n", address, dir+"/token", dir+"/s")+cameraStream)
	env := []string{"EDGE_AGENT_MQTT_USERNAME=box", "EDGE_AGENT_MQTT_PASSWORD_FILE=" + dir + "/password"}
	leaks := func(where, text string) {
		t.Helper()
		for _, secret := range secrets {
			if text == "" || strings.Contains(text, secret) {
				t.Errorf("%s has the secret %s, or nothing:\n%s", where, secret, text)
			}
		}
	}
	p := start(t, env, "run", "--config", config)
	p.until("code=ingest.playing", "connected to the MQTT broker", "the status can be asked for")
	q := start(t, append(env, "AWS_SESSION_TOKEN="+secrets[0], "EDGE_AGENT_HTTP_SOCKET="), "run", "--config", config) // whose token is wrong
	q.until("code=kvs.http.", "code=agent.http")
	for _, path := range []string{"/", "/metrics", "/status.json", "/readyz", "/healthz", "/style.css", "/picture/gate.jpg"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.SetBasicAuth("", secrets[2])
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		leaks(path, string(text))
	}
	for _, args := range [][]string{
		{"status", "--socket", dir + "/s"},
		{"status", "--socket", dir + "/s", "--json"},
		{"check", "--config", config, "--socket", dir + "/s"},
		{"check", "--config", config, "--json", "--socket", dir + "/none"},
		{"config", "check", "--config", config},
		{"config", "print", "--config", config},
		{"probe", "--config", config},
		{"version", "--help"},
	} {
		c := start(t, append(env, "AWS_SESSION_TOKEN="+secrets[0]), args...)
		c.wait()
		leaks(strings.Join(args[:2], " "), c.output())
	}
	for _, each := range []*process{p, q} {
		_ = each.cmd.Process.Signal(syscall.SIGTERM)
		each.wait()
		leaks("the log", each.output())
	}
}
