package decode

import (
	"bytes"
	"fmt"
	"os"
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

// schedulerState is the letter of proc(5) for what a process or thread does, 0 when it is gone.
func schedulerState(file string) byte {
	b, _ := os.ReadFile(file)
	i := bytes.LastIndexByte(b, ')') // the name before it may hold anything
	if i < 0 || i+2 >= len(b) {
		return 0
	}
	return b[i+2]
}
