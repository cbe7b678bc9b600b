package mqtt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
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

func events(t *testing.T, f *fakeBroker, c *Client) []Event {
	t.Helper()
	var all []Event
	for _, payload := range f.received(c.Topics().Events()) {
		var e Event
		if err := json.Unmarshal(payload, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func TestStopEndsWithinTwoSecondsWhateverTheBrokerDoes(t *testing.T) {
	noDial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	tests := []struct {
		name    string
		connect func(int) behaviour
		before  func(*Client, *fakeBroker)
	}{
		{"good", goodBroker, nil},
		{"dialling", goodBroker, func(c *Client, _ *fakeBroker) { c.dial = noDial }},
		{"waiting to retry", func(int) behaviour { return behaviour{refuse: errors.New("refused")} }, nil},
		{"waiting for CONNACK", func(int) behaviour { return behaviour{silent: true} }, nil},
		{"deaf", goodBroker, func(_ *Client, f *fakeBroker) { close(f.deaf) }},
		{"never confirms", func(int) behaviour { return behaviour{noAck: always} }, nil},
		{"deaf, a state unconfirmed", goodBroker, func(c *Client, f *fakeBroker) {
			close(f.deaf)
			c.SetState("door", State{})
		}},
		{"deaf, a write blocked", goodBroker, func(c *Client, f *fakeBroker) {
			close(f.deaf)
			for range 3 {
				c.Telemetry("door", Telemetry{})
			}
		}},
		{"good, many events", goodBroker, func(c *Client, _ *fakeBroker) {
			for i := range 4000 {
				c.Event(Event{Code: "lag.high", Stream: fmt.Sprint(i)})
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeBroker(test.connect)
				defer f.close()
				c := newTestClient(t, f)
				if test.name == "dialling" {
					test.before(c, f)
				}
				stop := start(c)
				synctest.Wait()
				if test.before != nil && test.name != "dialling" {
					test.before(c, f)
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
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		synctest.Wait()
		c.Event(Event{Code: "agent.stopped"})
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
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(int) behaviour { return behaviour{noAck: func(n int) bool { return n == 1 }} })
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		synctest.Wait()
		stop()
		said := bytes.Join(f.received(c.Topics().Availability()), []byte(","))
		if string(said) != "online,offline" {
			t.Errorf("availability: %s", said)
		}
	})
}

func TestStopSendsWhatIsWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		synctest.Wait()
		for range 5 {
			c.Event(Event{Code: "lag.high", Stream: "door"})
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

func TestAttemptsAreSpreadAndNeverCloserThanASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(int) behaviour { return behaviour{refuse: errors.New("connection refused")} })
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		time.Sleep(time.Hour) // of the bubble's time
		s := c.Status()
		stop()
		if s.Connected || s.Attempts != len(f.dials) {
			t.Errorf("Status %+v after %d attempts", s, len(f.dials))
		}
		var coded *Error
		if !errors.As(s.Err, &coded) || coded.Code != "mqtt.unreachable" || !strings.Contains(s.Err.Error(), "localhost:1883: connection refused") {
			t.Errorf("Status.Err = %v", s.Err)
		}
		if len(f.dials) < 3600/90 {
			t.Errorf("only %d attempts in an hour", len(f.dials))
		}
		for i := 1; i < len(f.dials); i++ {
			if gap := f.dials[i].Sub(f.dials[i-1]); gap < minRetry || gap > 90*time.Second+time.Millisecond {
				t.Errorf("attempt %d came after %s", i, gap)
			}
		}
	})
}

// Every event arrives, in order, wherever the first connection breaks.
func TestEventsSurviveACutAtAnyPacket(t *testing.T) {
	const sent = 5
	for cut := 1; cut <= sent+2; cut++ {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeBroker(func(n int) behaviour {
					if n == 0 {
						return behaviour{cutAfter: cut}
					}
					return behaviour{}
				})
				defer f.close()
				c := newTestClient(t, f)
				for i := range sent {
					c.Event(Event{Code: "lag.high", Stream: fmt.Sprint("s", i)})
				}
				stop := start(c)
				time.Sleep(time.Minute) // of the bubble's time
				stop()
				seen, last := map[string]int{}, uint64(0)
				for _, e := range events(t, f, c) {
					if e.Seq > last+1 {
						t.Errorf("seq %d follows %d", e.Seq, last)
					}
					last = max(last, e.Seq)
					seen[e.Stream]++
				}
				for i := range sent {
					if seen[fmt.Sprint("s", i)] == 0 {
						t.Errorf("event %d is lost", i)
					}
				}
				if seen[""] == 0 {
					t.Error("the outage was not reported")
				}
				if q := c.Status().Queued; q != 0 {
					t.Errorf("%d events are still queued", q)
				}
			})
		})
	}
}

