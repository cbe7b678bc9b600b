// Package config reads the configuration and finds every fault of it, with its place and what to do.
//
// A text becomes a Config in this order: limits.go (is it fit to be read), decode.go (keys and types), env.go (variables
// over the file), shadow.go (what a device shadow desires over that), check.go (what does not go together). salvage.go
// gets what is usable out of a file with faults.
package config

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"time"
	"unicode"

	// the schema

	"github.com/BurntSushi/toml"

	"github.com/edge-agent/edge-agent/decode/timeline"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// DefaultFile is the default of --config.
const DefaultFile = "/etc/edge-agent/config.toml"

// BothV4L2 names the two V4L2 families at once in a configuration.
const BothV4L2 = "v4l2"

// SocketAuto is the socket in the run-time directory that the service manager gives, and none without one.
const SocketAuto = "auto"

// Live are the keys, besides those of streams, that take effect without a restart.
var Live = []string{
	"mqtt.telemetry_interval", "display.connector", "display.show", "display.slate_after", "decode.order", "log.level",
}

// Schema is the JSON schema of the configuration, generated from config.toml and Config; see TestConfigSchema.
//
//go:embed config.schema.json
var Schema []byte

// Config is the whole configuration of the daemon, as read from one TOML file.
// Field names follow the keys; config.toml at the root of the repository says
// what each of them is for.
type Config struct {
	Agent   Agent   `toml:"agent"`
	AWS     AWS     `toml:"aws"`
	MQTT    MQTT    `toml:"mqtt"`
	Display Display `toml:"display"`
	Decode  Decode  `toml:"decode"`
	Control Control `toml:"control"`
	HTTP    HTTP    `toml:"http"`
	Log     Log     `toml:"log"`

	HomeAssistant HomeAssistant `toml:"homeassistant"`

	Streams []Stream `toml:"streams"` // nil when the file does not say, empty when it says streams = []
}

// Agent says who this agent is. Load fills an empty ID from the host name.
type Agent struct {
	ID       string `toml:"id"`
	StateDir string `toml:"state_dir"`
}

// AWS says where the streams are. An empty Region leaves the choice to
// the SDK; an empty Endpoint means AWS itself.
type AWS struct {
	Region   string `toml:"region"`
	Endpoint string `toml:"endpoint"`
	IoT      IoT    `toml:"iot"`
}

// IoT says how to get credentials with the device's certificate; see
// ingest.IoTCredentials. An empty Endpoint leaves them to the SDK's default chain. The MQTT profile
// aws-iot uses thing and certificate too.
type IoT struct {
	Endpoint  string `toml:"endpoint"`
	RoleAlias string `toml:"role_alias"`
	ThingName string `toml:"thing_name"`
	CertFile  string `toml:"cert_file"`
	KeyFile   string `toml:"key_file"`
	CAFile    string `toml:"ca_file"`
}

// MQTT says how to reach the broker, and what kind it is. An empty Broker turns MQTT off.
type MQTT struct {
	Broker            string   `toml:"broker"`
	Profile           string   `toml:"profile"`
	ClientID          string   `toml:"client_id"`
	Username          string   `toml:"username"`
	PasswordFile      string   `toml:"password_file"`
	TopicPrefix       string   `toml:"topic_prefix"`
	TelemetryInterval Duration `toml:"telemetry_interval"`
	CAFile            string   `toml:"ca_file"`
	CertFile          string   `toml:"cert_file"`
	KeyFile           string   `toml:"key_file"`
	AllowPlaintext    bool     `toml:"allow_plaintext"`
}

// Display says where the picture goes. An empty Connector means the first connected one,
// an empty Show the first stream.
type Display struct {
	Sink       string   `toml:"sink"`
	Connector  string   `toml:"connector"`
	Path       string   `toml:"path"`
	Rotate     int      `toml:"rotate"`
	Show       string   `toml:"show"`
	Latency    Duration `toml:"latency"`
	SlateAfter Duration `toml:"slate_after"`
}

