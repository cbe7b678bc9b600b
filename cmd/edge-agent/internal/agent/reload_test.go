package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// reloadable is an agent in a synctest bubble that has a configuration file, sessions with a simulated service, no
// broker and no renderer process.
type reloadable struct {
	*Agent
	t      *testing.T
	server *kvstest.Server
	log    *bytes.Buffer
}

const reloadTables = `
[agent]
id = "box"
[aws]
region = "us-east-1"
[display]
sink = "none"
[mqtt]
telemetry_interval = "10s"
`

const twoOfThem = `[[streams]]
name = "gate"
stream_name = "camera"
[[streams]]
name = "yard"
stream_name = "other"
`

// newReloadable starts the streams of a file; "camera" and "other" exist since ten minutes, and a session gets at most
// 150 kB a second.
func newReloadable(t *testing.T, streams string) *reloadable {
	t.Helper()
	server := kvstest.NewServer(kvstest.Config{Limits: kvstest.Limits{Bandwidth: 150e3}})
	for _, name := range []string{"camera", "other"} {
		source, err := kvstest.ReadSource(clip.H264())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Add(name, source, kvstest.StreamConfig{History: 10 * time.Minute}); err != nil {
			t.Fatal(err)
		}
	}
	pipe := kvstest.NewPipe()
	server.Serve(pipe)
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(reloadTables+streams), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	log := new(bytes.Buffer)
	a := agentOf(cfg, slog.New(slog.NewTextHandler(log, nil)))
	a.file, a.level = file, new(slog.LevelVar)
	a.renderer = decode.New(decode.Config{Report: a.pictureReport})
	a.positions = OpenPositions(t.TempDir())
	a.service = ingest.NewService(aws.Config{
		Region:      "us-east-1",
		Credentials: aws.NewCredentialsCache(credentials.StaticCredentialsProvider{Value: kvstest.Credentials()}),
		HTTPClient:  &http.Client{Transport: &http.Transport{DialContext: pipe.DialContext}},
	}, server.URL())
	ctx, stop := context.WithCancel(context.Background())
	a.working = ctx
	for _, sc := range cfg.Streams {
		s, err := a.newStream(cfg, sc, nil)
		if err != nil {
			t.Fatal(err)
		}
		a.streams = append(a.streams, s)
		s.start(ctx)
	}
	t.Cleanup(func() {
		stop()
		for _, s := range a.all() {
			s.stop()
		}
		a.service.Close()
		server.Close()
		if err := a.positions.Close(); err != nil {
			t.Error(err)
		}
	})
	return &reloadable{a, t, server, log}
}

// with reloads the file with other streams.
func (r *reloadable) with(tables, streams string) contract.ReloadData {
	r.t.Helper()
	if err := os.WriteFile(r.file, []byte(tables+streams), 0o600); err != nil {
		r.t.Fatal(err)
	}
	out, err := r.reload()
	if err != nil {
		r.t.Fatal(err)
	}
	return out.(contract.ReloadData)
}

// reported is how often a code stands in the log.
func (r *reloadable) reported(code string) int {
	synctest.Wait()
	return strings.Count(r.log.String(), "code="+code+" ")
}

func lists(d contract.ReloadData) string {
	return fmt.Sprint("added ", d.Added, " removed ", d.Removed, " changed ", d.Changed, " restart ", d.Restart)
}

// pass lets time go by in the bubble.
func pass(d time.Duration) { <-time.After(d) }

// calls are the sessions that were asked for, by stream.
func (r *reloadable) calls() map[string]int {
	n := map[string]int{}
	for _, c := range r.server.Calls() {
		n[c.Stream]++
	}
	return n
}

// A bound on the lag that is written into the file holds from then on in the session that runs.
func TestReloadPutsMaxLagIntoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stream = "[[streams]]\nname = \"gate\"\nstream_name = \"camera\"\nstart = \"earliest\"\non_lag = \"stay\"\n"
		r := newReloadable(t, stream+"max_lag = \"1h\"\n")
		pass(10 * time.Second)
		if n := r.reported(ingest.CodeLagHigh); n != 0 {
			t.Fatalf("%d times %s with a bound of one hour:\n%s", n, ingest.CodeLagHigh, r.log)
		}
		before := r.calls()["camera"]
		if got := lists(r.with(reloadTables, stream+"max_lag = \"20s\"\n")); got != "added [] removed [] changed [gate] restart []" {
			t.Error(got)
		}
		pass(10 * time.Second)
		if n := r.reported(ingest.CodeLagHigh); n != 1 {
			t.Errorf("%d times %s with a bound of 20 s:\n%s", n, ingest.CodeLagHigh, r.log)
		}
		if now := r.calls()["camera"]; now != before {
			t.Errorf("%d calls for the stream after the reload, %d before", now, before)
		}
	})
}

