package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/quirk"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

// reportFault notes that the value of a key cannot be used, and what would do.
type reportFault func(key, message, action string)

// What the values of some keys may be.
var (
	knownPaths      = texts(plan.Paths...)
	knownSinks      = texts(plan.Auto, plan.KMS, plan.Wayland, plan.X11, plan.None)
	KnownFamilies   = append(texts(plan.DefaultOrder...), BothV4L2)
	KnownLogLevels  = []string{"debug", "info", "warn", "error"}
	knownLogFormats = []string{"text", "json"}
	knownVerbs      = texts(contract.Verbs()...)

	elementPattern  = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	variablePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	regionPattern   = regexp.MustCompile(`^[a-z]{2,}(-[a-z0-9]+)+$`)
)

// minTelemetryInterval keeps a fleet from flooding its broker by mistake.
const minTelemetryInterval = Duration(time.Second)

// The bounds of [display]. Below the least latency no decoder is in time, and above the most nothing
// is live. Streams that come in fragments pause between them, which is no reason for a slate.
const (
	minLatency    = Duration(20 * time.Millisecond)
	maxLatency    = Duration(10 * time.Second)
	minSlateAfter = Duration(500 * time.Millisecond)
)

// checkConfig finds what is wrong or contradictory in a decoded configuration.
// It is a pure function: no file is opened and no name is looked up.
func checkConfig(c *Config, fault reportFault) {
	checkAgent(&c.Agent, fault)
	checkAWS(&c.AWS, c.IsAWSIoT(), fault)
	checkMQTT(&c.MQTT, fault)
	checkProfile(c, fault)
	checkOneOf("display.sink", c.Display.Sink, knownSinks, fault)
	checkOneOf("display.path", c.Display.Path, knownPaths, fault)
	checkDisplay(c, fault)
	checkList("decode.order", c.Decode.Order, KnownFamilies, fault)
	if len(c.Decode.Order) == 0 {
		fault("decode.order", "is empty", "Name at least one of "+Quoted(KnownFamilies)+".")
	}
	checkElements("decode.vendor_elements", c.Decode.VendorElements, fault)
	checkElements("decode.trusted_elements", c.Decode.TrustedElements, fault)
	checkList("decode.ignore_quirks", c.Decode.IgnoreQuirks, quirk.IDs(), fault)
	checkRenderer(&c.Decode, fault)
	checkControl(c, fault)
	checkHTTP(&c.HTTP, fault)
	checkHomeAssistant(c, fault)
	checkOneOf("log.level", c.Log.Level, KnownLogLevels, fault)
	checkOneOf("log.format", c.Log.Format, knownLogFormats, fault)
	checkStreams(c, fault)
}

func checkAgent(a *Agent, fault reportFault) {
	if a.ID != "" {
		checkID("agent.id", a.ID, fault)
	}
	if a.StateDir == "" {
		fault("agent.state_dir", "is empty", "Name a folder the agent may write to.")
	}
}

// checkID wants a word that can stand in a topic.
func checkID(key, id string, fault reportFault) {
	if err := contract.ValidName(id); err != nil {
		fault(key, fmt.Sprintf("= %q cannot stand in an MQTT topic: %s", id, err), "Allowed are 1 to 64 of a-z, 0-9 and -.")
	}
}

// checkAWS is told whether the certificate of [aws.iot] is for MQTT too.
func checkAWS(a *AWS, shared bool, fault reportFault) {
	if a.Region != "" && !regionPattern.MatchString(a.Region) {
		fault("aws.region", fmt.Sprintf("= %q is no region", a.Region), `Write it as AWS does, such as "eu-west-1".`)
	}
	checkIoT(&a.IoT, shared, fault)
	if a.Endpoint == "" {
		return
	}
	u, err := url.Parse(a.Endpoint)
	if hasSecret(a.Endpoint) {
		fault("aws.endpoint", "holds a user name or password", "Write the address alone: credentials come from where AWS's own tools look for them.")
	} else if goesOn(a.Endpoint) {
		fault("aws.endpoint", "goes on after the address", `Write "https://host" or "http://host:port", or leave it empty for AWS.`)
	} else if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		fault("aws.endpoint", fmt.Sprintf("= %q is no address of a service", a.Endpoint),
			`Write "https://host" or "http://host:port", or leave it empty for AWS.`)
	}
}