// Decode orders the decoder families, most wanted first, and names elements of the
// vendor family, elements whose pictures need not be those of the processor, see plan.Choose, and known faults of
// drivers that do not count, see package quirk. The rest says
// which program decodes and what its processes may do; see decode.Program and decode.Sandbox.
type Decode struct {
	Order          []string `toml:"order"`
	VendorElements []string `toml:"vendor_elements"`

	TrustedElements []string `toml:"trusted_elements"`
	IgnoreQuirks    []string `toml:"ignore_quirks"`

	Renderer      string   `toml:"renderer"`
	Sandbox       bool     `toml:"sandbox"`
	RendererUser  string   `toml:"renderer_user"`
	RendererEnv   []string `toml:"renderer_env"`
	RendererPaths []string `toml:"renderer_paths"`
}

// Control says which commands from MQTT are obeyed. With PublicKeys they have to be signed. Shadow permits a
// device shadow to desire a configuration. Clock says whose word is taken for the box's clock: the kernel's, or the
// operator's, who vouches for it.
type Control struct {
	Enabled    bool     `toml:"enabled"`
	Allow      []string `toml:"allow"`
	PublicKeys []string `toml:"public_keys"`
	Shadow     bool     `toml:"shadow"`
	Clock      string   `toml:"clock"`
}

// HTTP says where the status page, the metrics and the health of this agent can be asked for. An empty Listen is
// nowhere; Socket may be socketAuto. See package web.
type HTTP struct {
	Listen      string `toml:"listen"`
	TokenFile   string `toml:"token_file"`
	AllowRemote bool   `toml:"allow_remote"`
	Snapshots   bool   `toml:"snapshots"`
	Socket      string `toml:"socket"`
}

// HomeAssistant says whether and where Home Assistant is told of the agent; see mqtt.HomeAssistant.
type HomeAssistant struct {
	Enabled         bool   `toml:"enabled"`
	DiscoveryPrefix string `toml:"discovery_prefix"`
	BirthTopic      string `toml:"birth_topic"`
}

// Log is about the log on standard error.
type Log struct {
	Level  string `toml:"level"`
	Format string `toml:"format"`
}

// Stream is one stream to pull and show. Exactly one of StreamName and StreamARN is set. MaxLag 0 means that no
// lag is too much; see ingest.Stream. An empty DecodeOrder means that of [decode]; an empty VideoTrack the first track
// that can be decoded, see decode.Input.SelectTrack.
type Stream struct {
	Name        string   `toml:"name"`
	StreamName  string   `toml:"stream_name"`
	StreamARN   string   `toml:"stream_arn"`
	Start       string   `toml:"start"`
	MaxLag      Duration `toml:"max_lag"`
	OnLag       string   `toml:"on_lag"`
	DecodeOrder []string `toml:"decode_order"`
	VideoTrack  TrackRef `toml:"video_track"`
}

// TrackRef names a track of a stream by its number or its name, as decode.Input.SelectTrack takes it.
type TrackRef string

// maxTrackRef is how long it may be, in bytes.
const maxTrackRef = 200

// UnmarshalText takes a name or a number in quotes; decoder takes a number without quotes too.
func (t *TrackRef) UnmarshalText(text []byte) error {
	switch {
	case len(text) > maxTrackRef:
		return fmt.Errorf("a text of %d bytes is too long for the name of a track; the maximum is %d", len(text), maxTrackRef)
	case strings.ContainsFunc(string(text), unicode.IsControl):
		return fmt.Errorf("%q has control characters; use the number or the name of the track that `edge-agent inspect` prints", text)
	}
	*t = TrackRef(text)
	return nil
}

// What OnLag may be: go on at the newest fragment, or stay behind.
const (
	lagJump = "jump"
	LagStay = "stay"
)

// Defaults returns the configuration of an empty file.
func Defaults() Config {
	return Config{
		Agent:   Agent{StateDir: "/var/lib/edge-agent"},
		MQTT:    MQTT{Profile: string(mqtt.Standard), TopicPrefix: contract.DefaultPrefix, TelemetryInterval: Duration(10 * time.Second)},
		Display: Display{Sink: "auto", Path: "auto", Latency: Duration(timeline.DefaultLatency), SlateAfter: Duration(3 * time.Second)},
		Decode:  Decode{Order: []string{"va", BothV4L2, "vendor", "software"}, VendorElements: []string{}, TrustedElements: []string{}, IgnoreQuirks: []string{}, Sandbox: true, RendererEnv: []string{}, RendererPaths: []string{}},
		Control: Control{Allow: []string{}, PublicKeys: []string{}, Clock: clockSynced},
		HTTP:    HTTP{Snapshots: true, Socket: SocketAuto},
		Log:     Log{Level: "info", Format: "text"},

		HomeAssistant: HomeAssistant{DiscoveryPrefix: mqtt.DefaultDiscoveryPrefix, BirthTopic: mqtt.DefaultBirthTopic},
	}
}

