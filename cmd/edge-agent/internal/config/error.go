package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// Codes of a configuration that cannot be used.
const (
	CodeUnreadable = "config.unreadable"
	CodeSyntax     = "config.syntax"
	CodeUnknownKey = "config.unknown_key"
	CodeInvalid    = "config.invalid"
)

// Error is one fault in a configuration file.
type Error struct {
	Code    string // one of the config.* codes
	File    string // as the caller named it
	Line    int    // from 1; 0 when the fault is in no line
	Key     string // such as mqtt.broker or streams[0].name; empty when the fault is in no key
	Message string // what is wrong
	Action  string // what to do or what is allowed
	Err     error  // the cause, when there is one below
}

func (e *Error) Error() string {
	text := e.Fault()
	if e.Action != "" {
		text += ". " + e.Action
	}
	return text
}

// Fault says where something is wrong and what, but not what to do.
func (e *Error) Fault() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + " ")
	}
	b.WriteString(e.Message)
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Errors are all faults of one file, in the order of its lines.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find the single faults.
func (es Errors) Unwrap() []error {
	errs := make([]error, len(es))
	for i, e := range es {
		errs[i] = e
	}
	return errs
}

// Sorted puts faults in the order of their lines.
func (es Errors) Sorted() Errors {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return es
}

// Unreadable says that a file cannot be read.
func Unreadable(file string, err error) *Error {
	return &Error{
		Code: CodeUnreadable, File: file, Err: err,
		Message: "cannot be read: " + RootCause(err).Error(),
		Action:  "Name an existing file with --config and make sure this user may read it.",
	}
}

// RootCause drops the operation and the path that os puts before the reason.
func RootCause(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// SyntaxError says where a file is not TOML.
func SyntaxError(file string, err error) *Error {
	e := &Error{
		Code: CodeSyntax, File: file, Err: err, Message: "not valid TOML: " + err.Error(),
		Action: "Text stands in quotes, tables in [brackets], one key = value a line.",
	}
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		e.Line = parse.Position.Line
		e.Message = "not valid TOML: " + strings.TrimRight(parse.Message, ".")
	}
	return e
}
