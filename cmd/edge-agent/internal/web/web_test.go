package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// box is an agent with one stream that plays on the display, and one that fails.
type box struct {
	status Status
	dead   error
	taken  atomic.Int64 // pictures
}

func (b *box) Status() Status { return b.status }
func (b *box) Alive() error   { return b.dead }

func (b *box) Picture(_ context.Context, stream string) ([]byte, error) {
	if stream != b.status.Status.Shown {
		return nil, errors.New(stream + " is not on the display")
	}
	b.taken.Add(1)
	return []byte("\xff\xd8jpeg"), nil
}

var start = time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC)

func newBox() *box {
	at := contract.Time{Time: start}
	b := &box{status: Status{
		Agent: "box-1",
		Status: contract.StatusData{
			Version: "1.2.3", StartedAt: at, Shown: "camera",
			Streams: contract.List[contract.StreamStatus]{
				{Name: "camera", State: contract.State{State: contract.Playing, Since: at, Decoder: "vah264dec"}, Telemetry: contract.Telemetry{
					Lag: contract.Lag{Service: &contract.Distribution{P50: 40, P95: 90, Max: 1200}}, FPS: 30,
				}},
				{Name: "yard", State: contract.State{State: contract.Failed, Since: at, Code: "kvs.http.403", Message: `<script>alert("no")</script>`}},
			},
			MQTT: contract.LinkStatus{ConnectedSince: at, QueuedEvents: 3, DroppedEvents: 2, DroppedTelemetry: 1},
		},
		Info: contract.Info{
			Version: "1.2.3", Commit: "abc", GStreamer: "1.22.0",
			Decoders: []contract.Decoder{{Name: "vah264dec", Codec: "h264", Kind: "va", Device: "/dev/dri/renderD128", Driver: "i915\xff", Result: "passed", FPS: 240}},
			Displays: []contract.Display{{Connector: "HDMI-A-1", Sink: "kms", Width: 1920, Height: 1080}},
		},
		Broker: Broker{URL: "mqtts://broker", Connected: true, Published: 99},
		Totals: []Totals{
			{
				Stream: "camera", Fragments: 7, Bytes: 1234, Received: 100, Shown: 90, Queued: 2, Dropped: map[string]uint64{"late": 8}, Reconnects: map[string]int64{"ingest.cut": 4},
				History: []Point{{At: start, Service: time.Second, Producer: -1, Local: -1}},
			},
			{Stream: "yard", Dropped: map[string]uint64{}, Reconnects: map[string]int64{"kvs.http.403": 5}},
		},
		Restart: 6, Events: []contract.Event{{Code: "ingest.cut", Severity: contract.SeverityWarning, Stream: "camera", Message: "the connection ended", LastTS: at, Count: 2}},
		EventCounts: map[string]int64{"ingest.cut": 2},
	}}
	return b
}

func ask(t *testing.T, h http.Handler, path string, change ...func(*http.Request)) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "http://localhost"+path, nil)
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestPage(t *testing.T) {
	r := ask(t, New(Options{Source: newBox(), Snapshots: true}), "/")
	page := body(t, r)
	for _, want := range []string{
		"box-1", "camera", "on the display", "vah264dec", `src="picture/camera.jpg"`, "HDMI-A-1", "1920×1080",
		"40 ms (95 %: 90 ms)", "not shown: late", "reconnects: ingest.cut", "kvs.http.403", "ingest.cut", "(2 times)", "<svg", "240 fps",
		"events waiting: 3", "Check the permissions of the credentials",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page, "<script") {
		t.Error("what a service or a camera said came onto the page as HTML")
	}
	if got := r.Header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'") {
		t.Errorf("Content-Security-Policy: %s", got)
	}
	if got := r.Header.Get("Cross-Origin-Resource-Policy"); got != "same-origin" {
		t.Errorf("other pages may show the picture: %q", got)
	}
	blind := newBox()
	blind.status.Info.Displays = nil
	if page := body(t, ask(t, New(Options{Source: blind}), "/")); strings.Contains(page, "on the display") || strings.Contains(page, "no other display") {
		t.Error("without a display a stream is on it")
	}
	if page := body(t, ask(t, New(Options{Source: newBox()}), "/")); strings.Contains(page, "<img") {
		t.Error("without snapshots the page has a picture")
	}
}

// Only reading is answered, and only where there is something.
func TestMethodsAndPaths(t *testing.T) {
	h := New(Options{Source: newBox()})
	for path, want := range map[string]int{
		"/": 200, "/status.json": 200, "/metrics": 200, "/healthz": 200, "/readyz": 503, "/style.css": 200,
		"/nothing": 404, "/picture/camera.jpg": 404,
	} {
		if got := ask(t, h, path).StatusCode; got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
		post := ask(t, h, path, func(r *http.Request) { r.Method = http.MethodPost })
		if post.StatusCode != http.StatusMethodNotAllowed && post.StatusCode != http.StatusNotFound {
			t.Errorf("POST %s: %d", path, post.StatusCode)
		}
	}
}

