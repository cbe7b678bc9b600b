package agent

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// probeFrames is how many frames of a clip a decoder is tried with: three seconds, three key frames.
const probeFrames = 90

// ProbeConfig is how this program probes: with its own clips and what it found before.
func ProbeConfig(cfg config.Config, log *slog.Logger) (decode.ProbeConfig, error) {
	p := decode.ProbeConfig{Program: programOf(cfg.Decode), Prefer: preference(cfg), Sandbox: sandboxOf(cfg.Decode), Cache: cacheFile(cfg.Agent.StateDir), Log: log}
	for _, file := range [][]byte{clip.H264(), clip.H265()} {
		c, err := decode.ReadClip(bytes.NewReader(file), probeFrames)
		if err != nil {
			return p, err
		}
		p.Clips = append(p.Clips, c)
	}
	return p, nil
}

// programOf is the program that decodes.
func programOf(c config.Decode) *decode.Program {
	if c.Renderer != "" {
		return decode.NewProgram(c.Renderer)
	}
	return decode.InstalledProgram()
}

// sandboxOf is what the configuration says of the processes that decode.
func sandboxOf(c config.Decode) decode.Sandbox {
	return decode.Sandbox{Off: !c.Sandbox, User: c.RendererUser, Env: c.RendererEnv, Paths: c.RendererPaths}
}

// cacheFile keeps what was found out; there is none without a state directory.
func cacheFile(stateDir string) string {
	if stateDir == "" {
		return ""
	}
	return filepath.Join(stateDir, "decoders.json")
}

// prober tries out the decoders for a running agent: after the start, as far as it is news, and when it
// is asked to.
type prober struct {
	cfg   config.Config
	cache string // see cacheFile
	log   *slog.Logger
	found func(decode.ProbeReport) // is told of every report

	program *decode.Program // the agent's own, which is open; nil: that of the configuration

	places func() *decode.Places // of the devices that decode meanwhile; nil: none do

	changed chan struct{} // holds a token after devices have come or gone

	damage *statefile.Damage // of the file, found at the start

	probing sync.Mutex // one at a time
	mu      sync.Mutex
	report  decode.ProbeReport
}

func newProber(cfg config.Config, log *slog.Logger, found func(decode.ProbeReport)) *prober {
	return &prober{cfg: cfg, log: log, found: found, changed: make(chan struct{}, 1)}
}

// probe tries out all decoders anew.
func (p *prober) probe(ctx context.Context) (decode.ProbeReport, error) {
	return p.run(ctx, func(c *decode.ProbeConfig) { c.Again = true })
}

func (p *prober) run(ctx context.Context, change func(*decode.ProbeConfig)) (decode.ProbeReport, error) {
	p.probing.Lock()
	defer p.probing.Unlock()
	c, err := ProbeConfig(p.cfg, p.log)
	if err != nil {
		return decode.ProbeReport{}, err
	}
	c.Cache = p.cache
	if p.program != nil {
		c.Program = p.program
	}
	if p.places != nil {
		c.Places = p.places()
	}
	change(&c)
	report, err := decode.Probe(ctx, c)
	if err != nil {
		return decode.ProbeReport{}, err
	}
	p.mu.Lock()
	p.report = report
	p.mu.Unlock()
	p.found(report)
	debug.FreeOSMemory() // clips are large, and this is seldom
	return report, nil
}

// pictureFirst is how long the probe waits for the first picture, which it would slow down.
const pictureFirst = 10 * time.Second

// remembered makes what was found out before known to the agent, right or wrong by now.
func (p *prober) remembered() {
	report, damage := decode.LastProbe(p.cache)
	p.damage = damage
	p.mu.Lock()
	p.report = report
	p.mu.Unlock()
	p.found(report)
}

// keepUp finds out, once there is a picture and whenever devices have come or gone since, what has changed and whether
// what failed still does: a device that is unplugged in the middle of its trial has failed, too.
func (p *prober) keepUp(ctx context.Context, picture func() bool) {
	WaitFor(ctx, picture, pictureFirst)
	for ctx.Err() == nil {
		_, err := p.run(ctx, func(c *decode.ProbeConfig) { c.Failed = true })
		if err != nil && ctx.Err() == nil {
			p.log.Warn("the decoders could not be tried out; they are taken in the configured order", "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-p.changed:
		}
	}
}

// devices notes that devices have come or gone.
func (p *prober) devices() {
	select {
	case p.changed <- struct{}{}:
	default: // a trial that is still to begin sees them
	}
}

// WaitFor waits until something is so, but not longer than patience.
func WaitFor(ctx context.Context, so func() bool, patience time.Duration) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(250 * time.Millisecond)
	defer look.Stop()
	for !so() {
		select {
		case <-ctx.Done():
			return
		case <-deadline.C:
			return
		case <-look.C:
		}
	}
}

// last is the newest report, empty before the first.
func (p *prober) last() decode.ProbeReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.report
}
