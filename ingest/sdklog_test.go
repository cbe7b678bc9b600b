package ingest

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/smithy-go/logging"
)

// What the SDK says goes where all else is logged, in the form of all else, also what it said before that was known.
func TestSDKLog(t *testing.T) {
	var l sdkLog
	for range mostSDKLines + 5 {
		l.Logf(logging.Warn, "profile %q\nis odd", "camera")
	}
	var out bytes.Buffer
	l.begin(slog.New(slog.NewJSONHandler(&out, nil)))
	l.Logf(logging.Debug, "not at this level")
	l.Logf(logging.Warn, "%s", strings.Repeat("x", 10_000))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != mostSDKLines+1 {
		t.Fatalf("%d lines:\n%s", len(lines), &out)
	}
	for _, line := range lines {
		var record struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.Level != "WARN" || !strings.HasPrefix(record.Msg, "the AWS SDK says: ") || len(line) > 1000 {
			t.Errorf("%s: %v", line, err)
		}
	}
}
