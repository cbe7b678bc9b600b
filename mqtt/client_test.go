package mqtt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// The tests of this file run against fakeBroker in a synctest bubble; those
// against a real broker are in mosquitto_test.go.

func newTestClient(t *testing.T, f *fakeBroker) *Client {
	t.Helper()
	return newTestClientWith(t, f, Config{})
}

// newTestClientWith makes a client of which config says what is special.
func newTestClientWith(t *testing.T, f *fakeBroker, config Config) *Client {
	t.Helper()
	config.Broker, config.AgentID, config.Logger = Broker{URL: "mqtt://localhost"}, "gate-7", slog.New(slog.DiscardHandler)
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	c.dial = f.dial
	return c
}

// inBubble runs a test with a client that does not run yet, and its broker. The time is the bubble's.
func inBubble(t *testing.T, connect func(n int) behaviour, test func(t *testing.T, f *fakeBroker, c *Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(connect)
		defer f.close()
		test(t, f, newTestClient(t, f))
	})
}

// start runs the client; stop ends it and waits.
func start(c *Client) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

func always(int) bool { return true }

func events(t *testing.T, f *fakeBroker, c *Client) []contract.Event {
	t.Helper()
	var all []contract.Event
	for _, payload := range f.received(c.Topics().Events()) {
		var e contract.Event
		if err := json.Unmarshal(payload, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestStopEndsWithinTwoSecondsWhateverTheBrokerDoes(t *testing.T) {
	tests := []struct {
		name    string
		connect func(int) behaviour
		running func(*Client, *fakeBroker) // what happens before the stop
	}{
		{"good", goodBroker, nil},
		{"waiting to retry", every(behaviour{refuse: errRefused}), nil},
		{"waiting for CONNACK", every(behaviour{silent: true}), nil},
		{"deaf", goodBroker, func(_ *Client, f *fakeBroker) { close(f.deaf) }},
		{"never confirms", every(behaviour{noAck: always}), nil},
		{"dialling", every(behaviour{away: true}), nil},
		{"deaf, a state unconfirmed", goodBroker, func(c *Client, f *fakeBroker) {
			close(f.deaf)
			c.SetState("door", contract.State{})
		}},
		{"deaf, a write blocked", goodBroker, func(c *Client, f *fakeBroker) {
			close(f.deaf)
			for range 3 {
				c.Telemetry("door", contract.Telemetry{})
			}
		}},
		{"good, many events", goodBroker, func(c *Client, _ *fakeBroker) {
			for i := range 4000 {
				c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint(i)})
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, test.connect, func(t *testing.T, f *fakeBroker, c *Client) {
				stop := start(c)
				synctest.Wait()
				if test.running != nil {
					test.running(c, f)
					synctest.Wait()
				}
				began := time.Now()
				stop()
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("Run took %s to end", took)
				}
				if c.Status().Connected {
					t.Error("Status says connected after the end")
				}
			})
		})
	}
}

// The event that is reported just before stopping goes out too.
func TestOfflineIsTheLastWordOnAvailability(t *testing.T) {
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		synctest.Wait()
		c.Event(contract.Event{Code: "agent.stopped"})
		stop()
		said := bytes.Join(f.received(c.Topics().Availability()), []byte(","))
		if string(said) != "online,offline" {
			t.Errorf("availability: %s", said)
		}
		if got := events(t, f, c); len(got) != 1 || got[0].Code != "agent.stopped" {
			t.Errorf("events: %+v", got)
		}
	})
}

// "online" is still unconfirmed when Run is told to stop, and must not be sent again.
func TestNoOnlineAfterOffline(t *testing.T) {
	inBubble(t, every(behaviour{noAck: func(n int) bool { return n == 1 }}), func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		synctest.Wait()
		stop()
		said := bytes.Join(f.received(c.Topics().Availability()), []byte(","))
		if string(said) != "online,offline" {
			t.Errorf("availability: %s", said)
		}
	})
}

