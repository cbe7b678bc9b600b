package contract

import "encoding/json"

// ResponseStatus is how far a command has come.
type ResponseStatus string

const (
	StatusInProgress ResponseStatus = "in_progress" // admitted; another response follows
	StatusSucceeded  ResponseStatus = "succeeded"
	StatusFailed     ResponseStatus = "failed"   // carried out, and it did not work
	StatusRejected   ResponseStatus = "rejected" // not carried out
)

// Response answers a command. Topic cmd/<verb>/response.
type Response struct {
	Schema Schema          `json:"schema"`
	ID     string          `json:"id"` // of the command, "" when it could not be read
	Status ResponseStatus  `json:"status"`
	Code   string          `json:"code"`   // of the code table, "" when all is well
	Reason string          `json:"reason"` // for people, "" when all is well
	Data   json.RawMessage `json:"data"`   // depends on the verb; null when there is none
}

// List is a slice that is written as [] also when it is nil.
type List[T any] []T

func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// StatusData is how the agent stands.
type StatusData struct {
	Version   string             `json:"version"`
	SessionID string             `json:"session_id"`
	StartedAt Time               `json:"started_at"`
	Clock     Clock              `json:"clock"`
	Shown     string             `json:"shown"` // the stream on the display, "" when none is
	Streams   List[StreamStatus] `json:"streams"`
	MQTT      LinkStatus         `json:"mqtt"`
}

// StreamStatus is how one stream stands.
type StreamStatus struct {
	Name      string    `json:"name"`
	State     State     `json:"state"`
	Telemetry Telemetry `json:"telemetry"` // the newest
}

// LinkStatus is how the connection to the broker stands.
type LinkStatus struct {
	ConnectedSince   Time   `json:"connected_since"`
	QueuedEvents     int    `json:"queued_events"`
	DroppedEvents    uint64 `json:"dropped_events"`    // since the start
	DroppedTelemetry uint64 `json:"dropped_telemetry"` // since the start
}

// StreamData is how a stream stands after start, stop or restart.
type StreamData struct {
	Stream string      `json:"stream"`
	State  StreamState `json:"state"`
}

// SeekData says where a stream goes on.
type SeekData struct {
	Stream string `json:"stream"`
	From   string `json:"from"` // number of the last fragment before, "" when there was none
	To     string `json:"to"`   // the start selector
}

// ShowData says what is shown where.
type ShowData struct {
	Stream  string `json:"stream"`
	Before  string `json:"before"`  // the stream that was shown, "" when none was
	Display string `json:"display"` // connector, "" for a window
}

// SetData says what was changed.
type SetData struct {
	Changed List[Change] `json:"changed"`
}

// Change is a setting before and after.
type Change struct {
	Name   string `json:"name"`   // as in SetArgs
	Stream string `json:"stream"` // "" when it is not a stream's
	Old    any    `json:"old"`
	New    any    `json:"new"`
}

// SnapshotData describes a picture that was sent.
type SnapshotData struct {
	Stream string `json:"stream"`
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"` // of the JPEG, in hexadecimal
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

// ProbeData is what works on the box.
type ProbeData struct {
	GStreamer string        `json:"gstreamer"`
	Decoders  List[Decoder] `json:"decoders"`
	Displays  List[Display] `json:"displays"`
}

// ReloadData says which streams a new configuration has touched.
type ReloadData struct {
	ConfigHash string       `json:"config_hash"`
	Added      List[string] `json:"added"`
	Removed    List[string] `json:"removed"`
	Changed    List[string] `json:"changed"`
	Restart    List[string] `json:"restart"` // keys that take effect when the agent starts again
}

// ExplainData is an entry of the code table.
type ExplainData struct {
	Code     string   `json:"code"`
	Severity Severity `json:"severity"`
	Summary  string   `json:"summary"`
	Action   string   `json:"action"`
}
