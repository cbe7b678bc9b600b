package decode

import (
	"context"
	"net"
	"testing"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/report"
)

// That nothing can be written any more is not why a child was given up, but how that is noticed.
func TestWriteThatFailsIsNotTheReason(t *testing.T) {
	ours, theirs := net.Pipe()
	_, _ = ours.Close(), theirs.Close()
	a := &attempt{pipelines: map[string]int{}, r: New(Config{}), out: NewWriter(ours), own: []string{"avdec_h264"}}
	ctx, end := context.WithCancelCause(context.Background())
	crash := failed(report.CodeCrash, "killed")
	end(crash)
	if err := a.open(ctx, &format.Format{Codec: format.H264}); err != error(crash) {
		t.Errorf("got %v", err)
	}
}
