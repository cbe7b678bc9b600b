package brokertest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// What the service is documented to do to a client that goes beyond what it takes: it closes the
// connection, or drops the packet and says nothing.
func TestIoTCoreKeepsItsLimits(t *testing.T) {
	policy, err := ParsePolicy([]byte(`{"Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"a:a:a:a:a:client/${iot:Connection.Thing.ThingName}"},
		{"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish"],"Resource":["a:a:a:a:a:topic/ok*","a:a:a:a:a:topic/$aws*"]},
		{"Effect":"Allow","Action":["iot:Subscribe"],"Resource":"a:a:a:a:a:topicfilter/ok*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	core, err := StartIoTCore(t.Context(), IoTOptions{Authority: authority, Policy: policy, Things: []string{"lamp"}, ALPN: true})
	if errors.Is(err, ErrNotInstalled) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer core.Stop()

	publish := func(topic string, qos byte, retain bool, size int) packets.ControlPacket {
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.TopicName, p.Qos, p.Retain, p.Payload, p.MessageID = topic, qos, retain, make([]byte, size), 7
		return p
	}
	subscribe := func(qos byte, filters ...string) packets.ControlPacket {
		p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
		p.Topics, p.MessageID = filters, 7
		for range filters {
			p.Qoss = append(p.Qoss, qos)
		}
		return p
	}
	var nine []string
	for i := range 9 {
		nine = append(nine, fmt.Sprintf("ok/%d", i))
	}
	const closed, dropped, taken = "closed", "dropped", "taken"
	for name, test := range map[string]struct {
		send      []packets.ControlPacket
		outcome   string
		violation string
	}{
		"as it should be": {[]packets.ControlPacket{publish("ok", 1, true, 128<<10)}, taken, ""},
		"payload":         {[]packets.ControlPacket{publish("ok", 1, false, 128<<10+1)}, closed, "bytes to ok"},
		"slashes":         {[]packets.ControlPacket{publish("ok"+strings.Repeat("/a", 8), 1, false, 1)}, closed, "cannot be"},
		"topic":           {[]packets.ControlPacket{publish("ok"+strings.Repeat("a", 255), 1, false, 1)}, closed, "cannot be"},
		"QoS 2":           {[]packets.ControlPacket{publish("ok", 2, false, 1)}, dropped, "QoS 2"},
		"reserved":        {[]packets.ControlPacket{publish("$aws/x", 1, true, 1)}, closed, "is retained"},
		"policy":          {[]packets.ControlPacket{publish("no", 1, false, 1)}, closed, "does not allow to publish"},
		"retained again":  {[]packets.ControlPacket{publish("ok/r", 0, true, 1), publish("ok/r", 1, true, 1)}, dropped, "retained anew"},
		"filters":         {[]packets.ControlPacket{subscribe(1, nine...)}, closed, "9 filters"},
		"QoS 2 filter":    {[]packets.ControlPacket{subscribe(2, "ok")}, dropped, "QoS 2"},
		"eight filters":   {[]packets.ControlPacket{subscribe(1, nine[:8]...)}, taken, ""},
		"rate":            {flood(publish("ok", 0, false, 1), publish("ok", 1, false, 1)), dropped, "more than 100"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(core.Violations())
			conn := enter(t, core, authority)
			defer conn.Close()
			for _, packet := range test.send {
				if err := packet.Write(conn); err != nil {
					break // closed already
				}
			}
			ping := packets.NewControlPacket(packets.Pingreq)
			ping.Write(conn) // comes after the answer, if there is one
			answers := ""
			for answers == "" {
				packet, err := packets.ReadPacket(conn)
				switch packet.(type) {
				case *packets.PingrespPacket:
					answers = dropped
				case *packets.PubackPacket, *packets.SubackPacket:
					answers = taken
				}
				if err != nil {
					answers = closed
				}
			}
			if answers != test.outcome {
				t.Errorf("%s, want %s", answers, test.outcome)
			}
			if v := strings.Join(core.Violations()[before:], "\n"); (v == "") != (test.violation == "") || !strings.Contains(v, test.violation) {
				t.Errorf("violations %q", v)
			}
		})
	}
}

// flood is more packets than a second may have, and one that wants an answer.
func flood(packet, last packets.ControlPacket) (all []packets.ControlPacket) {
	for range iotPublishes {
		all = append(all, packet)
	}
	return append(all, last)
}

// enter connects as the thing.
func enter(t *testing.T, core *IoTCore, authority *Authority) net.Conn {
	t.Helper()
	cert, key, err := authority.Issue("lamp")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.Cert())
	conn, err := tls.Dial("tcp", core.FrontAddr(), &tls.Config{
		RootCAs: roots, ServerName: "localhost", NextProtos: []string{iotProtocol},
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(readyTimeout)); err != nil {
		t.Fatal(err)
	}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.ClientIdentifier, hello.CleanSession, hello.Keepalive = "MQTT", 4, "lamp", true, 30
	if err := hello.Write(conn); err != nil {
		t.Fatal(err)
	}
	if ack, err := packets.ReadPacket(conn); err != nil || ack.(*packets.ConnackPacket).ReturnCode != packets.Accepted {
		t.Fatalf("%v, %v", ack, err)
	}
	return conn
}
