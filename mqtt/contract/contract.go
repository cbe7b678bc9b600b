// Package contract is what an agent and the outside world say to each other: topics, payloads, commands and codes, as
// docs/mqtt.md describes them. Nothing in it waits, connects or keeps anything.
//
// Read contract.go (topics and what the agent reports), command.go and response.go (what it is asked and answers),
// admit.go (which commands it takes), and codes.go: the project's one list of what can happen.
package contract

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"
)

// DefaultPrefix is the first level of every topic unless configured.
const DefaultPrefix = "edge-agent"

// Payloads of the availability topic, the only ones that are not JSON.
const (
	Online  = "online"
	Offline = "offline"
)

// Topics are the topic names of one agent.
type Topics struct{ base string }

// NewTopics makes the topic names below <prefix>/v1/<agentID>/.
// Both must satisfy ValidName.
func NewTopics(prefix, agentID string) (Topics, error) {
	if err := ValidName(prefix); err != nil {
		return Topics{}, ConfigError("topic_prefix %q cannot be used in topics: %w", prefix, err)
	}
	if err := ValidName(agentID); err != nil {
		return Topics{}, ConfigError("the agent id %q cannot be used in topics: %w", agentID, err)
	}
	return Topics{base: prefix + "/v1/" + agentID + "/"}, nil
}

// OfEveryAgent has in place of topic names the filters that match those of every agent.
func OfEveryAgent(prefix string) Topics { return Topics{base: prefix + "/v1/+/"} }

func (t Topics) Availability() string           { return t.base + "availability" }
func (t Topics) Info() string                   { return t.base + "info" }
func (t Topics) Events() string                 { return t.base + "events" }
func (t Topics) Command(v Verb) string          { return t.base + "cmd/" + string(v) }
func (t Topics) Response(v Verb) string         { return t.base + "cmd/" + string(v) + "/response" }
func (t Topics) Snapshot(stream string) string  { return t.base + "snapshot/" + stream }
func (t Topics) State(stream string) string     { return t.base + "streams/" + stream + "/state" }
func (t Topics) Telemetry(stream string) string { return t.base + "streams/" + stream + "/telemetry" }

// Commands is the filter that matches all commands and nothing else.
func (t Topics) Commands() string { return t.base + "cmd/+" }

// All is the filter that matches every topic of the agent.
func (t Topics) All() string { return t.base + "#" }

// maxNameLen keeps the longest topic below the 256 bytes of AWS IoT Core.
const maxNameLen = 64

// ValidName tells whether a name can stand in a topic: 1 to 64 of a-z, 0-9 and '-'.
func ValidName(name string) error {
	if name == "" {
		return fmt.Errorf("it is empty")
	}
	if len(name) > maxNameLen {
		return fmt.Errorf("it has %d characters, at most %d are allowed", len(name), maxNameLen)
	}
	for _, r := range name {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' {
			return fmt.Errorf("%q is not one of a-z, 0-9 and '-'", r)
		}
	}
	return nil
}

const maxTopicLen = 128

var topicForm = regexp.MustCompile(`^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$`)

// ValidTopic tells whether a topic of other programs can be used: words of letters, digits, '_' and '-' with a '/'
// between them, 128 characters at most.
func ValidTopic(topic string) error {
	if len(topic) > maxTopicLen {
		return fmt.Errorf("it has %d characters, at most %d are allowed", len(topic), maxTopicLen)
	}
	if !topicForm.MatchString(topic) {
		return fmt.Errorf("it is not made of words of A-Z, a-z, 0-9, '_' and '-' with a '/' between them")
	}
	return nil
}

// Schema is the version of the contract. It is written as 1 whatever its value,
// so that no payload can leave without it.
type Schema int

func (Schema) MarshalJSON() ([]byte, error) { return []byte("1"), nil }

// Time is written as RFC 3339 in UTC with exactly three decimals, or null when zero.
// (time.Time would leave out trailing zeros.)
type Time struct{ time.Time }

func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(t.UTC().Format(`"2006-01-02T15:04:05.000Z"`)), nil
}

// Millis is a duration in whole milliseconds, as it stands in the payloads.
type Millis int64

// Info is what the agent is and what it found on the box. Topic info, retained.
type Info struct {
	Schema     Schema    `json:"schema"`
	Version    string    `json:"version"`
	Commit     string    `json:"commit"`
	Arch       string    `json:"arch"`
	OS         string    `json:"os"`
	GStreamer  string    `json:"gstreamer"`   // its version, "" when not known
	SessionID  string    `json:"session_id"`  // new at every start of the agent
	ConfigHash string    `json:"config_hash"` // of the effective configuration
	Decoders   []Decoder `json:"decoders"`    // found on this box
	Displays   []Display `json:"displays"`    // pictures go here; empty: nowhere
	PassedOver []string  `json:"passed_over"` // why they go nowhere better, such as "x11: DISPLAY is not set"
	Commands   []string  `json:"commands"`    // verbs allowed by the configuration
	Shown      string    `json:"shown"`       // the stream on the display, "" when none is
}

// Decoder is a decoder that was found on the box.
type Decoder struct {
	Name  string `json:"name"`  // GStreamer element, such as "vah264dec"
	Codec string `json:"codec"` // "h264", "h265"
	Kind  string `json:"kind"`  // family as in the configuration: va, v4l2-stateless, v4l2-stateful, vendor, software

	Device string  `json:"device"` // node, "" when the decoder does not say
	Driver string  `json:"driver"` // of the kernel, "" when not known
	Result string  `json:"result"` // of trying it out: passed, failed, untried
	FPS    float64 `json:"fps"`    // when it was tried out
	Code   string  `json:"code"`   // why it failed, or what is wrong all the same; "" otherwise
}

