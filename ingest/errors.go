package ingest

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Codes of what a session reports. Service errors carry their own number or name in
// theirs: kvs.media.4500, kvs.http.ResourceNotFoundException.
const (
	CodePlaying     = "ingest.playing"     // the first frame of a session has come
	CodeResumed     = "ingest.resumed"     // it goes on after a fault, behind the last whole fragment
	CodeEnd         = "ingest.end"         // the service ended a session, as it does after 40 to 45 minutes
	CodeIdle        = "ingest.idle"        // the stream has no new fragments
	CodeStall       = "ingest.stall"       // an open body brings no bytes
	CodeCut         = "ingest.cut"         // the connection ended in the middle of a fragment
	CodeMalformed   = "ingest.malformed"   // a fragment could not be read and was left out
	CodePosition    = "ingest.position"    // the place to resume at cannot be read or stored
	CodeGap         = "ingest.gap"         // fragments may be missing: the place to resume at is gone
	CodeSkipped     = "ingest.skipped"     // fragments were left out to catch up
	CodeRepeated    = "ingest.repeated"    // the service sends fragments again, or from before the place to resume at
	CodeNotStream   = "ingest.not_stream"  // the answer is not a stream: a proxy, a login page, a redirect
	CodeEndpoint    = "ingest.endpoint"    // GetDataEndpoint does not give a usable endpoint
	CodeClock       = "ingest.clock"       // the box's clock is wrong, and signatures with it
	CodeTLS         = "ingest.tls"         // no secure connection: a certificate is wrong
	CodeUnreachable = "ingest.unreachable" // no connection, or no answer
	CodeCredentials = "ingest.credentials" // no credentials to sign with
	CodeConfig      = "ingest.config"      // the configuration cannot work
	CodeLagHigh     = "lag.high"
	CodeLagNormal   = "lag.normal"

	prefixMedia = "kvs.media."
	prefixHTTP  = "kvs.http."
)

// Error is why a session ended.
type Error struct {
	Code      string
	Status    int    // of the HTTP response; 0 when there was none
	RequestID string // of the call, for AWS support
	ErrorID   int    // of an error in the body
	ErrorCode string // of an error in the body
	Fragment  string // which the error names, if it names one
	Message   string // what the service or the network said
	Err       error

	ClockOffset time.Duration // by how much the box's clock is behind the service's; for CodeClock
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return b.String()
}

// told is what happened in words, without the code.
func (e *Error) told() string {
	switch {
	case e.Message == "" && e.Err != nil:
		return e.Err.Error()
	case e.Message == "":
		return e.Code
	}
	return e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// detail is what a report of the error carries, by the names of the MQTT contract.
func (e *Error) detail() map[string]any {
	d := make(map[string]any)
	if strings.HasPrefix(e.Code, prefixMedia) {
		d["error_id"], d["error_code"] = e.ErrorID, e.ErrorCode
	}
	if e.Fragment != "" {
		d["fragment_number"] = e.Fragment
	}
	if e.ClockOffset != 0 {
		d["clock_offset_ms"] = e.ClockOffset.Milliseconds()
	}
	if e.Status != 0 {
		d["status"] = e.Status
	}
	if e.RequestID != "" {
		d["request_id"] = e.RequestID
	}
	if e.Err != nil {
		d["cause"] = readable(e.Err.Error(), maxMessage)
	}
	return d
}

// asError makes an *Error of anything.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeUnreachable, Err: err}
}
