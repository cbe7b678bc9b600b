package agent

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/kvstest/forms"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// loneStream is a stream of an agent that does not run, on the display.
func loneStream(t *testing.T) *stream {
	t.Helper()
	a := &Agent{cfg: config.Defaults(), renderer: decode.New(decode.Config{}), log: slog.New(slog.NewTextHandler(io.Discard, nil)), look: make(chan struct{}, 1)}
	s := &stream{name: "gate", agent: a, window: window{from: time.Now()}}
	s.input = a.renderer.Input("gate", plan.Preference{})
	s.session = ingest.NewSession(ingest.Stream{Name: "gate", StreamName: "gate"}, nil, nil, s)
	a.streams = []*stream{s}
	a.renderer.Show(s.input)
	return s
}

// takeForTest is the telemetry of a window of one second.
func (s *stream) takeForTest() contract.Telemetry {
	now := time.Now()
	s.window.from = now.Add(-time.Second)
	t, _ := s.takeTelemetry(now, contract.ClockSynced)
	return t
}

// The counts of consecutive telemetry messages add up, whatever happened between them.
func TestTelemetryCountsAddUp(t *testing.T) {
	reasons := []report.Reason{report.DropLate, report.DropOverload, report.DropNoKeyFrame, report.DropCatchUp}
	rapid.Check(t, func(t *rapid.T) {
		var now, counted report.FrameCounts
		var sum contract.Telemetry
		byReason := map[string]int64{}
		queued := int64(0)
		for range rapid.IntRange(1, 20).Draw(t, "messages") {
			before := now
			now.Dropped = map[report.Reason]uint64{}
			for why, n := range before.Dropped {
				now.Dropped[why] = n
			}
			received := rapid.Uint64Range(0, 50).Draw(t, "received")
			now.Received += received
			now.Queued += received
			for _, into := range []*uint64{&now.Shown, &now.Hidden} {
				n := rapid.Uint64Range(0, now.Queued).Draw(t, "settled")
				*into += n
				now.Queued -= n
			}
			why := rapid.SampledFrom(reasons).Draw(t, "reason")
			n := rapid.Uint64Range(0, now.Queued).Draw(t, "dropped")
			now.Dropped[why] += n
			now.Queued -= n

			var message contract.Telemetry
			countFrames(&message, counted, now)
			counted = now
			if got := message.ShownFrames + message.DroppedFrames + message.HiddenFrames + message.QueuedFrames - queued; got != message.Frames {
				t.Fatalf("%d frames, %d accounted for: %+v", message.Frames, got, message)
			}
			dropped := int64(0)
			for why, n := range message.DroppedBy {
				dropped += n
				byReason[why] += n
			}
			if dropped != message.DroppedFrames {
				t.Fatalf("dropped_by of %+v", message)
			}
			queued = message.QueuedFrames
			sum.Frames += message.Frames
			sum.ShownFrames += message.ShownFrames
		}
		if sum.Frames != int64(now.Received) || sum.ShownFrames != int64(now.Shown) {
			t.Fatalf("%+v of %+v", sum, now)
		}
		for why, n := range now.Dropped {
			if byReason[string(why)] != int64(n) {
				t.Fatalf("%s: %d of %d", why, byReason[string(why)], n)
			}
		}
	})
}

