package brokertest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// IoTOptions say what an IoTCore stands in for.
type IoTOptions struct {
	Authority *Authority // of the service's certificate, for localhost, and of the things'
	Policy    *Policy    // of every certificate
	// Things are registered, each with the certificate of that common name.
	Things []string
	ALPN   bool // as on port 443: clients have to name the protocol in the TLS handshake
}

// IoTCore stands in for AWS IoT Core: a mosquitto with its limits, a device shadow service, and
// in front of them a listener that does what the service is documented to do to clients that go
// beyond the limits or the policy. They are told nothing: the connection is closed, or a message
// that came too fast is dropped. So every such case is noted.
//
// One goroutine accepts connections and two serve each of them; Stop ends all and waits.
type IoTCore struct {
	*Broker
	Shadows *Shadows

	options  IoTOptions
	listener net.Listener
	wg       sync.WaitGroup

	mu         sync.Mutex
	conns      map[net.Conn]bool
	stopped    bool // no more connections
	violations []string
	retained   map[string]time.Time // when a topic was last published with retain, by whomever
	keepAlive  time.Duration        // of the newest client
}

// What the service takes; see mqtt/awsiot.go for where that is written.
const (
	iotProtocol      = "x-amzn-mqtt-ca"
	iotPayload       = 128 << 10
	iotTopic         = 256
	iotSlashes       = 7
	iotClientID      = 128
	iotFilters       = 8
	iotSubscriptions = 50
	iotPublishes     = 100 // a second, both ways
)

// StartIoTCore runs it on loopback ports. Without mosquitto the error is ErrNotInstalled.
func StartIoTCore(ctx context.Context, options IoTOptions) (*IoTCore, error) {
	b, err := Start(ctx, Options{Lines: []string{fmt.Sprintf("message_size_limit %d", iotPayload), "max_qos 1"}})
	if err != nil {
		return nil, err
	}
	c := &IoTCore{Broker: b, options: options, conns: make(map[net.Conn]bool), retained: make(map[string]time.Time)}
	if c.Shadows, err = StartShadows(b); err != nil {
		b.Stop()
		return nil, err
	}
	if c.listener, err = options.listen(); err != nil {
		c.Shadows.Stop()
		b.Stop()
		return nil, err
	}
	c.wg.Go(c.accept)
	return c, nil
}

func (o IoTOptions) listen() (net.Listener, error) {
	cert, key, err := o.Authority.Issue("localhost")
	if err != nil {
		return nil, err
	}
	things := x509.NewCertPool()
	things.AddCert(o.Authority.cert)
	config := &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: things,
	}
	if o.ALPN {
		config.NextProtos = []string{iotProtocol}
	}
	return tls.Listen("tcp", "127.0.0.1:0", config)
}

// FrontAddr is where things connect; Addr is the mosquitto behind, where everything is allowed.
func (c *IoTCore) FrontAddr() string { return c.listener.Addr().String() }

// FrontURL is the same for a configuration. The host is a name, as the service wants it.
func (c *IoTCore) FrontURL() string {
	_, port, _ := net.SplitHostPort(c.FrontAddr())
	return "mqtts://localhost:" + port
}

// Violations are what clients did that the service would not have.
func (c *IoTCore) Violations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.violations...)
}

// KeepAlive is what the newest client has announced.
func (c *IoTCore) KeepAlive() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keepAlive
}

// Cut closes all connections of things, as a network does.
func (c *IoTCore) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
}

// Stop ends everything.
func (c *IoTCore) Stop() error {
	c.listener.Close()
	c.mu.Lock()
	c.stopped = true
	c.mu.Unlock()
	c.Cut()
	c.wg.Wait()
	c.Shadows.Stop()
	return c.Broker.Stop()
}

func (c *IoTCore) note(format string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := fmt.Errorf(format, args...)
	c.violations = append(c.violations, err.Error())
	return err
}

func (c *IoTCore) accept() {
	for {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.add(conn)
	}
}

