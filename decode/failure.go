package decode

import (
	"errors"
	"fmt"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// failure is why a child was given up.
type failure struct {
	report.Report
	plan   *plan.Plan    // in use at the time; nil when it is not to blame
	worked time.Duration // how long the plan had shown pictures

	unnegotiated bool // the decoder found no format for its pictures
}

func (f *failure) Error() string { return f.Message }

func failed(code, format string, args ...any) *failure {
	return &failure{Report: report.Report{Code: code, Message: fmt.Sprintf(format, args...)}}
}

func (f *failure) setDetail(key string, value any) {
	if f.Detail == nil {
		f.Detail = make(map[string]any)
	}
	f.Detail[key] = value
}

func reportOf(err error) report.Report {
	r := report.Report{Code: report.CodeError, Message: err.Error()}
	var e *report.Error
	if errors.As(err, &e) {
		r.Code = e.Code
	}
	return r
}
