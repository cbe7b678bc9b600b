package mqtt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

// hands is an Executor made of a function. It counts what it did.
type hands struct {
	do func(ctx context.Context, c contract.Command) (any, error) // nil: succeeds at once

	mu   sync.Mutex
	done []contract.Command
}

func (h *hands) Execute(ctx context.Context, c contract.Command) (any, error) {
	h.mu.Lock()
	h.done = append(h.done, c)
	h.mu.Unlock()
	if h.do == nil {
		return contract.StreamData{Stream: "door", State: contract.Stopped}, nil
	}
	return h.do(ctx, c)
}

func (h *hands) times() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.done)
}

// box is an agent's client in a bubble, with somebody who sends it commands.
type box struct {
	t      *testing.T
	broker *fakeBroker
	client *Client
	hands  *hands
	log    *bytes.Buffer
	stop   func()
}

func newBox(t *testing.T, dir string, h *hands, change func(*Control)) *box {
	t.Helper()
	control := &Control{Enabled: true, Allow: contract.Verbs(), Executor: h, Clock: func() contract.Clock { return contract.ClockSynced }}
	if change != nil {
		change(control)
	}
	b := &box{t: t, broker: newFakeBroker(goodBroker), hands: h, log: &bytes.Buffer{}}
	c, err := New(Config{
		Broker: Broker{URL: "mqtt://localhost"}, AgentID: "gate-7", StateDir: dir, Control: control,
		Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	c.dial = b.broker.dial
	b.client = c
	b.stop = start(c)
	synctest.Wait()
	return b
}

// close stops the client and then its broker.
func (b *box) close() {
	b.stop()
	b.broker.close()
}

// order sends a command that is valid now.
func (b *box) order(verb, id, args string) {
	now := time.Now().UTC()
	payload := fmt.Sprintf(`{"id":%q,"issued_at":%q,"expires_at":%q,"args":%s}`,
		id, now.Format(time.RFC3339Nano), now.Add(time.Minute).Format(time.RFC3339Nano), args)
	b.broker.send(contracttest.CommandBase+verb, false, []byte(payload))
	synctest.Wait()
}

// answers are the responses to a verb so far, as status:code.
func (b *box) answers(verb string) string {
	var all []string
	for _, payload := range b.broker.received(contracttest.CommandBase + verb + "/response") {
		var r contract.Response
		if err := json.Unmarshal(payload, &r); err != nil {
			b.t.Fatal(err)
		}
		all = append(all, strings.TrimSuffix(r.ID+" "+string(r.Status)+" "+r.Code, " "))
	}
	return strings.Join(all, ", ")
}

func (b *box) events(code string) (found []contract.Event) {
	for _, e := range events(b.t, b.broker, b.client) {
		if e.Code == code {
			found = append(found, e)
		}
	}
	return found
}

func TestACommandIsCarriedOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, "", &hands{}, nil)
		defer b.close()
		b.order("stop", "one", `{"stream":"door"}`)
		if got := b.answers("stop"); got != "one in_progress, one succeeded" {
			t.Errorf("answers: %s", got)
		}
		if a, ok := b.hands.done[0].Args.(*contract.StreamArgs); !ok || a.Stream != "door" {
			t.Errorf("done: %+v", b.hands.done)
		}
		last := b.broker.received(contracttest.CommandBase + "stop/response")[1]
		if !bytes.Contains(last, []byte(`"data":{"stream":"door","state":"stopped"}`)) {
			t.Errorf("response %s", last)
		}
		if got := b.events("control.accepted"); len(got) != 1 || got[0].Detail["verb"] != "stop" || got[0].Detail["id"] != "one" {
			t.Errorf("events %+v", got)
		}
		if log := b.log.String(); !strings.Contains(log, "command accepted") || !strings.Contains(log, "id=one") || !strings.Contains(log, "door") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// Each rule of refusal, whole: a response, an event, a line in the log, and nothing done.
func TestRefusalsAreToldAndNothingIsDone(t *testing.T) {
	const door = `{"stream":"door"}`
	tests := map[string]struct {
		change func(*Control)
		send   func(b *box)
		answer string // "" means none
	}{
		"control.retained": {send: func(b *box) { b.broker.send(contracttest.CommandBase+"stop", true, []byte(contracttest.Order(door))) }, answer: " rejected control.retained"},
		"control.expired":  {send: func(b *box) { b.sendAt(-2*time.Minute, "stop", door) }, answer: "a rejected control.expired"},
		"control.future":   {send: func(b *box) { b.sendAt(2*time.Minute, "stop", door) }, answer: "a rejected control.future"},
		"control.oversize": {
			send: func(b *box) {
				b.broker.send(contracttest.CommandBase+"stop", false, make([]byte, contract.MaxCommand+1))
			},
			answer: " rejected control.oversize",
		},
		"control.unknown":     {send: func(b *box) { b.sendAt(0, "shell", `{}`) }},
		"control.malformed":   {send: func(b *box) { b.sendAt(0, "stop", `{"stream":7}`) }, answer: "a rejected control.malformed"},
		"control.not_allowed": {change: func(c *Control) { c.Allow = []contract.Verb{contract.VerbStatus} }, send: func(b *box) { b.sendAt(0, "stop", door) }, answer: "a rejected control.not_allowed"},
		"control.clock":       {change: func(c *Control) { c.Clock = nil }, send: func(b *box) { b.sendAt(0, "stop", door) }, answer: "a rejected control.clock"},
		"control.signature": {
			change: func(c *Control) {
				key, _ := secret.ParsePublicKey(contracttest.PublicKey)
				c.PublicKeys = append(c.PublicKeys, key)
			},
			send: func(b *box) { b.sendAt(0, "stop", door) }, answer: "a rejected control.signature",
		},
	}
	for code, test := range tests {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t, "", &hands{}, test.change)
				defer b.close()
				test.send(b)
				synctest.Wait()
				if got := b.answers("stop"); got != test.answer {
					t.Errorf("answers: %s", got)
				}
				if code == "control.unknown" && b.answers("shell") != "a rejected control.unknown" {
					t.Errorf("answers: %s", b.answers("shell"))
				}
				if got := b.events("control.rejected"); len(got) != 1 || got[0].Detail["code"] != code {
					t.Errorf("events: %+v", got)
				}
				if log := b.log.String(); !strings.Contains(log, `msg="command rejected" code=`+code) {
					t.Errorf("log:\n%s", log)
				}
				if b.hands.times() != 0 {
					t.Errorf("done: %+v", b.hands.done)
				}
			})
		})
	}
}

