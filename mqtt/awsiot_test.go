package mqtt

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// newIoTClient is a client that keeps to the limits of AWS IoT Core, in a bubble where the
// broker speaks no TLS.
func newIoTClient(t *testing.T, f *fakeBroker) *Client {
	t.Helper()
	c := newTestClient(t, f)
	c.config.Profile = AWSIoT
	c.bounds = AWSIoT.bounds()
	c.pending.every = c.bounds.retainEvery
	return c
}

func TestWhatAWSIoTCoreWouldNotTakeIsNotSent(t *testing.T) {
	deep := strings.Repeat("a/", 7) + "a"
	for name, test := range map[string]struct {
		m    message
		fits bool
	}{
		"as usual":             {message{topic: "a/b", qos: 1, retained: true, payload: []byte("x")}, true},
		"the largest":          {message{topic: "a", payload: make([]byte, 128<<10)}, true},
		"too large":            {message{topic: "a", payload: make([]byte, 128<<10+1)}, false},
		"seven slashes":        {message{topic: deep}, true},
		"eight slashes":        {message{topic: deep + "/a"}, false},
		"256 bytes":            {message{topic: strings.Repeat("ä", 128)}, true},
		"257 bytes":            {message{topic: strings.Repeat("ä", 128) + "a"}, false},
		"a wildcard":           {message{topic: "a/+"}, false},
		"another":              {message{topic: "a/#"}, false},
		"QoS 2":                {message{topic: "a", qos: 2}, false},
		"of the service":       {message{topic: "$aws/things/a/shadow/name/edge-agent/update", qos: 1}, true},
		"retained there":       {message{topic: "$aws/things/a/shadow/name/edge-agent/update", retained: true}, false},
		"cleared, as retained": {message{topic: "a", retained: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			err := AWSIoT.bounds().admit(test.m)
			if (err == nil) != test.fits {
				t.Errorf("%v", err)
			}
			if coded := (*contract.Error)(nil); err != nil && (!errors.As(err, &coded) || coded.Code != "mqtt.limit") {
				t.Errorf("%v has no code", err)
			}
			if err := Standard.bounds().admit(test.m); err != nil {
				t.Errorf("with any other broker: %v", err)
			}
		})
	}
}

// The longest names make topics that fit, so that no name has to be refused.
func TestTheLongestTopicsFitAWSIoTCore(t *testing.T) {
	long := strings.Repeat("x", 64)
	topics, err := contract.NewTopics(long, long)
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{
		topics.Availability(), topics.Info(), topics.Events(), topics.State(long), topics.Telemetry(long),
		topics.Snapshot(long), topics.Response(contract.VerbSnapshot),
	} {
		if err := AWSIoT.bounds().admit(message{topic: topic, qos: 1}); err != nil {
			t.Error(err)
		}
	}
}

func TestKeepAliveAndWindowAreWhatAWSIoTCoreTakes(t *testing.T) {
	if keepAlive < iotMinAlive || keepAlive > iotMaxAlive {
		t.Errorf("keep-alive %v", keepAlive)
	}
	if minRetry < time.Second {
		t.Errorf("a CONNECT every %v", minRetry)
	}
	if maxInflight > 100 {
		t.Errorf("%d messages on their way", maxInflight)
	}
	if inASecond := iotRate + iotBurst; inASecond > 80 {
		t.Errorf("%d messages may go in a second, which leaves too little of 100 for what comes", inASecond)
	}
}

func TestTheRateIsKeptWithABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newIoTClient(t, f)
		const backlog = 500
		for i := range backlog {
			c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint(i)})
		}
		stop := start(c)
		defer stop()
		for second := 0; len(f.received(c.Topics().Events())) < backlog; second++ {
			before := f.count()
			time.Sleep(time.Second)
			synctest.Wait()
			if n := f.count() - before; n > iotRate+iotBurst || n < iotRate/2 && second < 5 {
				t.Fatalf("%d messages in second %d", n, second)
			}
		}
	})
}

