package contract

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Verb is what a command asks for.
type Verb string

const (
	VerbStatus   Verb = "status"   // how the agent and its streams stand
	VerbStart    Verb = "start"    // a stream that was stopped
	VerbStop     Verb = "stop"     // a stream
	VerbRestart  Verb = "restart"  // a stream's session
	VerbSeek     Verb = "seek"     // move a stream to another start
	VerbShow     Verb = "show"     // put a stream on the display
	VerbSet      Verb = "set"      // change settings until the next reload or restart
	VerbSnapshot Verb = "snapshot" // send the picture of a stream
	VerbProbe    Verb = "probe"    // try out decoders and displays
	VerbReload   Verb = "reload"   // read the configuration again
	VerbExplain  Verb = "explain"  // a code of the code table
)

// verb is what the contract says of a verb.
type verb struct {
	args       func() args   // fresh, for decoding
	disruptive bool          // it changes what the box does, so its sender has to have meant now
	deadline   time.Duration // of its execution
}

const usualDeadline = 30 * time.Second

var verbs = map[Verb]verb{
	VerbStatus:   {args: func() args { return &StatusArgs{} }, deadline: usualDeadline},
	VerbStart:    {args: func() args { return &StreamArgs{} }, deadline: usualDeadline, disruptive: true},
	VerbStop:     {args: func() args { return &StreamArgs{} }, deadline: usualDeadline, disruptive: true},
	VerbRestart:  {args: func() args { return &StreamArgs{} }, deadline: usualDeadline, disruptive: true},
	VerbSeek:     {args: func() args { return &SeekArgs{} }, deadline: usualDeadline, disruptive: true},
	VerbShow:     {args: func() args { return &ShowArgs{} }, deadline: usualDeadline, disruptive: true},
	VerbSet:      {args: func() args { return &SetArgs{} }, deadline: usualDeadline, disruptive: true},
	VerbSnapshot: {args: func() args { return &SnapshotArgs{} }, deadline: usualDeadline},
	VerbProbe:    {args: func() args { return &ProbeArgs{} }, deadline: 2 * time.Minute},
	VerbReload:   {args: func() args { return &ReloadArgs{} }, deadline: usualDeadline, disruptive: true},
	VerbExplain:  {args: func() args { return &ExplainArgs{} }, deadline: usualDeadline},
}

// Verbs returns all verbs in alphabetical order.
func Verbs() []Verb { return slices.Sorted(maps.Keys(verbs)) }

// Known says that there is such a verb.
func (v Verb) Known() bool {
	_, ok := verbs[v]
	return ok
}

// Deadline is how long a command of the verb may take.
func (v Verb) Deadline() time.Duration { return verbs[v].deadline }

// Disruptive tells whether a verb changes what the box does.
func (v Verb) Disruptive() bool { return verbs[v].disruptive }

// Command is a command that was admitted.
type Command struct {
	ID        string
	Verb      Verb
	IssuedAt  time.Time
	ExpiresAt time.Time
	Args      any // *StatusArgs, *StreamArgs (start, stop, restart), *SeekArgs, … as Verb says; checked
}

// Executor carries commands out. They come one at a time, on one goroutine.
// ctx ends at the verb's deadline and when the client stops: Execute has to return
// soon after. What it returns as data is published as JSON, also with an error; an
// error that is an *Error gives its Code to the response. Responses repeat no
// secrets: neither may data and errors.
type Executor interface {
	Execute(ctx context.Context, c Command) (data any, err error)
}

// args are the arguments of a verb.
type args interface {
	// check finds what decoding cannot: values out of range, missing fields.
	check() error
}

// StatusArgs are those of status. Data: StatusData.
type StatusArgs struct {
	Stream string `json:"stream,omitempty"` // only this one; "" means all
}

func (a *StatusArgs) check() error {
	if a.Stream == "" {
		return nil
	}
	return checkStream(a.Stream)
}

// StreamArgs are those of start, stop and restart. Data: StreamData.
type StreamArgs struct {
	Stream string `json:"stream"`
}

func (a *StreamArgs) check() error { return checkStream(a.Stream) }

// SeekArgs are those of seek. Data: SeekData.
type SeekArgs struct {
	Stream string `json:"stream"`
	To     string `json:"to"` // a start selector: now, earliest, fragment:<number>, server:<time> or producer:<time>
}

var selectorForm = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(now|earliest|fragment:[0-9]{1,128}|(server|producer):[0-9TtZz:.+-]{1,40})$`)
})

func (a *SeekArgs) check() error {
	if !selectorForm().MatchString(a.To) {
		return fmt.Errorf("to %.60q is not now, earliest, fragment:<number>, server:<time> or producer:<time>", a.To)
	}
	return checkStream(a.Stream)
}

// ShowArgs are those of show. Data: ShowData.
type ShowArgs struct {
	Stream  string `json:"stream"`
	Display string `json:"display,omitempty"` // a connector such as HDMI-A-1; "" means the one in use
}

var connectorForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9-]{0,32}$`) })

func (a *ShowArgs) check() error {
	if !connectorForm().MatchString(a.Display) {
		return fmt.Errorf("display %.40q is no connector such as HDMI-A-1", a.Display)
	}
	return checkStream(a.Stream)
}

// SetArgs are those of set: at least one is set. Data: SetData.
type SetArgs struct {
	LogLevel          string   `json:"log_level,omitempty"`             // debug, info, warn, error
	DecodeOrder       []string `json:"decode_order,omitempty"`          // decoder families, most wanted first
	MaxLag            *Millis  `json:"max_lag_ms,omitempty"`            // up to a day; 0 means that no lag is too much
	Stream            string   `json:"stream,omitempty"`                // whose max_lag_ms; "" means all
	TelemetryInterval *Millis  `json:"telemetry_interval_ms,omitempty"` // 1 s to 1 h
}

