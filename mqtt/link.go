package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"golang.org/x/time/rate"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// The waits of a connection. Every one ends in an error that breaks the connection.
const (
	connectTimeout  = 10 * time.Second // dial and TLS; then again CONNECT to CONNACK
	writeTimeout    = 5 * time.Second  // one write to the socket
	handoverTimeout = 1 * time.Second  // until paho's writer takes a message
	confirmTimeout  = 10 * time.Second // PUBLISH to PUBACK, SUBSCRIBE to SUBACK
	keepAlive       = 30 * time.Second
	pingTimeout     = 10 * time.Second
	goodbyeTimeout  = 250 * time.Millisecond // DISCONNECT, and the end of paho's goroutines
)

// link is one connection to a broker. It uses a paho client once: paho's own
// reconnection loses messages without an error (docs/mqtt.md), so a link that
// broke is closed and another one opened.
type link struct {
	addr string
	tls  bool

	clientID, username string

	conn  *validatingConn
	paho  paho.Client
	lost  chan error // gets the reason when the connection breaks; has room for it
	cause error      // the reason, once taken from lost
	pace  *rate.Limiter

	inflight  []delivery // oldest first; at most maxInflight
	first     string     // topic of the first message; "" before it
	confirmed int        // messages that were delivered
}

// maxInflight is how many messages may be on their way at once. They arrive in order:
// the broker takes them in order, and after a break all that are not confirmed are sent
// again, from the oldest.
const maxInflight = 16

// message is one publication.
type message struct {
	topic    string
	qos      byte
	retained bool
	payload  []byte
}

// will is the message that the broker publishes when the link breaks.
type will struct {
	topic, payload string
	retained       bool
}

// openLink dials, logs in and waits for the CONNACK. The will may be nil.
func openLink(ctx context.Context, b Broker, dial dialFunc, clientID string, w *will) (*link, error) {
	addr, err := b.check()
	if err != nil {
		return nil, err
	}
	password, err := b.password()
	if err != nil {
		return nil, err
	}
	conn, err := b.connect(ctx, dial, addr)
	if err != nil {
		return nil, err
	}
	l := &link{addr: addr.String(), tls: addr.tls, clientID: clientID, username: b.Username, conn: newValidatingConn(deadlineConn{conn}, addr.String()), lost: make(chan error, 1)}
	options := l.options(clientID).SetUsername(b.Username).SetPassword(password)
	if w != nil {
		options.SetWill(w.topic, w.payload, 1, w.retained)
	}
	l.paho = paho.NewClient(options)
	return l, l.login(ctx)
}

// dialFunc opens a TCP connection; tests put their own in its place.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// connect opens the TCP connection and, for mqtts://, TLS on it.
func (b Broker) connect(ctx context.Context, dial dialFunc, addr address) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var config *tls.Config
	if addr.tls {
		var err error
		if config, err = b.tlsConfig(addr); err != nil {
			return nil, err
		}
	}
	conn, err := dial(ctx, "tcp", addr.String())
	if err != nil {
		return nil, &contract.Error{Code: "mqtt.unreachable", Message: "cannot reach the broker at " + addr.String(), Err: err}
	}
	if config == nil {
		return conn, nil
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, tlsError("no secure connection to the broker at "+addr.String(), err)
	}
	return secure, nil
}

func (l *link) options(clientID string) *paho.ClientOptions {
	o := paho.NewClientOptions()
	o.Servers = []*url.URL{{Scheme: "mqtt", Host: l.addr}} // paho only uses it for messages
	o.CustomOpenConnectionFn = func(*url.URL, paho.ClientOptions) (net.Conn, error) { return l.conn, nil }
	return o.SetClientID(clientID).
		SetProtocolVersion(4). // 3.1.1, and no attempt at 3.1
		SetCleanSession(true).
		SetAutoReconnect(false).
		SetConnectRetry(false).
		// In order: otherwise paho runs every handler on a goroutine of its own, and
		// messages overtake each other. Our handlers never block, as this requires.
		SetOrderMatters(true).
		SetConnectTimeout(connectTimeout).
		SetWriteTimeout(handoverTimeout). // also the hand-over's; deadlineConn sees to the writes
		SetKeepAlive(keepAlive).
		SetPingTimeout(pingTimeout).
		SetConnectionLostHandler(func(_ paho.Client, err error) { l.lost <- err })
}

