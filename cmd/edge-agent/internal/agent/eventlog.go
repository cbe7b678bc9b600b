package agent

import (
	"context"
	"log/slog"
	"regexp"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// repeatsEvery is how often the log has an event that comes again and again, such as an attempt that fails like the one
// before.
const repeatsEvery = 10 * time.Minute

// eventLog writes events to the log. Those that say the same as the one before them, of the same stream, are written
// for debugging only, but for one each repeatsEvery.
type eventLog struct {
	mu   sync.Mutex
	last map[string]logged // by stream
}

type logged struct {
	event   string // code and message, without its changing parts
	at      time.Time
	repeats int
}

// changing parts differ from one attempt to the next: numbers, with their units.
var changing = regexp.MustCompile(`[0-9][0-9.]*(ns|µs|ms|s|m|h)?`)

func unchanging(message string) string { return changing.ReplaceAllString(message, "") }

// repeated takes in an event. It tells how many of its kind were not written since the last that was, and whether this
// one is one of them.
func (l *eventLog) repeated(code, stream, message string, now time.Time) (repeats int, again bool) {
	event := code + " " + unchanging(message)
	l.mu.Lock()
	defer l.mu.Unlock()
	last, known := l.last[stream]
	if known && last.event == event && now.Sub(last.at) < repeatsEvery {
		last.repeats++
		l.last[stream] = last
		return last.repeats, true
	}
	if l.last == nil {
		l.last = make(map[string]logged)
	}
	l.last[stream] = logged{event: event, at: now}
	if last.event != event {
		return 0, false
	}
	return last.repeats, false
}

func (l *eventLog) write(log *slog.Logger, code, stream, message string, detail map[string]any) {
	known, _ := contract.Lookup(code)
	level := map[contract.Severity]slog.Level{
		contract.SeverityWarning: slog.LevelWarn, contract.SeverityError: slog.LevelError,
	}[known.Severity]
	attrs := []slog.Attr{slog.String("code", code)}
	if stream != "" {
		attrs = append(attrs, slog.String("stream", stream))
	}
	for _, key := range sortedKeys(detail) {
		attrs = append(attrs, slog.Any(key, detail[key]))
	}
	repeats, again := l.repeated(code, stream, message, time.Now())
	if repeats > 0 {
		attrs = append(attrs, slog.Int("repeats", repeats))
	}
	if again {
		level = slog.LevelDebug
	}
	log.LogAttrs(context.Background(), level, message, attrs...)
}