var (
	logLevels  = []string{"debug", "info", "warn", "error"}
	familyForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9-]{1,32}$`) })
)

const (
	maxFamilies          = 8
	maxMaxLag            = Millis(24 * time.Hour / time.Millisecond)
	minTelemetryInterval = Millis(time.Second / time.Millisecond)
	maxTelemetryInterval = Millis(time.Hour / time.Millisecond)
)

func (a *SetArgs) check() error {
	switch {
	case a.LogLevel == "" && a.DecodeOrder == nil && a.MaxLag == nil && a.TelemetryInterval == nil:
		return fmt.Errorf("nothing to set: give log_level, decode_order, max_lag_ms or telemetry_interval_ms")
	case a.LogLevel != "" && !slices.Contains(logLevels, a.LogLevel):
		return fmt.Errorf("log_level %.40q is not one of %s", a.LogLevel, strings.Join(logLevels, ", "))
	case a.MaxLag != nil && (*a.MaxLag < 0 || *a.MaxLag > maxMaxLag):
		return fmt.Errorf("max_lag_ms %d is not within 0 and %d", *a.MaxLag, maxMaxLag)
	case a.TelemetryInterval != nil && (*a.TelemetryInterval < minTelemetryInterval || *a.TelemetryInterval > maxTelemetryInterval):
		return fmt.Errorf("telemetry_interval_ms %d is not within %d and %d", *a.TelemetryInterval, minTelemetryInterval, maxTelemetryInterval)
	case a.Stream != "" && a.MaxLag == nil:
		return fmt.Errorf("stream is of use with max_lag_ms only")
	case a.Stream != "":
		return cmp.Or(checkStream(a.Stream), a.checkOrder())
	}
	return a.checkOrder()
}

func (a *SetArgs) checkOrder() error {
	if len(a.DecodeOrder) > maxFamilies {
		return fmt.Errorf("decode_order names %d families, at most %d are allowed", len(a.DecodeOrder), maxFamilies)
	}
	for i, family := range a.DecodeOrder {
		if !familyForm().MatchString(family) {
			return fmt.Errorf("decode_order: %.40q is no decoder family", family)
		}
		if slices.Contains(a.DecodeOrder[:i], family) {
			return fmt.Errorf("decode_order names %s twice", family)
		}
	}
	return nil
}

// SnapshotArgs are those of snapshot. The picture goes to the topic snapshot/<stream>,
// before the response. Data: SnapshotData.
type SnapshotArgs struct {
	Stream string `json:"stream"`
}

func (a *SnapshotArgs) check() error { return checkStream(a.Stream) }

// ProbeArgs are those of probe. Data: ProbeData.
type ProbeArgs struct{}

func (a *ProbeArgs) check() error { return nil }

// ReloadArgs are those of reload. Data: ReloadData.
type ReloadArgs struct{}

func (a *ReloadArgs) check() error { return nil }

// ExplainArgs are those of explain, which the client answers itself. Data: ExplainData.
type ExplainArgs struct {
	Code string `json:"code"`
}

func (a *ExplainArgs) check() error {
	if _, ok := Lookup(a.Code); !ok {
		return fmt.Errorf("%.60q is no code of the code table", a.Code)
	}
	return nil
}

func checkStream(name string) error {
	if err := ValidName(name); err != nil {
		return fmt.Errorf("stream %.70q: %w", name, err)
	}
	return nil
}

// Order is the payload of a command, before it is checked.
type Order struct {
	Schema    *Schema         `json:"schema,omitempty"`
	ID        string          `json:"id"`
	IssuedAt  Time            `json:"issued_at"`
	ExpiresAt Time            `json:"expires_at"`
	Args      json.RawMessage `json:"args,omitempty"`
}

var idForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`) })

func (o Order) check() error {
	switch {
	case o.Schema != nil && *o.Schema != 1:
		return fmt.Errorf("schema %d is not known, only 1 is", *o.Schema)
	case !idForm().MatchString(o.ID):
		return fmt.Errorf("id is not 1 to 64 of A-Z, a-z, 0-9, _ and -")
	case o.IssuedAt.IsZero():
		return fmt.Errorf("issued_at is missing")
	case o.ExpiresAt.IsZero():
		return fmt.Errorf("expires_at is missing")
	}
	return nil
}

// decodeArgs reads the arguments of a verb; nothing stands for {}.
func decodeArgs(v Verb, text json.RawMessage) (any, error) {
	into := verbs[v].args()
	if len(text) == 0 {
		text = json.RawMessage("{}")
	}
	if err := decodeStrict(text, into); err != nil {
		return nil, err
	}
	return into, into.check()
}

// decodeStrict is json.Unmarshal of an object without its tolerance: names have to be exact and
// known, and what is given must not be empty: no null, "" or [].
func decodeStrict(text []byte, into any) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil || fields == nil {
		return fmt.Errorf("not a JSON object")
	}
	known := jsonNames(reflect.TypeOf(into).Elem())
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, name) {
			return fmt.Errorf("unknown field %.40q", name)
		}
		switch string(bytes.TrimSpace(fields[name])) {
		case "null", `""`, "[]":
			return fmt.Errorf("%s is empty", name)
		}
	}
	if err := json.Unmarshal(text, into); err != nil {
		return badType(err)
	}
	return nil
}

func badType(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return fmt.Errorf("%s cannot be a %.40s", wrong.Field, wrong.Value)
	}
	return err
}

// jsonNames are the names of a struct's fields as JSON.
func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}