// What comes while a confirmation is awaited goes out at once: a broker that delays its small packets (Nagle) or this
// machine's kernel (delayed acknowledgements) would cost each message 40 ms.
func TestAConfirmationHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(int) behaviour { return behaviour{noAck: func(n int) bool { return n == 1 }} })
		defer f.close()
		c := newTestClient(t, f)
		defer start(c)()
		synctest.Wait()
		c.SetState("door", contract.State{State: contract.Playing})
		synctest.Wait()
		c.Event(contract.Event{Code: "lag.high", Stream: "door"})
		synctest.Wait()
		if n := f.count(); n != 3 {
			t.Errorf("%d of 3 messages were sent before the first was confirmed", n)
		}
	})
}

// Nor does a connection on which there is always something to confirm hold up the sums of repeats.
func TestAConfirmationHoldsNoSumUp(t *testing.T) {
	late := func(n int) bool { return n == 3 } // behind "online" and the first event
	inBubble(t, every(behaviour{noAck: late}), func(t *testing.T, f *fakeBroker, c *Client) {
		defer start(c)()
		c.Event(contract.Event{Code: "lag.high", Stream: "door"})
		c.Event(contract.Event{Code: "lag.high", Stream: "door"})
		time.Sleep(repeatWindow / 2)
		c.SetState("door", contract.State{State: contract.Playing})
		time.Sleep(repeatWindow/2 + time.Second)
		c.Telemetry("door", contract.Telemetry{})
		synctest.Wait()
		if got := events(t, f, c); len(got) != 2 || len(f.dials) != 1 {
			t.Errorf("events %+v on %d connections", got, len(f.dials))
		}
	})
}

func TestStopSendsWhatIsWaiting(t *testing.T) {
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		synctest.Wait()
		for range 5 {
			c.Event(contract.Event{Code: "lag.high", Stream: "door"})
		}
		stop()
		counts := map[string]int64{} // by id: the first one may have been on its way
		for _, e := range events(t, f, c) {
			counts[e.ID] = e.Count
		}
		var count int64
		for _, n := range counts {
			count += n
		}
		if count != 5 {
			t.Errorf("%d of 5 events arrived: %v", count, counts)
		}
	})
}

func TestRetainedTopicsKeepOnlyTheNewest(t *testing.T) {
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		for attempt := range 100 {
			c.SetState("door", contract.State{State: contract.Backoff, Attempt: attempt})
		}
		stop := start(c)
		synctest.Wait()
		got := f.received(c.Topics().State("door"))
		stop()
		if len(got) != 1 || !bytes.Contains(got[0], []byte(`"attempt":99`)) {
			t.Errorf("received %s", got)
		}
		if first := f.published[0].TopicName; first != c.Topics().Availability() {
			t.Errorf("the first message was on %s", first)
		}
	})
}

func TestTelemetryIsNotQueued(t *testing.T) {
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		c.Telemetry("door", contract.Telemetry{})
		stop := start(c)
		synctest.Wait()
		c.Telemetry("door", contract.Telemetry{Frames: 1})
		synctest.Wait()
		got, s := f.received(c.Topics().Telemetry("door")), c.Status()
		stop()
		if len(got) != 1 || s.DroppedTelemetry != 1 {
			t.Errorf("received %s, dropped %d", got, s.DroppedTelemetry)
		}
		if s.Published != 2 { // with "online"
			t.Errorf("published %d", s.Published)
		}
	})
}

func TestAFullOutboxDropsTheOldestAndSaysHowMany(t *testing.T) {
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		const maxEvents, tooMany = 100, 3
		c.outbox.limits.events = maxEvents
		began := time.Now()
		for i := range maxEvents + tooMany {
			c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint(i)})
			time.Sleep(time.Second)
		}
		if s := c.Status(); s.Queued != maxEvents || s.DroppedEvents != tooMany {
			t.Errorf("Status %+v", s)
		}
		stop := start(c)
		synctest.Wait()
		got := events(t, f, c)
		stop()
		if len(got) != maxEvents+1 {
			t.Fatalf("%d events", len(got))
		}
		for i, e := range got[:maxEvents] {
			if e.Stream != fmt.Sprint(tooMany+i) || e.Count != 1 {
				t.Errorf("the event at %d is %+v", i, e)
			}
		}
		last := got[maxEvents]
		if last.Code != "mqtt.dropped" || last.Count != tooMany || last.Severity != contract.SeverityWarning ||
			uuid.Validate(last.ID) != nil {
			t.Errorf("the last is %+v", last)
		}
		newest := began.Add((tooMany - 1) * time.Second)
		if !last.FirstTS.Equal(began) || !last.LastTS.Equal(newest) || !last.TS.Equal(newest) {
			t.Errorf("dropped from %s to %s: %+v", began, newest, last)
		}
	})
}

