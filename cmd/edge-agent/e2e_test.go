package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "image/png"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// of snapshots and screenshots

// The tests of this file run the program itself: the test binary is it, when this variable is
// set. It then starts the renderer program, which is built beside it, so nothing of the way is left out.
const beAgent = "TEST_EDGE_AGENT_BE_AGENT"

func TestMain(m *testing.M) {
	agent.ReadClock = func() ingest.Clock { return ingest.ClockSynced } // whoever runs the tests
	if !slices.Contains(os.Args, "-test.fuzzworker") {
		if os.Getenv(beAgent) != "" {
			main()
			return
		}
		if err := kit.BuildRenderer(); err != nil {
			panic(err)
		}
	}
	os.Setenv(beAgent, "1")
	cache, err := os.MkdirTemp("", "edge-agent-cache-") // for renderers, which are of another user where root runs the tests
	if err != nil {
		panic(err)
	}
	os.Setenv("CACHE_DIRECTORY", cache)
	_ = os.Chmod(cache, 0o755)
	status := m.Run()
	_ = os.RemoveAll(cache)
	os.Exit(status)
}

// site is a simulated service and a real broker.
type site struct {
	t      *testing.T
	server *kvstest.Server
	stream *kvstest.Stream
	broker *brokertest.Broker
}

func newSite(t *testing.T, file []byte) *site {
	t.Helper()
	return newSiteWith(t, file, kvstest.StreamConfig{})
}

func newSiteWith(t *testing.T, file []byte, config kvstest.StreamConfig) *site {
	t.Helper()
	source, err := kvstest.ReadSource(file)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, server: kvstest.NewServer(kvstest.Config{})}
	if s.stream, err = s.server.Add("camera", source, config); err != nil {
		t.Fatal(err)
	}
	if err := s.server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.server.Close() })
	s.broker, err = brokertest.Start(t.Context(), brokertest.Options{})
	if errors.Is(err, brokertest.ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.broker.Stop() })
	return s
}

// config writes a configuration; more is put behind the tables that every agent here has.
func (s *site) config(sink, more string) string {
	s.t.Helper()
	dir := s.t.TempDir()
	path := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(`
[agent]
id = "box"
state_dir = %q
[aws]
region = "us-east-1"
endpoint = %q
[mqtt]
broker = %q
telemetry_interval = "1s"
[display]
sink = %q
%s`, dir, s.server.URL(), s.broker.URL(), sink, more)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

const cameraStream = `
[[streams]]
name = "gate"
stream_name = "camera"
`

// process is a running edge-agent.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	mu   sync.Mutex
	out  bytes.Buffer
}

// start runs edge-agent with the credentials that the simulated service knows.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, []string{self}, env, args...)
}

// startProgram is start for another build of it, or for one that something else starts.
func startProgram(t *testing.T, program, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(program[0], append(program[1:len(program):len(program)], args...)...), done: make(chan struct{})}
	known := kvstest.Credentials()
	p.cmd.Env = append(cleanEnviron(), "AWS_ACCESS_KEY_ID="+known.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+known.SecretAccessKey,
		"AWS_EC2_METADATA_DISABLED=true")
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Dir = t.TempDir()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("edge-agent %s said:\n%s", strings.Join(args, " "), p.output())
		}
	})
	return p
}

