package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// scrapeEvery is Prometheus's usual interval.
const scrapeEvery = 15 * time.Second

// servingContest looks at what it costs to be watched: status page, metrics, socket and watchdog.
func (b *bench) servingContest() contest {
	s := &serving{bench: b}
	return contest{
		name: "serving",
		ours: side{ours, s.run},
		rows: []row{{
			name: "watchdog, page and socket: CPU", figure: "cost", unit: "%", most: 0.2,
			compared: fmt.Sprintf("CPU time of the agent's process alone over %v, in per cent of one core, while it pulls one live stream and its renderer decodes it: with [http] listen and "+
				"socket, a service manager that wants to be told every 10 s, and /metrics asked for every %v (and once at least), less the same without.", b.window, scrapeEvery),
		}},
	}
}

type serving struct{ *bench }

// run measures both ways, one after the other.
func (s *serving) run(ctx context.Context) (figures, error) {
	with, err := s.cpu(ctx, true)
	if err != nil {
		return nil, err
	}
	without, err := s.cpu(ctx, false)
	if err != nil {
		return nil, err
	}
	return figures{"cost": with - without}, nil
}

// cpu is what the agent's process takes, in per cent of a core, watched or not.
func (s *serving) cpu(ctx context.Context, watched bool) (cpu float64, err error) {
	how := setup{service: s.service}
	address := ""
	if watched {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return 0, err
		}
		address = l.Addr().String()
		_ = l.Close()
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.dir, "notify"), Net: "unixgram"})
		if err != nil {
			return 0, err
		}
		defer os.Remove(filepath.Join(s.dir, "notify"))
		defer manager.Close()
		go func() { _, _ = io.Copy(io.Discard, manager) }()
		how.env = []string{
			"EDGE_AGENT_HTTP_LISTEN=" + address, "EDGE_AGENT_HTTP_SOCKET=" + filepath.Join(s.dir, "status.sock"),
			"NOTIFY_SOCKET=" + filepath.Join(s.dir, "notify"), "WATCHDOG_USEC=30000000",
		}
	}
	_, err = s.runHeard(ctx, how, func(told telemetry, agent *exec.Cmd) (figures, error) {
		if err := told.playing(ctx); err != nil {
			return nil, err
		}
		before, err := ownCPU(agent.Process.Pid)
		if err != nil {
			return nil, err
		}
		start := time.Now()
		for next := start; next.Before(start.Add(s.window)); next = next.Add(scrapeEvery) {
			if watched {
				if err := scrape(ctx, address); err != nil {
					return nil, err
				}
			}
			if _, err := told.pictures(ctx, min(scrapeEvery, s.window)); err != nil {
				return nil, err
			}
		}
		after, err := ownCPU(agent.Process.Pid)
		cpu = 100 * (after - before).Seconds() / time.Since(start).Seconds()
		return nil, err
	})
	return cpu, err
}

func scrape(ctx context.Context, address string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if n, err := io.Copy(io.Discard, answer.Body); err != nil || n == 0 || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("/metrics: %s, %d bytes, %w", answer.Status, n, err)
	}
	return nil
}

// ownCPU is what the threads of a process have taken, to the nanosecond; its children are not counted.
func ownCPU(pid int) (total time.Duration, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(files) == 0 {
		return 0, fmt.Errorf("the process has ended: %w", os.ErrNotExist)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		n, err := strconv.ParseInt(strings.Fields(string(text))[0], 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n)
	}
	return total, nil
}