// checkIoT wants all that the credential provider needs, once it is to be used.
func checkIoT(c *IoT, shared bool, fault reportFault) {
	const key = "aws.iot.endpoint"
	switch {
	case *c == IoT{}:
	case c.Endpoint == "" && shared && c.RoleAlias == "" && (c.CertFile == "") == (c.KeyFile == ""):
	case c.Endpoint == "":
		fault(key, "is empty, but other keys of [aws.iot] are set", "Set it to the host that `aws iot describe-endpoint --endpoint-type iot:CredentialProvider` prints.")
	case hasSecret(c.Endpoint):
		fault(key, "holds a user name or password", "Write the host alone, without https://.")
	case goesOn(c.Endpoint):
		fault(key, "goes on after the host", "Write the host alone, without https://.")
	case strings.ContainsAny(c.Endpoint, "/:@ "):
		fault(key, fmt.Sprintf("= %q is no host name", c.Endpoint), "Write the host alone, without https://.")
	case c.RoleAlias == "" || c.CertFile == "" || c.KeyFile == "":
		fault(key, "is set, but not all of role_alias, cert_file and key_file", "Set all of them, or none.")
	}
}

func checkMQTT(m *MQTT, fault reportFault) {
	if m.TelemetryInterval < minTelemetryInterval {
		fault("mqtt.telemetry_interval", fmt.Sprintf("= %q is too short", m.TelemetryInterval),
			fmt.Sprintf("The least is %q.", minTelemetryInterval))
	}
	checkID("mqtt.topic_prefix", m.TopicPrefix, fault)
	broker := mqtt.Broker{
		URL: m.Broker, ClientID: m.ClientID, Username: m.Username, PasswordFile: m.PasswordFile,
		CAFile: m.CAFile, CertFile: m.CertFile, KeyFile: m.KeyFile, AllowPlaintext: m.AllowPlaintext,
	}
	for _, f := range broker.Faults() {
		if f.Key != "broker" || m.Broker != "" { // no broker is no fault here
			fault("mqtt."+f.Key, f.Message, f.Action)
		}
	}
}

// hasSecret says that an address may hold a user name or password, also one that cannot be parsed. No valid address has
// an @ otherwise. Such an address is refused and must not be printed: faults of a reload are published.
func hasSecret(address string) bool { return strings.Contains(address, "@") }

// goesOn says that an address has a query or a fragment, which may be secret as well.
func goesOn(address string) bool { return strings.ContainsAny(address, "?#") }

func checkDisplay(c *Config, fault reportFault) {
	d := &c.Display
	if d.Connector != "" && d.Sink != "auto" && d.Sink != "kms" {
		fault("display.connector", fmt.Sprintf("is set but sink = %q has no connectors", d.Sink),
			`Set sink to "kms" or "auto", or leave connector empty.`)
	}
	if d.Path == string(plan.PathPlane) && d.Sink != "auto" && d.Sink != "kms" {
		fault("display.path", fmt.Sprintf("is \"plane\" but sink = %q has no planes", d.Sink), `Set sink to "kms" or "auto", or path to "auto".`)
	}
	if !slices.Contains(plan.Rotations, d.Rotate) {
		fault("display.rotate", fmt.Sprintf("= %d is no rotation", d.Rotate), "Write 0, 90, 180 or 270: degrees, clockwise.")
	}
	var names []string
	for _, s := range c.Streams {
		names = append(names, s.Name)
	}
	if d.Show != "" && !slices.Contains(names, d.Show) {
		fault("display.show", fmt.Sprintf("= %q is the name of no stream", d.Show), DidYouMean(d.Show, names))
	}
	if d.Latency < minLatency || d.Latency > maxLatency {
		fault("display.latency", fmt.Sprintf("= %q cannot be kept", d.Latency), fmt.Sprintf("Write a time from %q to %q.", minLatency, maxLatency))
	}
	if d.SlateAfter < minSlateAfter {
		fault("display.slate_after", fmt.Sprintf("= %q is too short", d.SlateAfter), fmt.Sprintf("The least is %q.", minSlateAfter))
	}
}

// Values of [control] clock.
const (
	clockSynced = "synced" // commands that change something are obeyed while the kernel says that the clock is synchronised
	ClockSystem = "system" // always: whoever set this vouches for the clock
)

