package main

import (
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// A demo that has failed says why, and what to do.
func TestDemoWithoutAPicture(t *testing.T) {
	err := noPicture(contract.State{State: contract.Playing, Code: report.CodeNoDecoder, Message: "no decoder for h264 is installed"})
	var out strings.Builder
	printError(&out, err)
	for _, want := range []string{"demo.failed", "no picture was shown", "decode.none: no decoder for h264 is installed", "gstreamer1.0-libav"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %q", want, out.String())
		}
	}
	if err := noPicture(contract.State{State: contract.Starting}); err.Error() != "demo.failed: no picture was shown" {
		t.Error(err)
	}
}
