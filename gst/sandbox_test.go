package gst

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/gst/sandbox/sandboxtest"
)

// attackEnv has a child attack what it names when it has done its work. It holds the target, in whose folder the outcome is left.
const attackEnv = "TEST_EDGE_AGENT_ATTACK"

func attack() {
	var target sandboxtest.Target
	if json.Unmarshal([]byte(os.Getenv(attackEnv)), &target) != nil {
		return
	}
	outcome := map[string]string{}
	for what, err := range sandboxtest.Attack(target) {
		var exit *exec.ExitError
		if outcome[what] = fmt.Sprint(err); errors.Is(err, fs.ErrPermission) || errors.As(err, &exit) {
			outcome[what] = "denied"
		}
	}
	text, _ := json.Marshal(outcome)
	_ = os.WriteFile(filepath.Join(filepath.Dir(target.Folder), "out", "outcome"), text, 0o600)
}

// A renderer that has shown pictures, with all that GStreamer has loaded and started, comes to nothing that is the agent's.
func TestNothingLeadsOutOfARenderer(t *testing.T) {
	frames := clip(t, "320x180", "30", x264...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	folder := t.TempDir()
	target := sandboxtest.Target{
		Agent: os.Getpid(), Password: filepath.Join(folder, "password"), Folder: filepath.Join(folder, "other"), TCP: listener.Addr().String(), UDP: "127.0.0.1:9",
	}
	out := filepath.Join(folder, "out")
	if err := errors.Join(os.WriteFile(target.Password, []byte("secret"), 0o600), os.Mkdir(target.Folder, 0o700), os.Mkdir(out, 0o700)); err != nil {
		t.Fatal(err)
	}
	text, _ := json.Marshal(target)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Run("renderer", func(t *testing.T) {
		r, reports := run(t, decode.Config{
			Sink: plan.None, Unpaced: true, Env: []string{attackEnv + "=" + string(text)}, Sandbox: decode.Sandbox{Paths: []string{out}},
		})
		push(r, frames)
		await(t, r, reports, "pictures", func() bool { return r.Stats().Shown > 0 })
	})
	text, err = os.ReadFile(filepath.Join(out, "outcome"))
	if err != nil {
		t.Fatal(err)
	}
	var outcome map[string]string
	if err := json.Unmarshal(text, &outcome); err != nil || len(outcome) < 20 {
		t.Fatalf("%s: %v", text, err)
	}
	for what, result := range outcome {
		if result != "denied" {
			t.Errorf("%s: %s", what, result)
		}
	}
}

// What a renderer has is what it was to get: no secret of the agent's environment.
func TestEnvironmentOfARenderer(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	t.Setenv("TEST_EDGE_AGENT_OTHER", "secret")
	t.Setenv("VENDOR_SETTING", "7")
	r, reports := run(t, decode.Config{Sink: plan.None, Sandbox: decode.Sandbox{Env: []string{"VENDOR_SETTING"}}})
	await(t, r, reports, "a child", func() bool { return r.Stats().GStreamer != "" })
	children := childrenOf(os.Getpid())
	i := slices.IndexFunc(children, func(pid int) bool {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		return len(text) > 0
	})
	if i < 0 {
		t.Fatal("there is no child")
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", children[i]))
	if err != nil {
		t.Fatal(err)
	}
	has := func(variable string) bool { return slices.Contains(strings.Split(string(env), "\x00"), variable) }
	if has("AWS_SECRET_ACCESS_KEY=secret") || has("TEST_EDGE_AGENT_OTHER=secret") || !has("VENDOR_SETTING=7") || !has("PATH="+os.Getenv("PATH")) {
		t.Errorf("%q", strings.Split(string(env), "\x00"))
	}
}
