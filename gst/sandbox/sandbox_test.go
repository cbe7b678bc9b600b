package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/edge-agent/edge-agent/gst/sandbox"
	"github.com/edge-agent/edge-agent/gst/sandbox/sandboxtest"
)

// victimEnv makes the test binary a process that goes into the sandbox and then tries to get out. It holds the target.
const victimEnv = "TEST_EDGE_AGENT_TARGET"

// freeEnv leaves it out of the sandbox.
const freeEnv = "TEST_EDGE_AGENT_FREE"

func TestMain(m *testing.M) {
	if text := os.Getenv(victimEnv); text != "" {
		var t sandboxtest.Target
		_ = json.Unmarshal([]byte(text), &t)
		var missing []string
		if os.Getenv(freeEnv) == "" {
			missing = sandbox.Enter(os.Getenv, nil)
		}
		out := map[string]string{}
		for what, err := range sandboxtest.Attack(t) {
			out[what] = fmt.Sprint(err)
			if denied(err) {
				out[what] = "denied"
			}
		}
		if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"missing": missing, "attempts": out}); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func denied(err error) bool {
	var exit *exec.ExitError
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.As(err, &exit)
}

// attempts runs a victim and gives what it could do, and what its sandbox lacked.
func attempts(t *testing.T, env ...string) (got map[string]string, missing []string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	folder := t.TempDir()
	password := filepath.Join(folder, "password")
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	target, _ := json.Marshal(sandboxtest.Target{Agent: os.Getpid(), Password: password, TCP: listener.Addr().String(), UDP: "127.0.0.1:9", Folder: folder})
	cmd := exec.Command(os.Args[0])
	cmd.Env = append([]string{"HOME=" + folder, "XDG_CACHE_HOME=" + filepath.Join(folder, "cache"), victimEnv + "=" + string(target)}, env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var result struct {
		Missing  []string
		Attempts map[string]string
	}
	if err := json.Unmarshal(out, &result); err != nil {
		t.Fatal(err)
	}
	return result.Attempts, result.Missing
}

// landlocked says that the kernel restricts files.
func landlocked(missing []string) bool {
	return !strings.Contains(strings.Join(missing, "\n"), "landlock")
}

func TestNothingLeadsOutOfTheSandbox(t *testing.T) {
	got, missing := attempts(t)
	if !landlocked(missing) {
		t.Skipf("this kernel cannot restrict files: %v", missing)
	}
	if len(missing) > 0 {
		t.Errorf("missing: %v", missing)
	}
	for what, result := range got {
		if result != "denied" {
			t.Errorf("%s: %s", what, result)
		}
	}
	if len(got) < 20 {
		t.Errorf("%d attempts", len(got))
	}
}

// The attempts are real ones: without a sandbox those succeed for which it takes no privileges.
func TestWithoutASandbox(t *testing.T) {
	got, missing := attempts(t, freeEnv+"=1")
	if len(missing) > 0 {
		t.Errorf("missing: %v", missing)
	}
	for _, what := range []string{
		"read the agent's environment", "read a password", "read the users of the box", "list the root folder", "write to a folder", "dial TCP", "dial UDP",
		"have another program read", "read the agent's command line",
	} {
		if got[what] != "<nil>" {
			t.Errorf("%s: %s", what, got[what])
		}
	}
}

// A display on another box is reached, and nothing else there.
func TestDisplayOverTCP(t *testing.T) {
	got, missing := attempts(t, "DISPLAY=127.0.0.1:1")
	if !landlocked(missing) {
		t.Skipf("this kernel cannot restrict ports: %v", missing)
	}
	if got["dial TCP"] != "denied" {
		t.Errorf("another port than that of the display: %s", got["dial TCP"])
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	n, _ := strconv.Atoi(port)
	if n <= 6000 {
		t.Skipf("the kernel gave port %d", n)
	}
	cmd := exec.Command(os.Args[0])
	target, _ := json.Marshal(sandboxtest.Target{Agent: os.Getpid(), TCP: listener.Addr().String()})
	cmd.Env = []string{"DISPLAY=127.0.0.1:" + strconv.Itoa(n-6000), victimEnv + "=" + string(target)}
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), `"dial TCP":"\u003cnil\u003e"`) {
		t.Errorf("the display's port: %s, %v", out, err)
	}
}