// DefaultStream returns the values of an empty [[streams]] table.
func DefaultStream() Stream {
	return Stream{Start: "now", MaxLag: Duration(10 * time.Second), OnLag: lagJump, DecodeOrder: []string{}}
}

// Load reads and checks the file at path. On failure the error is a
// Errors with every fault that was found, in the order of the file.
func Load(path string) (Config, error) { return LoadUnder(path, nil) }

// LoadUnder is Load with what a device shadow desires put over the file; see
// decoder.overlay.
func LoadUnder(path string, desired json.RawMessage) (Config, error) {
	environ := os.Environ()
	text, err := ReadTOML(path)
	if errors.Is(err, fs.ErrNotExist) && path == DefaultFile && len(settings(environ)) > 0 {
		err = nil // a container that is configured by its environment alone
	}
	if err != nil {
		return Config{}, Errors{Unreadable(path, err)}
	}
	c, err := ParseUnder(path, text, environ, desired)
	if err != nil {
		return Config{}, err
	}
	if c.Agent.ID == "" {
		host, err := os.Hostname()
		if err != nil {
			return Config{}, Errors{{
				Code: CodeInvalid, File: path, Key: "agent.id",
				Message: "is empty and the host name cannot be read", Action: "Set an id.", Err: err,
			}}
		}
		c.Agent.ID = IDFromHostname(host)
	}
	return c, nil
}

// Parse turns the text of a file into a checked Config. name is for messages only.
func Parse(name, text string) (Config, error) { return ParseUnder(name, text, nil, nil) }

// ParseUnder is Parse with an environment over the text, and what a device shadow desires over both.
func ParseUnder(name, text string, environ []string, desired json.RawMessage) (Config, error) {
	if line := CheckNesting(text); line > 0 {
		return Config{}, Errors{TooNested(name, line)}
	}
	var tables map[string]any
	if _, err := toml.Decode(text, &tables); err != nil {
		return Config{}, Errors{SyntaxError(name, err)}
	}
	if tables == nil {
		tables = map[string]any{}
	}
	d := decoder{file: name, lines: keyLines(text)}
	d.overlayEnvironment(tables, environ)
	if len(desired) > 0 {
		d.overlay(tables, desired)
	}
	c := Defaults()
	d.table("", tables, reflect.ValueOf(&c).Elem())
	checkConfig(&c, d.invalid)
	if len(d.faults) > 0 {
		return Config{}, d.faults.Sorted()
	}
	return c, nil
}

// IDFromHostname makes a host name fit what mqtt.ValidName allows.
func IDFromHostname(host string) string {
	fit := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(host))
	fit = strings.Trim(fit[:min(len(fit), 64)], "-")
	if fit == "" {
		return "edge-agent"
	}
	return fit
}

// Duration is a time.Duration that is written as "10s" in the configuration.
type Duration time.Duration

// UnmarshalText accepts what time.ParseDuration accepts, but for a sign.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	switch {
	case err != nil:
		return fmt.Errorf("%q is no duration; write a number with a unit, such as \"500ms\", \"10s\" or \"1m30s\"", text)
	case v < 0:
		return fmt.Errorf("%q is negative; a duration is zero or more", text)
	}
	*d = Duration(v)
	return nil
}

// String writes the duration as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes it as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Hash tells two configurations apart without giving either away. It is of the keys of the file, sorted, with their
// values: what types the code keeps them in, and in which order, is no part of it.
func (c Config) Hash() string {
	var text bytes.Buffer
	_ = toml.NewEncoder(&text).Encode(c) // a Config has only what TOML can say
	keys := make(map[string]any)
	_, _ = toml.Decode(text.String(), &keys)
	sorted, _ := json.Marshal(keys)
	sum := sha256.Sum256(sorted)
	return hex.EncodeToString(sum[:8])
}
