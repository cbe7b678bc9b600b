package ingest

import "syscall"

const (
	timeError   = 5    // TIME_ERROR: the state adjtimex returns for a clock that nobody keeps
	statusUnset = 0x40 // STA_UNSYNC
)

// ReadClock asks the kernel whether something keeps the clock in step.
func ReadClock() Clock {
	var t syscall.Timex
	state, err := syscall.Adjtimex(&t)
	switch {
	case err != nil:
		return ClockUnknown
	case state == timeError || t.Status&statusUnset != 0:
		return ClockUnsynced
	}
	return ClockSynced
}