func TestHealth(t *testing.T) {
	b := newBox()
	h := New(Options{Source: b, Guard: Guard{Token: "secret"}})
	b.dead = errors.New("the main loop has stood still for 20s")
	if r := ask(t, h, "/healthz"); r.StatusCode != 503 || !strings.Contains(body(t, r), "20s") {
		t.Errorf("a dead agent: %d", r.StatusCode)
	}
	for state, ready := range map[contract.State]bool{
		{State: contract.Playing}:                               true,
		{State: contract.Stopped}:                               true, // on request
		{State: contract.Playing, Code: "ingest.lag_high"}:      true, // a warning: there is a picture
		{State: contract.Playing, Code: "decode.none"}:          false,
		{State: contract.Starting}:                              false,
		{State: contract.Stalled}:                               false,
		{State: contract.Backoff, Code: "ingest.unreachable"}:   false,
		{State: contract.Failed, Code: "kvs.http.Unauthorized"}: false,
	} {
		b.status.Status.Streams = contract.List[contract.StreamStatus]{{Name: "camera", State: state}}
		r := ask(t, h, "/readyz")
		if got := r.StatusCode == 200; got != ready {
			t.Errorf("%+v: ready %v, want %v", state, got, ready)
		}
		if text := body(t, r); strings.Contains(text, "camera") {
			t.Error("without a token /readyz tells the names of streams:", text)
		}
	}
}

func TestToken(t *testing.T) {
	h := New(Options{Source: newBox(), Snapshots: true, Guard: Guard{Token: "s3cret"}})
	for _, path := range []string{"/", "/status.json", "/metrics", "/picture/camera.jpg", "/nothing"} {
		for name, c := range map[string]struct {
			change func(*http.Request)
			ok     bool
		}{
			"none":         {func(*http.Request) {}, false},
			"wrong":        {func(r *http.Request) { r.Header.Set("Authorization", "Bearer s3cre") }, false},
			"empty":        {func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, false},
			"wrong scheme": {func(r *http.Request) { r.Header.Set("Authorization", "Digest s3cret") }, false},
			"bearer":       {func(r *http.Request) { r.Header.Set("Authorization", "Bearer s3cret") }, true},
			"password":     {func(r *http.Request) { r.SetBasicAuth("anybody", "s3cret") }, true},
			"in the user":  {func(r *http.Request) { r.SetBasicAuth("s3cret", "") }, false},
		} {
			if got := ask(t, h, path, c.change).StatusCode != http.StatusUnauthorized; got != c.ok {
				t.Errorf("%s with the token %s: answered %v", path, name, got)
			}
		}
	}
}

// A page from elsewhere whose name leads here is not answered.
func TestNameRebinding(t *testing.T) {
	h := New(Options{Source: newBox(), Guard: Guard{LoopbackNames: true}})
	for host, ok := range map[string]bool{
		"localhost": true, "LOCALHOST:9464": true, "127.0.0.1:9464": true, "[::1]:9464": true, "127.8.8.8": true,
		"evil.example": false, "evil.example:9464": false, "192.0.2.1:9464": false, "": false, "localhost.evil.example": false,
	} {
		r := ask(t, h, "/status.json", func(r *http.Request) { r.Host = host })
		if got := r.StatusCode == 200; got != ok {
			t.Errorf("host %q: %d", host, r.StatusCode)
		}
	}
}

func TestMetrics(t *testing.T) {
	r := newRegistry(newBox())
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	text := body(t, ask(t, New(Options{Source: newBox()}), "/metrics"))
	for _, want := range []string{
		`edge_agent_build_info{commit="abc",`, `edge_agent_lag_seconds{kind="service",stat="max",stream="camera"} 1.2`,
		`edge_agent_frames_dropped_total{reason="late",stream="camera"} 8`, `edge_agent_reconnects_total{code="kvs.http.403",stream="yard"} 5`,
		`edge_agent_stream_state{state="failed",stream="yard"} 1`, `edge_agent_stream_state{state="playing",stream="yard"} 0`,
		`edge_agent_stream_problem{code="kvs.http.403",stream="yard"} 1`, `edge_agent_stream_shown{stream="camera"} 1`,
		`driver="i915?"`, `edge_agent_mqtt_queued_events 3`, `edge_agent_mqtt_dropped_events_total 2`, `edge_agent_mqtt_dropped_telemetry_total 1`,
		`edge_agent_renderer_restarts_total 6`, `edge_agent_events_total{code="ingest.cut"} 2`, `edge_agent_received_bytes_total{stream="camera"} 1234`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(text, `kind="producer"`) {
		t.Error("there is a lag that is not known")
	}
}

// However many ask, and for whatever, one picture a second is made.
func TestPicturesAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		h := New(Options{Source: b, Snapshots: true})
		for range 20 {
			ask(t, h, "/picture/yard.jpg") // which is not shown, and must not make the picture be forgotten
			if r := ask(t, h, "/picture/camera.jpg"); r.StatusCode != 200 || r.Header.Get("Content-Type") != "image/jpeg" {
				t.Fatalf("%d %s", r.StatusCode, body(t, r))
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := b.taken.Load(); n != 2 {
			t.Errorf("%d pictures were made in 2 s", n)
		}
		if r := ask(t, h, "/picture/yard.jpg"); r.StatusCode != 404 || !strings.Contains(body(t, r), "not on the display") {
			t.Errorf("of a stream that is not shown: %d", r.StatusCode)
		}
	})
}

