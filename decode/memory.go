package decode

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// mostMemory is what a renderer process may take where the box has plenty. Decoding 4K in software
// takes less than half of it.
const mostMemory = 2 << 30

// memoryLimit is what a renderer process may take on this box: half of the memory at most.
func memoryLimit() uint64 {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		var kib uint64
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kib); n == 1 {
			return min(mostMemory, kib<<10/2)
		}
	}
	return mostMemory
}

// residentMemory is how many bytes of memory a process has, 0 when it is gone.
func residentMemory(pid int) uint64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	var size, resident uint64
	if n, _ := fmt.Sscan(string(b), &size, &resident); n < 2 {
		return 0
	}
	return resident * uint64(os.Getpagesize())
}

// sacrifice makes the kernel end this process rather than others when memory runs out.
func sacrifice(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte("500"), 0)
}

// oomKills is how many processes the kernel has ended since it started because memory ran out.
func oomKills() uint64 {
	b, _ := os.ReadFile("/proc/vmstat")
	for line := range strings.Lines(string(b)) {
		if count, ok := strings.CutPrefix(line, "oom_kill "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(count), 10, 64)
			return n
		}
	}
	return 0
}
