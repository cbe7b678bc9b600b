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

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/web"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/test/kit"
)

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
	kit.Await(t, "readiness", func() bool { status, _ := get(address, "/readyz"); return status == http.StatusOK })
	kit.Await(t, "pictures", func() bool {
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