func TestPlot(t *testing.T) {
	now := start.Add(time.Hour)
	points := []Point{
		{At: now.Add(-2 * time.Hour), Service: time.Hour, Producer: -1, Local: -1}, // too old
		{At: now.Add(-30 * time.Minute), Service: 0, Producer: -1, Local: -1},
		{At: now.Add(-30*time.Minute + 10*time.Second), Service: time.Second, Producer: -1, Local: -1},
		{At: now, Service: 2 * time.Second, Producer: -1, Local: -1}, // after a gap
	}
	of := func(p Point) time.Duration { return p.Service }
	if got, want := path(points, of, now, 2*time.Second), "M388.0 154.0L389.8 82.0M712.0 10.0"; got != want {
		t.Errorf("path %s, want %s", got, want)
	}
	if got := path(points, func(p Point) time.Duration { return p.Local }, now, time.Second); got != "" {
		t.Errorf("a lag that is not known has a path: %s", got)
	}
	for v, want := range map[time.Duration]time.Duration{
		0: time.Second, time.Second: time.Second, 1100 * time.Millisecond: 2 * time.Second, 3 * time.Second: 5 * time.Second,
		6 * time.Second: 10 * time.Second, time.Hour: 5000 * time.Second,
		longest: longest, math.MaxInt64: longest,
	} {
		if got := roundUp(v); got != want {
			t.Errorf("roundUp(%v) = %v, want %v", v, got, want)
		}
	}
	if axis := string(plot([]Point{{At: now, Service: math.MaxInt64, Producer: -1, Local: -1}}, now)); !strings.Contains(axis, ">5e+09 s<") {
		t.Errorf("the plot of a lag that is higher than any: %s", axis)
	}
	if plot(nil, now) != "" {
		t.Error("a stream whose lag was never known has a plot")
	}
}

func TestSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := ListenSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	go func() { served <- Serve(ctx, l, New(Options{Source: newBox()})) }()
	s, text, err := Ask(t.Context(), path)
	if err != nil || s.Agent != "box-1" || s.Status.Streams[1].State.Code != "kvs.http.403" || s.Totals[0].Dropped["late"] != 8 || !s.Status.StartedAt.Equal(start) {
		t.Errorf("%+v %v", s, err)
	}
	if !json.Valid(text) {
		t.Errorf("no JSON: %s", text)
	}
	if _, err := ListenSocket(path); err == nil || !strings.Contains(err.Error(), "another edge-agent answers") {
		t.Errorf("a second agent on the socket: %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, _, err := Ask(t.Context(), path); err == nil || !strings.Contains(err.Error(), "no agent runs") {
		t.Errorf("asking where nobody is: %v", err)
	}
}

// What a killed agent leaves is replaced; anything else is not.
func TestSocketOfAPredecessor(t *testing.T) {
	dir := t.TempDir()
	dead := filepath.Join(dir, "dead")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	if l, err = ListenSocket(dead); err != nil {
		t.Fatalf("the socket of a dead agent: %v", err)
	}
	_ = l.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ListenSocket(file); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("a file in the socket's place: %v", err)
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Error("a file was overwritten")
	}
}

// An agent that stands still takes no calls; its socket is still its own.
func TestSocketOfAStuckAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	for { // until its queue is full
		c, err := net.Dial("unix", path)
		if err != nil {
			break
		}
		defer c.Close()
	}
	if _, err := ListenSocket(path); err == nil || !strings.Contains(err.Error(), "another program holds "+path) {
		t.Errorf("a second agent on the socket: %v", err)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode()&os.ModeSocket == 0 {
		t.Errorf("the socket was taken away: %v", err)
	}
}

// The queries of the dashboard ask for metrics that there are.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile("../../../../packaging/grafana/edge-agent.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	families, err := newRegistry(newBox()).Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{} // of each metric, with commas around them
	for _, f := range families {
		names := ",instance,"
		for _, l := range f.GetMetric()[0].GetLabel() {
			names += l.GetName() + ","
		}
		labels[f.GetName()] = names
	}
	queries := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, m := range metricInQuery.FindAllStringSubmatch(target.Expr, -1) {
				queries++
				for _, label := range labelInQuery.FindAllStringSubmatch(m[2], -1) {
					if !strings.Contains(labels[m[1]], ","+label[1]+",") {
						t.Errorf("%s: there is no %s with the label %s", p.Title, m[1], label[1])
					}
				}
			}
		}
	}
	if queries < 15 {
		t.Errorf("%d queries were found", queries)
	}
}

var (
	metricInQuery = regexp.MustCompile(`((?:edge_agent|process|go)_\w+)\{([^}]*)\}`)
	labelInQuery  = regexp.MustCompile(`(\w+)=~?"`)
)
