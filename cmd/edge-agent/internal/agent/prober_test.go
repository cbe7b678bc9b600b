package agent

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"testing"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
)

// The clips that are built in fit what the probe wants of them.
func TestProbeClips(t *testing.T) {
	p, err := ProbeConfig(config.Defaults(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, codec := range []format.Codec{format.H264, format.H265} {
		if c := p.Clips[i]; c.Format.Codec != codec || len(c.Units) != probeFrames || !c.Units[0].Key {
			t.Errorf("clip %d is %s with %d frames", i, c.Format.Codec, len(c.Units))
		}
	}
}

// What the agent finds out with real children is kept for its next start.
func TestProber(t *testing.T) {
	cfg := config.Defaults()
	cfg.Agent.StateDir = t.TempDir()
	var told []decode.ProbeReport
	p := newProber(cfg, slog.New(slog.DiscardHandler), func(r decode.ProbeReport) { told = append(told, r) })
	p.cache = cacheFile(cfg.Agent.StateDir)
	first, err := p.probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(first.Candidates, func(c decode.Candidate) bool { return c.Element == "avdec_h264" })
	if i < 0 {
		t.Skip("GStreamer has no avdec_h264 here (Debian package gstreamer1.0-libav)")
	}
	if c := first.Candidates[i]; c.Result != decode.Passed || c.Pictures != probeFrames || c.FPS <= 0 || c.Checksum == "" {
		t.Errorf("%+v", c)
	}
	for _, c := range first.Candidates {
		if c.Result == decode.Passed && first.Differs(c.Element, c.Codec) {
			t.Errorf("%s makes other pictures than the software decoders", c.Element)
		}
	}
	ctx, end := context.WithCancel(t.Context())
	again := newProber(cfg, p.log, func(r decode.ProbeReport) {
		told = append(told, r)
		if len(told) == 4 { // the one after the devices
			end()
		}
	})
	again.cache = p.cache
	again.remembered()
	if last := again.last(); len(told) != 2 || !reflect.DeepEqual(last.Candidates, first.Candidates) {
		t.Errorf("remembered is %+v, after trials %+v", last, first)
	}
	for range 3 {
		again.devices()
	}
	again.keepUp(ctx, func() bool { return true })
	if last := again.last(); len(told) != 4 || !last.Time.Equal(first.Time) || !reflect.DeepEqual(last.Candidates, first.Candidates) {
		t.Errorf("at the start and when devices have come %+v, after trials %+v", last, first)
	}
}
