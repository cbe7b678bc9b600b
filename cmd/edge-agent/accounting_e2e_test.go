package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// account adds up the telemetry of one stream, and holds every message to what docs/mqtt.md says of its counts.
type account struct {
	messages, reconnects           int64
	to                             time.Time // of the newest message
	queued                         int64     // then
	frames, shown, dropped, hidden int64
	reasons                        contract.Reasons
}

func (a *account) take(m contract.Telemetry) error {
	if a.messages++; a.messages > 1 && !m.From.Equal(a.to) {
		return fmt.Errorf("a message from %v follows one to %v", m.From, a.to)
	}
	a.to = m.To.Time
	if got := m.ShownFrames + m.DroppedFrames + m.HiddenFrames + m.QueuedFrames - a.queued; got != m.Frames {
		return fmt.Errorf("of %d frames %d are accounted for; %d were queued before: %+v", m.Frames, got, a.queued, m)
	}
	sum := int64(0)
	for why, n := range m.DroppedBy {
		sum += n
		if a.reasons == nil {
			a.reasons = contract.Reasons{}
		}
		a.reasons[why] += n
	}
	if sum != m.DroppedFrames {
		return fmt.Errorf("dropped_by has %d of %d frames: %+v", sum, m.DroppedFrames, m)
	}
	a.queued = m.QueuedFrames
	a.reconnects += m.Reconnects
	a.frames += m.Frames
	a.shown += m.ShownFrames
	a.dropped += m.DroppedFrames
	a.hidden += m.HiddenFrames
	return nil
}

// books are the accounts of all streams, as they come over MQTT.
type books struct {
	w        *watcher
	accounts map[string]*account // by stream
}

// until takes telemetry until something is so.
func (b *books) until(what string, so func() bool) {
	b.w.t.Helper()
	b.w.until(what, func(m mqtt.Message, _ map[string]any) bool {
		for name, a := range b.accounts {
			if m.Topic != b.w.topics.Telemetry(name) {
				continue
			}
			var t contract.Telemetry
			if err := json.Unmarshal(m.Payload, &t); err != nil {
				b.w.t.Fatal(err)
			}
			if err := a.take(t); err != nil {
				b.w.t.Fatalf("%s: %v", name, err)
			}
		}
		return so()
	})
}

// childOf finds the process that an agent has started as its renderer: not one in which a decoder is tried out.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		if err != nil {
			continue // a thread that has ended
		}
		for _, child := range strings.Fields(string(text)) {
			line, _ := os.ReadFile("/proc/" + child + "/cmdline")
			if strings.HasSuffix(string(line), decode.RendererName+"\x00") {
				n, err := strconv.Atoi(child)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	return 0
}

// Every video frame that was received is shown, dropped for a reason, hidden or on its way, in every telemetry message of a real
// agent: over connection cuts, another stream on the display, and the death of the renderer.
func TestEveryFrameIsAccountedForOverMQTT(t *testing.T) {
	s := newSite(t, clip.H264())
	source, err := kvstest.ReadSource(clip.H265())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.server.Add("yard", source, kvstest.StreamConfig{}); err != nil {
		t.Fatal(err)
	}
	b := &books{w: s.watch(), accounts: map[string]*account{"gate": {}, "yard": {}}}
	gate, yard := b.accounts["gate"], b.accounts["yard"]
	p := start(t, nil, "run", "--config", s.config("none", "[control]\nenabled = true\nallow = [\"show\"]\n"+cameraStream+"[[streams]]\nname = \"yard\"\nstream_name = \"yard\"\n"))
	caller := mqtt.Caller{Broker: mqtt.Broker{URL: s.broker.URL()}, Agent: "box"}
	show := func(name string) {
		t.Helper()
		if r, err := caller.Call(t.Context(), contract.VerbShow, contract.ShowArgs{Stream: name}); err != nil || r.Status != contract.StatusSucceeded {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	more := func(a *account, count func(*account) int64) func() bool {
		before := count(a)
		return func() bool { return count(a) > before }
	}
	shown := func(a *account) int64 { return a.shown }
	hidden := func(a *account) int64 { return a.hidden }
	reconnects := func(a *account) int64 { return a.reconnects }

	b.until("pictures of gate", more(gate, shown))
	b.until("hidden frames of yard", more(yard, hidden))
	cut := more(gate, reconnects)
	s.stream.Cut()
	b.until("another session", cut)
	b.until("pictures after the cut", more(gate, shown))

	pictures, covered := more(yard, shown), more(gate, hidden)
	show("yard")
	b.until("pictures of yard", pictures)
	b.until("hidden frames of gate", covered)

	cut = more(gate, reconnects)
	s.stream.Cut()
	b.until("another session of the hidden stream", cut)

	pictures = more(gate, shown)
	show("gate")
	b.until("pictures of gate again", pictures)

	child := 0
	kit.Await(t, "a renderer", func() bool { child = childOf(t, p.cmd.Process.Pid); return child != 0 })
	if err := syscall.Kill(child, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.until("decode.crash")
	b.until("pictures of another renderer", more(gate, shown))
	b.until("and more", more(gate, shown))
	for name, a := range b.accounts {
		t.Logf("%s: %d messages, %d frames: %d shown, %d dropped %v, %d hidden, %d queued", name, a.messages, a.frames, a.shown, a.dropped, a.reasons, a.hidden, a.queued)
		if a.frames != a.shown+a.dropped+a.hidden+a.queued {
			t.Errorf("%s: %d frames, %d accounted for", name, a.frames, a.shown+a.dropped+a.hidden+a.queued)
		}
	}
}