// Whatever connections break when and whatever is not confirmed: every event arrives, and each for
// the first time in order.
func TestEventsSurviveAnyBroker(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		bad := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) behaviour {
			return behaviour{
				refuse:   rapid.SampledFrom([]error{nil, nil, errors.New("connection refused")}).Draw(t, "refuse"),
				silent:   rapid.IntRange(0, 9).Draw(t, "silent") == 0,
				cutAfter: rapid.IntRange(1, 60).Draw(t, "cut after"),
				noAck:    rapid.SampledFrom([]func(int) bool{nil, nil, always, func(n int) bool { return n%7 == 0 }}).Draw(t, "no ack"),
			}
		}), 0, 6).Draw(rt, "connections")
		sent := rapid.IntRange(1, 100).Draw(rt, "events")
		var fault string
		synctest.Test(t, func(t *testing.T) { fault = surviveBroker(t, bad, sent) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

func surviveBroker(t *testing.T, bad []behaviour, sent int) (fault string) {
	f := newFakeBroker(func(n int) behaviour {
		if n < len(bad) {
			return bad[n]
		}
		return behaviour{}
	})
	defer f.close()
	c := newTestClient(t, f)
	stop := start(c)
	for i := range sent {
		c.Event(Event{Code: "lag.high", Stream: fmt.Sprint("s", i)})
		time.Sleep(time.Second) // of the bubble's time
	}
	time.Sleep(time.Hour)
	stop()
	seen, last := map[string]bool{}, uint64(0)
	for _, e := range events(t, f, c) {
		if e.Seq <= last && !seen[e.ID] {
			return fmt.Sprintf("seq %d comes for the first time after %d", e.Seq, last)
		}
		last = max(last, e.Seq)
		seen[e.ID], seen[e.Stream] = true, true
	}
	for i := range sent {
		if !seen[fmt.Sprint("s", i)] {
			return fmt.Sprintf("event %d of %d is lost", i, sent)
		}
	}
	return ""
}

func TestAnUnconfirmedEventIsSentAgainUnderItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(n int) behaviour {
			if n == 0 {
				return behaviour{noAck: func(n int) bool { return n > 1 }} // "online", but not the event
			}
			return behaviour{}
		})
		defer f.close()
		c := newTestClient(t, f)
		c.Event(Event{Code: "lag.high"})
		stop := start(c)
		time.Sleep(time.Minute) // of the bubble's time
		stop()
		got := events(t, f, c)
		if len(got) != 3 || got[0].ID != got[1].ID || got[2].Code != "mqtt.unreachable" {
			t.Errorf("events %+v", got)
		}
	})
}

func TestABrokerThatDoesNotConfirmIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(n int) behaviour {
			if n == 0 {
				return behaviour{noAck: always}
			}
			return behaviour{}
		})
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		synctest.Wait()
		time.Sleep(confirmTimeout + 4*time.Second) // of the bubble's time; and the first retry
		s := c.Status()
		stop()
		if !s.Connected || len(f.dials) != 2 {
			t.Errorf("Status %+v after %d connections", s, len(f.dials))
		}
		if s.Err == nil || !strings.Contains(s.Err.Error(), "did not confirm edge-agent/v1/gate-7/availability") {
			t.Errorf("Status.Err = %v", s.Err)
		}
	})
}

func TestAnIdleConnectionIsHeldByPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		time.Sleep(time.Hour) // of the bubble's time
		stop()
		if len(f.dials) != 1 {
			t.Errorf("%d connections in an hour of silence", len(f.dials))
		}
	})
}

func TestABrokerThatFellSilentIsNoticed(t *testing.T) {
	tests := map[string]func(*Client){
		"its answers are missing":  func(*Client) {},
		"it takes no bytes either": func(c *Client) { c.Telemetry("door", Telemetry{}) }, // the last that is read
	}
	for name, last := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeBroker(goodBroker)
				defer f.close()
				c := newTestClient(t, f)
				stop := start(c)
				synctest.Wait()
				close(f.deaf)
				last(c)
				time.Sleep(2 * (keepAlive + pingTimeout)) // of the bubble's time
				s := c.Status()
				stop()
				if s.Err == nil || len(f.dials) < 2 {
					t.Errorf("Status %+v after %d connections", s, len(f.dials))
				}
			})
		})
	}
}

func TestRetainedTopicsKeepOnlyTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClient(t, f)
		for attempt := range 100 {
			c.SetState("door", State{State: Backoff, Attempt: attempt})
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
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClient(t, f)
		c.Telemetry("door", Telemetry{})
		stop := start(c)
		synctest.Wait()
		c.Telemetry("door", Telemetry{Frames: 1})
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
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClient(t, f)
		const maxEvents, tooMany = 100, 3
		c.outbox.limits.events = maxEvents
		for i := range maxEvents + tooMany {
			c.Event(Event{Code: "lag.high", Stream: fmt.Sprint(i)})
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
		if got[0].Stream != fmt.Sprint(tooMany) {
			t.Errorf("the oldest is %s", got[0].Stream)
		}
		if last := got[maxEvents]; last.Code != "mqtt.dropped" || last.Count != tooMany || last.Severity != SeverityWarning {
			t.Errorf("the last is %+v", last)
		}
	})
}

func TestRepeatsAreHeldAndSummed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		synctest.Wait()
		for range 100 {
			c.Event(Event{Code: "ingest.cut", Stream: "door"})
			time.Sleep(50 * time.Millisecond) // of the bubble's time
		}
		time.Sleep(repeatWindow)
		got := events(t, f, c)
		stop()
		if len(got) != 2 || got[0].Count != 1 || got[1].Count != 99 {
			t.Errorf("events %+v", got)
		}
	})
}

func TestValuesThatCannotBePublishedHarmNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		c.SetState("no/such/name", State{})
		c.Telemetry("door", Telemetry{FPS: math.NaN()})
		c.Event(Event{Code: "lag.high", Detail: map[string]any{"f": func() {}}})
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

// Each connection is closed right after it came about, as when two agents have one id.
func TestFlappingIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(n int) behaviour {
			if n < 2*flapsAfter {
				return behaviour{cutAfter: 2} // "online", and then the first event
			}
			return behaviour{}
		})
		defer f.close()
		c := newTestClient(t, f)
		c.Event(Event{Code: "agent.started"})
		stop := start(c)
		time.Sleep(10 * time.Minute) // of the bubble's time
		stop()
		var flaps []Event
		for _, e := range events(t, f, c) {
			if e.Code == "mqtt.flapping" {
				flaps = append(flaps, e)
			}
		}
		if len(flaps) == 0 || !strings.Contains(flaps[0].Message, "use the id edge-agent-gate-7?") || flaps[0].Severity != SeverityError {
			t.Errorf("events %+v", flaps)
		}
	})
}

func TestABrokerThatIsAwayIsNotFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(n int) behaviour {
			if n%5 != 4 {
				return behaviour{refuse: errors.New("connection refused")}
			}
			return behaviour{cutAfter: 4} // after two pings, a minute
		})
		defer f.close()
		c := newTestClient(t, f)
		stop := start(c)
		time.Sleep(24 * time.Hour) // of the bubble's time
		stop()
		for _, e := range events(t, f, c) {
			if e.Code == "mqtt.flapping" {
				t.Fatalf("event %+v", e)
			}
		}
	})
}

// A connection after the other leaves no goroutine, or the bubble would not end, and no memory.
func TestReconnectingLeaksNothing(t *testing.T) {
	cuts := 200
	if *long {
		cuts = 1000
	}
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(int) behaviour { return behaviour{cutAfter: 8} }) // late enough for the events
		defer f.close()
		c := newTestClient(t, f)
		c.SetInfo(Info{})
		c.SetState("door", State{})
		var early, late int64
		connections := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.published = nil // or the broker would be what grows
			return len(f.dials)
		}
		stop := start(c)
		for late == 0 {
			time.Sleep(time.Minute) // of the bubble's time
			switch n := connections(); {
			case n >= cuts:
				late = heap()
			case early == 0 && n >= cuts/10:
				early = heap()
			}
		}
		stop()
		t.Logf("heap %d KiB early, %d KiB late", early>>10, late>>10)
		if late-early > 1<<20 {
			t.Errorf("the heap grew from %d to %d bytes", early, late)
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
				c.SetState(name, State{State: Playing})
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
