package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// holders are the processes that have a graphics card open, as far as this user may see: "Xorg (812)".
func holders() (names []string) {
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	seen := map[string]bool{}
	for _, link := range links {
		target, err := os.Readlink(link)
		if err != nil || !strings.HasPrefix(target, "/dev/dri/card") {
			continue
		}
		pid := strings.Split(link, "/")[2]
		if seen[pid] {
			continue
		}
		seen[pid] = true
		name, _ := os.ReadFile("/proc/" + pid + "/comm")
		names = append(names, fmt.Sprintf("%s (%s)", strings.TrimSpace(string(name)), pid))
	}
	return names
}

// roomIn is how many bytes this user may still write in a folder.
func roomIn(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}
