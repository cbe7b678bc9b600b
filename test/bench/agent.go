package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/mqtt/brokertest"
)

// agentID is the agent's name on the broker.
const agentID = "bench"

const agentConfig = `
[agent]
id = %q
state_dir = %q
[aws]
region = %q
endpoint = %q
[mqtt]
broker = %q
telemetry_interval = "1s"
[display]
sink = %q
latency = %q
[decode]
order = ["software"]
[log]
level = %q
`

const streamConfig = `[[streams]]
name = %[1]q
stream_name = %[1]q
start = %[2]q
`

// setup is how an agent is to be.
type setup struct {
	service *service
	broker  string        // URL; "" for none
	display string        // of an X server to show the stream on; "" for none: what a screen costs is not what most contests are about
	log     string        // level; "" for info
	joins   time.Duration // it is started when the live stream is so far into a group of pictures; 0: at once
	latency time.Duration // 0: the default's
	start   string        // where streams begin; "" for now
	stream  string        // that is decoded; "" for the live stream
	others  []string      // streams that are not
	env     []string
}

// decoded is the stream that the agent decodes: the first of its configuration.
func (s setup) decoded() string { return cmp.Or(s.stream, streamName) }

// agentCommand is the agent that decodes a live stream. It has a new state folder each time.
func (b *bench) agentCommand(ctx context.Context, s setup) (*exec.Cmd, error) {
	dir, err := os.MkdirTemp(b.dir, "agent-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.toml")
	sink := plan.None
	if s.display != "" {
		sink = plan.X11
		s.env = append(s.env, "DISPLAY="+s.display)
	}
	text := fmt.Sprintf(agentConfig, agentID, dir, region, s.service.url, s.broker, sink, cmp.Or(s.latency, latency), cmp.Or(s.log, "info"))
	for _, name := range append([]string{s.decoded()}, s.others...) {
		text += fmt.Sprintf(streamConfig, name, cmp.Or(s.start, "now"))
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := command(ctx, b.agent, "run", "--config", config)
	known := kvstest.Credentials()
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") }),
		"AWS_ACCESS_KEY_ID="+known.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+known.SecretAccessKey)
	cmd.Env = append(cmd.Env, s.env...)
	return cmd, nil
}

// runAgent runs an agent while look does. What the agent said explains an error.
func (b *bench) runAgent(ctx context.Context, s setup, look func(agent *exec.Cmd) (figures, error)) (f figures, err error) {
	cmd, err := b.agentCommand(ctx, s)
	if err != nil {
		return nil, err
	}
	stderr := newTranscript("")
	cmd.Stderr = stderr
	if s.joins > 0 {
		if err := s.service.await(ctx, s.joins); err != nil {
			return nil, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stderr.explain(end(cmd))) }()
	f, err = look(cmd)
	return f, stderr.explain(err)
}

// runOnScreen runs an agent that shows a stream on a screen of its own.
func (b *bench) runOnScreen(ctx context.Context, s setup, look func(screen *screen, agent *exec.Cmd) (figures, error)) (f figures, err error) {
	screen, err := startScreen(ctx, b.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, screen.close()) }()
	s.display = screen.display
	return b.runAgent(ctx, s, func(agent *exec.Cmd) (figures, error) { return look(screen, agent) })
}

// runHeard runs an agent that tells a broker about the stream that it decodes.
func (b *bench) runHeard(ctx context.Context, s setup, look func(told telemetry, agent *exec.Cmd) (figures, error)) (figures, error) {
	broker, err := brokertest.Start(ctx, brokertest.Options{})
	if err != nil {
		return nil, err
	}
	defer broker.Stop()
	told, err := listen(ctx, broker, s.decoded())
	if err != nil {
		return nil, err
	}
	s.broker = broker.URL()
	return b.runAgent(ctx, s, func(agent *exec.Cmd) (figures, error) { return look(told, agent) })
}

// runHeardOnScreen runs an agent of which a broker hears, on a screen.
func (b *bench) runHeardOnScreen(ctx context.Context, s setup, look func(screen *screen, told telemetry, agent *exec.Cmd) (figures, error)) (f figures, err error) {
	screen, err := startScreen(ctx, b.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, screen.close()) }()
	s.display = screen.display
	return b.runHeard(ctx, s, func(told telemetry, agent *exec.Cmd) (figures, error) { return look(screen, told, agent) })
}