// Display is a display that was found on the box.
type Display struct {
	Connector string `json:"connector"` // such as "HDMI-A-1"; "" for a window
	Sink      string `json:"sink"`      // as in the configuration: kms, wayland, x11
	Width     int    `json:"width"`     // pixels of the current mode, 0 when not known
	Height    int    `json:"height"`
	Path      string `json:"path,omitempty"` // of pictures to the screen: plane, copy
}

// StreamState is where a stream stands.
type StreamState string

const (
	Starting StreamState = "starting" // nothing received yet
	Playing  StreamState = "playing"  // fragments arrive
	Stalled  StreamState = "stalled"  // connected, but nothing arrives
	Backoff  StreamState = "backoff"  // waits before the next attempt
	Stopped  StreamState = "stopped"  // on request
	Failed   StreamState = "failed"   // trying again cannot help
)

// State is where a stream stands and why. Topic streams/<name>/state, retained.
type State struct {
	Schema         Schema      `json:"schema"`
	State          StreamState `json:"state"`
	Since          Time        `json:"since"`
	Code           string      `json:"code"`    // why, "" when all is well
	Message        string      `json:"message"` // for people
	Attempt        int         `json:"attempt"` // of the current run of failures, 0 when playing
	Decoder        string      `json:"decoder"` // Decoder.Name, "" when none
	FragmentNumber string      `json:"fragment_number"`
}

// Clock says whether the box's clock can be compared with others.
type Clock string

const (
	ClockSynced   Clock = "synced"
	ClockUnsynced Clock = "unsynced"
	ClockUnknown  Clock = "unknown"
)

// Telemetry is what happened to one stream between From and To.
// Topic streams/<name>/telemetry.
type Telemetry struct {
	Schema        Schema  `json:"schema"`
	From          Time    `json:"from"`
	To            Time    `json:"to"`
	Fragments     int64   `json:"fragments"`
	Frames        int64   `json:"frames"` // received, of the video track in use: access units
	Bytes         int64   `json:"bytes"`  // received, of all tracks
	BitrateBPS    int64   `json:"bitrate_bps"`
	FPS           float64 `json:"fps"` // Frames a second
	ShownFrames   int64   `json:"shown_frames"`
	DroppedFrames int64   `json:"dropped_frames"` // the sum of DroppedBy
	Reconnects    int64   `json:"reconnects"`
	Decoder       string  `json:"decoder"`
	Clock         Clock   `json:"clock"`
	Lag           Lag     `json:"lag"`

	// What became of the frames. Frames = ShownFrames + DroppedFrames + HiddenFrames + the change of QueuedFrames since
	// the message before.
	DroppedBy    Reasons `json:"dropped_by"`    // frames by the reason why they were not shown
	HiddenFrames int64   `json:"hidden_frames"` // received while another stream was on the display
	QueuedFrames int64   `json:"queued_frames"` // on their way at To
	Audio        *Audio  `json:"audio"`         // nil: the stream has no sound
}

// Reasons counts by reason. It is written as {} when there is none.
type Reasons map[string]int64

func (r Reasons) MarshalJSON() ([]byte, error) {
	if r == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]int64(r))
}

// Audio is what came of sound between From and To. It is received and not played.
type Audio struct {
	Frames     int64   `json:"frames"`
	Bytes      int64   `json:"bytes"`
	Codec      string  `json:"codec"`       // Matroska codec id, such as "A_AAC"
	SampleRate float64 `json:"sample_rate"` // hertz, 0 when not known
	Channels   int     `json:"channels"`    // 0 when not known
}

// Lag is how far behind the stream is, by three measures; nil when unknown.
type Lag struct {
	Service  *Distribution `json:"service_ms"`  // MILLIS_BEHIND_NOW of the service
	Producer *Distribution `json:"producer_ms"` // wall clock less the producer's timestamps; nil when those are not of a clock
	Local    *Distribution `json:"local_ms"`    // from the reception of a frame to its picture on the screen
}

// Distribution sums up the values seen between From and To.
type Distribution struct {
	Last Millis `json:"last"`
	Min  Millis `json:"min"`
	P50  Millis `json:"p50"`
	P95  Millis `json:"p95"`
	Max  Millis `json:"max"`
}

// Event is something that happened. Topic events. Those who report one fill in
// Code, Stream, Message and Detail; Client.Event fills in the rest.
type Event struct {
	Schema   Schema   `json:"schema"`
	ID       string   `json:"id"`  // UUIDv7; the same when an event is sent twice
	Seq      uint64   `json:"seq"` // one more with every event of this agent; a hole is a lost event
	TS       Time     `json:"ts"`
	Severity Severity `json:"severity"`
	Code     string   `json:"code"`
	Stream   string   `json:"stream"` // "" when it is about the whole agent
	Message  string   `json:"message"`
	Count    int64    `json:"count"`    // how often it happened, 1 or more
	FirstTS  Time     `json:"first_ts"` // first and last of these
	LastTS   Time     `json:"last_ts"`
	// Detail holds what machines want to know: the keys depend on the code. May be null.
	Detail map[string]any `json:"detail"`
}
