package kvstest

import (
	"math"
	"regexp"
	"slices"
	"sync"
	"time"
)

// Selector is a StartSelector: where in a stream a session begins.
type Selector struct {
	Type                string  `json:"StartSelectorType"`
	AfterFragmentNumber string  `json:"AfterFragmentNumber,omitempty"`
	StartTimestamp      float64 `json:"StartTimestamp,omitempty"` // seconds since 1970
	ContinuationToken   string  `json:"ContinuationToken,omitempty"`
}

// The types of selectors.
const (
	Now             = "NOW"
	Earliest        = "EARLIEST"
	FragmentNumber  = "FRAGMENT_NUMBER"
	ServerTimestamp = "SERVER_TIMESTAMP"
	ProducerTime    = "PRODUCER_TIMESTAMP"
	Continuation    = "CONTINUATION_TOKEN"
)

var (
	numberPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9]{1,128}$`) })
	tokenPattern  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,128}$`) })
)

// check refuses a selector that lacks what its type needs or has what it does not.
func (s Selector) check() *Exception {
	types := []string{Now, Earliest, FragmentNumber, ServerTimestamp, ProducerTime, Continuation}
	stamped := s.Type == ServerTimestamp || s.Type == ProducerTime
	switch {
	case !slices.Contains(types, s.Type):
		return invalidArgument("StartSelectorType is none of the known ones")
	case (s.Type == FragmentNumber) != (s.AfterFragmentNumber != ""):
		return invalidArgument("AfterFragmentNumber goes with FRAGMENT_NUMBER, and only with it")
	case stamped != (s.StartTimestamp != 0):
		return invalidArgument("StartTimestamp goes with SERVER_TIMESTAMP and PRODUCER_TIMESTAMP, and only with them")
	case (s.Type == Continuation) != (s.ContinuationToken != ""):
		return invalidArgument("ContinuationToken goes with CONTINUATION_TOKEN, and only with it")
	case s.AfterFragmentNumber != "" && !numberPattern().MatchString(s.AfterFragmentNumber):
		return invalidArgument("AfterFragmentNumber must be 1 to 128 digits")
	case s.ContinuationToken != "" && !tokenPattern().MatchString(s.ContinuationToken):
		return invalidArgument("ContinuationToken must be 1 to 128 of letters, digits, '_', '.' and '-'")
	}
	return nil
}

// start is StartTimestamp, to the millisecond: a float64 holds no more.
func (s Selector) start() time.Time {
	return time.UnixMilli(int64(math.Round(s.StartTimestamp * 1000)))
}
