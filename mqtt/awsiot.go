package mqtt

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Profile says what kind of service the broker is, and with that what it takes.
type Profile string

const (
	Standard Profile = "standard" // any MQTT 3.1.1 broker; "" means the same
	AWSIoT   Profile = "aws-iot"  // AWS IoT Core
)

// Limits of AWS IoT Core, by the pages "AWS IoT Core endpoints and quotas" of the AWS General
// Reference and "MQTT", "Topics" and "Device communication protocols" of the AWS IoT Core
// Developer Guide. None of them can be raised. The service does not answer a message that is
// beyond them: it closes the connection, or drops the message without a PUBACK where it came
// too fast. Either would look like a broken connection, and the same message would break the
// next one too. So none of that is ever sent.
const (
	iotMaxPayload  = 128 << 10 // "MQTT payload size"
	iotMaxTopic    = 256       // "Topic size", in bytes of UTF-8
	iotMaxSlashes  = 7         // "Maximum number of slashes in topic and topic filter"
	iotMaxClientID = 128       // "Client ID size"
	iotMinAlive    = 30 * time.Second
	iotMaxAlive    = 1200 * time.Second
	// iotMaxFilters is "Topic filters per SUBSCRIBE"; 50 are allowed in all, and we have six.
	iotMaxFilters = 8

	// "Publish requests per second per connection" is 100, for both directions together. A
	// second takes a burst and the rate at most, which leaves a quarter for what comes in.
	iotRate  = 60
	iotBurst = maxInflight

	// "Retained message inbound publish requests per second per topic" is 1.
	iotRetainEvery = time.Second
)

// bounds are what a broker takes. The zero value takes everything.
type bounds struct {
	payload, topic, slashes int
	rate                    rate.Limit
	burst                   int
	retainEvery             time.Duration // between two retained messages of one topic
}

func (p Profile) bounds() bounds {
	if p != AWSIoT {
		return bounds{}
	}
	return bounds{
		payload: iotMaxPayload, topic: iotMaxTopic, slashes: iotMaxSlashes,
		rate: iotRate, burst: iotBurst, retainEvery: iotRetainEvery,
	}
}

// admit tells why a message must not be sent, nil if it may be.
func (b bounds) admit(m message) error {
	if b == (bounds{}) {
		return nil
	}
	slashes := strings.Count(m.topic, "/")
	switch {
	case len(m.payload) > b.payload:
		return tooMuch(m, "has %d bytes, at most %d can be sent", len(m.payload), b.payload)
	case len(m.topic) > b.topic:
		return tooMuch(m, "has a topic of %d bytes, at most %d are allowed", len(m.topic), b.topic)
	case slashes > b.slashes:
		return tooMuch(m, "has %d slashes in its topic, at most %d are allowed", slashes, b.slashes)
	case strings.ContainsAny(m.topic, "+#"):
		return tooMuch(m, "has a wildcard in its topic")
	case m.qos > 1:
		return tooMuch(m, "has QoS %d, at most 1 is allowed", m.qos)
	case m.retained && strings.HasPrefix(m.topic, "$"):
		return tooMuch(m, "is retained, which a topic of the service cannot be")
	}
	return nil
}

func tooMuch(m message, format string, args ...any) error {
	return &contract.Error{Code: "mqtt.limit", Message: fmt.Sprintf("the message to %.300s ", m.topic) + fmt.Sprintf(format, args...)}
}

// pace is what holds one connection to the rate; it waits for nothing where there is none.
func (b bounds) pace() *rate.Limiter {
	if b.rate == 0 {
		return rate.NewLimiter(rate.Inf, 0)
	}
	return rate.NewLimiter(b.rate, b.burst)
}

// thingPattern is of the thingName of the AWS IoT API reference.
var thingPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9:_-]{1,128}$`) })

// ValidThingName tells whether AWS IoT Core has things of that name.
func ValidThingName(name string) error {
	if !thingPattern().MatchString(name) {
		return fmt.Errorf("%q is no name of a thing: those have 1 to %d of a-z, A-Z, 0-9, '-', '_' and ':'", name, iotMaxClientID)
	}
	return nil
}
