package contract

import "fmt"

// Error is an error of this package. Code is one of the code table, whose Action
// says what to do.
type Error struct {
	Code    string
	Message string // what happened, in a sentence
	Err     error  // the cause, may be nil
}

func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// ConfigError is an *Error with code mqtt.config. The format may hold one %w.
func ConfigError(format string, args ...any) error {
	return &Error{Code: "mqtt.config", Message: "the configuration of MQTT cannot work", Err: fmt.Errorf(format, args...)}
}
