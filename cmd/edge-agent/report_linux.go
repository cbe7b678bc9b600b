package main

import (
	"errors"
	"strings"
	"syscall"
)

// kernelMessages reads the kernel's log (/dev/kmsg: "priority,sequence,time,flags;text").
func kernelMessages() (lines []string, err error) {
	fd, err := syscall.Open("/dev/kmsg", syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = syscall.Close(fd) }()
	record := make([]byte, 8<<10)
	for {
		n, err := syscall.Read(fd, record)
		switch {
		case errors.Is(err, syscall.EPIPE): // it was overwritten meanwhile
		case errors.Is(err, syscall.EAGAIN) || n == 0 && err == nil: // the end
			return lines, nil
		case err != nil:
			return lines, err
		default:
			_, text, _ := strings.Cut(string(record[:n]), ";")
			text, _, _ = strings.Cut(text, "\n") // what follows are names of devices
			lines = append(lines, text)
		}
	}
}
