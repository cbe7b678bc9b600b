package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt"
)

// legacyIoT is the endpoint of type iot:Data, whose certificate few systems trust any more;
// that of type iot:Data-ATS has -ats in its first label.
var legacyIoT = regexp.MustCompile(`^[a-z0-9]+\.iot\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`)

// IsAWSIoT tells whether the broker is AWS IoT Core.
func (c *Config) IsAWSIoT() bool { return mqtt.Profile(c.MQTT.Profile) == mqtt.AWSIoT }

// Thing is the name of this box in AWS IoT Core.
func (c *Config) Thing() string { return cmp.Or(c.AWS.IoT.ThingName, c.Agent.ID) }

// TLSFiles are the broker's authorities and this box's certificate and key. With AWS IoT Core they
// need not be written twice: the certificate that gets credentials connects too.
func (c *Config) TLSFiles() (ca, cert, key string) {
	ca, cert, key = c.MQTT.CAFile, c.MQTT.CertFile, c.MQTT.KeyFile
	if c.IsAWSIoT() && cert == "" && key == "" {
		cert, key = c.AWS.IoT.CertFile, c.AWS.IoT.KeyFile
	}
	if c.IsAWSIoT() && ca == "" {
		ca = c.AWS.IoT.CAFile
	}
	return ca, cert, key
}

// checkProfile finds what does not go together with the kind of broker.
func checkProfile(c *Config, fault reportFault) {
	checkOneOf("mqtt.profile", c.MQTT.Profile, texts(mqtt.Standard, mqtt.AWSIoT), fault)
	if !c.IsAWSIoT() {
		return
	}
	checkThing(c, fault)
	if c.MQTT.Broker == "" {
		fault("mqtt.profile", `is "aws-iot" but broker is empty`,
			"Set broker to mqtts:// and the host that `aws iot describe-endpoint --endpoint-type iot:Data-ATS` prints.")
		return
	}
	checkIoTBroker(c.MQTT.Broker, fault)
	if c.HomeAssistant.Enabled {
		fault("homeassistant.enabled", `is true, but with profile = "aws-iot" no Home Assistant is on the broker`, "Set it to false, or use another broker.")
	}
	switch _, cert, key := c.TLSFiles(); {
	case c.MQTT.ClientID != "":
		fault("mqtt.client_id", "is set, but AWS IoT Core identifies the client by the name of its thing", "Leave client_id empty; set thing_name in [aws.iot] instead.")
	case c.MQTT.Username != "":
		fault("mqtt.username", "is set, but AWS IoT Core knows the box by its certificate", "Leave username and password_file empty.")
	case cert == "" || key == "":
		fault("mqtt.profile", `is "aws-iot" but there is no certificate`,
			"Set cert_file and key_file, here or in [aws.iot]: AWS IoT Core knows the box by them.")
	}
}

// checkThing wants a name of a thing: the client's, and that of the shadow.
func checkThing(c *Config, fault reportFault) {
	if c.AWS.IoT.ThingName == "" {
		return // it is agent.id, which is one
	}
	if err := mqtt.ValidThingName(c.AWS.IoT.ThingName); err != nil {
		fault("aws.iot.thing_name", "is wrong: "+err.Error(), "")
	}
}

func checkIoTBroker(broker string, fault reportFault) {
	const key = "mqtt.broker"
	u, err := url.Parse(broker)
	if err != nil || hasSecret(broker) || u.Scheme != "mqtt" && u.Scheme != "mqtts" {
		return // checkBroker has said so
	}
	host := u.Hostname()
	_, notIP := netip.ParseAddr(host)
	switch {
	case u.Scheme == "mqtt":
		fault(key, fmt.Sprintf("= %q is without TLS, which AWS IoT Core does not take", broker), "Write mqtts://, with :443 where 8883 is blocked.")
	case notIP == nil:
		fault(key, fmt.Sprintf("= %q is an address; AWS IoT Core finds the account by the host name", broker), "Write the host name.")
	case strings.Contains(host, ".credentials.iot."):
		fault(key, fmt.Sprintf("= %q is the provider of credentials, which speaks no MQTT", broker),
			"That host belongs into endpoint of [aws.iot]; here goes the one of type iot:Data-ATS.")
	case legacyIoT.MatchString(host):
		fault(key, fmt.Sprintf("= %q is the endpoint with the old certificate", broker),
			"Write the one of `aws iot describe-endpoint --endpoint-type iot:Data-ATS`, with -ats in it.")
	}
}

// Credentials are those of the device's certificate, or nil for the SDK's own ways.
func (c IoT) Credentials() *ingest.IoTCredentials {
	if c.Endpoint == "" {
		return nil
	}
	return &ingest.IoTCredentials{
		Endpoint: c.Endpoint, RoleAlias: c.RoleAlias, ThingName: c.ThingName,
		CertFile: c.CertFile, KeyFile: c.KeyFile, CAFile: c.CAFile,
	}
}