// What was confirmed, in whatever order, is not sent again after a restart; what was not, is, under the id it had.
func TestARestartSendsWhatWasNotConfirmed(t *testing.T) {
	const sent = 5
	for _, lost := range [][]int{{}, {0}, {2}, {sent - 1}, {1, 3}, {0, 1, 2, 3, 4}} {
		t.Run(fmt.Sprint("all but ", lost), func(t *testing.T) {
			dir := t.TempDir()
			run := func(noAck func(int) bool, during func(*Client)) (got []contract.Event) {
				synctest.Test(t, func(t *testing.T) {
					f := newFakeBroker(first(1, behaviour{noAck: noAck}))
					defer f.close()
					c := newTestClientWith(t, f, Config{StateDir: dir})
					stop := start(c)
					during(c)
					synctest.Wait()
					stop()
					got = events(t, f, c)
				})
				return got
			}
			before := run(func(n int) bool { return slices.Contains(lost, n-2) }, func(c *Client) { // behind "online"
				for i := range sent {
					c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint(i)})
				}
			})
			after := run(nil, func(*Client) {})
			if len(before) != sent || len(after) != len(lost) {
				t.Fatalf("%d of %d events were sent, %d after the restart: %+v", len(before), sent, len(after), after)
			}
			for i, e := range after {
				if e.ID != before[lost[i]].ID || e.Seq != before[lost[i]].Seq || e.Stream != fmt.Sprint(lost[i]) {
					t.Errorf("after the restart %+v, before %+v", e, before[lost[i]])
				}
			}
			if again := run(nil, func(*Client) {}); len(again) != 0 {
				t.Errorf("after another restart %+v", again)
			}
		})
	}
}

func TestRepeatsAreHeldAndSummed(t *testing.T) {
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		synctest.Wait()
		for range 100 {
			c.Event(contract.Event{Code: "ingest.cut", Stream: "door"})
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(repeatWindow)
		got := events(t, f, c)
		stop()
		if len(got) != 2 || got[0].Count != 1 || got[1].Count != 99 {
			t.Errorf("events %+v", got)
		}
	})
}

// While there is no connection the sums are made all the same, one in 10 s, and those that wait add up to what happened.
func TestRepeatsAreSummedWithoutABroker(t *testing.T) {
	inBubble(t, every(behaviour{refuse: errRefused}), func(t *testing.T, f *fakeBroker, c *Client) {
		defer start(c)()
		began := time.Now()
		for range 60 { // at 0 to 59 s
			c.Event(contract.Event{Code: "ingest.cut", Stream: "door"})
			time.Sleep(time.Second)
		}
		want := []struct{ count, first, last int }{
			{1, 0, 0}, {9, 1, 9}, {10, 10, 19}, {10, 20, 29}, {10, 30, 39}, {10, 40, 49},
		}
		if s := c.Status(); s.Queued != len(want) {
			t.Errorf("%d events wait", s.Queued)
		}
		for i, w := range want {
			var e contract.Event
			stored, _ := c.outbox.after(uint64(i))
			if err := json.Unmarshal(stored.payload, &e); err != nil {
				t.Fatal(err)
			}
			at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
			if e.Count != int64(w.count) || !e.FirstTS.Equal(at(w.first)) ||
				!e.LastTS.Equal(at(w.last)) || !e.TS.Equal(at(w.last)) {
				t.Errorf("event %d: %+v, want %+v", i, e, w)
			}
		}
	})
}