func (c *IoTCore) add(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		conn.Close()
		return
	}
	c.conns[conn] = true
	c.wg.Go(func() {
		c.serve(conn.(*tls.Conn))
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.conns, conn)
	})
}

// serve is one connection of a thing.
func (c *IoTCore) serve(conn *tls.Conn) {
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(readyTimeout)) != nil || conn.Handshake() != nil {
		return
	}
	state := conn.ConnectionState()
	switch {
	case state.ServerName == "":
		c.note("the client did not name the server in the TLS handshake")
		return
	case c.options.ALPN && state.NegotiatedProtocol != iotProtocol:
		c.note("the client did not name the protocol in the TLS handshake")
		return
	}
	behind, err := net.DialTimeout("tcp", c.Addr(), replyTimeout)
	if err != nil {
		return
	}
	defer behind.Close()
	conn.SetDeadline(time.Time{})
	s := &session{core: c, thing: state.PeerCertificates[0].Subject.CommonName, client: conn, broker: behind, filters: make(map[string]bool)}
	c.wg.Go(func() {
		defer conn.Close()
		defer behind.Close()
		s.fromBroker()
	})
	s.fromClient()
}

// session is the connection of a client.
type session struct {
	core           *IoTCore
	thing          string // of the certificate
	client, broker net.Conn
	filters        map[string]bool

	mu        sync.Mutex
	publishes []time.Time // of the last second
	writing   sync.Mutex  // to the client
}

// errDropped means that a packet goes no further, and the connection stays.
var errDropped = errors.New("dropped")

// fromClient hands packets on until one is beyond what is allowed.
func (s *session) fromClient() {
	for first := true; ; first = false {
		packet, err := packets.ReadPacket(s.client)
		if err != nil {
			return
		}
		if _, connect := packet.(*packets.ConnectPacket); connect != first {
			s.core.note("CONNECT is not the first packet, or not the only one")
			return
		}
		switch err := s.check(packet); {
		case errors.Is(err, errDropped):
			continue
		case err != nil:
			return
		}
		if packet.Write(s.broker) != nil {
			return
		}
	}
}

