package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

func TestWhoWaitsForAValidConfiguration(t *testing.T) {
	for _, c := range []struct {
		flag, invocation string
		terminal, want   bool
	}{
		{"auto", "", false, false},
		{"auto", "", true, false},
		{"auto", "0123", false, true},
		{"auto", "0123", true, false}, // a terminal of a desktop session
		{"wait", "", true, true},
		{"exit", "0123", false, false},
	} {
		getenv := func(key string) string { return map[string]string{"INVOCATION_ID": c.invocation}[key] }
		if got := (runCommand{InvalidConfig: c.flag}).waits(getenv, c.terminal); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A file is read when it has changed and stayed the same for a moment, and at once when somebody asks.
func TestWatchFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config.toml")
		write := func(text string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := config.Load(path)
		var known config.Errors
		errors.As(err, &known)
		hangup := make(chan os.Signal)
		told := make(chan config.Errors, 10)
		found := make(chan config.Config, 1)
		ctx, end := context.WithCancel(t.Context())
		defer end()
		go func() {
			cfg, err := watchFile(ctx, path, func(context.Context) (config.Config, error) { return config.Load(path) }, known, hangup, func(f config.Errors) { told <- f })
			if err != nil {
				t.Error(err)
			}
			found <- cfg
		}()
		next := func(what, code string) {
			t.Helper()
			synctest.Wait()
			select {
			case f := <-told:
				if f[0].Code != code {
					t.Errorf("%s: %v", what, f)
				}
			default:
				if code != "" {
					t.Errorf("%s: nothing is told", what)
				}
			}
		}
		time.Sleep(10*lookAtFile + lookAtFile/2) // all that follows is between two looks
		next("the file is still missing", "")
		write("[agent]\nidd = \"x\"\n")
		time.Sleep(3 * lookAtFile)
		next("a file with another fault", config.CodeUnknownKey)
		time.Sleep(10 * lookAtFile)
		next("the same fault", "")
		hangup <- syscall.SIGHUP
		next("asked to read it again", config.CodeUnknownKey)
		for i := range 10 { // it is being written
			write(fmt.Sprintf("[agent]\nid = \"%s\"\n", strings.Repeat("x", i+1)))
			time.Sleep(lookAtFile)
			next("a file that changes", "")
		}
		select {
		case cfg := <-found:
			t.Errorf("a file that was still being written is used: %v", cfg.Agent)
		default:
		}
		write("[agent]\nid = \"gate-7\"\n")
		asked := time.Now()
		hangup <- syscall.SIGHUP
		if cfg := <-found; cfg.Agent.ID != "gate-7" || time.Since(asked) != 0 {
			t.Errorf("%v after %v", cfg.Agent, time.Since(asked))
		}
	})
}

// A fault may be in another file than this one: it is read now and then although it has not changed.
func TestWatchFileThatDoesNotChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "config.toml")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		known := config.Errors{{Code: config.CodeInvalid, Message: "no region"}}
		mended := time.Now().Add(time.Minute)
		valid := func(context.Context) (config.Config, error) {
			if time.Now().Before(mended) {
				return config.Config{}, known
			}
			return config.Defaults(), nil
		}
		told := func(f config.Errors) { t.Errorf("%v is told again", f) }
		ctx, end := context.WithTimeout(t.Context(), 2*time.Minute)
		defer end()
		if _, err := watchFile(ctx, path, valid, known, nil, told); err != nil {
			t.Fatal(err)
		}
		if late := time.Since(mended); late > readAnyway*lookAtFile {
			t.Errorf("it took %v to see that it is mended", late)
		}
	})
}

// A service whose configuration is not valid shows and reports that, and starts when the file is.
func TestServiceWaitsForAValidConfiguration(t *testing.T) {
	display := startXvfb(t)
	s := newSite(t, clip.H264())
	w := s.watch()
	path := s.config("x11", cameraStream+"start_at = \"now\"\n")
	p := start(t, []string{"DISPLAY=" + display, "INVOCATION_ID=0123"}, "run", "--config", path)
	state, event := false, false
	w.until("the fault in event and state", func(m mqtt.Message, f map[string]any) bool {
		text, _ := f["message"].(string)
		named := f["code"] == config.CodeUnknownKey && strings.Contains(text, "start_at")
		event = event || m.Topic == w.topics.Events() && named
		state = state || m.Topic == w.topics.State("gate") && named && f["state"] == string(contract.Failed)
		return event && state
	})
	kit.Await(t, "the slate of an error", func() bool { return slateOfAnError(t, display) })
	p.cmd.Process.Signal(syscall.SIGHUP) // it is still not valid
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	kit.ReplaceFile(t, path, strings.Replace(string(text), "start_at", "start", 1)) // at once: the signal may not have been served
	w.event("agent.started")
	w.shown()
	frameOnScreen(t, display)
	p.cmd.Process.Signal(syscall.SIGHUP) // now it is a reload
	p.until("the configuration was reloaded")
	p.cmd.Process.Signal(syscall.SIGTERM)
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}

// What is missing in the environment and in the files of the AWS tools is a fault of the configuration too: it ends what was
// started by hand, and a service waits until it is there.
func TestServiceWithoutARegion(t *testing.T) {
	s := newSite(t, clip.H264())
	path := s.config("none", cameraStream)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "region =", "# region =", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(t.TempDir(), "config")
	env := []string{"AWS_REGION=", "AWS_DEFAULT_REGION=", "AWS_CONFIG_FILE=" + profile}
	p := start(t, env, "run", "--config", path)
	if status := p.wait(); status != exitFailed || !strings.Contains(p.output(), "no AWS region is set") {
		t.Errorf("exit status %d", status)
	}

	w := s.watch()
	p = start(t, append(env, "INVOCATION_ID=0123"), "run", "--config", path)
	w.event(config.CodeInvalid)
	if err := os.WriteFile(profile, []byte("[default]\nregion = us-east-1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd.Process.Signal(syscall.SIGHUP)
	w.event("agent.started")
	p.cmd.Process.Signal(syscall.SIGTERM)
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}

// slateOfAnError says that the screen has the bar that a slate has when something is wrong.
func slateOfAnError(t *testing.T, display string) bool {
	t.Helper()
	img := screenOf(t, display)
	r, g, b, _ := img.At(2, img.Bounds().Dy()/2).RGBA()
	return r>>8 > 0xe0 && g>>8 > 0x90 && g>>8 < 0xd0 && b>>8 < 0x60
}

// Without a service manager, and with --invalid-config=exit, faults end the program.
func TestInvalidConfigurationEndsTheProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing.toml")
	for _, c := range []struct {
		env  []string
		args []string
	}{
		{nil, []string{"run", "--config", path}},
		{[]string{"INVOCATION_ID=0123"}, []string{"run", "--invalid-config=exit", "--config", path}},
	} {
		p := start(t, c.env, c.args...)
		if status := p.wait(); status != exitFailed || !strings.Contains(p.output(), "config.unreadable") {
			t.Errorf("%v %v: exit status %d", c.env, c.args, status)
		}
	}
	p := start(t, nil, "run", "--invalid-config=wait", "--config", path)
	p.until("config.unreadable", "waiting for a valid file")
	p.cmd.Process.Signal(syscall.SIGTERM)
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}
