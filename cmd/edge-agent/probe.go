package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// probeFrames is how many frames of a clip a decoder is tried with: three seconds, three key frames.
const probeFrames = 90

// Run tries out the decoders and lists them.
func (c probeCommand) Run(ctx context.Context, std stdio) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	probe, err := probeConfig(cfg, log)
	if err != nil {
		return err
	}
	probe.Again, probe.Failed = c.Again, true
	report, err := decode.Probe(ctx, probe)
	if err != nil {
		return err
	}
	if c.JSON {
		err = listProbeJSON(std.Out, report)
	} else {
		err = listProbe(std.Out, report, probe.Prefer)
	}
	if err != nil {
		return err
	}
	return noneWorks(report)
}

// noneWorks is an error if nothing on this box decodes, so that scripts see it.
func noneWorks(r decode.ProbeReport) error {
	if slices.ContainsFunc(r.Candidates, func(c decode.Candidate) bool { return c.Result == decode.Passed }) {
		return nil
	}
	found := "none was found"
	if n := len(r.Candidates); n > 0 {
		found = fmt.Sprintf("%d were found, and the table says what is wrong with each", n)
	}
	return &failure{Code: decode.CodeNoDecoder, Message: "no decoder works on this box: " + found}
}

// config reads the configuration; a box that has none yet gets the defaults.
func (c probeCommand) config() (Config, error) {
	cfg, err := LoadConfig(c.Config)
	if c.Config == defaultConfigFile && errors.Is(err, fs.ErrNotExist) {
		return Defaults(), nil
	}
	return cfg, err
}

// probeConfig is how this program probes: with its own clips and what it found before.
func probeConfig(cfg Config, log *slog.Logger) (decode.ProbeConfig, error) {
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
func programOf(c DecodeConfig) *decode.Program {
	if c.Renderer != "" {
		return decode.NewProgram(c.Renderer)
	}
	return decode.InstalledProgram()
}

// sandboxOf is what the configuration says of the processes that decode.
func sandboxOf(c DecodeConfig) decode.Sandbox {
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
	cfg   Config
	cache string // see cacheFile
	log   *slog.Logger
	found func(decode.ProbeReport) // is told of every report

	program *decode.Program // the agent's own, which is open; nil: that of the configuration

	changed chan struct{} // holds a token after devices have come or gone

	damage *statefile.Damage // of the file, found at the start

	probing sync.Mutex // one at a time
	mu      sync.Mutex
	report  decode.ProbeReport
}

func newProber(cfg Config, log *slog.Logger, found func(decode.ProbeReport)) *prober {
	return &prober{cfg: cfg, log: log, found: found, changed: make(chan struct{}, 1)}
}

// probe tries out all decoders anew.
func (p *prober) probe(ctx context.Context) (decode.ProbeReport, error) {
	return p.run(ctx, func(c *decode.ProbeConfig) { c.Again = true })
}

func (p *prober) run(ctx context.Context, change func(*decode.ProbeConfig)) (decode.ProbeReport, error) {
	p.probing.Lock()
	defer p.probing.Unlock()
	c, err := probeConfig(p.cfg, p.log)
	if err != nil {
		return decode.ProbeReport{}, err
	}
	c.Cache = p.cache
	if p.program != nil {
		c.Program = p.program
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
	waitFor(ctx, picture, pictureFirst)
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

// waitFor waits until something is so, but not longer than patience.
func waitFor(ctx context.Context, so func() bool, patience time.Duration) {
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

// listProbe writes the report for people.
func listProbe(w io.Writer, r decode.ProbeReport, p decode.Preference) error {
	tried := "nothing was tried"
	if !r.Time.IsZero() {
		tried = "last tried " + r.Time.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	fmt.Fprintf(w, "GStreamer %s, kernel %s, %s\n\n", r.GStreamer, r.Kernel, tried)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CODEC\tDECODER\tFAMILY\tDEVICE\tDRIVER\tRESULT\tFRAMES/S\t")
	for _, c := range r.Candidates {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Codec, c.Element, c.Family,
			orDash(c.Device), orDash(c.Driver), c.Result, speed(c), why(r, c))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if len(r.Closed) > 0 {
		fmt.Fprintf(w, "\n%s: this user may not open %s; decoders behind them are missing\n", decode.CodeAccess, strings.Join(r.Closed, ", "))
	}
	for _, codec := range []decode.Codec{decode.H264, decode.H265} {
		if _, err := fmt.Fprintf(w, "\n%s: %s", codec, verdict(r, codec, p)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w)
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func speed(c decode.Candidate) string {
	if c.Result != decode.Passed {
		return "-"
	}
	return fmt.Sprintf("%.1f", c.FPS)
}

// why is what there is to say about a result.
func why(r decode.ProbeReport, c decode.Candidate) string {
	switch {
	case c.Result == decode.Failed:
		return c.Code + ": " + strings.ReplaceAll(c.Error, "\n", " ")
	case r.Differs(c.Element, c.Codec):
		return decode.CodeDiffers + ": its pictures differ from those of the software decoder"
	case c.Colorimetry:
		return "with a colorimetry set"
	}
	return ""
}

// verdict is what will decode a codec.
func verdict(r decode.ProbeReport, codec decode.Codec, p decode.Preference) string {
	first := r.First(codec, p)
	switch {
	case first == nil:
		return "no decoder is installed; gstreamer1.0-libav decodes in software"
	case first.Result == decode.Failed:
		return "no decoder passed; all are tried all the same, the first one first"
	}
	return fmt.Sprintf("%s (%s) is taken first", first.Element, first.Family)
}

// listProbeJSON writes the report for programs: a line for the box and one for each candidate.
func listProbeJSON(w io.Writer, r decode.ProbeReport) error {
	out := json.NewEncoder(w)
	var at *string
	if !r.Time.IsZero() {
		text := r.Time.UTC().Format("2006-01-02T15:04:05.000Z")
		at = &text
	}
	err := out.Encode(struct {
		Type      string  `json:"type"`
		GStreamer string  `json:"gstreamer"`
		Kernel    string  `json:"kernel"`
		Time      *string `json:"time"` // of the newest trial, RFC 3339

		Closed []string `json:"closed_devices"` // that this user may not open
	}{"box", r.GStreamer, r.Kernel, at, r.Closed})
	for _, c := range r.Candidates {
		if err == nil {
			err = out.Encode(struct {
				Type string `json:"type"`
				decode.Candidate
			}{"candidate", c})
		}
	}
	return err
}
