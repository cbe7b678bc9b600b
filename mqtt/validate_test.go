package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// wire is a connection that reads what a broker sends and takes all that is written.
type wire struct {
	net.Conn
	from   io.Reader
	closed bool
}

func (w *wire) Read(p []byte) (int, error)  { return w.from.Read(p) }
func (w *wire) Write(p []byte) (int, error) { return len(p), nil }
func (w *wire) Close() error                { w.closed = true; return nil }

const testLimit = 100 // bytes of payload

// newWire is a client that has sent CONNECT, SUBSCRIBE 1 of "cmd/+", SUBSCRIBE 2 of "a" and "b/#", PUBLISH 3 with
// QoS 1, and PINGREQ.
func newWire(t testing.TB, from io.Reader) (*wire, *validatingConn) {
	w := &wire{from: from}
	c := newValidatingConn(w, "broker:1883")
	for _, filter := range []string{"cmd/+", "a", "b/#"} {
		c.limit(filter, testLimit)
	}
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.CleanSession = "MQTT", 4, true
	publish := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	publish.TopicName, publish.Qos, publish.MessageID, publish.Payload = "availability", 1, 3, []byte("online")
	for _, p := range []packets.ControlPacket{
		connect, subscribePacket(1, "cmd/+"), subscribePacket(2, "a", "b/#"), publish, packets.NewControlPacket(packets.Pingreq),
	} {
		if err := p.Write(c); err != nil {
			t.Fatal(err)
		}
	}
	return w, c
}

func subscribePacket(id uint16, filters ...string) packets.ControlPacket {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID, p.Topics, p.Qoss = id, filters, make([]byte, len(filters))
	return p
}

const connack = "\x20\x02\x00\x00"

// publishBytes is a PUBLISH with QoS 0.
func publishBytes(topic, payload string) string {
	var b bytes.Buffer
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = topic, []byte(payload)
	p.Write(&b)
	return b.String()
}

