// Package box is a video gateway for tests that run inside the virtual hardware: the program
// bin/edge-agent as it is delivered, a simulated Kinesis Video Streams and a real mosquitto.
//
// In: a clip, and what is special in the agent's configuration and environment. Out: what the
// agent says over MQTT, to be waited for. A Box owns the three and one goroutine that
// collects messages; the end of the test ends them, and shows the agent's log if the test
// has failed.
//
//	b := box.Start(t, box.Config{Clip: clip.H264(), Settings: "[display]\nsink = \"none\""})
//	b.Decoding("avdec_h264")
//	b.Stream.Cut()
//	b.Event("ingest.cut")
package box

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/brokertest"
)

// Patience is how long anything is waited for; it only passes when something is wrong.
const Patience = 60 * time.Second

// What the agent and its stream are called.
const (
	AgentID    = "box"
	StreamName = "gate" // over MQTT; in Kinesis Video Streams it is "camera"
)

// Config is what is special in a Box.
type Config struct {
	Clip     []byte               // Matroska, with H.264 or H.265
	Produced kvstest.StreamConfig // how the clip becomes a stream
	Offline  bool                 // the service begins when Online is called
	Settings string               // tables for the configuration, such as display and decode
	Env      []string             // for the agent, on top of the test's
	State    map[string][]byte    // files of its state_dir, such as decoders.json
}

// Box is a gateway at work.
type Box struct {
	Stream *kvstest.Stream // of the simulated service
	Broker mqtt.Broker
	Began  time.Time // when the agent was started

	t      *testing.T
	server *kvstest.Server
	listen string // address of the service
	state  string // folder of the agent
	*messages

	agent *exec.Cmd
	ended chan struct{} // closed when the agent has ended
	log   log
}

// Start runs a gateway. It returns at once: what the agent does is waited for with the methods of Box.
func Start(t *testing.T, c Config) *Box {
	t.Helper()
	mustBeInside(t)
	keepClock(t)
	b := &Box{t: t, ended: make(chan struct{}), state: t.TempDir()}
	b.serve(c)
	b.connect()
	b.run(c)
	return b
}

// mustBeInside ends a test that would meddle with the devices of the machine it was started on.
func mustBeInside(t *testing.T) {
	t.Helper()
	cpu, err := os.ReadFile("/proc/cpuinfo")
	if err != nil || !bytes.Contains(cpu, []byte("User Mode Linux")) {
		t.Fatal("this test runs inside the virtual hardware: make test-hardware")
	}
}

// keepClock has the kernel think that somebody keeps its clock, as the host does. Else the agent would refuse commands.
func keepClock(t *testing.T) {
	const adjMaxError, adjStatus = 0x4, 0x10
	if _, err := syscall.Adjtimex(&syscall.Timex{Modes: adjMaxError | adjStatus}); err != nil {
		t.Fatal(err)
	}
}

// serve makes the service, with the stream.
func (b *Box) serve(c Config) {
	b.t.Helper()
	source, err := kvstest.ReadSource(c.Clip)
	if err != nil {
		b.t.Fatal(err)
	}
	b.server = kvstest.NewServer(kvstest.Config{})
	if b.Stream, err = b.server.Add("camera", source, c.Produced); err != nil {
		b.t.Fatal(err)
	}
	b.listen = "127.0.0.1:8123" // nothing else listens in there
	if !c.Offline {
		b.Online()
	}
}

// Online starts the service of a Box that was Offline.
func (b *Box) Online() {
	b.t.Helper()
	if err := b.server.Start(b.listen); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { b.server.Close() })
}

// connect runs a broker and collects what is said on it.
func (b *Box) connect() {
	b.t.Helper()
	broker, err := brokertest.Start(b.t.Context(), brokertest.Options{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { broker.Stop() })
	b.Broker = mqtt.Broker{URL: broker.URL()}
	b.messages = collect(b.t, b.Broker)
}

// run starts the agent.
func (b *Box) run(c Config) {
	b.t.Helper()
	config := filepath.Join(b.t.TempDir(), "config.toml")
	if err := os.WriteFile(config, []byte(b.config(c)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	for name, content := range c.State {
		if err := os.WriteFile(filepath.Join(b.state, name), content, 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	known := kvstest.Credentials()
	b.agent = exec.Command(Program(b.t), "run", "--config", config)
	b.agent.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+known.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+known.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true")
	b.agent.Env = append(b.agent.Env, c.Env...)
	b.agent.Stdout, b.agent.Stderr = &b.log, &b.log
	b.Began = time.Now()
	if err := b.agent.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() { _ = b.agent.Wait(); close(b.ended) }()
	b.t.Cleanup(func() {
		if status := b.Stop(); status != 0 {
			b.t.Errorf("the agent ended with status %d", status)
		}
		if b.t.Failed() {
			b.t.Logf("edge-agent said:\n%s", b.Log())
		}
	})
}

func (b *Box) config(c Config) string {
	return fmt.Sprintf(`
[agent]
id = %q
state_dir = %q
[aws]
region = "us-east-1"
endpoint = "http://%s"
[mqtt]
broker = %q
telemetry_interval = "1s"
%s
[[streams]]
name = %q
stream_name = "camera"
`, AgentID, b.state, b.listen, b.Broker.URL, AsRoot(c.Settings), StreamName)
}

// AsRoot leaves renderers to root, unless the settings say otherwise: here no udev sees to device nodes that come and
// go.
func AsRoot(settings string) string {
	const key = "renderer_user = \"root\"\n"
	switch {
	case strings.Contains(settings, "renderer_user"):
		return settings
	case strings.Contains(settings, "[decode]\n"):
		return strings.Replace(settings, "[decode]\n", "[decode]\n"+key, 1)
	}
	return settings + "\n[decode]\n" + key
}

// Renderer is the program beside Program that decodes and shows.
func Renderer(t *testing.T) string { return Program(t) + "-renderer" }

// Program finds bin/edge-agent from anywhere in the project.
func Program(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
			continue
		}
		path := filepath.Join(dir, "bin", "edge-agent")
		if _, err := os.Stat(path); err != nil {
			t.Fatal("there is no bin/edge-agent: make build")
		}
		return path
	}
	t.Fatal("this is not a folder of the project")
	return ""
}

// Stop ends the agent as systemd would and gives its exit status.
func (b *Box) Stop() int {
	b.t.Helper()
	_ = b.agent.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-b.ended:
	case <-time.After(Patience):
		_ = b.agent.Process.Kill()
		<-b.ended
		b.t.Error("the agent does not end")
	}
	return b.agent.ProcessState.ExitCode()
}

// Log is what the agent has written so far.
func (b *Box) Log() string { return b.log.String() }

// log keeps what a program writes.
type log struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
