package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
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
[[streams]]
name = %[9]q
stream_name = %[9]q
`

// setup is how an agent is to be.
type setup struct {
	service *service
	broker  string // URL; "" for none
	display string // of an X server to show the stream on; "" for none: what a screen costs is not what most contests are about
	log     string // level; "" for info
	env     []string
}

// agentCommand is the agent that decodes the live stream. It has a new state folder each time.
func (b *bench) agentCommand(ctx context.Context, s setup) (*exec.Cmd, error) {
	dir, err := os.MkdirTemp(b.dir, "agent-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.toml")
	sink := decode.None
	if s.display != "" {
		sink = decode.X11
		s.env = append(s.env, "DISPLAY="+s.display)
	}
	text := fmt.Sprintf(agentConfig, agentID, dir, region, s.service.url, s.broker, sink, latency, cmp.Or(s.log, "info"), streamName)
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