func checkControl(c *Config, fault reportFault) {
	checkOneOf("control.clock", c.Control.Clock, []string{clockSynced, ClockSystem}, fault)
	checkList("control.allow", c.Control.Allow, knownVerbs, fault)
	for i, text := range c.Control.PublicKeys {
		if _, err := secret.ParsePublicKey(text); err != nil {
			fault("control.public_keys", fmt.Sprintf("has an entry (number %d) that cannot be used: %v", i+1, err),
				"Write the Ed25519 key that `openssl pkey -pubout` prints, without its first and last line.")
		}
	}
	switch {
	case c.Control.Shadow && !c.IsAWSIoT():
		fault("control.shadow", "is true but the broker has no device shadows", `Set profile = "aws-iot" in [mqtt], or shadow = false.`)
	case c.Control.Shadow && !c.Control.Enabled:
		fault("control.shadow", "is true but enabled is false", "Set enabled = true, or shadow = false.")
	case c.Control.Shadow && len(c.Control.PublicKeys) > 0:
		fault("control.shadow", "is true, but a shadow cannot be signed as public_keys asks for",
			"Set shadow = false, or remove the keys if those who may change the shadow may also steer the box.")
	}
	switch {
	case c.Control.Enabled && c.MQTT.Broker == "":
		fault("control.enabled", "is true but no broker is set", "Set broker in [mqtt], where commands come from, or enabled = false.")
	case c.Control.Enabled && len(c.Control.Allow) == 0 && !c.Control.Shadow:
		fault("control.enabled", "is true but allow is empty", "Name the verbs to obey in allow, or set enabled = false.")
	}
}

// checkHTTP wants that whoever can reach the page from elsewhere either knows a token or is meant to.
func checkHTTP(h *HTTP, fault reportFault) {
	if h.Socket != "" && h.Socket != SocketAuto && !filepath.IsAbs(h.Socket) {
		fault("http.socket", fmt.Sprintf("= %q is no absolute path", h.Socket), `Write a path such as "/run/edge-agent/status.sock", "auto", or "" for none.`)
	}
	if h.Listen == "" {
		if h.TokenFile != "" || h.AllowRemote {
			fault("http.listen", "is empty, but token_file or allow_remote is set", `Set it to an address such as "127.0.0.1:9464", or remove the others.`)
		}
		return
	}
	host, port, err := net.SplitHostPort(h.Listen)
	if number, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || number == 0 {
		fault("http.listen", fmt.Sprintf("= %q is no address to listen on", h.Listen), `Write it as "127.0.0.1:9464", or "0.0.0.0:9464" for all networks.`)
		return
	}
	if !mqtt.IsLoopback(host) && h.TokenFile == "" && !h.AllowRemote {
		fault("http.listen", fmt.Sprintf("= %q would let everybody in reach see the page and the picture", h.Listen),
			"Set token_file, or allow_remote = true if that is meant.")
	}
}

func checkHomeAssistant(c *Config, fault reportFault) {
	for key, topic := range map[string]string{
		"homeassistant.discovery_prefix": c.HomeAssistant.DiscoveryPrefix,
		"homeassistant.birth_topic":      c.HomeAssistant.BirthTopic,
	} {
		if err := contract.ValidTopic(topic); err != nil {
			fault(key, fmt.Sprintf("= %q cannot be used: %s", topic, err), "Write it as it stands in Home Assistant's settings of MQTT, without wildcards.")
		}
	}
	if c.HomeAssistant.Enabled && c.MQTT.Broker == "" {
		fault("homeassistant.enabled", "is true but no broker is set", "Set broker in [mqtt] to the one that Home Assistant uses, or enabled = false.")
	}
}

func checkStreams(c *Config, fault reportFault) {
	seen := map[string]int{}
	for i := range c.Streams {
		s := &c.Streams[i]
		at := fmt.Sprintf("streams[%d]", i)
		checkStream(at, s, c.AWS.Region, fault)
		if first, ok := seen[s.Name]; ok {
			fault(at+".name", fmt.Sprintf("= %q is the name of streams[%d] too", s.Name, first), "Give every stream a name of its own.")
		} else {
			seen[s.Name] = i
		}
	}
}

