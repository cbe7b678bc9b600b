package ingest

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"
)

// Selector is a GetMedia StartSelector: where in the stream to begin. Its zero value is
// the newest fragment.
type Selector struct {
	Kind  SelectorKind
	Value string    // fragment number or continuation token
	Time  time.Time // for ServerTime and ProducerTime
}

// SelectorKind says what a Selector goes by.
type SelectorKind uint8

// The kinds of selectors. Resume is the session's own: behind the last fragment that the
// agent has seen, also over a restart, and the newest fragment when there is none.
const (
	Now SelectorKind = iota
	Earliest
	AfterFragment
	ServerTime
	ProducerTime
	ContinuationToken
	Resume
)

// Patterns with large counts take a millisecond to make, which every start of a process would pay: here and elsewhere
// they are made when they are needed.
var (
	fragmentNumber = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{1,128}$`) })
	namePattern    = regexp.MustCompile(`^[a-zA-Z0-9_.-]+$`)
	arnPattern     = regexp.MustCompile(`^arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+$`)
)

// ParseSelector reads now, earliest, resume, fragment:<number>, server:<RFC 3339> and
// producer:<RFC 3339>. Its error says what is allowed.
func ParseSelector(s string) (Selector, error) {
	kind, value, _ := strings.Cut(s, ":")
	switch kind {
	case "now", "earliest", "resume":
		if kind != s {
			return Selector{}, fmt.Errorf("%q: %s stands alone", s, kind)
		}
		return Selector{Kind: map[string]SelectorKind{"now": Now, "earliest": Earliest, "resume": Resume}[kind]}, nil
	case "fragment":
		if !fragmentNumber().MatchString(value) {
			return Selector{}, fmt.Errorf("%q: a fragment number is 1 to 128 digits", s)
		}
		return Selector{Kind: AfterFragment, Value: value}, nil
	case "server", "producer":
		t, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return Selector{}, fmt.Errorf("%q: a time is written as in %s:2026-01-31T08:15:00Z", s, kind)
		}
		if kind == "server" {
			return Selector{Kind: ServerTime, Time: t}, nil
		}
		return Selector{Kind: ProducerTime, Time: t}, nil
	}
	return Selector{}, fmt.Errorf("%q: a start is now, earliest, resume, fragment:<number>, server:<time> or producer:<time>", s)
}

// String is what ParseSelector reads; a continuation token has no such form and is
// shown as token:…
func (s Selector) String() string {
	switch s.Kind {
	case Earliest:
		return "earliest"
	case Resume:
		return "resume"
	case AfterFragment:
		return "fragment:" + s.Value
	case ServerTime:
		return "server:" + s.Time.Format(time.RFC3339Nano)
	case ProducerTime:
		return "producer:" + s.Time.Format(time.RFC3339Nano)
	case ContinuationToken:
		return "token:" + s.Value
	}
	return "now"
}

// CheckStream holds the names of a stream against the API reference's patterns; exactly one of
// them must be given.
func CheckStream(name, arn string) error {
	switch {
	case name == "" && arn == "":
		return errors.New("neither stream_name nor stream_arn is given")
	case name != "" && arn != "":
		return errors.New("both stream_name and stream_arn are given; give one")
	case name != "" && (len(name) > 256 || !namePattern.MatchString(name)):
		return fmt.Errorf("stream_name %q: 1 to 256 of a-z A-Z 0-9 _ . - are allowed", name)
	case arn != "" && (len(arn) > 1024 || !arnPattern.MatchString(arn)):
		return fmt.Errorf("stream_arn %q is not of the form arn:aws:kinesisvideo:<region>:<account>:stream/<name>/<number>", arn)
	}
	return nil
}

// request is the body of a GetMedia call.
func (s Selector) request(stream Stream) ([]byte, error) {
	type startSelector struct {
		StartSelectorType   string
		AfterFragmentNumber string  `json:",omitempty"`
		ContinuationToken   string  `json:",omitempty"`
		StartTimestamp      float64 `json:",omitempty"` // seconds since 1970
	}
	sel := startSelector{StartSelectorType: "NOW"}
	switch s.Kind {
	case Earliest:
		sel.StartSelectorType = "EARLIEST"
	case AfterFragment:
		sel.StartSelectorType, sel.AfterFragmentNumber = "FRAGMENT_NUMBER", s.Value
	case ContinuationToken:
		sel.StartSelectorType, sel.ContinuationToken = "CONTINUATION_TOKEN", s.Value
	case ServerTime:
		sel.StartSelectorType, sel.StartTimestamp = "SERVER_TIMESTAMP", seconds(s.Time)
	case ProducerTime:
		sel.StartSelectorType, sel.StartTimestamp = "PRODUCER_TIMESTAMP", seconds(s.Time)
	}
	return json.Marshal(struct {
		StreamName    string `json:",omitempty"`
		StreamARN     string `json:",omitempty"`
		StartSelector startSelector
	}{stream.StreamName, stream.StreamARN, sel})
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
