package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// probed is a box with something of everything.
var probed = decode.ProbeReport{
	GStreamer: "1.22.0", Kernel: "6.1.0-13-arm64", Time: time.Date(2026, 3, 1, 12, 0, 10, 0, time.UTC),
	Closed: []string{"/dev/media0", "/dev/video19"}, Chips: []string{"raspberrypi,4-model-b", "brcm,bcm2711"}, Cards: []string{"vc4-drm"},
	Candidates: []decode.Candidate{
		{
			Codec: format.H264, Family: plan.VA, Element: "vah264dec", Device: "/dev/dri/renderD128", Driver: "i915",
			Result: decode.Failed, Pictures: 90, Code: report.CodeStale, Error: "of 90 pictures only 1 differ",
		},
		{
			Codec: format.H264, Family: plan.V4L2Stateful, Element: "v4l2h264dec", Device: "/dev/video10", Driver: "bcm2835-codec",
			Result: decode.Passed, Pictures: 90, FPS: 154.2, Colorimetry: true, Checksum: "5be5",
		},
		{
			Codec: format.H264, Family: plan.Vendor, Element: "vpudec",
			Result: decode.Passed, Pictures: 90, FPS: 80, Checksum: "bad",
		},
		{Codec: format.H264, Family: plan.Software, Element: "avdec_h264", Result: decode.Passed, Pictures: 90, FPS: 61, Checksum: "5be5"},
		{Codec: format.H265, Family: plan.Software, Element: "avdec_h265", Result: decode.Untried},
	},
}

func TestProbeListings(t *testing.T) {
	for name, r := range map[string]decode.ProbeReport{"box": probed, "nothing": {GStreamer: "1.22.0", Kernel: "6.1.0", Closed: []string{}}} {
		var table, lines strings.Builder
		if err := listProbe(&table, r, plan.Preference{}); err != nil {
			t.Fatal(err)
		}
		if err := listProbeJSON(&lines, r, plan.Preference{}); err != nil {
			t.Fatal(err)
		}
		kit.Golden(t, filepath.Join("probe", name+".txt"), table.String())
		kit.Golden(t, filepath.Join("probe", name+".json"), lines.String())
	}
}

// A probe that finds nothing that works has failed, for scripts.
func TestProbeWithoutADecoder(t *testing.T) {
	failed := probed.Candidates[0]
	for name, c := range map[string]struct {
		found []decode.Candidate
		says  string
	}{
		"nothing":        {nil, "none was found"},
		"all are faulty": {[]decode.Candidate{failed, {Element: "avdec_h265", Result: decode.Untried}}, "2 were found"},
		"one works":      {probed.Candidates, ""},
	} {
		err := noneWorks(decode.ProbeReport{Candidates: c.found})
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || !strings.HasPrefix(err.Error(), report.CodeNoDecoder)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestProbeNeedsItsConfiguration(t *testing.T) {
	status, _, errs := run("probe", "--config", filepath.Join(t.TempDir(), "absent.toml"))
	if status != exitFailed || !strings.Contains(errs, "config.unreadable") {
		t.Errorf("status %d, standard error %q", status, errs)
	}
}
