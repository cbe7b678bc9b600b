package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end when it is told to.
const stopTimeout = 5 * time.Second

// command is a process that does not outlive the bench and ends with ctx.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = stopTimeout
	return cmd
}

// role is this program in one of its roles.
func role(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return command(ctx, self, append([]string{name}, args...)...), nil
}

// pause waits, unless ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// end asks a process to end, sees to it and says how it ended.
func end(cmd *exec.Cmd) error {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	return waitFor(cmd, stopTimeout)
}

// waitFor waits for a process that is about to end.
func waitFor(cmd *exec.Cmd, within time.Duration) error {
	kill := time.AfterFunc(within, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	return cmd.Wait()
}

// transcript keeps what a process says and notes when a word is first in it.
type transcript struct {
	word string
	said chan time.Time // holds one: when the word was there

	mu   sync.Mutex
	text bytes.Buffer
	done bool
}

func newTranscript(word string) *transcript {
	return &transcript{word: word, said: make(chan time.Time, 1)}
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	if !t.done && t.word != "" && bytes.Contains(t.text.Bytes(), []byte(t.word)) {
		t.done = true
		t.said <- time.Now()
	}
	return len(p), nil
}

// all is what was said so far.
func (t *transcript) all() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// explain adds the last lines that were said to an error.
func (t *transcript) explain(err error) error {
	if err == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.text.String()
	return fmt.Errorf("%w; it said: …%s", err, text[max(0, len(text)-2000):])
}

// usage is what a process and all below it have cost so far.
type usage struct {
	cpu time.Duration
	memory
}

// memory is resident memory in bytes.
type memory struct {
	full  int64 // Rss: what processes share counts for each of them
	share int64 // Pss: what processes share is divided among them
}

// clockTick is the unit of times in /proc, which is the same on every architecture.
const clockTick = 10 * time.Millisecond

// usageOf looks at a running process, its children and theirs. Children that were waited for count as their parent's.
func usageOf(pid int) (usage, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return usage{}, err
	}
	processes := map[int]stat{}
	for _, file := range stats {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended since
		}
		s := parseStat(string(text))
		processes[s.pid] = s
	}
	root, ok := processes[pid]
	if !ok {
		return usage{}, errors.New("the process has ended")
	}
	return root.tree(processes)
}

// stat is one process as /proc/PID/stat has it.
type stat struct {
	pid, parent int
	zombie      bool  // it has ended and nobody has waited for it
	ticks       int64 // of CPU, those of children that were waited for included
}

// parseStat reads the fields behind the name, which is in brackets and may hold anything.
func parseStat(text string) stat {
	pid, _, _ := strings.Cut(text, " ")
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	var s stat
	s.pid, _ = strconv.Atoi(pid)
	s.zombie = f[0] == "Z"
	s.parent, _ = strconv.Atoi(f[1])
	for _, ticks := range f[11:15] { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(ticks, 10, 64)
		s.ticks += n
	}
	return s
}

func (s stat) tree(processes map[int]stat) (u usage, err error) {
	u.cpu = time.Duration(s.ticks) * clockTick
	if u.memory, err = memoryOf(s.pid); err != nil {
		return u, err
	}
	for _, child := range processes {
		if child.parent != s.pid {
			continue
		}
		below, err := child.tree(processes)
		if errors.Is(err, syscall.ESRCH) || errors.Is(err, os.ErrNotExist) {
			continue // it has ended since
		}
		if err != nil {
			return u, err
		}
		u.cpu += below.cpu
		u.full += below.full
		u.share += below.share
	}
	return u, nil
}

// memoryOf looks at one process. smaps_rollup counts anew; the counters of stat and status are some hundred KB behind.
func memoryOf(pid int) (m memory, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return m, err
	}
	_, err = fmt.Sscanf(field(text, "Rss")+" "+field(text, "Pss"), "%d kB %d kB", &m.full, &m.share)
	return memory{m.full << 10, m.share << 10}, err
}

// errGone is of a process that is no longer there.
var errGone = errors.New("the process has ended")

// ranFor adds up what the threads of a process have run, to the nanosecond. Threads that have ended are not in it.
func ranFor(pid int) (sum time.Duration, err error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	if len(threads) == 0 {
		return 0, errGone
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended since
		}
		var ran time.Duration
		if _, err := fmt.Sscan(string(text), &ran); err != nil {
			return 0, err
		}
		sum += ran
	}
	return sum, nil
}

// field is the value of a line of /proc.
func field(text []byte, name string) string {
	_, after, _ := strings.Cut(string(text), "\n"+name+":")
	line, _, _ := strings.Cut(after, "\n")
	return strings.TrimSpace(line)
}