func TestInvalidPackets(t *testing.T) {
	for name, test := range map[string]struct{ bytes, says string }{
		"not MQTT":                        {"HTTP/1.1 400 Bad Request\r\n", "type 4 (PUBACK) came before CONNACK"},
		"no CONNACK":                      {publishBytes("a", "x"), "before CONNACK"},
		"type 0":                          {connack + "\x00\x00", "type 0"},
		"type 15":                         {connack + "\xF0\x00", "type 15"},
		"CONNACK twice":                   {connack + connack, "came again"},
		"CONNACK of a session":            {"\x20\x02\x01\x00", "clean session"},
		"CONNACK with a reserved bit":     {"\x20\x02\x02\x00", "flags 0x2"},
		"CONNACK with reserved flags":     {"\x21\x02\x00\x00", "reserved flags 0x1"},
		"CONNACK with an unknown code":    {"\x20\x02\x00\x07", "return code 7"},
		"CONNACK of one byte":             {"\x20\x01\x00", "1 bytes"},
		"CONNACK of 256 MiB":              {"\x20\xFF\xFF\xFF\x7F", "268435455 bytes"},
		"length of five bytes":            {connack + "\x30\xFF\xFF\xFF\xFF\x7F", "more than four bytes"},
		"SUBACK with too many codes":      {connack + "\x90\x04\x00\x01\x01\x01", "2 return codes for 1 filters"},
		"SUBACK with too few codes":       {connack + "\x90\x03\x00\x02\x01", "1 return codes for 2 filters"},
		"SUBACK without a code":           {connack + "\x90\x02\x00\x01", "SUBACK has 2 bytes"},
		"SUBACK that is long":             {connack + "\x90\x7F", "SUBACK has 127 bytes"},
		"SUBACK with an unknown code":     {connack + "\x90\x03\x00\x01\x03", "return code 0x3"},
		"SUBACK of nothing":               {connack + "\x90\x03\x00\x09\x01", "packet identifier 9"},
		"SUBACK of a PUBLISH":             {connack + "\x90\x03\x00\x03\x01", "packet identifier 3"},
		"SUBACK twice":                    {connack + "\x90\x03\x00\x01\x01\x90\x03\x00\x01\x01", "packet identifier 1"},
		"PUBACK of nothing":               {connack + "\x40\x02\x00\x04", "packet identifier 4"},
		"PUBACK of a SUBSCRIBE":           {connack + "\x40\x02\x00\x01", "packet identifier 1"},
		"PUBACK twice":                    {connack + "\x40\x02\x00\x03\x40\x02\x00\x03", "packet identifier 3"},
		"PUBACK of three bytes":           {connack + "\x40\x03\x00\x03\x00", "PUBACK has 3 bytes"},
		"PUBACK with the flags of PUBREL": {connack + "\x42\x02\x00\x03", "reserved flags 0x2"},
		"PUBREC":                          {connack + "\x50\x02\x00\x03", "PUBREC"},
		"PUBREL":                          {connack + "\x62\x02\x00\x03", "PUBREL"},
		"PUBCOMP":                         {connack + "\x70\x02\x00\x03", "PUBCOMP"},
		"UNSUBACK":                        {connack + "\xB0\x02\x00\x01", "UNSUBACK"},
		"CONNECT":                         {connack + "\x10\x00", "CONNECT"},
		"SUBSCRIBE":                       {connack + "\x82\x00", "SUBSCRIBE"},
		"PINGREQ":                         {connack + "\xC0\x00", "PINGREQ"},
		"DISCONNECT":                      {connack + "\xE0\x00", "DISCONNECT"},
		"PINGRESP with a body":            {connack + "\xD0\x01\x00", "PINGRESP has 1 bytes"},
		"PINGRESP twice":                  {connack + "\xD0\x00\xD0\x00", "without PINGREQ"},
		"PUBLISH with QoS 2":              {connack + "\x34\x06\x00\x01a\x00\x01x", "QoS 2"},
		"PUBLISH with QoS 3":              {connack + "\x36\x06\x00\x01a\x00\x01x", "QoS 3"},
		"PUBLISH again without QoS":       {connack + "\x38\x04\x00\x01ax", "DUP"},
		"PUBLISH of one byte":             {connack + "\x30\x01\x00", "PUBLISH has 1 bytes"},
		"PUBLISH of half a topic":         {connack + "\x30\x03\x00\x02a", "ends at 4"},
		"PUBLISH with no room for an id":  {connack + "\x32\x04\x00\x01a\x00", "ends at 5"},
		"PUBLISH with the id 0":           {connack + "\x32\x05\x00\x01a\x00\x00", "packet identifier 0"},
		"PUBLISH without a topic":         {connack + "\x30\x03\x00\x00x", `topic ""`},
		"PUBLISH to a wildcard":           {connack + publishBytes("cmd/+", "x"), `topic "cmd/+"`},
		"PUBLISH to a NUL":                {connack + publishBytes("cmd/\x00", "x"), `\x00`},
		"PUBLISH to no UTF-8":             {connack + publishBytes("cmd/\xFF", "x"), `\xff`},
		"PUBLISH nobody asked for":        {connack + publishBytes("cmd/stop/more", "x"), "not subscribed"},
		"PUBLISH to a long topic":         {connack + publishBytes("x"+strings.Repeat("y", 60000), "x"), "not subscribed"},
	} {
		t.Run(name, func(t *testing.T) {
			w, c := newWire(t, strings.NewReader(test.bytes))
			_, err := io.ReadAll(c)
			var coded *contract.Error
			if !errors.As(err, &coded) || coded.Code != "mqtt.protocol" || !strings.Contains(err.Error(), test.says) || len(err.Error()) > 600 {
				t.Errorf("err %v, want %q", err, test.says)
			}
			if !w.closed || c.protocolError() == nil {
				t.Error("the connection was not closed")
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("more can be read")
			}
		})
	}
}

// valid is one of each packet that a broker may send to newWire.
const valid = connack + "\x90\x03\x00\x01\x01" + "\x90\x04\x00\x02\x80\x00" + // granted; refused and granted
	"\x40\x02\x00\x03" + "\xD0\x00" +
	"\x30\x03\x00\x01a" + // no payload
	"\x31\x07\x00\x05cmd/x" + "\x32\x08\x00\x01b\x00\x09xyz" + "\x3A\x0A\x00\x03b/c\x00\x09xyz"

