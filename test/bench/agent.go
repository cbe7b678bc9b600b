package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
)

// agentID is the agent's name on the broker.
const agentID = "bench"

// agentConfig shows the stream nowhere: what a screen costs is not what is measured.
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
sink = "none"
[decode]
order = ["software"]
[[streams]]
name = %[6]q
stream_name = %[6]q
`

// agentCommand is the agent that decodes the live stream; broker may be empty. It has a new state folder each time.
func (b *bench) agentCommand(ctx context.Context, broker string, env ...string) (*exec.Cmd, error) {
	dir, err := os.MkdirTemp(b.dir, "agent-")
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "config.toml")
	text := fmt.Sprintf(agentConfig, agentID, dir, region, b.service.url, broker, streamName)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	cmd := command(ctx, b.agent, "run", "--config", config)
	known := kvstest.Credentials()
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") }),
		"AWS_ACCESS_KEY_ID="+known.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+known.SecretAccessKey)
	cmd.Env = append(cmd.Env, env...)
	return cmd, nil
}