// cleanEnviron is the environment without a display and without AWS settings.
func cleanEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "DISPLAY=") || strings.HasPrefix(v, "WAYLAND_DISPLAY=") || strings.HasPrefix(v, "AWS_")
	})
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// wait gives the exit status.
func (p *process) wait() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(kit.Patience):
		p.t.Fatal("it does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// watcher is a fleet engineer's view: what comes over MQTT.
type watcher struct {
	t        *testing.T
	topics   contract.Topics
	messages <-chan mqtt.Message
	once     *once
}

func (s *site) watch() *watcher {
	s.t.Helper()
	topics, err := contract.NewTopics(contract.DefaultPrefix, "box")
	if err != nil {
		s.t.Fatal(err)
	}
	l, err := mqtt.Listen(s.t.Context(), mqtt.Broker{URL: s.broker.URL()}, topics.All())
	if err != nil {
		s.t.Fatal(err)
	}
	w := &watcher{s.t, topics, l.Messages, newOnce(topics)}
	s.t.Cleanup(w.rest)
	return w
}

// until reads messages up to the first one that is wanted. The others may come, but each only once.
func (w *watcher) until(what string, wanted func(m mqtt.Message, fields map[string]any) bool) mqtt.Message {
	w.t.Helper()
	deadline := time.After(kit.Patience)
	var seen []string
	for {
		select {
		case m, ok := <-w.messages:
			if !ok {
				w.t.Fatalf("the listener ended before %s came", what)
			}
			w.take(m)
			var fields map[string]any
			_ = json.Unmarshal(m.Payload, &fields)
			if wanted(m, fields) {
				return m
			}
			seen = append(seen, fmt.Sprintf("%s %s", m.Topic, m.Payload))
		case <-deadline:
			w.t.Fatalf("%s did not come; what came:\n%s", what, strings.Join(seen[max(0, len(seen)-20):], "\n"))
		}
	}
}

func (w *watcher) state(state string) {
	w.t.Helper()
	w.until("the state "+state, func(m mqtt.Message, f map[string]any) bool {
		return m.Topic == w.topics.State("gate") && f["state"] == state
	})
}

func (w *watcher) event(code string) map[string]any {
	w.t.Helper()
	var event map[string]any
	w.until("the event "+code, func(m mqtt.Message, f map[string]any) bool {
		event = f
		return m.Topic == w.topics.Events() && f["code"] == code
	})
	return event
}

// shown waits for telemetry of pictures that were shown.
func (w *watcher) shown() map[string]any {
	w.t.Helper()
	var telemetry map[string]any
	w.until("telemetry of pictures", func(m mqtt.Message, f map[string]any) bool {
		telemetry = f
		n, _ := f["shown_frames"].(float64)
		return m.Topic == w.topics.Telemetry("gate") && n > 0
	})
	return telemetry
}

// The whole way: a stream in, pictures out, everything told over MQTT; faults survived; a
// clean stop.
func TestRunFromStreamToBroker(t *testing.T) {
	s := newSite(t, clip.H264())
	w := s.watch()
	p := start(t, nil, "run", "--config", s.config("none", cameraStream))
	w.until("online", func(m mqtt.Message, _ map[string]any) bool {
		return m.Topic == w.topics.Availability() && string(m.Payload) == contract.Online
	})
	w.state("playing")
	w.until("info with decoders", func(m mqtt.Message, f map[string]any) bool {
		list, _ := f["decoders"].([]any)
		return m.Topic == w.topics.Info() && len(list) > 0 && f["gstreamer"] != ""
	})
	telemetry := w.shown()
	if telemetry["decoder"] == "" || telemetry["clock"] == nil {
		t.Errorf("telemetry %v", telemetry)
	}
	w.until("all three lags", func(m mqtt.Message, f map[string]any) bool {
		lag, _ := f["lag"].(map[string]any)
		return lag["service_ms"] != nil && lag["producer_ms"] != nil && lag["local_ms"] != nil
	})

	s.stream.Cut()
	w.event("ingest.cut")
	w.event("ingest.resumed")
	s.stream.Fail(4500)
	event := w.event("kvs.media.4500")
	detail, _ := event["detail"].(map[string]any)
	if detail["error_id"] != 4500.0 || detail["fragment_number"] == nil || detail["request_id"] == nil || event["stream"] != "gate" {
		t.Errorf("event %v", event)
	}
	w.state("playing")
	w.shown()

	p.cmd.Process.Signal(syscall.SIGTERM)
	w.until("offline", func(m mqtt.Message, _ map[string]any) bool {
		return m.Topic == w.topics.Availability() && string(m.Payload) == contract.Offline
	})
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}

// What was recorded is played at its pace, however fast it comes: nothing is dropped, every frame that came is shown or
// waits, and all of them are of two minutes ago.
func TestRunFromThePast(t *testing.T) {
	s := newSiteWith(t, clip.H264(), kvstest.StreamConfig{History: 2 * time.Minute})
	w := s.watch()
	start(t, nil, "run", "--config", s.config("none", cameraStream+"start = \"earliest\"\n"))
	waiting, shown := 0.0, 0.0
	for n := 0; n < 5 || shown == 0; n++ {
		var telemetry map[string]any
		w.until("telemetry", func(m mqtt.Message, f map[string]any) bool {
			telemetry = f
			return m.Topic == w.topics.Telemetry("gate")
		})
		count := func(field string) float64 { v, _ := telemetry[field].(float64); return v }
		if count("dropped_frames") != 0 || count("hidden_frames") != 0 ||
			count("frames") != count("shown_frames")+count("queued_frames")-waiting {
			t.Fatalf("%v frames waited, then telemetry %v", waiting, telemetry)
		}
		lags, _ := telemetry["lag"].(map[string]any)
		if lag, ok := lags["producer_ms"].(map[string]any); ok && lag["min"].(float64) < 110_000 || count("frames") > 0 && !ok {
			t.Fatalf("frames that are not of two minutes ago: telemetry %v", telemetry)
		}
		waiting = count("queued_frames")
		shown += count("shown_frames")
	}
}

// What cannot work is told over MQTT with its code, and the daemon goes on trying.
func TestRunSaysWhyNot(t *testing.T) {
	for name, tc := range map[string]struct {
		sink, more string
		env        []string
		code       string
	}{
		"no such stream":    {"none", strings.Replace(cameraStream, "camera", "garage", 1), nil, "kvs.http.ResourceNotFoundException"},
		"wrong credentials": {"none", cameraStream, []string{"AWS_SECRET_ACCESS_KEY=wrong"}, "kvs.http.InvalidSignatureException"},
		"no credentials":    {"none", cameraStream, []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, "ingest.credentials"},
		"no display":        {"kms", cameraStream, nil, "display.none"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, clip.H264())
			w := s.watch()
			p := start(t, tc.env, "run", "--config", s.config(tc.sink, tc.more))
			if e := w.event(tc.code); e["message"] == "" {
				t.Errorf("event %v", e)
			}
			select {
			case <-p.done:
				t.Error("the daemon ended")
			default:
			}
		})
	}
}