// login exchanges CONNECT and CONNACK. When it fails the link is closed.
func (l *link) login(ctx context.Context) error {
	giveUp := context.AfterFunc(ctx, func() { l.conn.Close() })
	token := l.paho.Connect().(*paho.ConnectToken)
	<-token.Done() // bounded by connectTimeout
	if !giveUp() {
		l.close(false)
		return ctx.Err()
	}
	if err := token.Error(); err != nil {
		l.close(false)
		return l.loginError(token.ReturnCode(), err)
	}
	return nil
}

// loginError finds the code for a CONNECT that failed. With TLS 1.3 the verdict on our
// certificate comes after the handshake: as an alert or, when CONNECT crosses it, as
// nothing but the end of the connection.
func (l *link) loginError(returnCode byte, err error) error {
	var remote *net.OpError
	if invalid := l.conn.protocolError(); invalid != nil {
		return invalid
	}
	switch {
	case returnCode != packets.ErrNetworkError && returnCode != packets.Accepted:
		return &contract.Error{Code: "mqtt.refused", Message: "the broker at " + l.addr + " " + l.refused(returnCode), Err: err}
	case errors.As(err, &remote) && remote.Op == "remote error":
		return tlsError("the broker at "+l.addr+" refused the secure connection", remote.Err)
	case l.tls && closedByBroker(err):
		return tlsError("the broker at "+l.addr+" ended the secure connection without an answer to the login, as for a certificate it does not accept or a policy that does not allow the login", err)
	default:
		return &contract.Error{Code: "mqtt.unreachable", Message: "the broker at " + l.addr + " did not answer the login", Err: err}
	}
}

// refused says what the broker answered (MQTT 3.1.1, 3.2.2.3), and of whom: which part of that is at fault is not
// always told.
func (l *link) refused(returnCode byte) string {
	user := "no user name"
	if l.username != "" {
		user = fmt.Sprintf("user name %q", l.username)
	}
	switch returnCode {
	case packets.ErrRefusedBadProtocolVersion:
		return "does not speak MQTT 3.1.1"
	case packets.ErrRefusedIDRejected:
		return fmt.Sprintf("refused the login because of the client id %q", l.clientID)
	case packets.ErrRefusedServerUnavailable:
		return "refused the login because it is not available at the moment"
	case packets.ErrRefusedBadUsernameOrPassword:
		return fmt.Sprintf("refused the login because of user name or password (%s)", user)
	}
	return fmt.Sprintf("refused the login (%s, client id %q): the user name and password are not allowed, or the client id is not, "+
		"as on a broker that requires a prefix for client ids", user, l.clientID)
}

// delivery is a message on its way.
type delivery struct {
	topic string
	token paho.Token
	sent  func()
	due   time.Time // when the broker has to have confirmed it
}

// send hands a message over. It counts as sent, and sent is called, when confirm
// or settle find that it is confirmed (QoS 1) or written (QoS 0).
func (l *link) send(m message, sent func()) (delivery, error) {
	if err := l.broken(); err != nil {
		return delivery{}, err
	}
	d := delivery{topic: m.topic, sent: sent, due: time.Now().Add(confirmTimeout)}
	if l.first == "" {
		l.first = m.topic
	}
	d.token = l.paho.Publish(m.topic, m.qos, m.retained, m.payload)
	if err := failed(d.token); err != nil {
		return delivery{}, l.breaks(l.reason(err))
	}
	l.inflight = append(l.inflight, d)
	return d, nil
}

// failed is the error of a token that has already ended.
func failed(token paho.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	default:
		return nil
	}
}

// confirm waits for the oldest message on its way, but not once there is more to send (nil: there never is). When ctx
// ends first, the confirmation may still come.
func (l *link) confirm(ctx context.Context, more <-chan struct{}) error {
	d := l.inflight[0]
	err := l.await(ctx, d.token, d.due, "confirm "+d.topic, more)
	if err == errMore {
		return nil
	}
	if err != nil {
		return err
	}
	l.inflight = l.inflight[1:]
	l.delivered(d)
	return nil
}