// sendAt sends command "a" as if issued that much from now.
func (b *box) sendAt(from time.Duration, verb, args string) {
	issued := time.Now().Add(from).UTC()
	text := contracttest.Order(args)
	text = strings.Replace(text, "2026-03-01T12:00:00.000Z", issued.Format(time.RFC3339Nano), 1)
	text = strings.Replace(text, "2026-03-01T12:01:00.000Z", issued.Add(time.Minute).Format(time.RFC3339Nano), 1)
	b.broker.send(contracttest.CommandBase+verb, false, []byte(text))
	synctest.Wait()
}

func TestTooManyCommandsAreRejectedUntilTimeHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, "", &hands{}, nil)
		defer b.close()
		for i := range contract.CommandBurst + 1 {
			b.order("status", fmt.Sprint("c", i), `{}`)
		}
		if b.hands.times() != contract.CommandBurst || !strings.HasSuffix(b.answers("status"), "c10 rejected control.rate") {
			t.Errorf("%d done, answers: %s", b.hands.times(), b.answers("status"))
		}
		time.Sleep(contract.CommandInterval) // of the bubble's time
		b.order("status", "later", `{}`)
		if b.hands.times() != contract.CommandBurst+1 {
			t.Errorf("%d done", b.hands.times())
		}
	})
}

func TestARepeatedCommandIsAnsweredAndNotDoneAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := &hands{}
		b := newBox(t, dir, h, nil)
		b.order("stop", "one", `{"stream":"door"}`)
		b.order("stop", "one", `{"stream":"door"}`)
		if got := b.answers("stop"); got != "one in_progress, one succeeded, one succeeded" {
			t.Errorf("answers: %s", got)
		}
		b.order("start", "one", `{"stream":"door"}`)
		if got := b.answers("start"); got != "one rejected control.malformed" {
			t.Errorf("the id for another verb: %s", got)
		}
		b.close()

		b = newBox(t, dir, h, nil) // the agent was restarted
		b.order("stop", "one", `{"stream":"door"}`)
		time.Sleep(2 * time.Minute) // of the bubble's time
		b.order("stop", "two", `{"stream":"door"}`)
		b.sendAt(-2*time.Minute, "stop", `{"stream":"door"}`)
		if got := b.answers("stop"); got != "one succeeded, two in_progress, two succeeded, a rejected control.expired" {
			t.Errorf("answers after a restart: %s", got)
		}
		b.close()
		if h.times() != 2 {
			t.Errorf("done %d times", h.times())
		}
	})
}

