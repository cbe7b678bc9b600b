package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// findings runs a check and gives what it found, by what was looked at.
func findings(t *testing.T, env []string, args ...string) (map[string]finding, int) {
	t.Helper()
	p := start(t, env, append([]string{"check", "--json"}, args...)...)
	status := p.wait()
	found := map[string]finding{}
	for line := range strings.Lines(p.output()) {
		var f finding
		if json.Unmarshal([]byte(line), &f) == nil {
			if (f.Result == problem) != (f.Code != "") || f.Result == problem && f.Action == "" {
				t.Errorf("a problem has a code and something to do, and nothing else has a code: %+v", f)
			}
			found[f.Check] = f
		}
	}
	return found, status
}

func expect(t *testing.T, found map[string]finding, want map[string]string) {
	t.Helper()
	for what, result := range want {
		result, message, _ := strings.Cut(result, " ")
		f := found[what]
		if f.Result != result && f.Code != result || !strings.Contains(f.Message, message) {
			t.Errorf("%s: %+v, want %s %s", what, f, result, message)
		}
	}
}

// On a box whose service does not run, the whole way is tried for a moment, and nothing of the agent's own is touched.
func TestCheckTriesTheWholeWay(t *testing.T) {
	t.Parallel()
	s := newSite(t, clip.H264())
	socket := filepath.Join(t.TempDir(), "s")
	config := s.config("none", cameraStream+"\n[[streams]]\nname = \"gone\"\nstream_name = \"nothing\"\n")
	found, status := findings(t, nil, "--config", config, "--socket", socket)
	expect(t, found, map[string]string{
		"configuration": "ok streams: 2", "state": "ok can be written to", "permissions": "ok", "service": "unknown a short run follows",
		"broker": "ok mqtt://", "credentials": "ok they do not expire", "renderer": "ok GStreamer 1.", "decoders": "ok avdec_h264",
		"stream gate": "ok decoded by avdec_h264", "stream gone": "kvs.http.ResourceNotFoundException",
	})
	if status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	if files, _ := filepath.Glob(filepath.Dir(config) + "/*"); len(files) != 1 {
		t.Errorf("the check left %q in the state directory", files)
	}
}

// A running service is asked; nothing is started beside it.
func TestCheckAsksTheService(t *testing.T) {
	t.Parallel()
	s := newSite(t, clip.H264())
	socket := filepath.Join(t.TempDir(), "s")
	config := s.config("none", fmt.Sprintf("[http]\nsocket = %q\n", socket)+cameraStream)
	start(t, nil, "run", "--config", config).until("code=ingest.playing", "the status can be asked for")
	found, _ := findings(t, []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, "--config", config, "--socket", socket)
	expect(t, found, map[string]string{
		"service": "ok runs since", "credentials": "ok the service has some that work", "stream gate": "ok plays",
	})
}

func TestCheckOfABoxThatLacksEverything(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "c.toml")
	text := fmt.Sprintf("[agent]\nstate_dir = %q\n[aws]\nregion = \"us-east-1\"\nendpoint = \"http://127.0.0.1:1\"\n[mqtt]\nbroker = \"mqtts://broker.invalid\"\n[display]\nsink = \"none\"\n",
		filepath.Join(dir, "missing")) + cameraStream
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "HOME=" + dir}
	found, status := findings(t, env, "--config", config, "--socket", filepath.Join(dir, "s"))
	expect(t, found, map[string]string{
		"configuration": "ok", "state": "storage.unusable cannot be written to", "broker": "check.dns broker.invalid",
		"credentials": "ingest.credentials", "stream gate": "unknown without credentials",
	})
	if status != exitFailed {
		t.Errorf("exit status %d", status)
	}
}

// What only the service has is no fault of the box while the service does not run.
func TestCheckWithoutTheSecretsOfTheService(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config, unit := filepath.Join(dir, "c.toml"), filepath.Join(dir, "edge-agent.service")
	text := fmt.Sprintf("[agent]\nstate_dir = %q\n[aws]\nregion = \"us-east-1\"\nendpoint = \"http://127.0.0.1:1\"\n[mqtt]\nbroker = \"mqtts://broker.invalid\"\nusername = \"a\"\n"+
		"password_file = \"/run/credentials/edge-agent-of-this-test/password\"\n[display]\nsink = \"none\"\n", dir) + cameraStream
	for path, text := range map[string]string{config: text, filepath.Join(unit+".d", "c.conf"): "[Service]\nEnvironment=AWS_SHARED_CREDENTIALS_FILE=%d/aws\n"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "HOME=" + dir}
	found, _ := findings(t, env, "--config", config, "--socket", filepath.Join(dir, "s"), "--unit", unit)
	expect(t, found, map[string]string{
		"configuration": "ok", "broker": "unknown only the service has /run/credentials/", "credentials": "unknown from its unit",
		"stream gate": "unknown without credentials",
	})
}

func TestCheckOfAConfigurationWithFaults(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "c.toml")
	if err := os.WriteFile(config, []byte("[mqtt]\nbrokr = \"mqtt://localhost\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, status := findings(t, nil, "--config", config, "--socket", "/nowhere/s")
	expect(t, found, map[string]string{"configuration": "config.unknown_key brokr", "renderer": "ok GStreamer", "decoders": "ok"})
	if status != exitFailed || found["configuration"].Action == "" || strings.Contains(found["configuration"].Message, found["configuration"].Action) {
		t.Errorf("%d %+v", status, found["configuration"])
	}
}
