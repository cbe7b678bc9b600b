package mqtt

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// validatingConn stands between paho and the network. paho v1.5.1 trusts the broker: it allocates what the fixed header
// announces before a byte of it has come, indexes the filters of a SUBSCRIBE by the return codes of the SUBACK, treats
// a CONNACK with an unknown return code as a success, and keeps every message that no subscription asked for in memory.
// So paho reads only packets that have come completely, are valid by MQTT 3.1.1, and that the client has asked for:
//
//	network ─▶ fixed header ─▶ length allowed? ─▶ body ─▶ structure, state ─▶ written again ─▶ paho
//
// An invalid packet closes the connection, and every later Read returns the *Error with the code mqtt.protocol.
//
// A PUBLISH with a payload beyond the limit of its subscription is valid: whoever may publish could else close the
// connection. Its payload is cut to one byte more than the limit, by which the handler recognizes it; the rest is read
// and discarded.
type validatingConn struct {
	net.Conn
	addr string // of the broker, for messages

	in     *bufio.Reader
	ready  []byte // what is left of the packet that paho reads now
	failed error  // the first error of Read: after it nothing more is read

	mu      sync.Mutex // guards what follows: paho reads and writes on several goroutines
	state   sessionState
	invalid *contract.Error // why the connection was closed; nil: it was not
}

// sessionState is what the client has sent, as far as it decides what the broker may send.
type sessionState struct {
	connected bool               // the CONNACK came
	limits    map[string]int     // by topic filter: payload limit in bytes
	filters   []string           // those of the SUBSCRIBE packets so far
	requests  map[uint16]request // by packet identifier: what the broker has to acknowledge
	pings     int                // PINGREQ without PINGRESP
}

// request is a packet that the broker has to acknowledge.
type request struct {
	kind    byte // packets.Publish or packets.Subscribe
	filters int  // of a SUBSCRIBE
}

func newValidatingConn(conn net.Conn, addr string) *validatingConn {
	return &validatingConn{
		Conn: conn, addr: addr, in: bufio.NewReader(conn),
		state: sessionState{limits: make(map[string]int), requests: make(map[uint16]request)},
	}
}

// limit sets the most bytes that a payload may have which comes for a topic filter. It has to be called before the
// filter is subscribed to.
func (c *validatingConn) limit(filter string, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.limits[filter] = bytes
}

// protocolError is why the connection was closed; nil if no invalid packet came.
func (c *validatingConn) protocolError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.invalid == nil {
		return nil
	}
	return c.invalid
}

