package decode

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// processState says in words what a process does that does not answer.
func processState(pid int) string {
	switch state := schedulerState(fmt.Sprintf("/proc/%d/stat", pid)); state {
	case 0:
		return "gone"
	case 'R':
		return "computing"
	case 'S':
		return "waiting"
	case 'D':
		return "stuck in the kernel"
	case 'T', 't':
		return "stopped by a signal"
	case 'Z', 'X':
		return "dead"
	default:
		return string(state)
	}
}

// atWork tells whether a thread of a process computes, waits for its turn to, or waits for memory that is read from
// disk.
func atWork(pid int) bool {
	folder := fmt.Sprintf("/proc/%d/task", pid)
	threads, _ := os.ReadDir(folder)
	for _, thread := range threads {
		if state := schedulerState(folder + "/" + thread.Name() + "/stat"); state == 'R' || state == 'D' {
			return true
		}
	}
	return false
}

// effort is what a process has done so far: how long it has computed, and how often it waited for memory that is read
// from disk. runs says that a thread computes or waits for its turn to.
func effort(pid int) (computed time.Duration, faults uint64, runs bool) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from the state on, the third of proc(5)
	const state, majflt, utime, stime = 3, 12, 14, 15
	if len(fields) > stime-state {
		number := func(field int) uint64 { n, _ := strconv.ParseUint(fields[field-state], 10, 64); return n }
		faults = number(majflt)
		computed = time.Duration(number(utime)+number(stime)) * (time.Second / 100) // USER_HZ
	}
	folder := fmt.Sprintf("/proc/%d/task", pid)
	threads, _ := os.ReadDir(folder)
	for _, thread := range threads {
		runs = runs || schedulerState(folder+"/"+thread.Name()+"/stat") == 'R'
	}
	return computed, faults, runs
}

// schedulerState is the letter of proc(5) for what a process or thread does, 0 when it is gone.
func schedulerState(file string) byte {
	b, _ := os.ReadFile(file)
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	if i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}
