package gst

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/timeline"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// patience bounds every wait of a test; nothing is expected to take nearly that long.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := Main(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		attack()
		return
	}
	if os.Getenv(agentEnv) != "" {
		beAgent()
		return
	}
	flag.Parse()
	goleak.VerifyTestMain(m)
}

// frame is a frame of a clip, with its data copied.
type frame struct {
	track *mkv.Track
	data  []byte
	at    time.Duration
	key   bool
}

// clip makes a moving test picture with ffmpeg and reads its frames.
func clip(t *testing.T, size string, frames string, encoder ...string) []frame {
	t.Helper()
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed: no clip can be made")
	}
	file := filepath.Join(t.TempDir(), "clip.mkv")
	args := []string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=30:size=" + size, "-frames:v", frames, "-pix_fmt", "yuv420p", "-g", "30"}
	out, err := exec.Command("ffmpeg", append(append(args, encoder...), file)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []frame
	r := mkv.NewReader(bytes.NewReader(body))
	for {
		event, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := event.(*mkv.Frame); ok {
			list = append(list, frame{f.Track, bytes.Clone(f.Data), f.Time, f.Key})
		}
	}
}

// agent is the other end of a renderer that runs in this process.
type agent struct {
	t    *testing.T
	conn net.Conn
	out  *decode.Writer
	in   *decode.Reader
	end  chan error

	hello  decode.Hello
	status decode.Status

	sent    uint64                   // frames, numbered from 1
	settled map[uint64]report.Reason // what became of them
	alone   int                      // the most frames that one status settled
}