// Read returns bytes of validated packets.
func (c *validatingConn) Read(p []byte) (int, error) {
	if len(c.ready) == 0 && c.failed == nil {
		c.ready, c.failed = c.next()
	}
	if c.failed != nil {
		return 0, c.failed
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// next reads one packet. An invalid one closes the connection.
func (c *validatingConn) next() ([]byte, error) {
	packet, err := c.readPacket()
	var invalid *contract.Error
	if errors.As(err, &invalid) {
		invalid.Message = "the broker at " + c.addr + " sent an invalid MQTT packet, so the connection was closed"
		c.mu.Lock()
		c.invalid = invalid
		c.mu.Unlock()
		c.Conn.Close()
	}
	return packet, err
}

func invalidPacket(format string, args ...any) error {
	return &contract.Error{Code: "mqtt.protocol", Err: fmt.Errorf(format, args...)}
}

// readPacket reads and validates one packet, and returns it as paho is to read it.
func (c *validatingConn) readPacket() ([]byte, error) {
	first, err := c.in.ReadByte()
	if err != nil {
		return nil, err
	}
	length, err := readLength(c.in)
	if err != nil {
		return nil, err
	}
	kind, flags := first>>4, first&0x0F
	name := packets.PacketNames[kind]
	c.mu.Lock()
	connected := c.state.connected
	c.mu.Unlock()
	switch {
	case !connected && kind != packets.Connack:
		return nil, invalidPacket("packet type %d (%s) came before CONNACK", kind, name)
	case kind == packets.Publish:
		return c.readPublish(flags, length)
	case flags != 0:
		return nil, invalidPacket("%s has the reserved flags %#x", name, flags)
	}
	if err := c.checkLength(kind, length); err != nil {
		return nil, err
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, err
	}
	if err := c.receive(kind, body); err != nil {
		return nil, err
	}
	return encodePacket(first, body), nil
}

// readLength reads the remaining length of a packet: 7 bits in each byte, at most four bytes (MQTT 3.1.1, 2.2.3).
func readLength(r io.ByteReader) (length int, err error) {
	for shift := 0; shift < 28; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		length |= int(b&0x7F) << shift
		if b&0x80 == 0 {
			return length, nil
		}
	}
	return 0, invalidPacket("the remaining length has more than four bytes")
}

// maxReturnCodes bounds a SUBACK before it is read: no SUBSCRIBE of this package has more filters.
const maxReturnCodes = iotMaxFilters

// checkLength bounds the packets that are not a PUBLISH before they are read, and refuses those that no broker may send
// to this client, which sends neither UNSUBSCRIBE nor anything with QoS 2.
func (c *validatingConn) checkLength(kind byte, length int) error {
	least, most := 0, 0
	switch kind {
	case packets.Connack, packets.Puback:
		least, most = 2, 2
	case packets.Suback:
		least, most = 3, 2+maxReturnCodes
	case packets.Pingresp:
	default:
		return invalidPacket("packet type %d (%s) is not expected from a broker", kind, packets.PacketNames[kind])
	}
	if length < least || length > most {
		return invalidPacket("%s has %d bytes, not %d to %d", packets.PacketNames[kind], length, least, most)
	}
	return nil
}

// receive checks a packet that is not a PUBLISH against what the client has sent.
func (c *validatingConn) receive(kind byte, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch kind {
	case packets.Connack:
		return c.state.connack(body)
	case packets.Puback:
		return c.state.acknowledge(packets.Publish, body, nil)
	case packets.Suback:
		return c.state.acknowledge(packets.Subscribe, body[:2], body[2:])
	default: // PINGRESP, by checkLength
		if c.state.pings == 0 {
			return invalidPacket("PINGRESP came without PINGREQ")
		}
		c.state.pings--
		return nil
	}
}

// connack checks the answer to CONNECT (MQTT 3.1.1, 3.2). A client with a clean session has no session on the broker.
func (s *sessionState) connack(body []byte) error {
	switch flags, code := body[0], body[1]; {
	case s.connected:
		return invalidPacket("CONNACK came again")
	case flags != 0:
		return invalidPacket("CONNACK has the flags %#x, and the client asked for a clean session", flags)
	case code > packets.ErrRefusedNotAuthorised:
		return invalidPacket("CONNACK has the unknown return code %d", code)
	}
	s.connected = true
	return nil
}

// acknowledge checks an answer to a request. The return codes are those of a SUBACK (MQTT 3.1.1, 3.9.3).
func (s *sessionState) acknowledge(kind byte, id, returnCodes []byte) error {
	number := binary.BigEndian.Uint16(id)
	r, known := s.requests[number]
	name := packets.PacketNames[kind]
	switch {
	case !known || r.kind != kind:
		return invalidPacket("the acknowledgement of a %s has the packet identifier %d, which no %s is waiting with", name, number, name)
	case len(returnCodes) != r.filters:
		return invalidPacket("SUBACK has %d return codes for %d filters", len(returnCodes), r.filters)
	}
	for _, code := range returnCodes {
		if code > 2 && code != 0x80 {
			return invalidPacket("SUBACK has the return code %#x", code)
		}
	}
	delete(s.requests, number)
	return nil
}

// readPublish reads a PUBLISH (MQTT 3.1.1, 3.3) of a subscription. All subscriptions have QoS 1.
func (c *validatingConn) readPublish(flags byte, length int) ([]byte, error) {
	qos, dup := flags>>1&3, flags&8 != 0
	header := 2 // bytes before the payload
	if qos == 1 {
		header += 2
	}
	switch {
	case qos > 1:
		return nil, invalidPacket("PUBLISH has QoS %d, and no subscription has more than 1", qos)
	case dup && qos == 0:
		return nil, invalidPacket("PUBLISH with QoS 0 has the DUP flag")
	case length < header:
		return nil, invalidPacket("PUBLISH has %d bytes", length)
	}
	size, err := c.in.Peek(2)
	if err != nil {
		return nil, noEOF(err)
	}
	header += int(binary.BigEndian.Uint16(size))
	if header > length {
		return nil, invalidPacket("PUBLISH has %d bytes, and its topic alone ends at %d", length, header)
	}
	body := make([]byte, header)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, noEOF(err)
	}
	most, err := c.checkPublish(qos, body)
	if err != nil {
		return nil, err
	}
	body, err = readPayload(c.in, body, length-header, most)
	return encodePacket(packets.Publish<<4|flags, body), err
}

