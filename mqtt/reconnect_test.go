package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Connections that do not come about or break, in a bubble. Those with a real broker are in connection_test.go.

func TestAttemptsAreSpreadAndNeverCloserThanASecond(t *testing.T) {
	inBubble(t, every(behaviour{refuse: errRefused}), func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		time.Sleep(time.Hour)
		s := c.Status()
		stop()
		if s.Connected || s.Attempts != len(f.dials) {
			t.Errorf("Status %+v after %d attempts", s, len(f.dials))
		}
		var coded *contract.Error
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
			inBubble(t, first(1, behaviour{cutAfter: cut}), func(t *testing.T, f *fakeBroker, c *Client) {
				for i := range sent {
					c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint("s", i)})
				}
				stop := start(c)
				time.Sleep(time.Minute)
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

// What is reported while the broker is away arrives after a clean restart: each repeat and each attempt that failed.
func TestAStopWithoutABrokerLosesNothing(t *testing.T) {
	const repeated = 7
	dir := t.TempDir()
	run := func(t *testing.T, connect func(int) behaviour, during func(*Client)) (got []contract.Event) {
		synctest.Test(t, func(t *testing.T) {
			f := newFakeBroker(connect)
			defer f.close()
			c := newTestClientWith(t, f, Config{StateDir: dir})
			stop := start(c)
			during(c)
			time.Sleep(time.Minute)
			stop()
			got = events(t, f, c)
		})
		return got
	}
	attempts := 0
	run(t, func(int) behaviour { attempts++; return behaviour{refuse: errRefused} }, func(c *Client) {
		for range repeated {
			c.Event(contract.Event{Code: "lag.high", Stream: "door"})
		}
		time.Sleep(50 * time.Second) // the next ones wait for the end of their window when it is stopped
		for range repeated {
			c.Event(contract.Event{Code: "lag.high", Stream: "door"})
		}
	})
	counts := map[string]int64{}
	for _, e := range run(t, goodBroker, func(*Client) {}) {
		counts[e.Code] += e.Count
	}
	if counts["lag.high"] != 2*repeated || counts["mqtt.unreachable"] != int64(attempts) || counts["mqtt.dropped"] != 0 {
		t.Errorf("after %d repeats and %d attempts came %v", 2*repeated, attempts, counts)
	}
}

// Each outage is reported once, with its own attempts and times.
func TestOutagesAreReportedOneByOne(t *testing.T) {
	failed := [][]int{{0, 1, 2}, {4, 5}, {7}} // dials; each outage but the first begins with the end of a connection
	connect := func(n int) behaviour {
		for _, outage := range failed {
			if slices.Contains(outage, n) {
				return behaviour{refuse: errRefused}
			}
		}
		return behaviour{}
	}
	inBubble(t, connect, func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		var cuts []time.Time
		for range 2 {
			time.Sleep(time.Hour)
			f.cut()
			cuts = append(cuts, time.Now())
		}
		time.Sleep(time.Hour)
		stop()
		got := events(t, f, c)
		if len(got) != len(failed) {
			t.Fatalf("%d outages are reported: %+v", len(got), got)
		}
		for i, dials := range failed {
			want := contract.Event{Code: "mqtt.unreachable", Severity: contract.SeverityWarning, Count: int64(len(dials))}
			want.FirstTS.Time, want.LastTS.Time = f.dials[dials[0]], f.dials[dials[len(dials)-1]]
			if i > 0 {
				want.Count, want.FirstTS.Time = want.Count+1, cuts[i-1]
			}
			sameMoment := func(a, b contract.Time) bool { return a.Equal(b.Truncate(time.Millisecond)) } // a payload has three decimals
			e := got[i]
			if e.Code != want.Code || e.Severity != want.Severity || e.Count != want.Count || uuid.Validate(e.ID) != nil ||
				!sameMoment(e.FirstTS, want.FirstTS) || !sameMoment(e.LastTS, want.LastTS) || !sameMoment(e.TS, want.LastTS) {
				t.Errorf("outage %d: %+v, want %+v", i, e, want)
			}
		}
	})
}

// Whatever connections break when and whatever is not confirmed: every event arrives, and each for
// the first time in order.
func TestEventsSurviveAnyBroker(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		bad := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) behaviour {
			return behaviour{
				refuse:   rapid.SampledFrom([]error{nil, nil, errRefused}).Draw(t, "refuse"),
				silent:   rapid.IntRange(0, 9).Draw(t, "silent") == 0,
				cutAfter: rapid.IntRange(1, 60).Draw(t, "cut after"),
				noAck:    rapid.SampledFrom([]func(int) bool{nil, nil, always, func(n int) bool { return n%7 == 0 }}).Draw(t, "no ack"),
			}
		}), 0, 6).Draw(rt, "connections")
		sent := rapid.IntRange(1, 100).Draw(rt, "events")
		var fault string
		connect := func(n int) behaviour {
			if n < len(bad) {
				return bad[n]
			}
			return behaviour{}
		}
		inBubble(t, connect, func(t *testing.T, f *fakeBroker, c *Client) { fault = survive(t, f, c, sent) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// survive reports events, one a second, and tells what is wrong with those that arrived.
func survive(t *testing.T, f *fakeBroker, c *Client, sent int) (fault string) {
	stop := start(c)
	for i := range sent {
		c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint("s", i)})
		time.Sleep(time.Second)
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

// Whatever connections break or do not come about, with an outbox that holds little: what arrived and what is said to be
// dropped add up to what was reported.
func TestWhatIsReportedAddsUp(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		bad := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) behaviour {
			return behaviour{
				refuse: rapid.SampledFrom([]error{nil, errRefused, errRefused}).Draw(t, "refuse"),
				silent: rapid.IntRange(0, 2).Draw(t, "silent") == 0,
			}
		}), 0, 12).Draw(rt, "connections")
		connect := func(n int) behaviour {
			if n < len(bad) {
				return bad[n]
			}
			return behaviour{}
		}
		cuts := rapid.SliceOfN(rapid.IntRange(0, 99), 0, 10).Draw(rt, "cuts")
		limit := rapid.IntRange(maxInflight+1, 40).Draw(rt, "limit") // or the report of what was dropped would drop more
		sent, streams := rapid.IntRange(1, 100).Draw(rt, "events"), rapid.IntRange(1, 20).Draw(rt, "streams")
		var fault string
		inBubble(t, connect, func(t *testing.T, f *fakeBroker, c *Client) {
			var log bytes.Buffer
			c.log = slog.New(slog.NewTextHandler(&log, nil))
			c.outbox.limits.events = limit
			stop := start(c)
			for i := range sent {
				c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint("s", i%streams)})
				synctest.Wait()
				if slices.Contains(cuts, i) && c.Status().Connected { // and all that arrived is confirmed: none of it is dropped too
					f.cut()
				}
				time.Sleep(time.Second)
			}
			time.Sleep(time.Hour)
			stop()
			sums, seen := map[string]int{}, map[string]bool{}
			for _, e := range events(t, f, c) {
				if !seen[e.ID] {
					sums[e.Code] += int(e.Count)
				}
				seen[e.ID] = true
			}
			arrived := sums["lag.high"] + sums["mqtt.unreachable"] + sums["mqtt.flapping"]
			reported := sent + strings.Count(log.String(), "trying again") + strings.Count(log.String(), "code=mqtt.flapping")
			s := c.Status()
			if arrived+sums["mqtt.dropped"] != reported || uint64(sums["mqtt.dropped"]) != s.DroppedEvents || s.Queued != 0 {
				fault = fmt.Sprintf("of %d occurrences came %v; Status %+v", reported, sums, s)
			}
		})
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