// A state that changes all the time is told once a second, and the last one always.
func TestOneRetainedMessageATopicAndSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newIoTClient(t, f)
		stop := start(c)
		defer stop()
		const changes = 55
		for i := range changes {
			c.SetState("door", contract.State{Attempt: i})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		states := f.received(c.Topics().State("door"))
		if len(states) < 5 || len(states) > 7 {
			t.Errorf("%d states in %v", len(states), changes*100*time.Millisecond)
		}
		if last := string(states[len(states)-1]); !strings.Contains(last, fmt.Sprintf(`"attempt":%d`, changes-1)) {
			t.Errorf("the last state is %s", last)
		}
	})
}

// Its state is cleared and set anew, and both are retained messages of one topic.
func TestAStreamThatGoesAndComesBackIsHeldBackToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newIoTClient(t, f)
		c.SetStreams([]string{"door"})
		c.SetState("door", contract.State{Attempt: 1})
		defer start(c)()
		for i := range 3 {
			time.Sleep(2 * time.Second)
			c.SetStreams(nil)
			time.Sleep(100 * time.Millisecond)
			c.SetStreams([]string{"door"})
			c.SetState("door", contract.State{Attempt: i + 2})
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if states := f.received(c.Topics().State("door")); len(states[len(states)-1]) != 0 {
				t.Fatalf("%s follows at once", states[len(states)-1])
			}
		}
		time.Sleep(time.Second)
		states := f.received(c.Topics().State("door"))
		if last := string(states[len(states)-1]); !strings.Contains(last, `"attempt":4`) {
			t.Errorf("the last state is %q", last)
		}
	})
}

// What can never be sent is counted, and holds up nothing that comes after it.
func TestAnEventThatCannotBeSentIsCountedAsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newIoTClient(t, f)
		c.outbox.put(contract.Event{Code: "lag.high", Message: strings.Repeat("x", 128<<10), Count: 3})
		c.Event(contract.Event{Code: "lag.normal"})
		defer start(c)()
		time.Sleep(time.Second)
		var codes []string
		for _, e := range events(t, f, c) {
			codes = append(codes, e.Code)
			if e.Code == "mqtt.dropped" && e.Count != 3 {
				t.Errorf("%d were dropped", e.Count)
			}
		}
		if !slices.Equal(codes, []string{"lag.normal", "mqtt.dropped"}) {
			t.Errorf("events %v", codes)
		}
		if kept, lost := c.outbox.size(); kept != 0 || lost != 3 {
			t.Errorf("%d kept, %d lost", kept, lost)
		}
	})
}

func TestOtherMessagesThatCannotBeSentAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(goodBroker)
		defer f.close()
		c := newIoTClient(t, f)
		c.SetInfo(contract.Info{Version: strings.Repeat("x", 128<<10)})
		c.SetState("door", contract.State{})
		defer start(c)()
		time.Sleep(time.Second)
		if len(f.received(c.Topics().Info())) > 0 || len(f.received(c.Topics().State("door"))) != 1 {
			t.Error("the large one was sent, or the small one was not")
		}
		if all := events(t, f, c); len(all) != 1 || all[0].Code != "mqtt.limit" || !strings.Contains(all[0].Message, c.Topics().Info()) {
			t.Errorf("events %+v", all)
		}
	})
}

func TestConfigurationsThatAWSIoTCoreWouldNotHave(t *testing.T) {
	good := Config{
		Profile: AWSIoT, AgentID: "gate-7",
		Broker: Broker{ClientID: "Gate_7:a", URL: "mqtts://abc-ats.iot.eu-west-1.amazonaws.com:443", CertFile: "c", KeyFile: "k"},
	}
	for name, change := range map[string]func(*Config){
		"":            func(*Config) {},
		"profile":     func(c *Config) { c.Profile = "azure" },
		"TLS":         func(c *Config) { c.Broker = Broker{URL: "mqtt://localhost"} },
		"host name":   func(c *Config) { c.Broker.URL = "mqtts://192.0.2.7" },
		"certificate": func(c *Config) { c.Broker.CertFile, c.Broker.KeyFile = "", "" },
		"username":    func(c *Config) { c.Broker.Username = "gate" },
		"thing":       func(c *Config) { c.Broker.ClientID = "gate@7" },
	} {
		config := good
		change(&config)
		_, err := New(config)
		var coded *contract.Error
		if name == "" && err != nil || name != "" && (!errors.As(err, &coded) || coded.Code != "mqtt.config" || !strings.Contains(err.Error(), name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
