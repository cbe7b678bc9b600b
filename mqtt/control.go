package mqtt

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Control says which commands are obeyed, and who carries them out.
type Control struct {
	Enabled    bool            // false: commands are not subscribed to
	Allow      []contract.Verb // others are rejected
	PublicKeys []ed25519.PublicKey
	Executor   contract.Executor
	// Clock tells whether this box's clock is right: unless it is, nothing disruptive is
	// done. nil means ClockUnknown.
	Clock func() contract.Clock
}

const (
	// maxCommands bounds the commands that wait; more than that are dropped and counted.
	maxCommands = 32
	// maxData bounds the data of a response, in bytes.
	maxData = 100 << 10
	// maxSnapshot bounds a snapshot, in bytes; with its topic it stays below the 128 KiB
	// of AWS IoT Core.
	maxSnapshot = 127 << 10
	// maxVerb bounds what is kept of a topic's last level, in bytes: verbs are shorter.
	maxVerb = 40
	// unansweredEvery is the least time between two reports of commands that get no response.
	unansweredEvery = 10 * time.Second
)

// control turns what arrives on cmd/+ into commands and responses:
//
//	receive ─▶ queue ─▶ admit ─▶ known id? ─▶ rate ─▶ record ─▶ Execute ─▶ record
//	                      │          │         │         │                   │
//	                      ▼          ▼         ▼         ▼                   ▼
//	                   rejected   as then   rejected  in_progress   succeeded, failed
//
// Beyond a rate, what is not carried out gets no response, no line in the log and no event of its own, but is counted.
type control struct {
	rules    contract.Rules
	executor contract.Executor
	clock    func() contract.Clock
	queue    chan contract.Received
	records  *records
	rate     contract.Bucket // of those that are carried out
	refusals contract.Bucket // of those that are rejected, or answered as before

	missed     atomic.Int64 // commands for which the queue had no room
	unanswered int64        // and those beyond the rate of refusals
	reported   time.Time    // when the last ones were
}

func newControl(config Control, r *records) *control {
	allowed := make(map[contract.Verb]bool)
	for _, v := range config.Allow {
		allowed[v] = true
	}
	clock := config.Clock
	if clock == nil {
		clock = func() contract.Clock { return contract.ClockUnknown }
	}
	return &control{
		rules:    contract.Rules{Enabled: config.Enabled, Allowed: allowed, Keys: config.PublicKeys},
		executor: config.Executor, clock: clock,
		queue: make(chan contract.Received, maxCommands), records: r,
	}
}

// receive runs on paho's goroutine and must not block.
func (k *control) receive(_ paho.Client, m paho.Message) {
	r := contract.Received{
		Topic: m.Topic(), Verb: contract.Cut(m.Topic()[strings.LastIndexByte(m.Topic(), '/')+1:], maxVerb),
		Retained: m.Retained(), Size: len(m.Payload()),
	}
	if r.Size <= contract.MaxCommand {
		r.Payload = m.Payload()
	}
	select {
	case k.queue <- r:
	default:
		k.missed.Add(1)
	}
}

// obey carries out commands, and desired configurations, until ctx ends.
func (c *Client) obey(ctx context.Context) {
	var commands chan contract.Received
	var desired chan Desired
	if c.control != nil {
		commands = c.control.queue
		c.finishCut()
	}
	if c.shadow != nil {
		desired = c.shadow.desired
	}
	for {
		select {
		case m := <-commands:
			c.handle(ctx, m)
		case <-c.unansweredDue():
			c.reportUnanswered()
		case d := <-desired:
			c.config.Shadow.Desire(ctx, d)
		case <-ctx.Done():
			c.reportUnanswered()
			return
		}
	}
}

// finishCut answers the commands that the end of an earlier run has cut off.
func (c *Client) finishCut() {
	for _, cut := range c.control.records.unfinished() {
		cut.Response.Status, cut.Response.Code = contract.StatusFailed, "control.interrupted"
		cut.Response.Reason = "the agent ended while it carried this out"
		c.finish(cut)
	}
}