func TestValidPacketsReachPahoAsTheyAre(t *testing.T) {
	readers := map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "one byte": iotest.OneByteReader, "with EOF": iotest.DataErrReader,
	}
	for name, reader := range readers {
		w, c := newWire(t, reader(strings.NewReader(valid)))
		if got, err := io.ReadAll(iotest.OneByteReader(c)); err != nil || string(got) != valid {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if w.closed || c.protocolError() != nil {
			t.Errorf("%s: closed: %v", name, c.protocolError())
		}
	}
	for n := range len(valid) { // the network breaks; that is not the broker's fault
		_, c := newWire(t, strings.NewReader(valid[:n]))
		got, err := io.ReadAll(c)
		if !strings.HasPrefix(valid, string(got)) || c.protocolError() != nil || err != nil && err != io.ErrUnexpectedEOF {
			t.Errorf("of %d bytes: %q, %v", n, got, err)
		}
	}
}

func TestALongerLengthThanNeededIsWrittenAgain(t *testing.T) {
	_, c := newWire(t, strings.NewReader("\x20\x82\x80\x00\x00\x00"))
	if got, err := io.ReadAll(c); err != nil || string(got) != connack {
		t.Errorf("%q, %v", got, err)
	}
}

func TestTopicFilters(t *testing.T) {
	for _, test := range []struct {
		filter, topic string
		want          bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a/b", false},
		{"a/b", "a", false},
		{"a/+", "a", false},
		{"a/+", "a/", true},
		{"a/+", "a/b", true},
		{"a/+", "a/b/c", false},
		{"+/b", "a/b", true},
		{"a/#", "a", true},
		{"a/#", "a/b/c", true},
		{"#", "a/b", true},
		{"+", "a/b", false},
		{"a/+/c", "a/b/c", true},
		{"a/+/c", "a/b/d", false},
		{"/a", "a", false},
	} {
		if got := topicMatches(test.filter, test.topic); got != test.want {
			t.Errorf("%s, %s: %v", test.filter, test.topic, got)
		}
	}
}

// endless gives bytes without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// A PUBLISH of 250 MiB and a header that announces as much take no more memory than the limit.
func TestLargePacketsTakeNoMemory(t *testing.T) {
	const size = 250 << 20
	header := "\x32\x8C\x80\x80\x7D" + "\x00\x05cmd/x" + "\x00\x07" // 12 bytes before the payload
	after := publishBytes("a", "next")
	for name, from := range map[string]io.Reader{
		"a payload":  io.MultiReader(strings.NewReader(connack+header), io.LimitReader(endless{}, size+3), strings.NewReader(after)),
		"a header":   strings.NewReader(connack + header[:5]),
		"no PUBLISH": strings.NewReader(connack + "\x90\xFF\xFF\xFF\x7F"),
	} {
		t.Run(name, func(t *testing.T) {
			_, c := newWire(t, from)
			var before, then runtime.MemStats
			runtime.ReadMemStats(&before)
			got, err := io.ReadAll(c)
			runtime.ReadMemStats(&then)
			if taken := then.TotalAlloc - before.TotalAlloc; taken > 1<<20 {
				t.Errorf("%d bytes were allocated", taken)
			}
			if name != "a payload" {
				if err == nil || string(got) != connack {
					t.Errorf("%.200q, %v", got, err)
				}
				return
			}
			want := connack + "\x32\x6E" + header[5:] + strings.Repeat("\x00", testLimit+1) + after
			if err != nil || string(got) != want {
				t.Errorf("%d bytes, %.200q, %v", len(got), got, err)
			}
		})
	}
}

