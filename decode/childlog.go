package decode

import (
	"bufio"
	"bytes"
	"log/slog"
	"time"
)

// maxLogLine is how much of a line that the child logs is kept.
const maxLogLine = 4 << 10

// A child may log this many lines at once, and one each logEvery in the long run. The rest is counted: a library that
// complains about every frame, or a child that a stream has taken over, must not fill the disk.
const (
	logBurst = 200
	logEvery = 100 * time.Millisecond
)

// logLimit says which lines are logged. Its zero value lets a burst through.
type logLimit struct {
	used    int       // lines of the burst
	at      time.Time // since when they come back
	dropped uint64    // lines since the last one that was let through
}

// allow says whether a line may be logged now, and how many were dropped before it.
func (l *logLimit) allow(now time.Time) (dropped uint64, ok bool) {
	back := int(now.Sub(l.at) / logEvery)
	if l.used -= min(l.used, back); l.used == 0 {
		l.at = now
	} else {
		l.at = l.at.Add(time.Duration(back) * logEvery)
	}
	if l.used == logBurst {
		l.dropped++
		return 0, false
	}
	l.used++
	dropped, l.dropped = l.dropped, 0
	return dropped, true
}

// copyLog hands on what the child logs, line by line, until nobody can write there any more. It reads all of it, so
// that whoever writes is never held up, and logs what logLimit allows and the beginning of long lines.
func (c *child) copyLog(log *slog.Logger) {
	defer c.log.Close()
	defer close(c.logged)
	r := bufio.NewReaderSize(c.log, maxLogLine)
	var limit logLimit
	defer func() { reportDropped(log, limit.dropped) }()
	long := false // the line before has not ended
	for {
		line, err := r.ReadSlice('\n')
		rest := long
		long = err == bufio.ErrBufferFull
		if text := bytes.TrimSpace(line); !rest && len(text) > 0 {
			c.mu.Lock()
			c.lastLine = append(c.lastLine[:0], text...)
			c.mu.Unlock()
			if dropped, ok := limit.allow(time.Now()); ok {
				reportDropped(log, dropped)
				log.Info("renderer says", "line", string(text))
			}
		}
		if err != nil && !long {
			return
		}
	}
}

func reportDropped(log *slog.Logger, lines uint64) {
	if lines > 0 {
		log.Warn("the renderer logged too much; lines were dropped", "lines", lines)
	}
}