// Without a broker the agent works, and its log says why nothing is told.
func TestRunWithoutBroker(t *testing.T) {
	s := newSite(t, clip.H264())
	s.broker.Stop()
	p := start(t, nil, "run", "--config", s.config("none", cameraStream))
	p.until("mqtt.unreachable", "ingest.playing")
	p.cmd.Process.Signal(syscall.SIGTERM)
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
}

// until waits until all of the texts stand in the output.
func (p *process) until(texts ...string) {
	p.t.Helper()
	deadline := time.NewTimer(kit.Patience)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		out := p.output()
		if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(out, text) }) {
			return
		}
		select {
		case <-look.C:
		case <-p.done:
			p.t.Fatalf("it ended without saying all of %q", texts)
		case <-deadline.C:
			p.t.Fatalf("it does not say all of %q", texts)
		}
	}
}

// The simulator of the command line and the agent of the command line find each other by what the
// one prints.
func TestSimulateAndRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "clip.mkv")
	if err := os.WriteFile(file, clip.H265(), 0o600); err != nil {
		t.Fatal(err)
	}
	simulator := start(t, nil, "simulate", "--stream", "camera="+file)
	simulator.until("endpoint = ", "stream_name = ")
	endpoint := ""
	lines := bufio.NewScanner(strings.NewReader(simulator.output()))
	for lines.Scan() {
		if v, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "endpoint = "); ok {
			endpoint = strings.Trim(v, `"`)
		}
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf("[agent]\nstate_dir = %q\n[aws]\nregion = \"us-east-1\"\nendpoint = %q\n[display]\nsink = \"none\"\n%s", dir, endpoint, cameraStream)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := start(t, nil, "run", "--config", config)
	agent.until("ingest.playing", "element=avdec_h265")
}