func TestAnUnconfirmedEventIsSentAgainUnderItsID(t *testing.T) {
	butTheFirst := func(n int) bool { return n > 1 } // which is "online"
	inBubble(t, first(1, behaviour{noAck: butTheFirst}), func(t *testing.T, f *fakeBroker, c *Client) {
		c.Event(contract.Event{Code: "lag.high"})
		stop := start(c)
		time.Sleep(time.Minute)
		stop()
		got := events(t, f, c)
		if len(got) != 3 || got[0].ID != got[1].ID || got[2].Code != "mqtt.unreachable" {
			t.Errorf("events %+v", got)
		}
	})
}

func TestABrokerThatDoesNotConfirmIsLeft(t *testing.T) {
	inBubble(t, first(1, behaviour{noAck: always}), func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		synctest.Wait()
		time.Sleep(confirmTimeout + 4*time.Second) // and the first retry
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
	inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		time.Sleep(time.Hour)
		stop()
		if len(f.dials) != 1 {
			t.Errorf("%d connections in an hour of silence", len(f.dials))
		}
	})
}

func TestABrokerThatFellSilentIsNoticed(t *testing.T) {
	tests := map[string]func(*Client){
		"its answers are missing":  func(*Client) {},
		"it takes no bytes either": func(c *Client) { c.Telemetry("door", contract.Telemetry{}) }, // the last that is read
	}
	for name, last := range tests {
		t.Run(name, func(t *testing.T) {
			inBubble(t, goodBroker, func(t *testing.T, f *fakeBroker, c *Client) {
				stop := start(c)
				synctest.Wait()
				close(f.deaf)
				last(c)
				time.Sleep(2 * (keepAlive + pingTimeout))
				s := c.Status()
				stop()
				if s.Err == nil || len(f.dials) < 2 {
					t.Errorf("Status %+v after %d connections", s, len(f.dials))
				}
			})
		})
	}
}

// Each connection is closed right after it came about, as when two agents have one id.
func TestFlappingIsSaid(t *testing.T) {
	inBubble(t, first(2*flapsAfter, behaviour{cutAfter: 2}), func(t *testing.T, f *fakeBroker, c *Client) {
		c.Event(contract.Event{Code: "agent.started"})
		stop := start(c)
		time.Sleep(10 * time.Minute)
		stop()
		var flaps []contract.Event
		for _, e := range events(t, f, c) {
			if e.Code == "mqtt.flapping" {
				flaps = append(flaps, e)
			}
		}
		if len(flaps) == 0 || !strings.Contains(flaps[0].Message, "use the id edge-agent-gate-7?") || flaps[0].Severity != contract.SeverityError {
			t.Errorf("events %+v", flaps)
		}
	})
}

func TestABrokerThatIsAwayIsNotFlapping(t *testing.T) {
	inBubble(t, func(n int) behaviour {
		if n%5 != 4 {
			return behaviour{refuse: errRefused}
		}
		return behaviour{cutAfter: 4} // after two pings, a minute
	}, func(t *testing.T, f *fakeBroker, c *Client) {
		stop := start(c)
		time.Sleep(24 * time.Hour)
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
		f := newFakeBroker(every(behaviour{cutAfter: 8})) // late enough for the events
		defer f.close()
		c := newTestClient(t, f)
		c.SetInfo(contract.Info{})
		c.SetState("door", contract.State{})
		var early, late int64
		connections := func() int {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.published = nil // or the broker would be what grows
			return len(f.dials)
		}
		stop := start(c)
		for late == 0 {
			time.Sleep(time.Minute)
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
