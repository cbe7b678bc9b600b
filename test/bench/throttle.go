package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// throttlePeriod is how often a process gets its share of the CPU: less than a frame, so that it works slowly rather
// than by fits and starts.
const throttlePeriod = 20 * time.Millisecond

// controller is how a version of cgroups bounds CPU time.
type controller struct {
	name, folder string
	limits       func(quota, period string) map[string]string // what is written to which file
}

var controllers = []controller{
	{"a cgroup (cpu.max)", "/sys/fs/cgroup", func(quota, period string) map[string]string {
		return map[string]string{"cpu.max": quota + " " + period}
	}},
	{"a cgroup (cpu.cfs_quota_us)", "/sys/fs/cgroup/cpu", func(quota, period string) map[string]string {
		return map[string]string{"cpu.cfs_period_us": period, "cpu.cfs_quota_us": quota}
	}},
}

// usable finds the controller of this machine that this user may use.
func usable() *controller {
	for _, c := range controllers {
		folder, err := c.group()
		if err != nil {
			continue
		}
		err = c.limit(folder, 1)
		_ = os.Remove(folder)
		if err == nil {
			return &c
		}
	}
	return nil
}

var throttleWith = sync.OnceValue(usable)

// throttleName is how processes are held back, in words.
func throttleName() string {
	if c := throttleWith(); c != nil {
		return c.name
	}
	return "stopping it (SIGSTOP) for part of every " + throttlePeriod.String()
}

// throttle gives a process no more than so many cores, until it is released or ctx ends.
func throttle(ctx context.Context, pid int, cores float64) (release func() error, err error) {
	c := throttleWith()
	if c == nil {
		return stopInTurn(ctx, pid, cores), nil
	}
	folder, err := c.group()
	if err != nil {
		return nil, err
	}
	release = func() error {
		// The process may have ended; the group is left by itself then.
		_ = os.WriteFile(filepath.Join(c.folder, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		return os.Remove(folder)
	}
	err = c.limit(folder, cores)
	if err == nil {
		err = os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// group makes a group.
func (c controller) group() (folder string, err error) {
	return os.MkdirTemp(c.folder, "edge-agent-bench-")
}

// limit bounds what the processes of a group take together.
func (c controller) limit(folder string, cores float64) error {
	quota, period := time.Duration(cores*float64(throttlePeriod)).Microseconds(), throttlePeriod.Microseconds()
	for file, text := range c.limits(strconv.FormatInt(max(quota, 1000), 10), strconv.FormatInt(period, 10)) {
		if _, err := os.Stat(filepath.Join(folder, file)); err != nil { // or writing would make it
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0); err != nil {
			return err
		}
	}
	return nil
}

// stopInTurn lets a process run in every period until it has had its share.
func stopInTurn(ctx context.Context, pid int, cores float64) (release func() error) {
	ctx, stop := context.WithCancel(ctx)
	var working sync.WaitGroup
	var fault error
	working.Go(func() {
		share := time.Duration(cores * float64(throttlePeriod))
		for ctx.Err() == nil && fault == nil {
			fault = stopAfter(ctx, pid, share)
		}
	})
	return func() error {
		stop()
		working.Wait()
		return errors.Join(fault, syscall.Kill(pid, syscall.SIGCONT))
	}
}

// stopAfter is one period.
func stopAfter(ctx context.Context, pid int, share time.Duration) error {
	end := time.Now().Add(throttlePeriod)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return fmt.Errorf("the renderer: %w", err)
	}
	before, err := ranFor(pid)
	if err != nil {
		return err
	}
	for time.Now().Before(end) && ctx.Err() == nil {
		ran, err := ranFor(pid)
		if err != nil {
			return err
		}
		if ran-before >= share {
			err = syscall.Kill(pid, syscall.SIGSTOP)
			_ = pause(ctx, time.Until(end))
			return err
		}
		_ = pause(ctx, time.Millisecond)
	}
	return nil
}