func checkStream(at string, s *Stream, region string, fault reportFault) {
	if s.Name == "" {
		fault(at+".name", "is missing", "Name the stream as it is to be called in MQTT topics, with a-z, 0-9 and -.")
	} else {
		checkID(at+".name", s.Name, fault)
	}
	key := at + ".stream_name"
	if s.StreamARN != "" {
		key = at + ".stream_arn"
	}
	if err := ingest.CheckStream(s.StreamName, s.StreamARN); err != nil {
		switch {
		case s.StreamName == "" && s.StreamARN == "":
			fault(key, "and stream_arn are missing", "Write the name that the stream has in Kinesis Video Streams into one of them.")
		default:
			fault(key, "cannot be used: "+err.Error(), "")
		}
	} else if s.StreamARN != "" {
		checkRegion(key, s.StreamARN, region, fault)
	}
	checkOneOf(at+".on_lag", s.OnLag, []string{lagJump, LagStay}, fault)
	checkList(at+".decode_order", s.DecodeOrder, KnownFamilies, fault)
	if _, err := ingest.ParseSelector(s.Start); err != nil {
		fault(at+".start", "cannot be used: "+err.Error(), "")
	}
}

// checkRegion wants a valid ARN to be of the configured region, if there is one.
func checkRegion(key, arn, region string, fault reportFault) {
	of := strings.Split(arn, ":")[3]
	if region != "" && of != region {
		fault(key, fmt.Sprintf("is in %s but region in [aws] is %q", of, region), "Set region to that of the stream.")
	}
}

func checkOneOf(key, value string, allowed []string, fault reportFault) {
	if !slices.Contains(allowed, value) {
		fault(key, fmt.Sprintf("= %q is not known", value), DidYouMean(value, allowed))
	}
}

// checkList wants every item known and none twice.
func checkList(key string, items, allowed []string, fault reportFault) {
	var unknown, twice []string
	for i, item := range items {
		if !slices.Contains(allowed, item) {
			unknown = append(unknown, item)
		} else if slices.Contains(items[:i], item) {
			twice = append(twice, item)
		}
	}
	switch {
	case len(unknown) > 0:
		fault(key, "has the unknown "+Quoted(unknown), DidYouMean(unknown[0], allowed))
	case len(twice) > 0:
		fault(key, "repeats "+Quoted(twice), "Name each once.")
	}
}

// checkElements wants names that can stand in a pipeline.
func checkElements(key string, names []string, fault reportFault) {
	for _, name := range names {
		if !elementPattern.MatchString(name) {
			fault(key, fmt.Sprintf("has %q, which is no name of an element", name), "Write it as gst-inspect-1.0 lists it.")
			return
		}
	}
}

// checkRenderer checks the program that decodes, and what its processes may have besides what they need. A secret is
// not given away by mistake.
func checkRenderer(c *Decode, fault reportFault) {
	if c.Renderer != "" && !filepath.IsAbs(c.Renderer) {
		fault("decode.renderer", fmt.Sprintf("is %q", c.Renderer), "Name the program by its whole path, or leave it empty for the one beside edge-agent.")
	}
	for _, name := range c.RendererEnv {
		if !variablePattern.MatchString(name) || strings.HasPrefix(name, "AWS_") || strings.HasPrefix(name, "EDGE_AGENT_") {
			fault("decode.renderer_env", fmt.Sprintf("has %q, which no renderer gets", name), "Name environment variables that drivers read, without their values.")
			return
		}
	}
	for _, path := range c.RendererPaths {
		if !filepath.IsAbs(path) || strings.Contains(path, ":") || filepath.Clean(path) == "/" {
			fault("decode.renderer_paths", fmt.Sprintf("has %q", path), "Name files or folders by their whole paths, such as /dev/vendor0.")
			return
		}
	}
}

// DidYouMean proposes the allowed value that a wrong one was most likely meant to be, or names them all.
func DidYouMean(value string, allowed []string) string {
	action := "Allowed are " + Quoted(allowed) + "."
	if near := Nearest(value, allowed); near != "" {
		action = fmt.Sprintf("Did you mean %q? %s", near, action)
	}
	return action
}

// Quoted lists words, each in quotes.
func Quoted(words []string) string {
	return `"` + strings.Join(words, `", "`) + `"`
}

// texts turns names of a type of their own into plain ones.
func texts[T ~string](names ...T) []string {
	plain := make([]string, len(names))
	for i, name := range names {
		plain[i] = string(name)
	}
	return plain
}