// The demo works as a person sees it: it ends well, both faults are told and survived, and
// the picture that it leaves is of the clip.
func TestDemo(t *testing.T) {
	p := start(t, nil, "demo", "--for", "12s")
	if status := p.wait(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	out := p.output()
	for _, text := range []string{"ingest.cut", "kvs.media.4500", "ingest.resumed", "over MQTT came", demoSnapshot} {
		if !strings.Contains(out, text) {
			t.Errorf("it does not say %q", text)
		}
	}
	picture, err := os.Open(filepath.Join(p.cmd.Dir, demoSnapshot))
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	img, _, err := image.Decode(picture)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clip.ReadFrameNumber(img); err != nil {
		t.Error(err)
	}
}

// A picture in a window: two screenshots show two frames of the clip, the later one later.
func TestPictureOnX11(t *testing.T) {
	display := startXvfb(t)
	s := newSite(t, clip.H264())
	w := s.watch()
	start(t, []string{"DISPLAY=" + display}, "run", "--config", s.config("auto", cameraStream))
	w.shown()
	first := frameOnScreen(t, display)
	w.shown()
	w.shown()
	second := frameOnScreen(t, display)
	const length = 300 // frames of the clip
	if ahead := (second - first + length) % length; ahead < 10 || ahead > 150 {
		t.Errorf("frame %d, and then frame %d", first, second)
	}
}

// startXvfb runs an X server that nobody sees, and gives its DISPLAY.
func startXvfb(t *testing.T, args ...string) string {
	t.Helper()
	_, display := startXvfbProcess(t, args...)
	return display
}

// startXvfbProcess is startXvfb for a test that ends the server.
func startXvfbProcess(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	if _, err := exec.LookPath("Xvfb"); err != nil {
		t.Skip("Xvfb is not installed (Debian package xvfb)")
	}
	told, tell, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	args = append(args, "-displayfd", "3", "-screen", "0", "1400x900x24", "-nolisten", "tcp")
	x := exec.Command("Xvfb", args...)
	x.ExtraFiles = []*os.File{tell}
	x.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = x.Start()
	tell.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Process.Kill(); x.Wait() })
	line, err := bufio.NewReader(told).ReadString('\n')
	if err != nil {
		t.Fatalf("Xvfb does not start: %v", err)
	}
	return x, ":" + strings.TrimSpace(line)
}

// frameOnScreen takes a screenshot and reads the number of the frame in it.
func frameOnScreen(t *testing.T, display string) int {
	t.Helper()
	n, err := clip.ReadFrameNumber(screenOf(t, display))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// screenOf takes a screenshot.
func screenOf(t *testing.T, display string) image.Image {
	t.Helper()
	file := filepath.Join(t.TempDir(), "screen.png")
	shot := exec.Command("gst-launch-1.0", "-q", "ximagesrc", "display-name="+display, "num-buffers=1", "use-damage=false", "show-pointer=false",
		"!", "videoconvert", "!", "pngenc", "!", "filesink", "location="+file)
	if out, err := shot.CombinedOutput(); err != nil {
		t.Fatalf("no screenshot: %v\n%s", err, out)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// Every frame of a real capture becomes a picture.
func TestCaptureDecodesWhole(t *testing.T) {
	capture, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "samples", "output_get_media.mkv"))
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("the captures are not beside the project")
	}
	if err != nil {
		t.Fatal(err)
	}
	const frames = 300
	renderer := decode.New(decode.Config{Sink: plan.None, Unpaced: true, Report: func(r report.Report) { t.Errorf("%+v", r) }})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { renderer.Run(ctx); close(ended) }()
	defer func() { stop(); <-ended }()

	r := mkv.NewReader(bytes.NewReader(capture))
	at := time.Duration(0)
	for {
		ev, err := r.Next()
		if err != nil {
			break
		}
		if f, ok := ev.(*mkv.Frame); ok {
			renderer.Push(f, at, false)
			at += time.Second / 30
		}
	}
	deadline := time.NewTimer(kit.Patience)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for renderer.Stats().Decoded < frames {
		select {
		case <-look.C:
		case <-deadline.C:
			t.Fatalf("%+v", renderer.Stats())
		}
	}
	if stats := renderer.Stats(); stats.Decoded != frames || stats.Dropped != 0 {
		t.Errorf("%d pictures of %d frames, %d dropped", stats.Decoded, frames, stats.Dropped)
	}
}
