package mqtt

import (
	"cmp"
	"context"
	"net"
	"sync"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/uuid"
)

// Message is a message as received.
type Message struct {
	Topic    string
	Payload  []byte
	Retained bool // it was published before the subscription
}

// maxReceived bounds the messages that wait in Listener.Messages.
const maxReceived = 1024

// maxListened bounds the payload of a message in Listener.Messages, in bytes; larger ones are dropped and counted.
const maxListened = 1 << 20

// Listener receives messages; see Listen.
type Listener struct {
	// Messages has room for 1024 messages; more than that are dropped and counted.
	// It is closed once the listener has stopped.
	Messages <-chan Message

	mu       sync.Mutex
	messages chan Message
	closed   bool
	dropped  uint64
	err      error
}

// Listen subscribes to a topic filter and returns once the broker has granted
// it. One goroutine keeps the listener until ctx ends or the connection breaks;
// then it closes Messages. There is no reconnection.
func Listen(ctx context.Context, b Broker, filter string) (*Listener, error) {
	id := cmp.Or(b.ClientID, "listen-"+uuid.NewString())
	link, err := openLink(ctx, b, (&net.Dialer{}).DialContext, id, nil)
	if err != nil {
		return nil, err
	}
	messages := make(chan Message, maxReceived)
	l := &Listener{Messages: messages, messages: messages}
	if err := link.subscribe(ctx, filter, maxListened, l.receive); err != nil {
		link.close(false)
		return nil, err
	}
	go l.keep(ctx, link)
	return l, nil
}

// Dropped is the number of messages for which there was no room, or which were larger than 1 MiB.
func (l *Listener) Dropped() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

// Err is why the connection broke; nil while it stands and when ctx ended it.
func (l *Listener) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *Listener) keep(ctx context.Context, link *link) {
	var broken error
	select {
	case <-ctx.Done():
	case err := <-link.lost:
		broken = link.lostError(err)
	}
	link.close(broken == nil)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = broken
	l.closed = true
	close(l.messages)
}

// receive runs on paho's goroutine and must not block.
func (l *Listener) receive(_ paho.Client, m paho.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	if len(m.Payload()) > maxListened {
		l.dropped++
		return
	}
	select {
	case l.messages <- Message{Topic: m.Topic(), Payload: m.Payload(), Retained: m.Retained()}:
	default:
		l.dropped++
	}
}
