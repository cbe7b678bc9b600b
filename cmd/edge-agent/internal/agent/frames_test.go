package agent

import (
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/kvstest/forms"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// framesOf are the blocks of a clip, as a session hands them on.
func framesOf(t *testing.T, c forms.Clip) (frames []*ingest.Frame) {
	t.Helper()
	for _, b := range c.Blocks {
		frames = append(frames, &ingest.Frame{Frame: &mkv.Frame{Track: &c.Tracks[0], Data: b.Data, Time: b.Time, Key: b.Key}, Received: time.Now()})
	}
	return frames
}

// firstFrame is a key frame.
func firstFrame(t *testing.T) *ingest.Frame {
	t.Helper()
	c, err := forms.Read(clip.H264())
	if err != nil {
		t.Fatal(err)
	}
	return framesOf(t, c)[0]
}
