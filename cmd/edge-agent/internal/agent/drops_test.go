package agent

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/kvstest/forms"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// The test binary is a renderer when this variable is set: what becomes of the frames, as "number=reason" by their
// place among those that it gets first, from 1. The others are shown. "number=death" ends the process once, with all
// frames before unsettled; a file of the name in deathMark is the mark that it has.
const (
	beRenderer = "TEST_EDGE_AGENT_BE_RENDERER"
	deathMark  = "TEST_EDGE_AGENT_DEATH"
)

// fates are those of beRenderer.
func fates() map[uint64]report.Reason {
	of := map[uint64]report.Reason{}
	for _, each := range strings.Fields(os.Getenv(beRenderer)) {
		place, why, _ := strings.Cut(each, "=")
		n, err := strconv.ParseUint(place, 10, 64)
		if err != nil {
			continue
		}
		of[n] = report.Reason(why)
	}
	return of
}

// fakeRenderer decodes nothing, and settles every frame at once.
func fakeRenderer() {
	file := os.NewFile(decode.ChildFD, "agent")
	conn, err := net.FileConn(file)
	if err != nil {
		os.Exit(3)
	}
	in, out := decode.NewReader(conn, decode.FromAgent), decode.NewWriter(conn)
	elements := []string{"avdec_h264"}
	if strings.Contains(os.Getenv(beRenderer), withVendor) {
		elements = append(elements, "nvh264dec")
	}
	_ = out.JSON(decode.KindHello, decode.Hello{Build: decode.Build, GStreamer: "fake", Elements: elements})
	go func() {
		for range time.Tick(20 * time.Millisecond) { // the heartbeat
			_ = out.JSON(decode.KindDevices, decode.Devices{})
		}
	}()
	of, fed, open := fates(), uint64(0), decode.Open{}
	_, err = os.Stat(os.Getenv(deathMark))
	mortal := errors.Is(err, os.ErrNotExist)
	for {
		m, err := in.Next()
		if err != nil {
			os.Exit(0)
		}
		switch m.Kind {
		case decode.KindScreen:
			var s decode.Screen
			_ = m.Decode(&s)
			_ = out.JSON(decode.KindScreened, decode.Screened{Number: s.Number})
		case decode.KindOpen:
			fed, open = 0, decode.Open{}
			_ = m.Decode(&open)
			_ = out.JSON(decode.KindOpened, decode.Opened{Number: open.Number})
		case decode.KindDrain:
			_ = out.JSON(decode.KindDrained, decode.Status{Number: open.Number, Fed: fed, Decoded: fed, Shown: fed})
		case decode.KindFrame:
			fed++
			fate := fateOf(m, of[fed], fed, mortal && len(of) == 1)
			_ = out.JSON(decode.KindStatus, decode.Status{
				Number: open.Number, Fed: fed, Decoded: fed, Shown: fed, Fresh: fed, FrameTime: time.Duration(m.Time), Wall: time.Now(), Settled: fate,
			})
		}
	}
}

// withVendor is a word among the fates: the renderer has a decoder of a vendor too.
const withVendor = "vendor"

// death is no reason but an end.
const death = "death"