func (s *session) fromBroker() {
	for {
		packet, err := packets.ReadPacket(s.broker)
		if err != nil {
			return
		}
		if p, ok := packet.(*packets.PublishPacket); ok {
			if !s.core.options.Policy.Allows(s.thing, "iot:Receive", "topic/"+p.TopicName) {
				s.core.note("the policy does not allow to receive %s", p.TopicName)
				return
			}
			s.count()
		}
		s.writing.Lock()
		err = packet.Write(s.client)
		s.writing.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *session) check(packet packets.ControlPacket) error {
	switch p := packet.(type) {
	case *packets.ConnectPacket:
		return s.checkConnect(p)
	case *packets.PublishPacket:
		return s.checkPublish(p)
	case *packets.SubscribePacket:
		return s.checkSubscribe(p)
	}
	return nil
}

func (s *session) checkConnect(p *packets.ConnectPacket) error {
	keepAlive := time.Duration(p.Keepalive) * time.Second
	s.core.mu.Lock()
	s.core.keepAlive = keepAlive
	s.core.mu.Unlock()
	var attributes []string
	if p.WillFlag {
		attributes = append(attributes, "LastWill")
	}
	if !p.CleanSession {
		attributes = append(attributes, "PersistentConnect")
	}
	switch {
	case len(p.ClientIdentifier) > iotClientID:
		return s.core.note("the client id has %d bytes", len(p.ClientIdentifier))
	case keepAlive < 30*time.Second || keepAlive > 1200*time.Second:
		return s.core.note("keep-alive is %v", keepAlive)
	case !s.registered(p.ClientIdentifier):
		return s.core.note("the client id %s is not the thing of its certificate, %s", p.ClientIdentifier, s.thing)
	case !s.core.options.Policy.Allows(s.thing, "iot:Connect", "client/"+p.ClientIdentifier, attributes...):
		return s.core.note("the policy does not allow to connect as %s with %v", p.ClientIdentifier, attributes)
	case !p.WillFlag:
		return nil
	case p.WillQos > 1:
		return s.core.note("the will has QoS %d", p.WillQos)
	}
	return s.checkTopic(p.WillTopic, p.WillRetain)
}

// registered tells whether the thing's name stands for something in the policy.
func (s *session) registered(clientID string) bool {
	for _, thing := range s.core.options.Things {
		if thing == clientID && thing == s.thing {
			return true
		}
	}
	return false
}

func (s *session) checkPublish(p *packets.PublishPacket) error {
	if p.Qos > 1 {
		s.core.note("QoS %d to %s", p.Qos, p.TopicName)
		return errDropped // and not confirmed
	}
	if len(p.Payload) > iotPayload {
		return s.core.note("%d bytes to %s", len(p.Payload), p.TopicName)
	}
	if err := s.checkTopic(p.TopicName, p.Retain); err != nil {
		return err
	}
	if s.count() > iotPublishes {
		s.core.note("more than %d messages in a second", iotPublishes)
		return errDropped
	}
	if p.Retain {
		return s.core.retain(p.TopicName)
	}
	return nil
}

// retain notes a retained message.
func (c *IoTCore) retain(topic string) error {
	c.mu.Lock()
	now := time.Now()
	since := now.Sub(c.retained[topic])
	tooSoon := since < time.Second/2 // the way here takes longer at one time than at another
	if !tooSoon {
		c.retained[topic] = now
	}
	c.mu.Unlock()
	if tooSoon {
		c.note("%s is retained anew after %v", topic, since)
		return errDropped
	}
	return nil
}

// checkTopic is about a message that is to be published.
func (s *session) checkTopic(topic string, retain bool) error {
	switch {
	case len(topic) > iotTopic || strings.Count(topic, "/") > iotSlashes || strings.ContainsAny(topic, "+#"):
		return s.core.note("the topic %s cannot be", topic)
	case retain && strings.HasPrefix(topic, "$"):
		return s.core.note("%s is retained", topic)
	case !s.core.options.Policy.Allows(s.thing, "iot:Publish", "topic/"+topic):
		return s.core.note("the policy does not allow to publish to %s", topic)
	case retain && !s.core.options.Policy.Allows(s.thing, "iot:RetainPublish", "topic/"+topic):
		return s.core.note("the policy does not allow to retain %s", topic)
	}
	return nil
}

func (s *session) checkSubscribe(p *packets.SubscribePacket) error {
	if len(p.Topics) > iotFilters {
		return s.core.note("%d filters in one SUBSCRIBE", len(p.Topics))
	}
	refused := false
	for i, filter := range p.Topics {
		s.filters[filter] = true
		switch {
		case p.Qoss[i] > 1:
			s.core.note("QoS %d of %s", p.Qoss[i], filter)
			return errDropped // and not confirmed
		case len(filter) > iotTopic || strings.Count(filter, "/") > iotSlashes:
			return s.core.note("the filter %s cannot be", filter)
		case !s.core.options.Policy.Allows(s.thing, "iot:Subscribe", "topicfilter/"+filter):
			s.core.note("the policy does not allow to subscribe to %s", filter)
			refused = true
		}
	}
	if len(s.filters) > iotSubscriptions {
		return s.core.note("%d subscriptions", len(s.filters))
	}
	if !refused {
		return nil
	}
	ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	ack.MessageID = p.MessageID
	for range p.Topics {
		ack.ReturnCodes = append(ack.ReturnCodes, 0x80)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	ack.Write(s.client)
	return errDropped
}

// count notes a message of either direction and returns how many the last second has had.
func (s *session) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for len(s.publishes) > 0 && now.Sub(s.publishes[0]) > time.Second {
		s.publishes = s.publishes[1:]
	}
	s.publishes = append(s.publishes, now)
	return len(s.publishes)
}
