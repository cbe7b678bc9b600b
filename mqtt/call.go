package mqtt

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/uuid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Caller sends commands to one agent and waits for its responses.
type Caller struct {
	Broker   Broker
	Prefix   string                  // "" means DefaultPrefix
	Agent    string                  // the agent's id
	Key      ed25519.PrivateKey      // nil: commands are not signed
	Progress func(contract.Response) // called when the agent has accepted; may be nil
	Lost     func(error)             // called when the connection broke and another is going to be opened; may be nil
}

const (
	// callLifetime is how long an agent may accept a command.
	callLifetime = 1 * time.Minute
	// callMargin is what Call waits beyond the deadline of the verb.
	callMargin = 15 * time.Second
	// maxAnswers bounds the messages that wait for Call; of more the newest go.
	maxAnswers = 16
	// maxAnswer bounds the payload of a message of an agent, in bytes: the largest are snapshots (maxSnapshot) and
	// responses (maxData).
	maxAnswer = 256 << 10
)

// Call sends one command and returns the last response to it, whatever its status. The
// args are those of the verb, such as SeekArgs, or nil. Without a response the error is an
// *Error: control.offline, control.no_answer, or one of the connection. It uses a
// connection of its own and waits no longer than ctx allows, nor than the verb may take.
//
// When the connection breaks, another one is opened and the same command sent again: an agent that has had
// it responds as before and does not carry it out twice.
func (c Caller) Call(ctx context.Context, v contract.Verb, args any) (contract.Response, error) {
	k, err := c.newCall(ctx, v, args)
	if err != nil {
		return contract.Response{}, err
	}
	return k.run(ctx)
}

// Snapshot asks for the picture of a stream, a JPEG. It is nil unless the response
// says succeeded.
func (c Caller) Snapshot(ctx context.Context, stream string) (jpeg []byte, r contract.Response, err error) {
	k, err := c.newCall(ctx, contract.VerbSnapshot, contract.SnapshotArgs{Stream: stream})
	if err != nil {
		return nil, contract.Response{}, err
	}
	k.filters = append(k.filters, k.topics.Snapshot(stream))
	r, err = k.run(ctx)
	if err != nil || r.Status != contract.StatusSucceeded {
		return nil, r, err
	}
	var data contract.SnapshotData
	if err := json.Unmarshal(r.Data, &data); err != nil {
		return nil, r, &contract.Error{Code: "control.no_answer", Message: "the response to snapshot makes no sense", Err: err}
	}
	i := slices.IndexFunc(k.pictures, func(p []byte) bool { return sum(p) == data.SHA256 })
	if i < 0 {
		return nil, r, &contract.Error{Code: "control.no_answer", Message: "the agent sent its picture, but the broker did not bring it"}
	}
	return k.pictures[i], r, nil
}

func sum(b []byte) string {
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:])
}

// call is one command on its way.
type call struct {
	Caller
	verb    contract.Verb
	id      string
	topics  contract.Topics
	payload []byte
	filters []string // of what the agent will answer
	answers chan Message

	connected bool // it was, at least once
	lost      error
	accepted  bool
	pictures  [][]byte // what came on the snapshot topic
}

// newCall makes the command, which is valid until nobody waits for it any more.
func (c Caller) newCall(ctx context.Context, v contract.Verb, args any) (*call, error) {
	topics, err := contract.NewTopics(cmp.Or(c.Prefix, contract.DefaultPrefix), c.Agent)
	if err != nil {
		return nil, err
	}
	if !v.Known() {
		return nil, &contract.Error{Code: "control.unknown", Message: fmt.Sprintf("there is no verb %q", v)}
	}
	now, id := time.Now(), uuid.Must(uuid.NewV7()).String()
	o := contract.Order{Schema: new(contract.Schema), ID: id, IssuedAt: contract.Time{Time: now}, ExpiresAt: contract.Time{Time: now.Add(callLifetime)}}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(o.ExpiresAt.Time) {
		o.ExpiresAt = contract.Time{Time: deadline}
	}
	payload, err := c.encode(o, topics.Command(v), args)
	return &call{
		Caller: c, verb: v, id: id, topics: topics, payload: payload,
		filters: []string{topics.Response(v), topics.Availability(), topics.Info()}, answers: make(chan Message, maxAnswers),
	}, err
}

// encode makes the payload of a command and, with a key, signs it.
func (c Caller) encode(o contract.Order, topic string, args any) (payload []byte, err error) {
	if args != nil {
		if o.Args, err = json.Marshal(args); err != nil {
			return nil, &contract.Error{Code: "control.malformed", Message: "the arguments are not fit for JSON", Err: err}
		}
	}
	if payload, err = json.Marshal(o); err != nil {
		return nil, &contract.Error{Code: "control.malformed", Message: "the arguments are not JSON", Err: err}
	}
	if c.Key == nil {
		return payload, nil
	}
	if payload, err = contract.Sign(c.Key, topic, payload); err != nil {
		return nil, &contract.Error{Code: "control.signature", Message: "the command could not be signed", Err: err}
	}
	return payload, nil
}

