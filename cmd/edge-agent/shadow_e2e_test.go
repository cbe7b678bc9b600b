package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// iotCore is the stand-in for AWS IoT Core, with the policies to be copied, and the configuration of
// a box there: certificate and thing are those of [aws.iot].
func iotCore(t *testing.T, s *site, control string) (core *brokertest.IoTCore, config string) {
	t.Helper()
	authority, err := brokertest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	var documents [][]byte
	for _, name := range []string{"policy.json", "shadow-policy.json"} {
		text, err := os.ReadFile(filepath.Join("../../packaging/aws-iot", name))
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, text)
	}
	policy, err := brokertest.ParsePolicy(documents...)
	if err != nil {
		t.Fatal(err)
	}
	core, err = brokertest.StartIoTCore(t.Context(), brokertest.IoTOptions{Authority: authority, Policy: policy, Things: []string{"box"}})
	if errors.Is(err, brokertest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { core.Stop() })
	dir := t.TempDir()
	ca, err := authority.WriteCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := authority.WriteCert(dir, "box")
	if err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`
[agent]
id = "box"
state_dir = %q
[aws]
region = "us-east-1"
endpoint = %q
[aws.iot]
ca_file = %q
cert_file = %q
key_file = %q
[mqtt]
profile = "aws-iot"
broker = %q
[display]
sink = "none"
%s%s`, dir, s.server.URL(), ca, cert, key, core.FrontURL(), control, cameraStream)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return core, config
}

const shadowPermitted = "[control]\nenabled = true\nallow = [\"set\", \"reload\"]\nshadow = true\n"

// reported waits until the shadow has that value at a path such as "desired.status".
func reported(t *testing.T, core *brokertest.IoTCore, path string, want any) map[string]any {
	t.Helper()
	deadline := time.After(kit.Patience)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		all := core.Shadows.State("box", contract.ShadowName).Reported
		var value any = all
		for key := range strings.SplitSeq(path, ".") {
			o, _ := value.(map[string]any)
			value = o[key]
		}
		if fmt.Sprint(value) == fmt.Sprint(want) {
			return all
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("%s is %v, not %v\n%v\n%v", path, value, want, all, core.Violations())
		}
	}
}

func desireInShadow(t *testing.T, core *brokertest.IoTCore, config string) {
	t.Helper()
	if err := core.Shadows.Desire("box", contract.ShadowName, config); err != nil {
		t.Fatal(err)
	}
}

// A box at AWS IoT Core: it reports, is configured by its shadow, refuses what is not its shadow's
// to set, and keeps what it was told over a restart without a network.
func TestABoxIsConfiguredByItsShadow(t *testing.T) {
	s := newSite(t, clip.H264())
	core, config := iotCore(t, s, shadowPermitted)
	p := start(t, nil, "run", "--config", config)
	first := reported(t, core, "streams.gate.state", "playing")
	if desired, _ := first["desired"].(map[string]any); desired["status"] != "none" || first["config_hash"] == "" {
		t.Errorf("at first %v", first)
	}
	reported(t, core, "streams.gate.decoder", "avdec_h264")

	desireInShadow(t, core, `{"config":{"log":{"level":"debug"},"mqtt":{"telemetry_interval":"2000ms"},
		"streams":{"gate":{"stream_name":"camera"},"yard":{"stream_name":"camera","max_lag":"1m"}}}}`)
	reported(t, core, "desired.status", "applied")
	all := reported(t, core, "streams.yard.state", "playing")
	if c, _ := all["config"].(map[string]any); fmt.Sprint(c["mqtt"]) != "map[telemetry_interval:2000ms]" || fmt.Sprint(c["log"]) != "map[level:debug]" {
		t.Errorf("config %v", c)
	}
	if n := strings.Count(p.output(), "code=ingest.playing stream=gate"); n != 1 {
		t.Errorf("the stream that stayed the same began %d times", n)
	}

	desireInShadow(t, core, `{"config":{"log":{"level":"warn"},"agent":{"id":"other"}}}`)
	all = reported(t, core, "desired.status", "rejected")
	outcome := all["desired"].(map[string]any)
	if faults, _ := outcome["faults"].(map[string]any); outcome["code"] != "shadow.not_settable" || faults["agent.id"] == nil {
		t.Errorf("outcome %v", outcome)
	}
	if c, _ := all["config"].(map[string]any); fmt.Sprint(c["log"]) != "map[level:debug]" {
		t.Errorf("something was changed: %v", c)
	}
	desireInShadow(t, core, `{"config":{"agent":null,"log":{"level":"debug"}}}`)
	reported(t, core, "desired.status", "applied")
	if v := core.Violations(); len(v) > 0 {
		t.Errorf("AWS IoT Core would not have had it:\n%s", strings.Join(v, "\n"))
	}

	p.cmd.Process.Kill()
	<-p.done
	core.Stop()
	p = start(t, nil, "run", "--config", config)
	p.until("the configuration last desired in the device shadow is in effect", "stream=yard", "mqtt.unreachable")
	p.cmd.Process.Signal(syscall.SIGTERM)
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}

// What is desired while the box is away is in effect once it is back; taken back, the file counts;
// and what a command has set since is said.
func TestTheShadowAndTheFile(t *testing.T) {
	s := newSite(t, clip.H264())
	core, config := iotCore(t, s, shadowPermitted)
	desireInShadow(t, core, `{"config":{"log":{"level":"warn"}}}`)
	start(t, nil, "run", "--config", config)
	reported(t, core, "desired.status", "applied")
	reported(t, core, "config.log.level", "warn")

	caller := mqtt.Caller{Broker: mqtt.Broker{URL: core.URL()}, Agent: "box"}
	if r, err := caller.Call(t.Context(), contract.VerbSet, contract.SetArgs{LogLevel: "debug"}); err != nil || r.Status != contract.StatusSucceeded {
		t.Fatalf("%+v %v", r, err)
	}
	reported(t, core, "desired.status", "overridden")
	reported(t, core, "config.log.level", "debug")

	desireInShadow(t, core, `{"config":{"display":{"show":"yard"}}}`)
	reported(t, core, "desired.code", "config.invalid")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, append(text, strings.Replace(cameraStream, "gate", "yard", 1)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := caller.Call(t.Context(), contract.VerbReload, contract.ReloadArgs{}); err != nil || r.Status != contract.StatusSucceeded {
		t.Fatalf("%+v %v", r, err)
	}
	reported(t, core, "desired.status", "applied")
	reported(t, core, "shown", "yard")

	desireInShadow(t, core, `null`)
	reported(t, core, "desired.status", "none")
	reported(t, core, "config.log.level", "info")
	if v := core.Violations(); len(v) > 0 {
		t.Errorf("AWS IoT Core would not have had it:\n%s", strings.Join(v, "\n"))
	}
}

// Without permission the shadow is a report, and says so.
func TestAShadowThatMayNotConfigure(t *testing.T) {
	s := newSite(t, clip.H264())
	core, config := iotCore(t, s, "")
	desireInShadow(t, core, `{"config":{"log":{"level":"debug"}}}`)
	p := start(t, nil, "run", "--config", config)
	reported(t, core, "desired.code", "shadow.not_allowed")
	reported(t, core, "config.log.level", "info")
	p.until("shadow.rejected")
}
