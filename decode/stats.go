package decode

import (
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// Stats is what a renderer has done so far. Counts go on over all children.
type Stats struct {
	GStreamer string         // version
	Decoders  []plan.Decoder // that are installed; "exists" proves nothing about the hardware
	Decoder   string         // GStreamer element in use, or last used; "" before the first
	Family    plan.Family    // of Decoder
	Display   plan.Display   // in use, or last used
	Mode      plan.Mode      // of the screen there, as far as it is known
	Passed    []string
	Path      plan.Path // of pictures to the display
	PathNotes []string  // why it is no better one
	Denied    []string  // decoders that failed and are passed over now, by plan.Plan.DeniedBy

	Fed      uint64 // frames given to children, replayed ones each time
	Decoded  uint64 // pictures
	Shown    uint64 // pictures on the screen
	Late     uint64 // pictures that were not shown, because their time was over
	Skipped  uint64 // frames that were not decoded: the decoder was behind, or made no picture of them
	Dropped  uint64 // frames that did not get to a decoder, or were lost with one: by reasons of the agent's side
	Waiting  int    // frames in the queue
	Restarts int    // children that ended

	Frames report.FrameCounts // of all inputs together

	// Of the newest picture on the screen; zero before the first.
	FrameTime time.Duration // as given to Push
	Wall      time.Time     // when it was there
}

// Lost is how many frames have not become a picture on the screen that should have.
func (s Stats) Lost() uint64 { return s.Dropped + s.Skipped + s.Late }

// agentDrops are the reasons of frames that the child does not know of. It counts the others in Late and Skipped.
var agentDrops = []report.Reason{report.DropNoKeyFrame, report.DropNoParameterSets, report.DropUnsupported, report.DropQueueFull, report.DropTooLarge, report.DropDecoderFailed}

// Stats gives the present figures.
func (r *Renderer) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Frames.Add(r.gone)
	for _, in := range r.inputs {
		s.Frames.Add(in.ledger.snapshot())
	}
	for _, why := range agentDrops {
		s.Dropped += s.Frames.Dropped[why]
	}
	s.Waiting = r.shown.gate.Stats().Waiting
	s.Denied = r.deny.names(time.Now())
	return s
}

func (r *Renderer) greet(h Hello) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.GStreamer, r.stats.Decoders = h.GStreamer, plan.Decoders(r.config.Prefer, h.Elements)
}

// reportUnconfined reports, once, that renderer processes have less of a sandbox than they should.
func (r *Renderer) reportUnconfined(account string, missing []string) {
	if account != "" {
		missing = append([]string{account}, missing...)
	}
	r.mu.Lock()
	told := r.confined
	r.confined = true
	r.mu.Unlock()
	if !told && len(missing) > 0 {
		r.config.Report(report.Report{
			Code:    report.CodeSandbox,
			Message: "the renderer process could do more than it needs, if a stream got hold of it: " + strings.Join(missing, "; "),
			Detail:  map[string]any{"missing": missing},
		})
	}
}

func (r *Renderer) fed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Fed++
}

// count adds what has changed between two statuses of an input's pipeline.
func (r *Renderer) count(before, now Status, of *Input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Decoded += grown(before.Decoded, now.Decoded)
	r.stats.Shown += grown(before.Shown, now.Shown)
	r.stats.Late += grown(before.Late, now.Late)
	r.stats.Skipped += grown(before.Skipped, now.Skipped)
	if !now.Wall.IsZero() && of == r.shown {
		r.stats.FrameTime, r.stats.Wall = now.FrameTime, now.Wall
	}
}
