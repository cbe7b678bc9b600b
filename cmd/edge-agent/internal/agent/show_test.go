package agent

import (
	"bytes"
	"context"
	"image"
	"log/slog"
	"strings"
	"testing"
	"time"

	_ "image/jpeg"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// of snapshots

// twoStreams runs an agent in this process that pulls two streams of different sizes.
func twoStreams(t *testing.T, change func(*config.Config)) *Agent {
	t.Helper()
	server := kvstest.NewServer(kvstest.Config{})
	for name, file := range map[string][]byte{"large": clip.H264(), "small": clip.H265()} {
		source, err := kvstest.ReadSource(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := server.Add(name, source, kvstest.StreamConfig{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	cfg := config.Defaults()
	cfg.Agent = config.Agent{ID: "box", StateDir: t.TempDir()}
	cfg.Display.Sink = "none"
	for _, name := range []string{"large", "small"} {
		s := config.DefaultStream()
		s.Name, s.StreamName = name, name
		cfg.Streams = append(cfg.Streams, s)
	}
	change(&cfg)
	service := ingest.NewService(aws.Config{
		Region: "us-east-1", Credentials: credentials.StaticCredentialsProvider{Value: kvstest.Credentials()},
	}, server.URL())
	a, err := New(cfg, func() (*ingest.Service, error) { return service, nil }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { a.Run(ctx); close(ended) }()
	t.Cleanup(func() { stop(); <-ended })
	return a
}

// width is that of a snapshot.
func width(t *testing.T, a *Agent) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), kit.Patience)
	defer cancel()
	b, err := a.Snapshot(ctx)
	if err != nil {
		t.Fatal(err)
	}
	img, format, err := image.Decode(bytes.NewReader(b))
	if err != nil || format != "jpeg" || len(b) >= 128<<10 {
		t.Fatalf("%d bytes of %s, %v", len(b), format, err)
	}
	if _, err := clip.ReadFrameNumber(img); err != nil {
		t.Error(err)
	}
	return img.Bounds().Dx()
}

func TestShow(t *testing.T) {
	a := twoStreams(t, func(c *config.Config) { c.Display.Show = "small" })
	kit.Await(t, "the stream of the configuration", func() bool { return !a.renderer.Stats().Wall.IsZero() })
	if w := width(t, a); a.shown() != "small" || w != 640 {
		t.Errorf("%s is shown, %d pixels wide", a.shown(), w)
	}
	kit.Await(t, "the other stream", func() bool { return a.streams[0].status().State.State == contract.Playing })
	for _, c := range []struct {
		name  string
		width int
	}{{"large", 1280}, {"small", 640}, {"large", 1280}} {
		asked := time.Now()
		if err := a.Show(c.name); err != nil {
			t.Fatal(err)
		}
		kit.Await(t, c.name, func() bool { return !a.renderer.Stats().Wall.IsZero() })
		t.Logf("%s after %v", c.name, a.renderer.Stats().Wall.Sub(asked))
		if w := width(t, a); a.shown() != c.name || w != c.width {
			t.Errorf("%s is shown, %d pixels wide", a.shown(), w)
		}
	}
	if err := a.Show("garage"); err == nil || !strings.Contains(err.Error(), "garage") {
		t.Error(err)
	}
	if s := a.renderer.Stats(); s.Restarts != 0 || s.Dropped != 0 {
		t.Errorf("%+v", s)
	}
	large, small := a.streams[0].takeForTest(), a.streams[1].takeForTest()
	if large.ShownFrames == 0 || small.ShownFrames == 0 || large.Decoder != "avdec_h264" || small.Decoder != "" {
		t.Errorf("%+v\n%+v", large, small)
	}
}

func TestSlateTellsWhatIsWrong(t *testing.T) {
	s := loneStream(t)
	a := s.agent
	a.cfg.Agent.ID, a.streams = "box", nil
	if s := a.slate(); s.State != "No stream is configured" || s.Device != "box" || s.After != 3*time.Second {
		t.Errorf("%+v", s)
	}
	a.streams = []*stream{s}
	s.Report(ingest.Report{State: ingest.Backoff, Code: "ingest.unreachable", Attempt: 3})
	slate := a.slate()
	if slate.Stream != "gate" || slate.State != "Not connected, trying again (attempt 3)" || slate.Code != "ingest.unreachable" ||
		slate.Message != "The service could not be reached." || slate.Since.IsZero() {
		t.Errorf("%+v", slate)
	}
	s.Report(ingest.Report{State: ingest.Playing, Code: ingest.CodePlaying})
	a.pictureReport(report.Report{Code: report.CodeNoDecoder})
	if slate := a.slate(); slate.State != "Connected, but no picture can be shown" || slate.Code != report.CodeNoDecoder || slate.Message == "" {
		t.Errorf("%+v", slate)
	}
}