// Who is refused is not told what came of another's command, though the id is the same.
func TestARefusedCommandWithAKnownID(t *testing.T) {
	const door = `{"stream":"door"}`
	key, err := secret.ParsePublicKey(contracttest.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	again := func(b *box) { b.sendAt(0, "stop", door) }
	for code, test := range map[string]struct {
		change func(*contract.Rules)
		send   func(b *box)
	}{
		"control.signature":   {change: func(r *contract.Rules) { r.Keys = append(r.Keys, key) }, send: again},
		"control.disabled":    {change: func(r *contract.Rules) { r.Enabled = false }, send: again},
		"control.not_allowed": {change: func(r *contract.Rules) { r.Allowed = nil }, send: again},
		"control.future":      {send: func(b *box) { b.sendAt(2*time.Minute, "stop", door) }},
		"control.malformed":   {send: func(b *box) { b.sendAt(0, "stop", `{"stream":7}`) }},
	} {
		t.Run(code, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t, "", &hands{}, nil)
				defer b.close()
				b.order("stop", "a", door)
				if test.change != nil {
					test.change(&b.client.control.rules)
				}
				test.send(b)
				if got := b.answers("stop"); got != "a in_progress, a succeeded, a rejected "+code || b.hands.times() != 1 {
					t.Errorf("answers: %s, done %d times", got, b.hands.times())
				}
			})
		})
	}
}

// A command whose record cannot be written is carried out all the same, and that is reported: a restart would forget it.
func TestARecordThatCannotBeWrittenIsReported(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, dir, &hands{}, nil)
		defer b.close()
		b.client.Event(contract.Event{Code: "lag.high"})
		synctest.Wait() // it is copied: for a tenth of a second nothing else touches the file
		if err := os.Remove(filepath.Join(dir, storeName)); err != nil {
			t.Fatal(err)
		}
		b.order("stop", "one", `{"stream":"door"}`)
		time.Sleep(repeatWindow) // of the bubble's time
		synctest.Wait()
		if got := b.answers("stop"); got != "one in_progress, one succeeded" {
			t.Errorf("answers: %s", got)
		}
		unwritten := int64(0)
		for _, e := range b.events("mqtt.storage") {
			if strings.Contains(e.Message, "a command cannot be written") {
				unwritten += e.Count
			}
		}
		if unwritten != 2 { // when it was accepted and when it was done
			t.Errorf("%d are reported: %+v", unwritten, b.events("mqtt.storage"))
		}
	})
}

// What reload and restart do may end the agent: it must not do it again when it is back.
func TestACommandThatEndsTheAgentIsNotRepeated(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var left string
		h := &hands{do: func(context.Context, contract.Command) (any, error) {
			left = copyOf(t, filepath.Join(dir, storeName)) // as SIGKILL would leave it
			return nil, nil
		}}
		b := newBox(t, dir, h, nil)
		b.order("reload", "one", `{}`)
		b.close()

		b = newBox(t, left, &hands{}, nil)
		if got := b.answers("reload"); got != "one failed control.interrupted" {
			t.Errorf("answers: %s", got)
		}
		b.order("reload", "one", `{}`)
		if b.hands.times() != 0 || b.answers("reload") != "one failed control.interrupted, one failed control.interrupted" {
			t.Errorf("done %d times, answers: %s", b.hands.times(), b.answers("reload"))
		}
		b.close()
	})
}

