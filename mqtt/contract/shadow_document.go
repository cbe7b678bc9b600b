package contract

import (
	"encoding/json"
	"reflect"
)

// ShadowName is the named shadow that agents keep.
const ShadowName = "edge-agent"

// ShadowReported is what an agent reports in its device shadow: what it is, what it does, and what
// is configured. Faults and Streams are left out when they are empty.
type ShadowReported struct {
	Schema     Schema                  `json:"schema"`
	Version    string                  `json:"version"`     // of the agent
	ConfigHash string                  `json:"config_hash"` // as in Info
	Shown      string                  `json:"shown"`       // the stream on the display, "" when there is none
	Complete   bool                    `json:"complete"`    // false: Streams and Desired.Faults are left out, because the document would be too large
	Desired    ShadowOutcome           `json:"desired"`
	Config     ShadowConfig            `json:"config"`
	Streams    map[string]ShadowStream `json:"streams,omitempty"` // by name
}

// ShadowStatus is what became of a desired configuration.
type ShadowStatus string

const (
	ShadowNone       ShadowStatus = "none"       // there is no desired configuration
	ShadowApplied    ShadowStatus = "applied"    // it is in effect
	ShadowRejected   ShadowStatus = "rejected"   // it has changed nothing; the one before is in effect
	ShadowOverridden ShadowStatus = "overridden" // it was applied, and a command has changed something since
)

// ShadowOutcome is what became of the newest desired configuration.
type ShadowOutcome struct {
	Version int64        `json:"version"` // of the shadow, when the agent first saw this desired configuration; 0: never
	Status  ShadowStatus `json:"status"`
	Code    string       `json:"code"`   // of the first fault, "" when all is well
	Reason  string       `json:"reason"` // all faults, for people
	// Faults are the single faults by their keys, such as "mqtt.telemetry_interval".
	Faults map[string]ShadowFault `json:"faults,omitempty"`
}

// ShadowFault is why a key was rejected.
type ShadowFault struct {
	Code   string `json:"code"`
	Reason string `json:"reason"`
}

// ShadowStream is where a stream stands, in short.
type ShadowStream struct {
	State   StreamState `json:"state"`
	Code    string      `json:"code"`
	Decoder string      `json:"decoder"`
}

// ShadowDesired is what is desired of an agent in its shadow. Other keys beside these are passed over.
type ShadowDesired struct {
	Config ShadowConfig `json:"config,omitzero"`
}

// ShadowConfig is what a shadow may set, with the names and the form of the configuration file,
// but for the streams, which are by name. The reported one has every key; a desired one has
// those that are to differ from the file.
type ShadowConfig struct {
	MQTT    ShadowMQTT                    `json:"mqtt,omitzero"`
	Display ShadowDisplay                 `json:"display,omitzero"`
	Decode  ShadowDecode                  `json:"decode,omitzero"`
	Log     ShadowLog                     `json:"log,omitzero"`
	Streams map[string]ShadowStreamConfig `json:"streams,omitzero"` // all there are to be
}

type ShadowMQTT struct {
	TelemetryInterval string `json:"telemetry_interval,omitempty"`
}

type ShadowDisplay struct {
	Connector  *string `json:"connector,omitempty"`
	Show       *string `json:"show,omitempty"`
	SlateAfter string  `json:"slate_after,omitempty"`
}

type ShadowDecode struct {
	Order []string `json:"order,omitempty"`
}

type ShadowLog struct {
	Level string `json:"level,omitempty"`
}

// ShadowStreamConfig has its name, ARN and track as they were desired: nil is not named, which "" is.
type ShadowStreamConfig struct {
	StreamName  *string  `json:"stream_name,omitempty"`
	StreamARN   *string  `json:"stream_arn,omitempty"`
	Start       string   `json:"start,omitempty"`
	MaxLag      string   `json:"max_lag,omitempty"`
	OnLag       string   `json:"on_lag,omitempty"`
	DecodeOrder []string `json:"decode_order,omitzero"`
	VideoTrack  *string  `json:"video_track,omitempty"` // "": the first that can be decoded
}

// Object is a JSON object as encoding/json decodes it.
type Object = map[string]any

// MergePatch is what changes one object into the other by the rules of RFC 7396, which the
// shadow service has too: what is null goes, objects are merged, all else is replaced. The
// objects have no null in them.
func MergePatch(from, to Object) Object {
	patch := Object{}
	for key := range from {
		if _, stays := to[key]; !stays {
			patch[key] = nil
		}
	}
	for key, value := range to {
		old, was := from[key]
		if was && reflect.DeepEqual(old, value) {
			continue
		}
		inner, isObject := value.(Object)
		oldInner, wasObject := old.(Object)
		if isObject && wasObject {
			patch[key] = MergePatch(oldInner, inner)
		} else {
			patch[key] = value
		}
	}
	return patch
}

// DecodeObject decodes JSON; what is no object gives an empty one.
func DecodeObject(text []byte) Object {
	var o Object
	if json.Unmarshal(text, &o) != nil || o == nil {
		return Object{}
	}
	return o
}
