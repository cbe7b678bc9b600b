package mqtt

import (
	"context"
	"errors"
	"io"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// retainCheck finds out that a broker does not take retained messages. MQTT 3.1.1 has no answer that says so: the
// broker closes the connection, and that looks like a network fault.
//
//   - A CONNECT with a retained will gets no CONNACK (mosquitto with retain_available false). The next login then goes
//     without one: if that is answered, and the one after it with a retained will is closed again, the will is the cause.
//   - The first PUBLISH, which is retained, gets no PUBACK. Once may be chance; twice in a row is the cause.
//
// It belongs to the goroutine of Client.Run.
type retainCheck struct {
	closed      bool // the last login was closed without an answer
	retained    bool // the broker closes logins with a retained will, and answers those without
	unconfirmed int  // connections in a row that were closed before the first message was confirmed
}

// unconfirmedAfter is how many such connections in a row are no chance.
const unconfirmedAfter = 2

// login is openLink with a retained will. When it is closed without an answer, the next login finds out why.
func (c *Client) login(ctx context.Context) (*link, error) {
	r := &c.retain
	if r.closed && !r.retained {
		r.closed = false
		if err := c.loginWithoutRetain(ctx); err != nil {
			return nil, err
		}
		l, err := c.loginRetained(ctx)
		if r.retained = err != nil && closedByBroker(err); r.retained {
			err = c.retainRefused(err)
		}
		return l, err
	}
	l, err := c.loginRetained(ctx)
	r.closed = err != nil && closedByBroker(err)
	r.retained = r.retained && err != nil
	if r.retained && r.closed {
		err = c.retainRefused(err)
	}
	return l, err
}

func (c *Client) loginRetained(ctx context.Context) (*link, error) {
	return openLink(ctx, c.config.Broker, c.dial, c.id, c.offline(true))
}

// loginWithoutRetain logs in and leaves again, and waits until the next login is allowed.
func (c *Client) loginWithoutRetain(ctx context.Context) error {
	l, err := openLink(ctx, c.config.Broker, c.dial, c.id, c.offline(false))
	if err != nil {
		return err
	}
	l.close(true)
	select {
	case <-time.After(minRetry):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) offline(retained bool) *will {
	return &will{topic: c.topics.Availability(), payload: contract.Offline, retained: retained}
}

func (c *Client) retainRefused(cause error) error {
	return &contract.Error{
		Code: "mqtt.refused", Err: cause,
		Message: "the broker refuses retained messages: it closes a login whose last will is retained, and answers one without; " +
			"allow retained messages on the broker",
	}
}

// ended takes in how a connection ended, and gives the error that names the cause.
func (c *Client) ended(l *link, err error) error {
	r := &c.retain
	if l.confirmed > 0 || l.first == "" || !closedByBroker(err) {
		r.unconfirmed = 0
		return err
	}
	if r.unconfirmed++; r.unconfirmed < unconfirmedAfter {
		return err
	}
	return &contract.Error{
		Code: "mqtt.refused", Err: err,
		Message: "the broker closes the connection at the first message, which is retained, on " + l.first +
			": it does not allow retained messages, or this client to publish there",
	}
}

// refused tells that the broker is known to refuse the messages, so that the ends of connections are no sign of
// something else.
func (r *retainCheck) refused() bool { return r.unconfirmed >= unconfirmedAfter }

// closedByBroker tells that the other end closed the connection.
func closedByBroker(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