// copyOf puts a copy of a store into a folder of its own.
func copyOf(t *testing.T, path string) (dir string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, storeName), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestHowACommandCanFail(t *testing.T) {
	tests := map[string]struct {
		do   func(ctx context.Context, c contract.Command) (any, error)
		code string
	}{
		"with a code": {func(context.Context, contract.Command) (any, error) {
			return nil, &contract.Error{Code: "display.snapshot", Message: "no picture"}
		}, "display.snapshot"},
		"without one":        {func(context.Context, contract.Command) (any, error) { return nil, errors.New("no") }, "control.failed"},
		"too slow":           {func(ctx context.Context, _ contract.Command) (any, error) { <-ctx.Done(); return nil, ctx.Err() }, "control.timeout"},
		"with too much data": {func(context.Context, contract.Command) (any, error) { return strings.Repeat("x", maxData), nil }, "control.too_large"},
		"with strange data":  {func(context.Context, contract.Command) (any, error) { return func() {}, nil }, "internal"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t, "", &hands{do: test.do}, nil)
				defer b.close()
				b.order("snapshot", "one", `{"stream":"door"}`)
				time.Sleep(30 * time.Second) // of the bubble's time
				synctest.Wait()
				if got := b.answers("snapshot"); got != "one in_progress, one failed "+test.code {
					t.Errorf("answers: %s", got)
				}
			})
		})
	}
}

func TestStoppingCutsACommandOff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := &hands{do: func(ctx context.Context, _ contract.Command) (any, error) { <-ctx.Done(); return nil, ctx.Err() }}
		b := newBox(t, dir, h, nil)
		b.order("probe", "one", `{}`)
		b.close()
		if got := b.answers("probe"); got != "one in_progress, one failed control.interrupted" {
			t.Errorf("answers before the end: %s", got)
		}
		b = newBox(t, dir, h, nil)
		b.order("probe", "one", `{}`)
		if got := b.answers("probe"); got != "one failed control.interrupted" || h.times() != 1 {
			t.Errorf("done %d times, answers: %s", h.times(), got)
		}
		b.close()
	})
}

func TestCommandsThatComeWhileOneTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		h := &hands{do: func(context.Context, contract.Command) (any, error) { <-goOn; return nil, nil }}
		b := newBox(t, "", h, nil)
		defer b.broker.close()
		for i := range maxCommands + 5 { // one is being done, maxCommands wait
			b.order("status", fmt.Sprint("c", i), `{}`)
		}
		close(goOn)
		synctest.Wait()
		b.stop() // before the second report is due
		rejected := int64(0)
		for _, e := range b.events("control.rejected") {
			rejected += e.Count
		}
		// All but those within the rate, whether there was room for them or not.
		if rejected != maxCommands+5-contract.CommandBurst || strings.Count(b.log.String(), "commands came too fast") != 2 {
			t.Errorf("%d are counted as rejected, log:\n%s", rejected, b.log)
		}
	})
}

// Somebody who sends what is rejected, or the same again, as fast as it goes, fills neither the log nor the broker, whatever
// names it uses. All of it is counted.
func TestAFloodOfCommandsIsCounted(t *testing.T) {
	const sent = 2000
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, "", &hands{}, nil)
		defer b.broker.close()
		b.order("status", "one", `{}`)
		answered := len(b.broker.received(contracttest.CommandBase + "status/response"))
		before := b.log.Len()
		long := strings.Repeat("x", 60_000)
		for i := range sent {
			switch i % 4 {
			case 0:
				b.order("status", "one", `{}`)
			case 1:
				b.order(long, "two", `{}`)
			case 2:
				b.order("status", "three", fmt.Sprintf(`{"%s":1}`, long[:10_000]))
			case 3:
				b.broker.send(contracttest.CommandBase+"stop", false, []byte(long[:15_000]))
				synctest.Wait()
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(2 * unansweredEvery)
		const answers = contract.CommandBurst + sent/1000 + 1
		got := len(b.broker.received(contracttest.CommandBase+"status/response")) - answered + len(b.broker.received(contracttest.CommandBase+"stop/response"))
		if got > answers {
			t.Errorf("%d commands got %d responses", sent, got)
		}
		b.stop()
		if log := b.log.Len() - before; log > 40*1000 {
			t.Errorf("%d commands wrote %d bytes to the log", sent, log)
		}
		counted := int64(0)
		for _, e := range b.events("control.rejected") {
			counted += e.Count
			if len(e.Message) > maxVerb+300+50 {
				t.Errorf("an event of %d bytes", len(e.Message))
			}
		}
		const repeated = answers // at most: those of them that were answered as before are no rejections
		if counted < sent-repeated || counted > sent {
			t.Errorf("%d of %d are counted", counted, sent)
		}
	})
}

