package main

import (
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// A box that shows much less than it receives says so for as long as that lasts.
func TestOverload(t *testing.T) {
	var o overload
	var c decode.FrameCounts
	c.Dropped = map[decode.Reason]uint64{}
	now := time.Unix(0, 0)
	seconds := func(n int, dropped uint64, why decode.Reason) {
		for range n {
			now = now.Add(time.Second)
			c.Received += 30
			next := decode.FrameCounts{Received: c.Received, Dropped: map[decode.Reason]uint64{}}
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
		why     decode.Reason
		want    string
	}{
		{"all is shown", 0, decode.DropOverload, ""},
		{"a few are missing", 6, decode.DropOverload, ""},
		{"every second one is late", 15, decode.DropLate, decode.CodeDropped},
		{"some are missing still", 3, decode.DropOverload, decode.CodeDropped},
		{"all is shown again", 0, decode.DropOverload, ""},
		{"the queue is full", 28, decode.DropQueueFull, decode.CodeDropped},
		{"all is shown once more", 0, decode.DropOverload, ""},
		{"frames without a key frame are no overload", 30, decode.DropNoKeyFrame, ""},
	} {
		seconds(12, step.dropped, step.why)
		if o.code != step.want {
			t.Errorf("%s: %q, not %q", step.what, o.code, step.want)
		}
	}
	seconds(12, 30, decode.DropOverload)
	for range 2 {
		now = now.Add(overloadWindow)
		o.note(c, now)
	}
	if o.code != "" {
		t.Errorf("without frames: %q", o.code)
	}
}
