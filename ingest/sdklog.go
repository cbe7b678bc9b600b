package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/aws/smithy-go/logging"
)

// sdkLog takes what the AWS SDK has to say, which would otherwise go to standard error as it likes. It keeps the first
// lines until it is known where to log. It may be used from any goroutine.
type sdkLog struct {
	mu      sync.Mutex
	to      *slog.Logger // nil before it is known
	waiting []sdkLine
}

type sdkLine struct {
	level slog.Level
	text  string
}

// mostSDKLines is how many lines wait.
const mostSDKLines = 20

// Logf is called by the SDK.
func (l *sdkLog) Logf(kind logging.Classification, format string, values ...any) {
	line := sdkLine{slog.LevelDebug, readable(fmt.Sprintf(format, values...), maxMessage)}
	if kind == logging.Warn {
		line.level = slog.LevelWarn
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.to != nil:
		l.say(line)
	case len(l.waiting) < mostSDKLines:
		l.waiting = append(l.waiting, line)
	}
}

func (l *sdkLog) say(line sdkLine) {
	l.to.Log(context.Background(), line.level, "the AWS SDK says: "+line.text)
}

// begin says what waits, and everything after it, to a log.
func (l *sdkLog) begin(to *slog.Logger) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = to
	for _, line := range l.waiting {
		l.say(line)
	}
	l.waiting = nil
}