// Data of more than 16 KiB is sent once and not kept; the id is.
func TestLargeDataIsNotKept(t *testing.T) {
	for size, kept := range map[int]bool{16 << 10: true, 16<<10 + 1: false} {
		synctest.Test(t, func(t *testing.T) {
			h := &hands{do: func(context.Context, contract.Command) (any, error) { return strings.Repeat("x", size-len(`""`)), nil }}
			b := newBox(t, "", h, nil)
			defer b.close()
			b.order("status", "one", `{}`)
			b.order("status", "one", `{}`)
			got := b.broker.received(contracttest.CommandBase + "status/response")
			if h.times() != 1 || len(got) != 3 || len(got[1]) < size {
				t.Fatalf("done %d times, %d answers", h.times(), len(got))
			}
			same, said := bytes.Equal(got[1], got[2]), bytes.Contains(got[2], []byte("too large to keep"))
			if same != kept || said == kept || !kept && len(got[2]) > 300 {
				t.Errorf("%d bytes: answered the same: %v, said to be too large: %v, with %d bytes", size, same, said, len(got[2]))
			}
		})
	}
}

// The newest 1,000 commands are remembered, in the memory and in the file, also after a restart.
func TestOldRecordsGiveWay(t *testing.T) {
	const most, more = 1000, 3
	dir := t.TempDir()
	id := func(i int) string { return fmt.Sprint("c", 9999-i) } // the file has them in another order
	for _, begin := range []int{0, most + more} {
		s, l, held, _, err := openStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		s.db.NoSync()
		if len(held.records) != min(begin, most) {
			t.Errorf("the file has %d records", len(held.records))
		}
		r := newRecords(s, held.records)
		end := begin + most + more
		if begin > 0 {
			end = begin + 1
		}
		for i := begin; i < end; i++ {
			at := contracttest.T0.Add(time.Duration(i) * time.Second)
			if err := r.put(record{At: at, Verb: contract.VerbStop, Response: contract.Response{ID: id(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range end {
			if _, known := r.find(id(i)); known != (i >= end-most) {
				t.Errorf("after %d commands command %d is known: %v", end, i, known)
			}
		}
		if len(r.byID) != most || len(r.order) != most {
			t.Errorf("%d records are kept in memory, %d in order", len(r.byID), len(r.order))
		}
		l.close()
		s.db.Close()
	}
}

func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, "", &hands{}, nil)
		if err := b.client.Snapshot("door", make([]byte, maxSnapshot+1)); err == nil {
			t.Error("a picture that is too large is taken")
		}
		if err := b.client.Snapshot("do/or", nil); err == nil {
			t.Error("a name that is none is taken")
		}
		if err := b.client.Snapshot("door", make([]byte, maxSnapshot)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if got := b.broker.received(b.client.Topics().Snapshot("door")); len(got) != 1 || len(got[0]) != maxSnapshot {
			t.Errorf("%d pictures", len(got))
		}
		b.close()
		if err := b.client.Snapshot("door", nil); err == nil {
			t.Error("a picture is taken without a connection")
		}
	})
}

// What an agent with disabled commands is sent on cmd/ costs it nothing: it does not subscribe.
func TestDisabledCommandsAreNotSubscribedTo(t *testing.T) {
	for _, enabled := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b := newBox(t, "", &hands{}, func(c *Control) { c.Enabled = enabled })
			defer b.close()
			b.broker.mu.Lock()
			defer b.broker.mu.Unlock()
			if got := slices.Contains(b.broker.filters, contracttest.CommandBase+"+"); got != enabled {
				t.Errorf("enabled %v: subscribed to %q", enabled, b.broker.filters)
			}
		})
	}
}

func TestWithoutCommandsTheConnectionIsKept(t *testing.T) {
	inBubble(t, func(int) behaviour { return behaviour{noTopic: true} }, func(t *testing.T, f *fakeBroker, c *Client) {
		c.control = newControl(Control{Enabled: true}, newRecords(nil, nil))
		stop := start(c)
		synctest.Wait()
		s, got := c.Status(), events(t, f, c)
		stop()
		if !s.Connected || len(got) != 1 || got[0].Code != "mqtt.refused" || !strings.Contains(got[0].Message, "cmd/+") {
			t.Errorf("Status %+v, events %+v", s, got)
		}
	})
}
