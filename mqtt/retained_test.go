package mqtt

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// A broker that requires a prefix for client ids is satisfied by client_id, and named as the cause without it.
func TestABrokerThatRequiresAClientID(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{ClientIDPrefix: "plant-"})
	broker := Broker{URL: b.URL()}
	c, log := newRealClient(t, broker)
	stop := start(c)
	waitLine(t, log, "trying again")
	err := c.Status().Err
	stop()
	wantCode(t, err, "mqtt.refused")
	if text := err.Error(); !strings.Contains(text, `client id "edge-agent-gate-7"`) || !strings.Contains(text, "prefix") || !strings.Contains(text, "no user name") {
		t.Errorf("it says %q", text)
	}

	broker.ClientID = "plant-gate-7"
	c, log = newRealClient(t, broker)
	defer start(c)()
	waitLine(t, log, "connected to the MQTT broker")
	broker.ClientID = "plant-listener"
	listen(t, broker).wait(c.Topics().Availability(), contract.Online)
}

// What a broker answers to a login is said, with the part of the login that it is about.
func TestWhatARefusalIsAbout(t *testing.T) {
	l := &link{addr: "broker:1883", clientID: "the-id", username: "the-user"}
	for code, says := range map[byte][]string{
		1: {"MQTT 3.1.1"},
		2: {`client id "the-id"`},
		3: {"not available at the moment"},
		4: {`user name "the-user"`, "password"},
		5: {`user name "the-user"`, `client id "the-id"`, "prefix"},
	} {
		text := l.refused(code)
		for _, s := range says {
			if !strings.Contains(text, s) {
				t.Errorf("%d: %q does not say %s", code, text, s)
			}
		}
		if about := strings.Contains(text, "client id"); about != (code == 2 || code == 5) {
			t.Errorf("%d: %q", code, text)
		}
	}
}

// Mosquitto without retained messages closes a login with a retained will, and says nothing.
func TestABrokerWithoutRetainedMessages(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{Lines: []string{"retain_available false"}})
	c, log := newRealClient(t, Broker{URL: b.URL()})
	defer start(c)()
	waitLine(t, log, "refuses retained messages")
	wantCode(t, c.Status().Err, "mqtt.refused")
	waitLine(t, log, "refuses retained messages") // and goes on saying so
}

// A broker that closes one login and then is well again is not said to refuse anything.
func TestALoginThatIsClosedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(first(1, behaviour{hangUp: true}))
		defer f.close()
		c := newTestClient(t, f)
		defer start(c)()
		time.Sleep(10 * time.Second)
		if s := c.Status(); !s.Connected || s.Attempts != 0 {
			t.Errorf("Status %+v", s)
		}
		if f.mu.Lock(); len(f.dials) != 3 || f.dials[2].Sub(f.dials[1]) < minRetry {
			t.Errorf("logins at %v", f.dials)
		}
		f.mu.Unlock()
		for _, e := range events(t, f, c) {
			if e.Code != "mqtt.unreachable" {
				t.Errorf("event %+v", e)
			}
		}
	})
}

// A broker that closes the connection at the first message, over and over, refuses it. It is no sign of a second client
// with the same id.
func TestABrokerThatClosesAtTheFirstMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(first(5, behaviour{cutAfter: 1}))
		defer f.close()
		c := newTestClient(t, f)
		defer start(c)()
		waitDials := func(n int) {
			for {
				f.mu.Lock()
				dials := len(f.dials)
				f.mu.Unlock()
				if dials >= n {
					synctest.Wait()
					return
				}
				time.Sleep(time.Second)
			}
		}
		waitDials(3)
		err := c.Status().Err
		wantCode(t, err, "mqtt.refused")
		if !strings.Contains(err.Error(), "retained") || !strings.Contains(err.Error(), c.Topics().Availability()) {
			t.Errorf("it says %q", err)
		}
		waitDials(6)
		time.Sleep(time.Minute)
		for _, e := range events(t, f, c) {
			if e.Code == "mqtt.flapping" {
				t.Errorf("event %+v", e)
			}
		}
	})
}

// The other end of commands can have a client id too.
func TestListenAndCallWithAClientID(t *testing.T) {
	b := startBroker(t, brokertest.Options{ClientIDPrefix: "plant-"})
	_, err := Listen(t.Context(), Broker{URL: b.URL()}, "#")
	wantCode(t, err, "mqtt.refused")
	for name, use := range map[string]func(context.Context, Broker) error{
		"listen": func(ctx context.Context, b Broker) error { _, err := Listen(ctx, b, "#"); return err },
		"watch":  func(ctx context.Context, b Broker) error { _, err := Watch(ctx, b, ""); return err },
		"login": func(ctx context.Context, b Broker) error {
			l, err := openLink(ctx, b, (&net.Dialer{}).DialContext, b.ClientID, nil)
			if err == nil {
				l.close(true)
			}
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if err := use(ctx, Broker{URL: b.URL(), ClientID: "plant-" + name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
}