// handle takes one command from its arrival to its last response.
func (c *Client) handle(ctx context.Context, m contract.Received) {
	k, now := c.control, time.Now()
	command, no := contract.Admit(k.rules, m, now, k.clock())
	if no == nil || no.Code == "control.expired" {
		if rec, known := k.records.find(command.ID); known {
			if k.answers(now) {
				c.repeat(command, rec)
			}
			return
		}
	}
	if no == nil && !k.rate.Take(now) {
		no = contract.Refuse("control.rate", "more than %d commands at once, or one every %s after that", contract.CommandBurst, contract.CommandInterval)
	}
	if no != nil {
		if k.answers(now) {
			c.reject(command, no)
		}
		return
	}
	c.carryOut(ctx, command, now)
}

// answers says whether a command that is not carried out gets a response. If not, it is counted.
func (k *control) answers(now time.Time) bool {
	if k.refusals.Take(now) {
		return true
	}
	k.unanswered++
	return false
}

// repeat answers a command whose id is known as it was answered then.
func (c *Client) repeat(command contract.Command, rec record) {
	if rec.Verb != command.Verb {
		c.reject(command, contract.Refuse("control.malformed", "its id has already been used, for %s", rec.Verb))
		return
	}
	c.log.Info("command repeated, answered as before and not carried out again", "verb", command.Verb, "id", command.ID, "status", rec.Response.Status)
	c.respond(rec)
}

func (c *Client) reject(command contract.Command, no *contract.Refusal) {
	c.log.Warn("command rejected", "code", no.Code, "verb", command.Verb, "id", command.ID, "reason", no.Reason)
	c.Event(contract.Event{
		Code: "control.rejected", Message: fmt.Sprintf("%s was rejected: %s", command.Verb, no.Reason),
		Detail: map[string]any{"verb": command.Verb, "id": command.ID, "code": no.Code, "reason": no.Reason},
	})
	if contract.ValidName(strings.ReplaceAll(string(command.Verb), "_", "-")) == nil { // else it would make a strange topic
		c.respond(record{Verb: command.Verb, Response: contract.Response{ID: command.ID, Status: contract.StatusRejected, Code: no.Code, Reason: no.Reason}})
	}
}

// unansweredDue fires when there are commands to report that got no response.
func (c *Client) unansweredDue() <-chan time.Time {
	if c.control == nil || c.control.unanswered+c.control.missed.Load() == 0 {
		return nil
	}
	return time.After(time.Until(c.control.reported.Add(unansweredEvery)))
}

// reportUnanswered tells of commands that came faster than they are answered.
func (c *Client) reportUnanswered() {
	if c.control == nil {
		return
	}
	n := c.control.unanswered + c.control.missed.Swap(0)
	c.control.unanswered, c.control.reported = 0, time.Now()
	if n == 0 {
		return
	}
	reason := fmt.Sprintf("%d commands came too fast after others that were not carried out, or while %d were waiting; they get no response", n, maxCommands)
	c.log.Warn("commands dropped", "code", "control.busy", "reason", reason)
	c.events(contract.Event{Code: "control.rejected", Message: reason, Detail: map[string]any{"code": "control.busy", "count": n}}, n)
}

// carryOut executes a command. It is recorded before it acts: should it end the
// agent, it will not do so again.
func (c *Client) carryOut(ctx context.Context, command contract.Command, now time.Time) {
	rec := record{At: now, Verb: command.Verb, Response: contract.Response{ID: command.ID, Status: contract.StatusInProgress}}
	c.remember(rec)
	args, _ := json.Marshal(command.Args) // they came from JSON
	c.log.Info("command accepted", "code", "control.accepted", "verb", command.Verb, "id", command.ID, "args", string(args))
	c.Event(contract.Event{
		Code: "control.accepted", Message: string(command.Verb) + " was accepted",
		Detail: map[string]any{"verb": command.Verb, "id": command.ID, "args": json.RawMessage(args)},
	})
	c.respond(rec)

	executing, cancel := context.WithTimeout(ctx, command.Verb.Deadline())
	defer cancel()
	data, err := c.execute(executing, command)
	if err != nil && executing.Err() != nil {
		err = cutOff(ctx, command, err)
	}
	rec.Response = outcome(command.ID, data, err)
	c.noteOutcome(command, rec.Response, time.Since(now))
	c.finish(rec)
}