// Whatever a broker sends, the client reports it, connects again and works on.
func TestAnInvalidPacketIsReportedAndTheClientConnectsAgain(t *testing.T) {
	sub := func(raw func(id uint16) []byte) func(packets.ControlPacket) []byte {
		return func(p packets.ControlPacket) []byte {
			if s, ok := p.(*packets.SubscribePacket); ok {
				return raw(s.MessageID)
			}
			return nil
		}
	}
	for name, answer := range map[string]func(packets.ControlPacket) []byte{
		"SUBACK with more codes than filters": sub(func(id uint16) []byte {
			return []byte{0x90, 5, byte(id >> 8), byte(id), 1, 1, 1}
		}),
		"SUBACK without codes": sub(func(id uint16) []byte { return []byte{0x90, 2, byte(id >> 8), byte(id)} }),
		"PUBACK of nothing":    sub(func(uint16) []byte { return []byte{0x40, 2, 0x77, 0x77} }),
		"CONNACK again":        sub(func(uint16) []byte { return []byte(connack) }),
		"CONNACK with an unknown code": func(p packets.ControlPacket) []byte {
			if _, ok := p.(*packets.ConnectPacket); ok {
				return []byte{0x20, 2, 0, 9}
			}
			return nil
		},
		"no MQTT": func(packets.ControlPacket) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeBroker(first(1, behaviour{answer: answer}))
				defer f.close()
				c := newTestClientWith(t, f, Config{Control: &Control{Enabled: true, Executor: &hands{}}})
				stop := start(c)
				defer stop()
				synctest.Wait()
				wantCode(t, c.Status().Err, "mqtt.protocol")
				time.Sleep(time.Minute) // of the bubble's time
				synctest.Wait()
				got := fmt.Sprintf("%+v", events(t, f, c))
				if !c.Status().Connected || !strings.Contains(got, "Code:mqtt.protocol") || !strings.Contains(got, "sent an invalid MQTT packet") {
					t.Errorf("connected %v, events %s", c.Status().Connected, got)
				}
			})
		})
	}
}

// Whatever bytes a broker sends, what paho is given it can read, and none of it is more than was asked for.
func FuzzValidatingConn(f *testing.F) {
	f.Add([]byte(valid))
	f.Add([]byte(connack + "\x30\xFF\xFF\xFF\x7F"))
	f.Add([]byte(connack + "\x90\x04\x00\x01\x01\x01"))
	f.Add([]byte(connack + publishBytes("cmd/x", strings.Repeat("x", testLimit+7)) + publishBytes("a", "")))
	f.Fuzz(func(t *testing.T, sent []byte) {
		w, c := newWire(t, bytes.NewReader(sent))
		got, err := io.ReadAll(c)
		if invalid := c.protocolError(); w.closed != (invalid != nil) || invalid != nil && err == nil {
			t.Fatalf("err %v, closed %v, reported %v", err, w.closed, c.protocolError())
		}
		checkPackets(t, got)
	})
}

// checkPackets reads packets as paho does.
func checkPackets(t *testing.T, sent []byte) {
	granted := map[uint16]int{1: 1, 2: 2}
	acknowledged, pings := 0, 0
	in := bytes.NewReader(sent)
	for n := 0; in.Len() > 0; n++ {
		p, err := packets.ReadPacket(in)
		if err != nil {
			t.Fatalf("paho cannot read packet %d of %q: %v", n, sent, err)
		}
		_, isConnack := p.(*packets.ConnackPacket)
		if isConnack != (n == 0) {
			t.Fatalf("packet %d is %v", n, p)
		}
		switch p := p.(type) {
		case *packets.ConnackPacket:
			if _, known := packets.ConnErrors[p.ReturnCode]; !known || p.SessionPresent {
				t.Fatalf("%v", p)
			}
		case *packets.SubackPacket:
			if filters, asked := granted[p.MessageID]; !asked || len(p.ReturnCodes) != filters {
				t.Fatalf("%v %v", p, p.ReturnCodes)
			}
			delete(granted, p.MessageID)
		case *packets.PubackPacket:
			if acknowledged++; p.MessageID != 3 || acknowledged > 1 {
				t.Fatalf("%v", p)
			}
		case *packets.PingrespPacket:
			if pings++; pings > 1 {
				t.Fatalf("%v", p)
			}
		case *packets.PublishPacket:
			if len(p.Payload) > testLimit+1 || p.Qos > 1 || !strings.HasPrefix(p.TopicName, "cmd/") && p.TopicName != "a" &&
				p.TopicName != "b" && !strings.HasPrefix(p.TopicName, "b/") {
				t.Fatalf("%v", p)
			}
		default:
			t.Fatalf("%v", p)
		}
	}
}
