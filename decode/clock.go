package decode

import (
	"time"

	"golang.org/x/sys/unix"
)

// Monotonic is the time of the clock that all processes of a machine share and nobody sets. Go's own
// monotonic times begin anew in every process.
func Monotonic() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it cannot fail: the clock exists
	return time.Duration(now.Nano())
}
