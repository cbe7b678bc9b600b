package ingest

import (
	"context"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// quiet is a sink that keeps nothing.
type quiet struct{ frames int }

func (*quiet) Tracks([]*mkv.Track)             {}
func (q *quiet) Frame(context.Context, *Frame) { q.frames++ }
func (*quiet) Fragment(mkv.Fragment)           {}
func (*quiet) Report(Report)                   {}

// Handing on a frame allocates nothing: a box may pull 64 streams.
func TestFrameAllocatesNothing(t *testing.T) {
	sink := &quiet{}
	s := NewSession(Stream{Name: "door"}, nil, nil, sink)
	s.place.open.base = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	frame, received := &mkv.Frame{Data: []byte{1}}, time.Now()
	if n := testing.AllocsPerRun(100, func() { s.frame(t.Context(), frame, received) }); n != 0 {
		t.Errorf("a frame costs %v allocations", n)
	}
	if sink.frames == 0 {
		t.Error("the sink got no frames")
	}
}