// A message has at most 1 KiB, a detail 8 KiB (docs/mqtt.md): of the one more is cut off, the other is left out.
func TestTheSizeOfAnEvent(t *testing.T) {
	const wordy, letters = 1024, 8192 - len(`{"d":""}`)
	for name, test := range map[string]struct {
		message string
		detail  int // letters in it
		want    string
		left    bool // the detail is
	}{
		"at the limits":       {strings.Repeat("x", wordy), letters, strings.Repeat("x", wordy), false},
		"a byte more in both": {strings.Repeat("x", wordy+1), letters + 1, strings.Repeat("x", wordy-3) + "…", true},
		"within a letter":     {strings.Repeat("ä", wordy), 0, strings.Repeat("ä", wordy/2-2) + "…", false},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
				detail := map[string]any{"d": strings.Repeat("x", test.detail)}
				c.Event(contract.Event{Code: "lag.high", Message: test.message, Detail: detail})
				stop := start(c)
				synctest.Wait()
				got := events(t, f, c)
				stop()
				if len(got) != 1 || got[0].Message != test.want || (got[0].Detail == nil) != test.left {
					t.Errorf("events %+v", got)
				}
			})
		})
	}
}

// What the one who reports leaves open: the severity is that of the code, the time is now.
func TestWhatAnEventSaysByItself(t *testing.T) {
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		began := time.Now()
		for _, e := range []contract.Event{
			{Code: "lag.high", Stream: "a"},
			{Code: "lag.high", Stream: "b", Severity: contract.SeverityInfo, TS: contract.Time{Time: began.Add(-time.Hour)}},
			{Code: "nobody.knows"},
		} {
			time.Sleep(time.Second)
			c.Event(e)
		}
		stop := start(c)
		synctest.Wait()
		got := events(t, f, c)
		stop()
		want := []struct {
			severity contract.Severity
			after    time.Duration
		}{{contract.SeverityWarning, time.Second}, {contract.SeverityInfo, -time.Hour}, {contract.SeverityError, 3 * time.Second}}
		ids := map[string]bool{}
		for i, e := range got {
			at := began.Add(want[i].after)
			if e.Severity != want[i].severity || !e.TS.Equal(at) || !e.FirstTS.Equal(at) || !e.LastTS.Equal(at) ||
				e.Count != 1 || e.Seq != uint64(i+1) || uuid.Validate(e.ID) != nil {
				t.Errorf("event %d: %+v, want %+v", i, e, want[i])
			}
			ids[e.ID] = true
		}
		if len(ids) != len(want) {
			t.Errorf("%d ids of %d events: %+v", len(ids), len(want), got)
		}
	})
}

func TestValuesThatCannotBePublishedHarmNothingElse(t *testing.T) {
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		c.SetState("no/such/name", contract.State{})
		c.Telemetry("door", contract.Telemetry{FPS: math.NaN()})
		c.Event(contract.Event{Code: "lag.high", Detail: map[string]any{"f": func() {}}})
		synctest.Wait()
		got := events(t, f, c)
		stop()
		if len(got) != 1 || got[0].Code != "lag.high" || got[0].Detail != nil {
			t.Errorf("events %+v", got)
		}
		if len(f.published) != 3 { // online, the event, offline
			t.Errorf("published %v", f.published)
		}
	})
}

// The state of a stream that is configured no more is cleared, also after a restart.
func TestTheStateOfARemovedStreamIsCleared(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		run := func(names ...string) string {
			c := newTestClientWith(t, f, Config{StateDir: dir})
			c.SetStreams(names)
			for _, name := range names {
				c.SetState(name, contract.State{State: contract.Playing})
			}
			stop := start(c)
			synctest.Wait()
			stop()
			return c.Topics().State("door")
		}
		door := run("door", "yard")
		run("yard")
		if got := f.received(door); len(got) != 2 || len(got[1]) != 0 {
			t.Fatalf("states of the door: %q", got)
		}
		run("yard") // not again
		run("door", "yard")
		if got := f.received(door); len(got) != 3 || len(got[2]) == 0 {
			t.Errorf("states of the door: %q", got)
		}
	})
}
