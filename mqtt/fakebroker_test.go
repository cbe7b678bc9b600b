package mqtt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// fakeBroker speaks enough MQTT over net.Pipe to be used within a synctest
// bubble, where time is exact. A pipe has no buffer: when the broker does not
// read, a write blocks, as on a connection whose other end is gone.
type fakeBroker struct {
	// connect says what happens on the nth connection (from 0).
	connect func(n int) behaviour
	deaf    chan struct{} // closed: the next packet is the last one that is read
	done    chan struct{} // closed: the test is over
	tls     *tls.Config   // nil: plain

	wg        sync.WaitGroup
	mu        sync.Mutex
	conn      net.Conn // the newest
	dials     []time.Time
	published []packets.PublishPacket
	filters   []string // of all subscriptions
}

// behaviour is what the broker does on one connection. The zero value is a good broker.
type behaviour struct {
	away     bool             // does not answer the TCP connection
	refuse   error            // refuses it
	silent   bool             // never answers CONNECT
	hangUp   bool             // closes the connection instead of answering CONNECT
	noAck    func(n int) bool // does not answer the nth packet after CONNECT, if that is a PUBLISH
	noTopic  bool             // refuses subscriptions
	cutAfter int              // closes instead of answering the nth packet after CONNECT
	// answer gives the bytes that are sent in place of the usual answer; nil: the usual one.
	answer func(packets.ControlPacket) []byte
}

func goodBroker(int) behaviour { return behaviour{} }

// every is a broker that is so on each connection, first one that is good after n of them.
func every(b behaviour) func(int) behaviour { return func(int) behaviour { return b } }

func first(n int, b behaviour) func(int) behaviour {
	return func(connection int) behaviour {
		if connection < n {
			return b
		}
		return behaviour{}
	}
}

var errRefused = errors.New("connection refused")

func newFakeBroker(connect func(n int) behaviour) *fakeBroker {
	return &fakeBroker{connect: connect, deaf: make(chan struct{}), done: make(chan struct{})}
}

// close ends the broker; all clients have to be gone.
func (f *fakeBroker) close() {
	close(f.done)
	f.wg.Wait()
}

func (f *fakeBroker) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	f.mu.Lock()
	b := f.connect(len(f.dials))
	f.dials = append(f.dials, time.Now())
	f.mu.Unlock()
	if b.away {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if b.refuse != nil {
		return nil, b.refuse
	}
	ours, theirs := net.Pipe()
	if f.tls != nil {
		ours = tls.Server(ours, f.tls)
	}
	f.mu.Lock()
	f.conn = ours
	f.mu.Unlock()
	f.wg.Go(func() { f.serve(ours, b) })
	return theirs, nil
}

func (f *fakeBroker) serve(conn net.Conn, b behaviour) {
	defer conn.Close()
	login, err := packets.ReadPacket(conn)
	if err != nil {
		return
	}
	if b.answer != nil {
		if raw := b.answer(login); raw != nil {
			conn.Write(raw)
			packets.ReadPacket(conn) // until the client closes
			return
		}
	}
	if b.hangUp {
		return
	}
	if b.silent {
		packets.ReadPacket(conn) // until the client gives up
		return
	}
	if packets.NewControlPacket(packets.Connack).Write(conn) != nil {
		return
	}
	for n := 1; ; n++ {
		packet, err := packets.ReadPacket(conn)
		if err != nil || n == b.cutAfter {
			return
		}
		select {
		case <-f.deaf:
			<-f.done
			return
		default:
		}
		if f.answer(conn, packet, n, b) != nil {
			return
		}
	}
}

func (f *fakeBroker) answer(conn net.Conn, packet packets.ControlPacket, n int, b behaviour) error {
	if b.answer != nil {
		if raw := b.answer(packet); raw != nil {
			_, err := conn.Write(raw)
			return err
		}
	}
	switch packet := packet.(type) {
	case *packets.PingreqPacket:
		return packets.NewControlPacket(packets.Pingresp).Write(conn)
	case *packets.PublishPacket:
		f.mu.Lock()
		f.published = append(f.published, *packet)
		f.mu.Unlock()
		if packet.Qos == 0 || b.noAck != nil && b.noAck(n) {
			return nil
		}
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = packet.MessageID
		return ack.Write(conn)
	case *packets.SubscribePacket:
		f.mu.Lock()
		f.filters = append(f.filters, packet.Topics...)
		f.mu.Unlock()
		ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
		ack.MessageID, ack.ReturnCodes = packet.MessageID, packet.Qoss
		if b.noTopic {
			ack.ReturnCodes = bytes.Repeat([]byte{0x80}, len(packet.Topics))
		}
		return ack.Write(conn)
	default:
		return nil
	}
}

// send publishes to the newest client, with QoS 0. A pipe takes one write after the
// other, so this does not mix with answers, which are single writes too.
func (f *fakeBroker) send(topic string, retained bool, payload []byte) {
	f.mu.Lock()
	conn := f.conn
	f.mu.Unlock()
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Retain, p.Payload = topic, retained, payload
	p.Write(conn)
}

// cut closes the newest connection.
func (f *fakeBroker) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conn.Close()
}

// received returns the payloads published to a topic.
func (f *fakeBroker) received(topic string) (payloads [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.published {
		if p.TopicName == topic {
			payloads = append(payloads, p.Payload)
		}
	}
	return payloads
}

// count is the number of messages published.
func (f *fakeBroker) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.published)
}
