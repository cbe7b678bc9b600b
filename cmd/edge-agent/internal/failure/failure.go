// Package failure has what ends a command: a code of the contract, what happened, and what to do about it.
package failure

import (
	"errors"
	"strings"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Failure is what ends a command: a code of the table in mqtt, which knows what
// to do about it, and what happened this time.
type Failure struct {
	Code    string
	Message string
	Action  string // what to do, where the table's does not fit
	Err     error  // the cause, when there is one below
}

func (f *Failure) Error() string { return f.Code + ": " + f.Message }

func (f *Failure) Unwrap() error { return f.Err }

// Of finds the code of an error, whichever package it is from.
func Of(err error) *Failure {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f
	}
	if e, ok := errors.AsType[*ingest.Error](err); ok {
		return &Failure{Code: e.Code, Message: strings.TrimPrefix(e.Error(), e.Code+": "), Err: err}
	}
	if e, ok := errors.AsType[*report.Error](err); ok {
		return &Failure{Code: e.Code, Message: e.Error(), Err: err}
	}
	if e, ok := errors.AsType[*contract.Error](err); ok {
		return &Failure{Code: e.Code, Message: e.Error(), Err: err}
	}
	return &Failure{Code: "internal", Message: err.Error(), Err: err}
}
