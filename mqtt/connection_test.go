package mqtt

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// The tests of this file do to the connection with a real mosquitto what networks and other people do. Certificates
// are in tls_test.go, killed brokers in mosquitto_test.go and kill_test.go.

func TestLogins(t *testing.T) {
	open := startBroker(t, brokertest.Options{})
	closed := startBroker(t, brokertest.Options{Username: "gate", Password: "secret"})
	dir := t.TempDir()
	password := func(text string) string {
		file := filepath.Join(dir, text)
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, test := range map[string]struct {
		broker Broker
		code   string
	}{
		"anonymous":                       {Broker{URL: open.URL()}, ""},
		"anonymous where that is refused": {Broker{URL: closed.URL()}, "mqtt.refused"},
		"password":                        {Broker{URL: closed.URL(), Username: "gate", PasswordFile: password("secret")}, ""},
		"wrong password":                  {Broker{URL: closed.URL(), Username: "gate", PasswordFile: password("wrong")}, "mqtt.refused"},
		"wrong user":                      {Broker{URL: closed.URL(), Username: "dock", PasswordFile: password("secret")}, "mqtt.refused"},
		"no password file":                {Broker{URL: closed.URL(), Username: "gate", PasswordFile: filepath.Join(dir, "absent")}, "mqtt.config"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := openLink(t.Context(), test.broker, (&net.Dialer{}).DialContext, "client", nil)
			if err == nil {
				l.close(true)
			}
			if test.code != "" {
				wantCode(t, err, test.code)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// Mosquitto's acl_file grants every subscription and then keeps the messages back; its plugin for
// dynamic security does refuse (seen with 2.0.11). The agent says so and works all the same.
func TestARefusedSubscriptionIsSaid(t *testing.T) {
	t.Parallel()
	plugins, err := filepath.Glob("/usr/lib/*/mosquitto_dynamic_security.so")
	if err != nil || len(plugins) == 0 {
		t.Skip("no mosquitto_dynamic_security.so (Debian package mosquitto)")
	}
	rights := filepath.Join(t.TempDir(), "rights.json")
	err = os.WriteFile(rights, []byte(`{
		"defaultACLAccess": {"publishClientSend": true, "publishClientReceive": true, "subscribe": false, "unsubscribe": true},
		"clients": [], "anonymousGroup": "everybody",
		"groups": [{"groupname": "everybody", "roles": [{"rolename": "watcher"}]}],
		"roles": [{"rolename": "watcher", "acls": [{"acltype": "subscribePattern", "topic": "edge-agent/v1/gate-7/events", "allow": true}]}]
	}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	b := startBroker(t, brokertest.Options{Lines: []string{"plugin " + plugins[0], "plugin_opt_config_file " + rights}})
	broker := Broker{URL: b.URL()}
	c := newObedient(t, b, &hands{}, nil)
	in := listenTo(t, broker, c.Topics().Events())
	defer start(c)()
	in.wait(c.Topics().Events(), `refused the subscription to edge-agent/v1/gate-7/cmd/+`)
	c.Event(contract.Event{Code: "lag.high", Stream: "door"})
	in.wait(c.Topics().Events(), "lag.high")
	if s := c.Status(); !s.Connected || s.Attempts != 0 {
		t.Errorf("Status %+v", s)
	}
	_, err = Watch(t.Context(), broker, "")
	wantCode(t, err, "mqtt.refused")
}

// The other end is gone and nobody has said so: nothing is confirmed, and what was sent goes out
// again on another connection.
func TestAHalfOpenConnectionIsLeft(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	proxy := startProxy(t, b)
	c, log := newRealClient(t, Broker{URL: "mqtt://" + proxy.Addr()})
	defer start(c)()
	in := listen(t, Broker{URL: b.URL()})
	in.wait(c.Topics().Availability(), contract.Online)
	kit.Await(t, "the confirmation of that", func() bool { return c.Status().Published > 0 }) // it may still be on its way

	proxy.Stall()
	c.Event(contract.Event{Code: "lag.high", Stream: "door"})
	in.wait(c.Topics().Availability(), contract.Offline) // the will: the broker has been told by the next connection
	in.wait(c.Topics().Availability(), contract.Online)
	in.wait(c.Topics().Events(), "lag.high")
	in.wait(c.Topics().Events(), "did not confirm edge-agent/v1/gate-7/events within 10s")

	if *long {
		proxy.Stall() // and nothing to send: the pings find it
		waitLine(t, log, "trying again")
		waitLine(t, log, "trying again")
		waitLine(t, log, "connected to the MQTT broker")
	}
}

func startProxy(t *testing.T, b *brokertest.Broker) *brokertest.Proxy {
	t.Helper()
	p, err := brokertest.NewProxy(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Wherever an agent's first connection is cut, all its events arrive.
func TestEventsSurviveACutAtAnyByte(t *testing.T) {
	t.Parallel()
	const step, most, each = 61, 2200, 3 // of about 2,000 bytes from CONNECT to the last PUBACK
	b := startBroker(t, brokertest.Options{})
	in := listenTo(t, Broker{URL: b.URL()}, contract.DefaultPrefix+"/v1/+/events")
	var agents []*Client
	for at := 1; at < most; at += step {
		proxy := startProxy(t, b)
		proxy.CutAfter(at)
		c, err := New(Config{Broker: Broker{URL: "mqtt://" + proxy.Addr()}, AgentID: fmt.Sprint("gate-", at), Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for i := range each {
			c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint("s", i), Message: strings.Repeat("as long as messages are ", 8)})
		}
		agents = append(agents, c)
		t.Cleanup(start(c))
	}
	for _, c := range agents {
		for i := range each {
			in.wait(c.Topics().Events(), fmt.Sprintf(`"stream":"s%d"`, i))
		}
	}
}

// Connections that come about and break, one after the other, without the waits in between, leave no goroutine, no
// file and no memory.
func TestReconnectingLeavesNothing(t *testing.T) {
	const connections = 1000
	b := startBroker(t, brokertest.Options{})
	proxy := startProxy(t, b)
	c := newObedient(t, b, &hands{}, nil)
	c.config.Broker.URL = "mqtt://" + proxy.Addr()
	c.SetStreams([]string{"door"})
	c.SetState("door", contract.State{State: contract.Playing})
	in := listenTo(t, Broker{URL: b.URL()}, c.Topics().Availability())
	before, files := goleak.IgnoreCurrent(), openFiles(t)
	var early int64
	for i := range connections {
		if i == connections/10 {
			early = heap()
		}
		ended := make(chan error)
		go func() {
			_, err := c.once(t.Context())
			ended <- err
		}()
		in.wait(c.Topics().Availability(), contract.Online)
		proxy.Cut()
		err := <-ended
		if coded := (*contract.Error)(nil); !errors.As(err, &coded) || coded.Code != "mqtt.unreachable" && coded.Code != "mqtt.refused" {
			t.Errorf("err = %v", err) // refused: cut again and again before the first confirmation, it looks like that
		}
	}
	late := heap()
	t.Logf("heap %d KiB early, %d KiB late", early>>10, late>>10)
	if late-early > 1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", early, late)
	}
	if err := proxy.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
	if now := openFiles(t); now > files {
		t.Errorf("%d open files, %d before", now, files)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// Two agents with one id throw each other out, and say so.
func TestTwoAgentsWithOneID(t *testing.T) {
	t.Parallel()
	b := startBroker(t, brokertest.Options{})
	broker := Broker{URL: b.URL()}
	in := listen(t, broker)
	for range 2 {
		c, _ := newRealClient(t, broker)
		defer start(c)()
	}
	in.wait(contract.DefaultPrefix+"/v1/gate-7/events", "mqtt.flapping")
}