// Sound has figures of its own: it is no part of frames and fps.
func TestTelemetryOfSound(t *testing.T) {
	s := loneStream(t)
	video := &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264}
	sound := &mkv.Track{Number: 2, Type: mkv.Audio, CodecID: "A_AAC", SampleRate: 48000, Channels: 2}
	if got := s.takeForTest(); got.Audio != nil {
		t.Errorf("sound of a stream that nothing is known of: %+v", got.Audio)
	}
	s.Tracks([]*mkv.Track{video, sound})
	if got := s.takeForTest(); got.Audio == nil || *got.Audio != (contract.Audio{Codec: "A_AAC", SampleRate: 48000, Channels: 2}) {
		t.Errorf("before any sound: %+v", got.Audio)
	}
	c, err := forms.Read(clip.H264())
	if err != nil {
		t.Fatal(err)
	}
	video = &c.Tracks[0]
	s.Tracks([]*mkv.Track{video, sound})
	for i := range 47 {
		s.Frame(t.Context(), &ingest.Frame{Frame: &mkv.Frame{Track: sound, Data: make([]byte, 10), Key: true}})
		if i < 25 {
			b := c.Blocks[i]
			s.Frame(t.Context(), &ingest.Frame{Frame: &mkv.Frame{Track: video, Data: b.Data, Time: b.Time, Key: b.Key}, Received: time.Now()})
		}
	}
	got := s.takeForTest()
	if got.Frames != 25 || got.FPS != 25 || got.QueuedFrames != 25 {
		t.Errorf("%+v", got)
	}
	if got.Audio == nil || got.Audio.Frames != 47 || got.Audio.Bytes != 470 {
		t.Errorf("%+v", got.Audio)
	}
	s.Tracks([]*mkv.Track{video})
	if got := s.takeForTest(); got.Audio != nil {
		t.Errorf("after the sound has ended: %+v", got.Audio)
	}
}

// Timestamps that count from the producer's start are not of a clock, and say nothing of a lag.
func TestProducerLagOfRelativeTimes(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		made   time.Time
		server time.Time // of the fragment before; zero: there was none
		known  bool
	}{
		"a clock":                       {now.Add(-time.Second), now, true},
		"a clock, first fragment":       {now.Add(-time.Second), time.Time{}, true},
		"a clock of another time zone":  {now.Add(-14 * time.Hour), now, true},
		"of a recording":                {now.Add(-72 * time.Hour), now.Add(-72 * time.Hour), true},
		"45 s after the start":          {time.Unix(45, 0), now, false},
		"45 s after the start, first":   {time.Unix(45, 0), time.Time{}, false},
		"relative to a date of its own": {time.Date(2020, 1, 1, 0, 0, 45, 0, time.UTC), now, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := loneStream(t)
			if !c.server.IsZero() {
				s.Fragment(mkv.Fragment{ProducerTime: c.made, ServerTime: c.server})
			}
			track := &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264}
			s.Frame(t.Context(), &ingest.Frame{Frame: &mkv.Frame{Track: track}, Made: c.made, Produced: true, WallClock: c.made.Year() > 1990, Received: now})
			if got := s.takeForTest().Lag.Producer; (got != nil) != c.known {
				t.Errorf("the lag is %+v", got)
			}
		})
	}
}

// While frames arrive that cannot be shown, the state says why; it is the slate's reason too.
func TestStateSaysWhyFramesCannotBeShown(t *testing.T) {
	s := loneStream(t)
	s.Report(ingest.Report{State: ingest.Playing, Code: ingest.CodePlaying})
	if got := s.status().State; got.Code != "" {
		t.Errorf("%+v", got)
	}
	s.Tracks([]*mkv.Track{{Number: 1, Type: mkv.Audio, Name: "sound", CodecID: "A_AAC"}})
	got := s.status().State
	if got.State != contract.Playing || got.Code != report.CodeNoVideo || got.Message == "" {
		t.Errorf("%+v", got)
	}
	if slate := s.agent.slate(); slate.Code != report.CodeNoVideo || slate.State != "Connected, but no picture can be shown" || slate.Message == "" || slate.Since.IsZero() {
		t.Errorf("%+v", slate)
	}
	s.Report(ingest.Report{State: ingest.Stalled, Code: ingest.CodeStall, Message: "nothing comes"})
	if got := s.status().State; got.Code != ingest.CodeStall {
		t.Errorf("%+v", got)
	}
	s.Report(ingest.Report{State: ingest.Playing, Code: ingest.CodeResumed})
	if got := s.status().State; got.Code != report.CodeNoVideo {
		t.Errorf("%+v", got)
	}
}
