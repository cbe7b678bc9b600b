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
)

// Caller sends commands to one agent and waits for its responses.
type Caller struct {
	Broker   Broker
	Prefix   string             // "" means DefaultPrefix
	Agent    string             // the agent's id
	Key      ed25519.PrivateKey // nil: commands are not signed
	Progress func(Response)     // called when the agent has accepted; may be nil
}

const (
	// callLifetime is how long an agent may accept a command.
	callLifetime = 1 * time.Minute
	// callMargin is what Call waits beyond the deadline of the verb.
	callMargin = 15 * time.Second
	// maxAnswers bounds the messages that wait for Call; of more the newest go.
	maxAnswers = 16
)

// Call sends one command and returns the last response to it, whatever its status. The
// args are those of the verb, such as SeekArgs, or nil. Without a response the error is an
// *Error: control.offline, control.no_answer, or one of the connection. It uses a
// connection of its own and waits no longer than ctx allows, nor than the verb may take.
func (c Caller) Call(ctx context.Context, v Verb, args any) (Response, error) {
	call, err := c.open(ctx, v, "")
	if err != nil {
		return Response{}, err
	}
	defer call.link.close(true)
	r, _, err := call.do(ctx, args)
	return r, err
}

// Snapshot asks for the picture of a stream, a JPEG. It is nil unless the response
// says succeeded.
func (c Caller) Snapshot(ctx context.Context, stream string) (jpeg []byte, r Response, err error) {
	call, err := c.open(ctx, VerbSnapshot, stream)
	if err != nil {
		return nil, Response{}, err
	}
	defer call.link.close(true)
	r, pictures, err := call.do(ctx, SnapshotArgs{Stream: stream})
	if err != nil || r.Status != StatusSucceeded {
		return nil, r, err
	}
	var data SnapshotData
	if err := json.Unmarshal(r.Data, &data); err != nil {
		return nil, r, &Error{Code: "control.no_answer", Message: "the response to snapshot makes no sense", Err: err}
	}
	i := slices.IndexFunc(pictures, func(p []byte) bool { return sum(p) == data.SHA256 })
	if i < 0 {
		return nil, r, &Error{Code: "control.no_answer", Message: "the agent sent its picture, but the broker did not bring it"}
	}
	return pictures[i], r, nil
}

func sum(b []byte) string {
	hash := sha256.Sum256(b)
	return hex.EncodeToString(hash[:])
}

// call is one command on its way.
type call struct {
	Caller
	verb    Verb
	id      string
	topics  Topics
	link    *link
	answers chan Message
}

// open connects and subscribes to what the agent will answer.
func (c Caller) open(ctx context.Context, v Verb, snapshotOf string) (*call, error) {
	topics, err := NewTopics(cmp.Or(c.Prefix, DefaultPrefix), c.Agent)
	if err != nil {
		return nil, err
	}
	if _, ok := verbs[v]; !ok {
		return nil, &Error{Code: "control.unknown", Message: fmt.Sprintf("there is no verb %q", v)}
	}
	id := uuid.Must(uuid.NewV7()).String()
	l, err := openLink(ctx, c.Broker, (&net.Dialer{}).DialContext, "call-"+id, nil)
	if err != nil {
		return nil, err
	}
	k := &call{Caller: c, verb: v, id: id, topics: topics, link: l, answers: make(chan Message, maxAnswers)}
	filters := []string{topics.Response(v), topics.Availability()}
	if snapshotOf != "" {
		filters = append(filters, topics.Snapshot(snapshotOf))
	}
	for _, filter := range filters {
		if err := l.subscribe(ctx, filter, k.receive); err != nil {
			l.close(true)
			return nil, err
		}
	}
	return k, nil
}

// receive runs on paho's goroutine and must not block.
func (k *call) receive(_ paho.Client, m paho.Message) {
	select {
	case k.answers <- Message{Topic: m.Topic(), Payload: m.Payload(), Retained: m.Retained()}:
	default:
	}
}

// do publishes the command and waits for its last response. The pictures are what
// came on the snapshot topic meanwhile.
func (k *call) do(ctx context.Context, args any) (r Response, pictures [][]byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLifetime+verbs[k.verb].deadline+callMargin)
	defer cancel()
	if err := k.publish(ctx, args); err != nil {
		return Response{}, nil, err
	}
	accepted := false
	for {
		select {
		case m := <-k.answers:
			switch m.Topic {
			case k.topics.Availability():
				if string(m.Payload) == Offline && !accepted {
					return Response{}, nil, &Error{Code: "control.offline", Message: "the agent " + k.Agent + " is offline"}
				}
			case k.topics.Response(k.verb):
				switch r, ours := k.read(m); {
				case !ours:
				case r.Status != StatusInProgress:
					return r, pictures, nil
				default:
					accepted = true
					if k.Progress != nil {
						k.Progress(r)
					}
				}
			default:
				pictures = append(pictures[max(0, len(pictures)-maxSnapshots+1):], m.Payload)
			}
		case err := <-k.link.lost:
			return Response{}, nil, k.link.breaks(err)
		case <-ctx.Done():
			return Response{}, nil, k.late(ctx, accepted)
		}
	}
}

// publish sends the command.
func (k *call) publish(ctx context.Context, args any) error {
	now := time.Now()
	o := order{Schema: new(Schema), ID: k.id, IssuedAt: Time{now}, ExpiresAt: Time{now.Add(callLifetime)}}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(o.ExpiresAt.Time) {
		o.ExpiresAt = Time{deadline} // nobody will be waiting any more
	}
	if args != nil {
		text, err := json.Marshal(args)
		if err != nil {
			return &Error{Code: "control.malformed", Message: "the arguments are not fit for JSON", Err: err}
		}
		o.Args = text
	}
	payload, err := json.Marshal(o)
	if err != nil {
		return &Error{Code: "control.malformed", Message: "the arguments are not JSON", Err: err}
	}
	topic := k.topics.Command(k.verb)
	if k.Key != nil {
		if payload, err = wrap(k.Key, topic, payload); err != nil {
			return &Error{Code: "control.signature", Message: "the command could not be signed", Err: err}
		}
	}
	if _, err := k.link.send(message{topic: topic, qos: 1, payload: payload}, func() {}); err != nil {
		return err
	}
	return k.link.confirm(ctx)
}

// read returns the response if it is one to this command.
func (k *call) read(m Message) (Response, bool) {
	var r Response
	if err := json.Unmarshal(m.Payload, &r); err != nil {
		return r, false
	}
	return r, r.ID == k.id
}

func (k *call) late(ctx context.Context, accepted bool) error {
	message := fmt.Sprintf("the agent %s did not answer", k.Agent)
	if accepted {
		message = fmt.Sprintf("the agent %s accepted the command but did not say how it ended", k.Agent)
	}
	err := ctx.Err()
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil // "in time" says it
		message += " in time"
	}
	return &Error{Code: "control.no_answer", Message: message, Err: err}
}
