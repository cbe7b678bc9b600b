package mqtt

import (
	"errors"
	"fmt"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Status is how the connection stands.
type Status struct {
	Connected        bool
	Since            time.Time // when Connected became what it is
	Attempts         int       // attempts that failed since the last connection
	Err              error     // an *Error: why it is or was last disconnected, nil if it never was
	Published        uint64    // messages confirmed or, with QoS 0, written
	Queued           int       // events waiting to be confirmed
	DroppedTelemetry uint64
	DroppedEvents    uint64
}

func (c *Client) noteConnected(addr string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Connected, c.status.Since, c.status.Attempts = true, time.Now(), 0
	c.putOutage()
	c.log.Info("connected to the MQTT broker", "broker", addr)
}

// putOutage reports the attempts that failed as one event. The caller holds c.mu.
func (c *Client) putOutage() {
	if c.outage.count > 0 {
		c.put(c.outage.event())
		c.outage = tally{}
	}
}

// noteFailure records why there is no connection.
func (c *Client) noteFailure(err error, wait time.Duration) {
	code := "mqtt.unreachable"
	var coded *contract.Error
	if errors.As(err, &coded) {
		code = coded.Code
	}
	defer c.log.Warn("no connection to the MQTT broker, trying again", "code", code, "err", err, "wait", wait.Round(time.Millisecond))

	c.outbox.ledger.report(1) // now, not when it is put: the agent may be killed before the broker is back

	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.outage.code, c.outage.message = code, err.Error()
	c.outage.add(now, now, 1)
	c.setDisconnected(now)
	c.status.Attempts++
	c.status.Err = err
}

// noteFlapping tells that connections come about and do not last.
func (c *Client) noteFlapping(times int) {
	message := fmt.Sprintf("the broker or another client closed %d connections in a row, each within %s; does another client use the id %s?",
		times, stableAfter, c.id)
	if c.config.Profile == AWSIoT {
		message += " Or does the policy of the certificate not allow what the agent sends? AWS IoT Core closes the connection then"
	}
	c.log.Error(message, "code", "mqtt.flapping")
	c.Event(contract.Event{Code: "mqtt.flapping", Message: message, Detail: map[string]any{"client_id": c.id}})
}

// noteUnfit tells of a message that the broker would not take.
func (c *Client) noteUnfit(err error) {
	c.log.Warn("a message was not sent", "code", "mqtt.limit", "err", err)
	c.Event(contract.Event{Code: "mqtt.limit", Message: err.Error()})
}

func (c *Client) noteStopped() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setDisconnected(time.Now())
}

func (c *Client) setDisconnected(now time.Time) {
	if c.status.Connected {
		c.status.Connected, c.status.Since = false, now
	}
}

func (c *Client) notePublished() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status.Published++
}

// Status tells how the connection stands.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.status
	s.Queued, s.DroppedEvents = c.outbox.size()
	s.DroppedTelemetry = c.pending.droppedTelemetry()
	return s
}