// run goes on over broken connections until the last response. A first one that does not come about
// is an error at once.
func (k *call) run(ctx context.Context) (contract.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, callLifetime+k.verb.Deadline()+callMargin)
	defer cancel()
	retry := newBackOff()
	for {
		r, err := k.once(ctx)
		switch {
		case err == nil:
			return r, nil
		case ctx.Err() != nil && !isBroken(err):
			return contract.Response{}, k.late(ctx)
		case !k.connected || !isBroken(err):
			return contract.Response{}, err
		}
		k.lost = err
		if k.Lost != nil {
			k.Lost(err)
		}
		select {
		case <-time.After(retry.NextBackOff()):
		case <-ctx.Done():
			return contract.Response{}, k.late(ctx)
		}
	}
}

// isBroken tells that the connection broke, or that there is none because the broker is just starting again. One
// that refuses us would do so again.
func isBroken(err error) bool {
	var coded *contract.Error
	return errors.As(err, &coded) && (coded.Code == "mqtt.unreachable" || coded.Code == "mqtt.tls")
}

// once sends the command on one connection and waits for its last response.
func (k *call) once(ctx context.Context) (contract.Response, error) {
	l, err := openLink(ctx, k.Broker, (&net.Dialer{}).DialContext, cmp.Or(k.Broker.ClientID, "call-"+k.id), nil)
	if err != nil {
		return contract.Response{}, err
	}
	defer l.close(true)
	k.connected = true
	for _, filter := range k.filters {
		if err := l.subscribe(ctx, filter, maxAnswer, k.receive); err != nil {
			return contract.Response{}, err
		}
	}
	if err := k.publish(ctx, l); err != nil {
		return contract.Response{}, err
	}
	for {
		select {
		case m := <-k.answers:
			if r, done, err := k.take(ctx, l, m); done || err != nil {
				return r, err
			}
		case err := <-l.lost:
			return contract.Response{}, l.breaks(err)
		case <-ctx.Done():
			return contract.Response{}, ctx.Err()
		}
	}
}

// receive runs on paho's goroutine and must not block.
func (k *call) receive(_ paho.Client, m paho.Message) {
	select {
	case k.answers <- Message{Topic: m.Topic(), Payload: m.Payload(), Retained: m.Retained()}:
	default:
	}
}

func (k *call) publish(ctx context.Context, l *link) error {
	if _, err := l.send(message{topic: k.topics.Command(k.verb), qos: 1, payload: k.payload}, func() {}); err != nil {
		return err
	}
	return l.confirm(ctx, nil)
}

// take looks at one message; done means that r is the last response.
func (k *call) take(ctx context.Context, l *link, m Message) (r contract.Response, done bool, err error) {
	switch m.Topic {
	case k.topics.Availability():
		switch online := string(m.Payload) == contract.Online; {
		case online && !m.Retained: // it has just connected, and so may have missed the command
			return r, false, k.publish(ctx, l)
		case !online && !k.accepted && k.lost == nil: // later it may have lost the broker as we have
			return r, false, &contract.Error{Code: "control.offline", Message: "the agent " + k.Agent + " is offline"}
		}
	case k.topics.Info():
		if k.disabled(m.Payload) {
			return r, false, &contract.Error{Code: "control.disabled", Message: "the agent " + k.Agent + " takes no commands: its [control] enabled is false"}
		}
	case k.topics.Response(k.verb):
		r, ours := k.read(m)
		if !ours || r.Status != contract.StatusInProgress {
			return r, ours, nil
		}
		if !k.accepted && k.Progress != nil {
			k.Progress(r)
		}
		k.accepted = true
	default:
		k.pictures = append(k.pictures[max(0, len(k.pictures)-maxSnapshots+1):], m.Payload)
	}
	return r, false, nil
}

// disabled tells that the agent's info lists no commands: then it does not subscribe to them and cannot respond.
func (k *call) disabled(info []byte) bool {
	var i contract.Info
	return !k.accepted && json.Unmarshal(info, &i) == nil && i.Commands != nil && len(i.Commands) == 0
}

// read returns the response if it is one to this command.
func (k *call) read(m Message) (contract.Response, bool) {
	var r contract.Response
	if err := json.Unmarshal(m.Payload, &r); err != nil {
		return r, false
	}
	return r, r.ID == k.id
}

// late is the error of a call that nobody waits for any more.
func (k *call) late(ctx context.Context) error {
	message := fmt.Sprintf("the agent %s did not answer", k.Agent)
	if k.accepted {
		message = fmt.Sprintf("the agent %s accepted the command but did not say how it ended", k.Agent)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		message += " in time"
	}
	return &contract.Error{Code: "control.no_answer", Message: message, Err: k.lost}
}