func (c *Client) noteOutcome(command contract.Command, r contract.Response, took time.Duration) {
	log := c.log.With("verb", command.Verb, "id", command.ID, "took", took.Round(time.Millisecond))
	if r.Status == contract.StatusSucceeded {
		log.Info("command succeeded")
		return
	}
	log.Warn("command failed", "code", r.Code, "reason", r.Reason)
}

func (c *Client) execute(ctx context.Context, command contract.Command) (any, error) {
	if a, ok := command.Args.(*contract.ExplainArgs); ok {
		entry, _ := contract.Lookup(a.Code) // checked with the arguments
		return contract.ExplainData(entry), nil
	}
	return c.control.executor.Execute(ctx, command)
}

// cutOff says why the context of an execution ended; whole is the context around it.
func cutOff(whole context.Context, command contract.Command, err error) error {
	if whole.Err() != nil {
		return &contract.Error{Code: "control.interrupted", Message: "the agent ended while it carried this out", Err: err}
	}
	return &contract.Error{Code: "control.timeout", Message: fmt.Sprintf("%s took longer than %s", command.Verb, command.Verb.Deadline()), Err: err}
}

// outcome is the last response to a command that was carried out.
func outcome(id string, data any, err error) contract.Response {
	r := contract.Response{ID: id, Status: contract.StatusSucceeded}
	if data != nil {
		text, invalid := json.Marshal(data)
		switch {
		case invalid != nil:
			err = &contract.Error{Code: "internal", Message: "the data is not fit for JSON", Err: invalid}
		case len(text) > maxData:
			err = &contract.Error{Code: "control.too_large", Message: fmt.Sprintf("the data has %d bytes, at most %d can be sent", len(text), maxData)}
		default:
			r.Data = text
		}
	}
	if err == nil {
		return r
	}
	r.Status, r.Code, r.Reason = contract.StatusFailed, "control.failed", err.Error()
	if coded := (*contract.Error)(nil); errors.As(err, &coded) {
		r.Code = coded.Code
	}
	return r
}

func (c *Client) finish(rec record) {
	c.remember(rec)
	c.respond(rec)
}

func (c *Client) remember(rec record) {
	if err := c.control.records.put(rec); err != nil {
		c.noteStorage("a command cannot be written to the disk and would be forgotten by a restart", err)
	}
}

func (c *Client) respond(rec record) {
	topic := c.topics.Response(rec.Verb)
	if text, ok := c.marshal(topic, rec.Response); ok {
		c.pending.respond(message{topic: topic, qos: 1, payload: text})
		nudge(c.wake)
	}
}

// Snapshot publishes the picture of a stream. It is sent at once or never: the error, of
// code control.too_large or mqtt.unreachable, says why it will not be.
func (c *Client) Snapshot(stream string, jpeg []byte) error {
	if err := contract.ValidName(stream); err != nil {
		return &contract.Error{Code: "internal", Message: "no snapshot of a stream that cannot be named in a topic", Err: err}
	}
	if len(jpeg) > maxSnapshot {
		return &contract.Error{Code: "control.too_large", Message: fmt.Sprintf("the snapshot has %d bytes, at most %d can be sent", len(jpeg), maxSnapshot)}
	}
	if !c.pending.addSnapshot(message{topic: c.topics.Snapshot(stream), payload: jpeg}) {
		return &contract.Error{Code: "mqtt.unreachable", Message: "there is no connection to send the snapshot on, or others are still waiting"}
	}
	nudge(c.wake)
	return nil
}