// checkPublish checks all of a PUBLISH but the payload, and returns the most bytes that the payload may have.
func (c *validatingConn) checkPublish(qos byte, header []byte) (most int, err error) {
	topic := header[2:]
	if qos == 1 {
		id := header[len(header)-2:]
		topic = header[2 : len(header)-2]
		if id[0] == 0 && id[1] == 0 {
			return 0, invalidPacket("PUBLISH has the packet identifier 0")
		}
	}
	if len(topic) == 0 || !utf8.Valid(topic) || strings.ContainsAny(string(topic), "\x00+#") {
		return 0, invalidPacket("PUBLISH has the topic %.100q", topic)
	}
	most, subscribed := c.payloadLimit(string(topic))
	if !subscribed {
		return 0, invalidPacket("PUBLISH has the topic %.100q, which was not subscribed to", topic)
	}
	return most, nil
}

// payloadLimit is that of the subscriptions that a topic belongs to.
func (c *validatingConn) payloadLimit(topic string) (most int, subscribed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, filter := range c.state.filters {
		if topicMatches(filter, topic) {
			most, subscribed = max(most, c.state.limits[filter]), true
		}
	}
	return most, subscribed
}

// topicMatches tells whether a topic belongs to a filter (MQTT 3.1.1, 4.7).
func topicMatches(filter, topic string) bool {
	for {
		wanted, filterRest, filterMore := strings.Cut(filter, "/")
		level, topicRest, topicMore := strings.Cut(topic, "/")
		switch {
		case wanted == "#":
			return true
		case wanted != "+" && wanted != level:
			return false
		case !topicMore:
			return !filterMore || filterRest == "#"
		case !filterMore:
			return false
		}
		filter, topic = filterRest, topicRest
	}
}

// readPayload appends a payload of that many bytes to the packet. Of one that is larger than allowed, it appends one
// byte more than that and discards the rest.
func readPayload(r *bufio.Reader, packet []byte, size, most int) ([]byte, error) {
	kept := size
	if size > most {
		kept = most + 1
	}
	header := len(packet)
	packet = append(packet, make([]byte, kept)...)
	if _, err := io.ReadFull(r, packet[header:]); err != nil {
		return nil, noEOF(err)
	}
	if _, err := r.Discard(size - kept); err != nil {
		return nil, noEOF(err)
	}
	return packet, nil
}

// noEOF is for a connection that ends within a packet.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// encodePacket writes the shortest fixed header before a body.
func encodePacket(first byte, body []byte) []byte {
	packet := make([]byte, 0, 5+len(body))
	packet = append(packet, first)
	rest := len(body)
	for ; rest > 0x7F; rest >>= 7 {
		packet = append(packet, byte(rest)|0x80)
	}
	packet = append(packet, byte(rest))
	return append(packet, body...)
}

// Write sends what paho has written, which is one packet at a time.
func (c *validatingConn) Write(p []byte) (int, error) {
	if err := c.sending(p); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// sending notes a packet before it is sent, so that its answer is expected however fast it comes.
func (c *validatingConn) sending(p []byte) error {
	r := strings.NewReader(string(p))
	first, _ := r.ReadByte()
	length, err := readLength(r)
	if err != nil || length != r.Len() {
		return &contract.Error{Code: "internal", Message: "the MQTT library did not write one whole packet"}
	}
	body := p[len(p)-length:]
	c.mu.Lock()
	defer c.mu.Unlock()
	switch kind := first >> 4; kind {
	case packets.Pingreq:
		c.state.pings++
	case packets.Publish:
		if qos := first >> 1 & 3; qos > 0 {
			topic := int(binary.BigEndian.Uint16(body))
			c.state.requests[binary.BigEndian.Uint16(body[2+topic:])] = request{kind: kind}
		}
	case packets.Subscribe:
		c.state.subscribe(body)
	}
	return nil
}

// subscribe notes a SUBSCRIBE: a packet identifier, then filters with a length before and a QoS after each.
func (s *sessionState) subscribe(body []byte) {
	r := request{kind: packets.Subscribe}
	for rest := body[2:]; len(rest) > 0; r.filters++ {
		end := 2 + int(binary.BigEndian.Uint16(rest))
		if filter := string(rest[2:end]); !slices.Contains(s.filters, filter) {
			s.filters = append(s.filters, filter)
		}
		rest = rest[end+1:]
	}
	s.requests[binary.BigEndian.Uint16(body)] = r
}