// serve runs Serve over a socket pair and waits for its hello.
func serve(t *testing.T) *agent {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ours, err := net.Dial("unix", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.SetDeadline(time.Now().Add(patience))
	a := &agent{t: t, conn: ours, out: decode.NewWriter(ours), in: decode.NewReader(ours, decode.FromRenderer), end: make(chan error, 1), settled: map[uint64]report.Reason{}}
	go func() { a.end <- Serve(context.Background(), theirs, nil) }()
	t.Cleanup(func() { _ = ours.Close() })
	m := a.until(decode.KindHello)
	if err := m.Decode(&a.hello); err != nil {
		t.Fatal(err)
	}
	return a
}

// until reads messages up to one of the kind; a failure that is not asked for fails the test.
func (a *agent) until(kind decode.Kind) decode.Message {
	a.t.Helper()
	for {
		m, err := a.in.Next()
		if err != nil {
			a.t.Fatalf("waiting for a message of kind %d: %v", kind, err)
		}
		if m.Kind == decode.KindStatus || m.Kind == decode.KindDrained {
			a.status = decode.Status{}
			if err := m.Decode(&a.status); err != nil {
				a.t.Fatal(err)
			}
			a.settle(a.status.Settled)
		}
		if m.Kind == kind {
			return m
		}
		if m.Kind == decode.KindFailure {
			a.t.Fatalf("failure: %s", m.Payload)
		}
	}
}

// settle takes in what became of frames. None is settled twice, or without having been sent.
func (a *agent) settle(settled []report.Settled) {
	a.t.Helper()
	a.alone = max(a.alone, len(settled))
	for _, f := range settled {
		if before, twice := a.settled[f.Frame]; twice || f.Frame == 0 || f.Frame > a.sent {
			a.t.Errorf("frame %d of %d is settled as %q, before as %q (%v)", f.Frame, a.sent, f.Reason, before, twice)
		}
		a.settled[f.Frame] = f.Reason
	}
}

// fates counts the frames by what became of them.
func (a *agent) fates() map[report.Reason]int {
	counts := map[report.Reason]int{}
	for _, reason := range a.settled {
		counts[reason]++
	}
	return counts
}

// shown reads until a picture was shown.
func (a *agent) shown() {
	a.t.Helper()
	for a.status.Shown == 0 {
		a.until(decode.KindStatus)
	}
}

// open opens the element's plan for a format.
func (a *agent) open(element string, f format.Format, d plan.Display, unpaced bool) {
	a.t.Helper()
	a.openEdited(element, f, d, func(p *plan.Plan) { p.Unpaced = unpaced })
}

// openEdited is open with a plan that was edited.
func (a *agent) openEdited(element string, f format.Format, d plan.Display, edit func(*plan.Plan)) {
	a.t.Helper()
	plans := plan.Choose(f, d, plan.Preference{}, plan.Known{Found: a.hello.Elements})
	i := slices.IndexFunc(plans, func(p plan.Plan) bool { return p.Element == element })
	if i < 0 {
		a.t.Skipf("GStreamer has no %s here", element)
	}
	edit(&plans[i])
	if err := a.out.JSON(decode.KindOpen, decode.Open{Number: 1, Plan: plans[i], Latency: timeline.DefaultLatency}); err != nil {
		a.t.Fatal(err)
	}
}

func (a *agent) send(frames []frame) {
	a.t.Helper()
	a.sendUnits(frames, func(int, *decode.Unit) {})
}

// sendUnits sends frames, each after an edit.
func (a *agent) sendUnits(frames []frame, edit func(i int, u *decode.Unit)) {
	a.t.Helper()
	for i, f := range frames {
		a.sent++
		u := decode.Unit{Number: a.sent, Data: f.data, Time: f.at, Key: f.key}
		edit(i, &u)
		if err := a.out.Frame(u); err != nil {
			a.t.Fatal(err)
		}
	}
}

// close ends the connection and waits for Serve.
func (a *agent) close() {
	a.t.Helper()
	_ = a.conn.Close()
	select {
	case err := <-a.end:
		if err != nil {
			a.t.Errorf("Serve: %v", err)
		}
	case <-time.After(patience):
		a.t.Fatal("Serve does not return")
	}
}

func formatOf(t *testing.T, frames []frame) format.Format {
	t.Helper()
	f, err := format.FormatOf(frames[0].track, frames[0].data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var (
	x264 = []string{"-c:v", "libx264", "-preset", "ultrafast", "-bf", "2"}
	x265 = []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:bframes=2"}
)

// The agent is told how long each frame took to the decoder, unless it does not want to know.
// An agent that ends with words of the renderer unread resets the connection. That is no fault of the renderer.
func TestAgentEndsWithoutReading(t *testing.T) {
	a := serve(t)
	if _, err := a.conn.Read(make([]byte, 1)); err != nil { // of the next word
		t.Fatal(err)
	}
	a.close()
}

func TestHandover(t *testing.T) {
	frames := clip(t, "64x64", "30", x264...)
	a := serve(t)
	defer a.close()
	a.open("avdec_h264", formatOf(t, frames), plan.Display{Sink: plan.None}, true)
	a.send(frames[:20])
	for _, f := range frames[20:] {
		if err := a.out.Frame(decode.Unit{Data: f.data, Time: f.at, Key: f.key, Received: time.Now().Add(-time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	var took []time.Duration
	for a.status.Fed < 30 {
		a.until(decode.KindStatus)
		took = append(took, a.status.Handover...)
		a.status = decode.Status{Fed: a.status.Fed}
	}
	if len(took) != 10 || slices.Min(took) < time.Hour-time.Second || slices.Max(took) > time.Hour+patience {
		t.Errorf("10 frames of an hour ago took %v", took)
	}
}

func TestEveryFrameBecomesAPicture(t *testing.T) {
	for _, c := range []struct {
		element string
		encoder []string
	}{
		{"avdec_h264", x264},
		{"openh264dec", []string{"-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "baseline"}},
		{"avdec_h265", x265},
		{"libde265dec", x265},
	} {
		t.Run(c.element, func(t *testing.T) {
			frames := clip(t, "320x180", "90", c.encoder...)
			a := serve(t)
			defer a.close()
			a.open(c.element, formatOf(t, frames), plan.Display{Sink: plan.None}, true)
			a.send(frames)
			if err := a.out.Raw(decode.KindDrain, 0, 0, nil); err != nil {
				t.Fatal(err)
			}
			a.until(decode.KindDrained)
			if s := a.status; s.Fed != 90 || s.Decoded != 90 || s.Shown != 90 || a.fates()[report.Shown] != 90 {
				t.Errorf("of 90 frames %d were fed, %d decoded, %d shown; settled: %v", s.Fed, s.Decoded, s.Shown, a.fates())
			}
		})
	}
}

func TestSnapshotIsThePicture(t *testing.T) {
	frames := clip(t, "320x180", "30", x264...)
	a := serve(t)
	defer a.close()
	a.open("avdec_h264", formatOf(t, frames), plan.Display{Sink: plan.None}, true)
	a.send(frames)
	a.shown()
	if err := a.out.Raw(decode.KindSnapshot, 0, 7, []byte(`{"PNG":true}`)); err != nil {
		t.Fatal(err)
	}
	m := a.until(decode.KindPicture)
	if m.Time != 7 || m.Flags&decode.FlagFailed != 0 {
		t.Fatalf("snapshot %d, flags %x: %s", m.Time, m.Flags, m.Payload)
	}
	config, err := png.DecodeConfig(bytes.NewReader(m.Payload))
	if err != nil || config.Width != 320 || config.Height != 180 {
		t.Errorf("%dx%d, %v", config.Width, config.Height, err)
	}
}

// garbage is frames of which nothing but the headers is left.
func garbage(t *testing.T) ([]frame, format.Format) {
	t.Helper()
	frames := clip(t, "320x180", "60", x264...)
	format := formatOf(t, frames)
	for i := range frames {
		for j := 8; j < len(frames[i].data); j++ {
			frames[i].data[j] = byte(j * 7)
		}
	}
	return frames, format
}

// A software decoder continues over garbage: there is nothing better, and the next frame may be sound.
func TestGarbageIsNotTheEndOfSoftware(t *testing.T) {
	frames, format := garbage(t)
	sound := clip(t, "320x180", "30", x264...)
	a := serve(t)
	defer a.close()
	a.open("avdec_h264", format, plan.Display{Sink: plan.None}, true)
	a.send(frames)
	a.send(sound)
	a.drained()
	a.settles(nil)
	if n := a.fates(); n[report.Shown] < 30 || n[report.DropNoPicture] == 0 {
		t.Errorf("%v", n)
	}
}

// Of hardware it is an error, behind which there is software.
func TestGarbageIsAnError(t *testing.T) {
	frames, format := garbage(t)
	a := serve(t)
	defer a.close()
	a.openEdited("avdec_h264", format, plan.Display{Sink: plan.None}, func(p *plan.Plan) {
		p.Unpaced, p.Family = true, plan.VA
	})
	a.send(frames)
	var f decode.Failure
	if err := a.until(decode.KindFailure).Decode(&f); err != nil {
		t.Fatal(err)
	}
	if f.Code != report.CodeError || f.Element == "" || f.Domain != "gst-stream-error-quark" || f.Message == "" {
		t.Errorf("%+v", f)
	}
}