// fateOf is what becomes of a frame; nothing of any, before a death that is to come.
func fateOf(m decode.Message, why report.Reason, fed uint64, mortal bool) []report.Settled {
	if mortal && os.Getenv(deathMark) != "" {
		if why == death {
			_ = os.WriteFile(os.Getenv(deathMark), nil, 0o600)
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	if why == death {
		why = report.Shown
	}
	if m.Flags&decode.FlagReplay != 0 {
		why = report.DropCatchUp
	}
	return []report.Settled{{Frame: m.Number, Reason: why}}
}

// fakedStream is loneStream with a renderer whose children are fakes.
func fakedStream(t *testing.T, fates string) *stream {
	t.Helper()
	s := loneStream(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const long = kit.Patience
	a := s.agent
	a.renderer = decode.New(decode.Config{
		Program: decode.NewProgram(self), Sandbox: decode.Sandbox{Off: true}, Sink: plan.None, DRM: fstest.MapFS{}, Dev: t.TempDir(),
		Env:      []string{beRenderer + "=shown " + fates, deathMark + "=" + deathFile(t, fates), "GORACE=atexit_sleep_ms=0"},
		Patience: decode.Patience{Hello: long, Open: long, Status: long, First: long, Next: long},
		Report:   a.pictureReport,
	})
	s.input = a.renderer.Input("gate", plan.Preference{})
	a.renderer.Show(s.input)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.renderer.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func deathFile(t *testing.T, fates string) string {
	if !strings.Contains(fates, death) {
		return ""
	}
	return filepath.Join(t.TempDir(), "died")
}

// settled waits until every frame of a stream has been accounted for.
func (s *stream) settled(t *testing.T) {
	t.Helper()
	kit.Await(t, "the fate of every frame", func() bool { return s.input.Counts().Queued == 0 })
}

// Frames that the renderer does not show are in telemetry, by reason, each once: the next message begins with none.
func TestDropsOfTheRendererAreTold(t *testing.T) {
	const frames = 20
	for name, c := range map[string]struct {
		fates string
		want  contract.Reasons
	}{
		"none":           {"", contract.Reasons{}},
		"late":           {"3=late 4=late 9=late", contract.Reasons{"late": 3}},
		"overload":       {"2=overload 5=overload", contract.Reasons{"overload": 2}},
		"catching up":    {"1=catch_up 2=catch_up 3=catch_up 4=catch_up", contract.Reasons{"catch_up": 4}},
		"no picture":     {"20=no_picture", contract.Reasons{"no_picture": 1}},
		"failed decoder": {"7=decoder_failed 8=decoder_failed", contract.Reasons{"decoder_failed": 2}},
		"of all kinds": {
			"1=late 2=overload 3=overload 4=catch_up 5=catch_up 6=catch_up 7=no_picture 8=decoder_failed 9=late",
			contract.Reasons{"late": 2, "overload": 2, "catch_up": 3, "no_picture": 1, "decoder_failed": 1},
		},
		"a reason that there is not": {"5=boredom", contract.Reasons{"no_picture": 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s := fakedStream(t, c.fates)
			for _, f := range clipFrames(t)[:frames] {
				s.Frame(t.Context(), f)
			}
			s.settled(t)
			s.tells(t, frames, c.want)
			s.tells(t, 0, contract.Reasons{})
		})
	}
}

// Another order of decoders, of one stream or of all, decides what the next pipeline decodes with.
func TestReloadPutsTheDecodeOrderIntoEffect(t *testing.T) {
	of := func(all, one []string) config.Config {
		c, s := config.Defaults(), config.DefaultStream()
		s.Name, s.StreamName, s.DecodeOrder = "gate", "gate", one
		c.Decode.Order, c.Streams = all, []config.Stream{s}
		return c
	}
	software, vendor := []string{"software"}, []string{"vendor"}
	for name, c := range map[string]struct {
		before, next config.Config
		changed      int // streams
	}{
		"of the stream":   {of(vendor, software), of(vendor, vendor), 1},
		"of all streams":  {of(software, nil), of(vendor, nil), 0},
		"of it no longer": {of(vendor, software), of(vendor, nil), 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := fakedStream(t, withVendor)
			a := s.agent
			a.cfg = c.before
			s.input.Prefer(streamPreference(c.before, c.before.Streams[0]))
			key := clipFrames(t)[0]
			s.Frame(t.Context(), key)
			s.settled(t)
			if got := s.takeForTest(); got.Decoder != "avdec_h264" || got.ShownFrames != 1 {
				t.Fatalf("%+v", got)
			}
			out, err := a.apply(c.next)
			if err != nil || len(out.Changed) != c.changed || len(out.Added)+len(out.Removed) != 0 || a.all()[0] != s {
				t.Errorf("%s, %v", lists(out), err)
			}
			s.input.Restart()
			s.Frame(t.Context(), key)
			s.settled(t)
			if got := s.takeForTest(); got.Decoder != "nvh264dec" || got.ShownFrames != 1 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// tells wants the next telemetry to have so many frames, of which all but the dropped ones were shown.
func (s *stream) tells(t *testing.T, frames int64, dropped contract.Reasons) {
	t.Helper()
	got, sum := s.takeForTest(), int64(0)
	for _, n := range dropped {
		sum += n
	}
	if got.Frames != frames || got.DroppedFrames != sum || !maps.Equal(got.DroppedBy, dropped) ||
		got.ShownFrames != frames-sum || got.QueuedFrames != 0 || got.HiddenFrames != 0 {
		t.Errorf("%+v, want %d frames, dropped %v", got, frames, dropped)
	}
}

// clipFrames are those of the clip, of which some are key frames.
func clipFrames(t *testing.T) []*ingest.Frame {
	t.Helper()
	c, err := forms.Read(clip.H264())
	if err != nil {
		t.Fatal(err)
	}
	return framesOf(t, c)
}

// A renderer that dies takes the frames with it that it had of earlier groups of pictures. Those of the newest one are
// decoded again, by the next renderer, to get to the newest frame.
func TestDropsOfADeadRendererAreTold(t *testing.T) {
	frames := clipFrames(t)
	second := 1
	for !frames[second].Key {
		second++
	}
	last := second + 5
	s := fakedStream(t, strconv.Itoa(last)+"="+death)
	for _, f := range frames[:last] {
		s.Frame(t.Context(), f)
	}
	s.settled(t)
	got := s.takeForTest()
	if got.Frames != int64(last) || got.DroppedBy["decoder_failed"] != int64(second) || got.DroppedBy["catch_up"]+got.ShownFrames != 5 ||
		got.DroppedFrames != got.DroppedBy["decoder_failed"]+got.DroppedBy["catch_up"] || len(got.DroppedBy) > 2 {
		t.Errorf("%d frames in the first group of pictures, 5 in the second: %+v", second, got)
	}
}

// Frames that never reach a renderer are in telemetry too.
func TestDropsBeforeTheRendererAreTold(t *testing.T) {
	read := clipFrames(t)
	c, err := forms.Read(clip.H264())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		limits decode.Limits
		frames []*ingest.Frame
		queued int64
		want   contract.Reasons
	}{
		"before a key frame":       {decode.DefaultLimits, read[1:8], 0, contract.Reasons{"no_key_frame": 7}},
		"without parameter sets":   {decode.DefaultLimits, framesOf(t, forms.NoSets(c))[:1], 0, contract.Reasons{"no_parameter_sets": 1}},
		"no valid access units":    {decode.DefaultLimits, spoilt(read[0], read[1]), 1, contract.Reasons{"unsupported": 1}},
		"larger than the queue":    {decode.Limits{Units: 100, Bytes: 1000, Total: 1 << 20}, read[:1], 0, contract.Reasons{"too_large": 1}},
		"more than the queue has":  {decode.Limits{Units: 10, Bytes: 32 << 20, Total: 144 << 20}, read[:11], 0, contract.Reasons{"queue_full": 11}},
		"as many as the queue has": {decode.Limits{Units: 10, Bytes: 32 << 20, Total: 144 << 20}, read[:10], 10, contract.Reasons{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := loneStream(t)
			s.agent.renderer = decode.New(decode.Config{Limits: test.limits, Report: s.agent.pictureReport})
			s.input = s.agent.renderer.Input("gate", plan.Preference{})
			s.agent.renderer.Show(s.input)
			for _, f := range test.frames {
				s.Frame(t.Context(), f)
			}
			got, sum := s.takeForTest(), int64(0)
			for _, n := range test.want {
				sum += n
			}
			if got.Frames != int64(len(test.frames)) || got.DroppedFrames != sum || !maps.Equal(got.DroppedBy, test.want) || got.QueuedFrames != test.queued {
				t.Errorf("%+v, want %v and %d in the queue", got, test.want, test.queued)
			}
		})
	}
}

// spoilt is a key frame, and one whose length says more than there is.
func spoilt(key, next *ingest.Frame) []*ingest.Frame {
	broken, frame := *next, *next.Frame
	frame.Data = []byte{0x7f, 0xff, 0xff, 0xff, 0x41}
	broken.Frame = &frame
	return []*ingest.Frame{key, &broken}
}