// So is one that a command sets, until the next reload.
func TestSetPutsMaxLagIntoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloadable(t, "[[streams]]\nname = \"gate\"\nstream_name = \"camera\"\nstart = \"earliest\"\non_lag = \"stay\"\nmax_lag = \"1h\"\n")
		pass(10 * time.Second)
		most := contract.Millis(20_000)
		if _, err := r.set(&contract.SetArgs{MaxLag: &most}); err != nil {
			t.Fatal(err)
		}
		pass(10 * time.Second)
		if n := r.reported(ingest.CodeLagHigh); n != 1 {
			t.Errorf("%d times %s with a bound of 20 s:\n%s", n, ingest.CodeLagHigh, r.log)
		}
	})
}

// A video track that is written into the file is the one that is used from then on.
func TestReloadPutsTheVideoTrackIntoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloadable(t, twoOfThem)
		pass(5 * time.Second)
		gate := r.all()[0]
		if b := gate.input.Blocked(); b.Code != "" {
			t.Fatalf("%+v", b)
		}
		change := strings.Replace(twoOfThem, "\"camera\"\n", "\"camera\"\nvideo_track = \"roof\"\n", 1)
		if got := lists(r.with(reloadTables, change)); got != "added [] removed [] changed [gate] restart []" {
			t.Error(got)
		}
		if b := gate.input.Blocked(); b.Code != report.CodeNoTrack {
			t.Errorf("there is no such track: %+v", b)
		}
		received := gate.input.Counts().Received
		pass(5 * time.Second)
		if now := gate.input.Counts().Received; now != received {
			t.Errorf("%d frames of another track were used", now-received)
		}
		r.with(reloadTables, twoOfThem)
		pass(5 * time.Second)
		if b := gate.input.Blocked(); b.Code != "" || gate.input.Counts().Received == received {
			t.Errorf("any track: %+v, %+v", b, gate.input.Counts())
		}
	})
}

// A stream that is no longer in the file has ended when the reload has: no session, no input, nothing to publish.
func TestReloadRemovesAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloadable(t, twoOfThem)
		pass(5 * time.Second)
		gate, yard := r.all()[0], r.all()[1]
		r.renderer.Show(gate.input)
		if _, ok := gate.takeTelemetry(time.Now(), contract.ClockSynced); !ok || !gate.shown() || gate.input.Counts().Received == 0 {
			t.Fatalf("%+v", gate.input.Counts())
		}
		_, rest, _ := strings.Cut(twoOfThem, "[[streams]]\nname = \"yard\"")
		if got := lists(r.with(reloadTables, "[[streams]]\nname = \"yard\""+rest)); got != "added [] removed [gate] changed [] restart []" {
			t.Error(got)
		}
		synctest.Wait()
		if n := r.server.Stream("camera").Sessions(); n != 0 {
			t.Errorf("%d sessions with the stream that is gone", n)
		}
		if got := r.all(); len(got) != 1 || got[0] != yard || r.shown() != "yard" {
			t.Errorf("%d streams, %q is shown", len(got), r.shown())
		}
		if got, ok := gate.takeTelemetry(time.Now(), contract.ClockSynced); ok {
			t.Errorf("telemetry of the stream that is gone: %+v", got)
		}
		counts := gate.input.Counts()
		if counts.Queued != 0 {
			t.Errorf("frames wait in an input that is closed: %+v", counts)
		}
		pushed := *firstFrame(t)
		gate.Frame(t.Context(), &pushed)
		if now := gate.input.Counts(); now.Received != counts.Received {
			t.Errorf("an input that is closed takes frames: %+v", now)
		}
		r.renderer.Show(gate.input)
		if gate.shown() {
			t.Error("an input that is closed can be shown")
		}
		calls := r.calls()["camera"]
		pass(time.Minute)
		if now := r.calls()["camera"]; now != calls {
			t.Errorf("%d calls for the stream that is gone", now-calls)
		}
	})
}