func (l *link) delivered(d delivery) {
	l.confirmed++
	d.sent()
}

func (l *link) awaitDelivery(ctx context.Context, d delivery) error {
	return l.await(ctx, d.token, d.due, "confirm "+d.topic, nil)
}

// settle takes the confirmations that have come, so that their messages are not sent twice.
func (l *link) settle() {
	var rest []delivery
	for _, d := range l.inflight {
		select {
		case <-d.token.Done():
			if d.token.Error() == nil {
				l.delivered(d)
			}
		default:
			rest = append(rest, d)
		}
	}
	l.inflight = rest
}

// subscribe returns once the broker has granted the subscription. A payload that has more than limit bytes is cut to
// limit+1 bytes.
func (l *link) subscribe(ctx context.Context, filter string, limit int, handler paho.MessageHandler) error {
	return l.subscribeAll(ctx, []string{filter}, limit, handler)
}

// subscribeAll asks for several filters at once, of which AWS IoT Core takes iotMaxFilters.
func (l *link) subscribeAll(ctx context.Context, filters []string, limit int, handler paho.MessageHandler) error {
	all := make(map[string]byte)
	for _, filter := range filters {
		l.conn.limit(filter, limit)
		all[filter] = 1
	}
	token := l.paho.SubscribeMultiple(all, handler).(*paho.SubscribeToken)
	due := time.Now().Add(confirmTimeout)
	if err := l.await(ctx, token, due, "confirm the subscription to "+strings.Join(filters, ", "), nil); err != nil {
		return err
	}
	for _, filter := range filters {
		if granted, ok := token.Result()[filter]; !ok || granted > 2 { // 0x80 is a refusal
			return &contract.Error{Code: "mqtt.refused", Message: "the broker at " + l.addr + " refused the subscription to " + filter}
		}
	}
	return nil
}

// errMore means that there is something else to do than to wait.
var errMore = errors.New("there is more to send")

// await waits for a token. A context that ends leaves the link whole, and so does more, with errMore.
func (l *link) await(ctx context.Context, token paho.Token, due time.Time, what string, more <-chan struct{}) error {
	late := time.NewTimer(time.Until(due))
	defer late.Stop()
	select {
	case <-token.Done():
		if err := token.Error(); err != nil {
			return l.breaks(l.reason(err))
		}
		return nil
	case err := <-l.lost:
		return l.breaks(err)
	case <-late.C:
		return l.lostError(fmt.Errorf("it did not %s within %s", what, confirmTimeout))
	case <-more:
		return errMore
	case <-ctx.Done():
		return ctx.Err()
	}
}

// broken returns the error that broke the link, nil while it is whole.
func (l *link) broken() error {
	select {
	case err := <-l.lost:
		return l.breaks(err)
	default:
		return l.cause
	}
}

// breaks remembers what came from lost.
func (l *link) breaks(err error) error {
	l.cause = l.lostError(err)
	return l.cause
}

// reason is why the connection ended: paho fails the messages on their way with a text of its own, and tells the cause
// a moment later.
func (l *link) reason(err error) error {
	wait := time.NewTimer(goodbyeTimeout)
	defer wait.Stop()
	select {
	case cause := <-l.lost:
		return cause
	case <-wait.C:
		return err
	}
}

func (l *link) lostError(err error) error {
	if invalid := l.conn.protocolError(); invalid != nil {
		return invalid
	}
	return &contract.Error{Code: "mqtt.unreachable", Message: "lost the connection to the broker at " + l.addr, Err: err}
}

// close ends the link and waits for paho's goroutines. Not graceful means without
// DISCONNECT, on which the broker publishes the will.
func (l *link) close(graceful bool) {
	if !graceful {
		l.conn.Close()
	}
	l.paho.Disconnect(uint(goodbyeTimeout.Milliseconds()))
	l.conn.Close()
}

// deadlineConn gives every write a deadline; paho has none on its pings,
// acknowledgements and DISCONNECT, and would wait for TCP to give up.
type deadlineConn struct{ net.Conn }

func (c deadlineConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
