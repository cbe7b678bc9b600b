package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
)

// A box that shows much less than it receives says so for as long as that lasts.
func TestOverload(t *testing.T) {
	var o overload
	var c report.FrameCounts
	c.Dropped = map[report.Reason]uint64{}
	now := time.Unix(0, 0)
	seconds := func(n int, dropped uint64, why report.Reason) {
		for range n {
			now = now.Add(time.Second)
			c.Received += 30
			next := report.FrameCounts{Received: c.Received, Dropped: map[report.Reason]uint64{}}
			for k, v := range c.Dropped {
				next.Dropped[k] = v
			}
			next.Dropped[why] += dropped
			c = next
			o.note(c, now)
		}
	}
	for _, step := range []struct {
		what    string
		dropped uint64
		why     report.Reason
		want    string
	}{
		{"all is shown", 0, report.DropOverload, ""},
		{"a few are missing", 6, report.DropOverload, ""},
		{"every second one is late", 15, report.DropLate, report.CodeDropped},
		{"some are missing still", 3, report.DropOverload, report.CodeDropped},
		{"all is shown again", 0, report.DropOverload, ""},
		{"the queue is full", 28, report.DropQueueFull, report.CodeDropped},
		{"all is shown once more", 0, report.DropOverload, ""},
		{"frames without a key frame are no overload", 30, report.DropNoKeyFrame, ""},
	} {
		seconds(12, step.dropped, step.why)
		if o.code != step.want {
			t.Errorf("%s: %q, not %q", step.what, o.code, step.want)
		}
	}
	seconds(12, 30, report.DropOverload)
	for range 2 {
		now = now.Add(overloadWindow)
		o.note(c, now)
	}
	if o.code != "" {
		t.Errorf("without frames: %q", o.code)
	}
}

// dropping gives a stream of so many frames a second, of which every so manieth is dropped.
func dropping(o *overload, seconds int, rate, every uint64) {
	var c report.FrameCounts
	for n := range uint64(seconds) + 1 {
		c.Received = n * rate
		c.Dropped = map[report.Reason]uint64{report.DropOverload: c.Received / every}
		o.note(c, time.Unix(int64(n), 0))
	}
}

// A stream with few frames is watched for longer, so that a box that is too slow for it says so, and a moment's delay is none.
func TestOverloadOfSlowStreams(t *testing.T) {
	for _, c := range []struct {
		what        string
		seconds     int
		rate, every uint64
		want        string
	}{
		{"5 frames a second, every second one dropped", 10, 5, 2, report.CodeDropped},
		{"it takes a while to tell", 9, 5, 2, ""},
		{"5 frames a second, one in eight dropped", 60, 5, 8, ""},
		{"one frame a second, every second one dropped", 30, 1, 2, report.CodeDropped},
		{"it takes a while to tell", 29, 1, 2, ""},
	} {
		var o overload
		if dropping(&o, c.seconds, c.rate, c.every); o.code != c.want {
			t.Errorf("%s, for %d s: %q, not %q", c.what, c.seconds, o.code, c.want)
		}
	}

	// Three frames of a stream that is nearly still.
	var o overload
	o.note(report.FrameCounts{}, time.Unix(0, 0))
	o.note(report.FrameCounts{Received: 3, Dropped: map[report.Reason]uint64{report.DropLate: 2}}, time.Unix(30, 0))
	if o.code != "" {
		t.Errorf("two of three frames late in 30 s: %q", o.code)
	}
}

// Frames that are dropped may have come long before: no more are missing than there were.
func TestOverloadOfFramesThatCameBefore(t *testing.T) {
	var o overload
	o.note(report.FrameCounts{Received: 600, Queued: 600}, time.Unix(0, 0))
	o.note(report.FrameCounts{Received: 750, Shown: 50, Queued: 100, Dropped: map[report.Reason]uint64{report.DropQueueFull: 600}}, time.Unix(5, 0))
	if o.code != report.CodeDropped || !strings.HasPrefix(o.message, "600 of 650 frames") {
		t.Errorf("%q: %q", o.code, o.message)
	}
}