// A key that only a restart can change is named, and its old value stays in use, also in what is told of the
// configuration; what can be changed beside it is.
func TestReloadRefusesWhatNeedsARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloadable(t, twoOfThem)
		started := r.config()
		other := strings.NewReplacer(`id = "box"`, `id = "other-box"`, `"us-east-1"`, `"eu-west-1"`,
			`sink = "none"`, "sink = \"x11\"\nslate_after = \"9s\"", `"10s"`, `"20s"`).Replace(reloadTables)
		out := r.with(other, twoOfThem)
		slices.Sort(out.Restart)
		if got := lists(out); got != "added [] removed [] changed [] restart [agent.id aws.region display.sink]" {
			t.Error(got)
		}
		now := r.config()
		if now.Agent.ID != "box" || now.AWS.Region != "us-east-1" || now.Display.Sink != "none" {
			t.Errorf("in use: %+v %+v %+v", now.Agent, now.AWS, now.Display)
		}
		if now.MQTT.TelemetryInterval != config.Duration(20*time.Second) || now.Display.SlateAfter != config.Duration(9*time.Second) || r.slate().After != 9*time.Second {
			t.Errorf("not in use: %+v %+v", now.MQTT, now.Display)
		}
		select {
		case <-r.retick:
		default:
			t.Error("nobody is told of the other interval of telemetry")
		}
		if r.slate().Device != "box" || out.ConfigHash != now.Hash() || out.ConfigHash == started.Hash() {
			t.Errorf("slate %+v, hash %s", r.slate(), out.ConfigHash)
		}
	})
}

// A reload of the same file says that nothing has changed, and touches nothing.
func TestReloadOfTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloadable(t, twoOfThem)
		r.renderer.Show(r.all()[1].input)
		pass(5 * time.Second)
		streams, calls, hash := r.all(), r.calls(), r.config().Hash()
		if got := r.with(reloadTables, twoOfThem); lists(got) != "added [] removed [] changed [] restart []" || got.ConfigHash != hash {
			t.Errorf("%+v", got)
		}
		pass(time.Minute)
		if now := r.calls(); now["camera"] != calls["camera"] || now["other"] != calls["other"] {
			t.Errorf("calls %v, before %v", now, calls)
		}
		if !slices.Equal(r.all(), streams) || r.shown() != "yard" {
			t.Errorf("%q is shown", r.shown())
		}
		for _, s := range streams {
			if s.status().Reconnects != 0 || s.status().State.State != contract.Playing {
				t.Errorf("%s: %+v", s.name, s.status())
			}
		}
	})
}

// The level of the log is that of the file.
func TestReloadPutsTheLogLevelIntoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloadable(t, twoOfThem)
		r.with(reloadTables+"[log]\nlevel = \"error\"\n", twoOfThem)
		if got := r.level.Level(); got != slog.LevelError {
			t.Errorf("the level is %v", got)
		}
	})
}

// Frames that wait of a stream are let go when it is pulled from another source, and only then: the next picture is of
// the other.
func TestReloadLetsGoOfFramesOfAnotherSource(t *testing.T) {
	for name, c := range map[string]struct {
		change string
		letGo  bool
	}{
		"another source":         {`stream_name = "other"`, true},
		"another start":          {"stream_name = \"camera\"\nstart = \"resume\"", false},
		"another bound of a lag": {"stream_name = \"camera\"\nmax_lag = \"1m\"", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReloadable(t, twoOfThem)
				gate := r.all()[0]
				r.renderer.Show(gate.input) // no renderer takes frames
				pass(5 * time.Second)
				before := gate.input.Counts()
				if before.Queued < 10 || !gate.shown() {
					t.Fatalf("%+v", before)
				}
				out := r.with(reloadTables, strings.Replace(twoOfThem, `stream_name = "camera"`, c.change, 1))
				if got := lists(out); got != "added [] removed [] changed [gate] restart []" {
					t.Error(got)
				}
				after := r.all()[0].input.Counts()
				if !r.all()[0].shown() || after.Received < before.Received {
					t.Errorf("%q is shown, %+v", r.shown(), after)
				}
				settled := after.Received - after.Queued
				if letGo := settled >= before.Received; letGo != c.letGo {
					t.Errorf("%+v, before %+v", after, before)
				}
			})
		})
	}
}

// Telemetry is of the interval that was set last, to the moment.
func TestSetPutsTheTelemetryIntervalIntoEffect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReloadable(t, twoOfThem)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go r.tick(ctx)
		interval := func() time.Duration {
			synctest.Wait()
			last := r.all()[1].status().Telem
			return last.To.Sub(last.From.Time)
		}
		pass(21 * time.Second)
		if got := interval(); got != 10*time.Second {
			t.Errorf("at first telemetry of %v", got)
		}
		every := contract.Millis(7000)
		if _, err := r.set(&contract.SetArgs{TelemetryInterval: &every}); err != nil {
			t.Fatal(err)
		}
		pass(15 * time.Second)
		if got := interval(); got != 7*time.Second {
			t.Errorf("then telemetry of %v", got)
		}
	})
}
