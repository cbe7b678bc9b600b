package main

import (
	"errors"
	"strings"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// failure is what ends a command: a code of the table in mqtt, which knows what
// to do about it, and what happened this time.
type failure struct {
	Code    string
	Message string
	Action  string // what to do, where the table's does not fit
	Err     error  // the cause, when there is one below
}

func (f *failure) Error() string { return f.Code + ": " + f.Message }

func (f *failure) Unwrap() error { return f.Err }

// asFailure finds the code of an error, whichever package it is from.
func asFailure(err error) *failure {
	if f, ok := errors.AsType[*failure](err); ok {
		return f
	}
	if e, ok := errors.AsType[*ingest.Error](err); ok {
		return &failure{Code: e.Code, Message: strings.TrimPrefix(e.Error(), e.Code+": "), Err: err}
	}
	if e, ok := errors.AsType[*decode.Error](err); ok {
		return &failure{Code: e.Code, Message: e.Error(), Err: err}
	}
	if e, ok := errors.AsType[*contract.Error](err); ok {
		return &failure{Code: e.Code, Message: e.Error(), Err: err}
	}
	return &failure{Code: "internal", Message: err.Error(), Err: err}
}
