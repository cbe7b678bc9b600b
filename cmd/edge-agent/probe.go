package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/quirk"
	"github.com/edge-agent/edge-agent/decode/report"
)

// Run tries out the decoders and lists them.
func (c probeCommand) Run(ctx context.Context, std stdio) error {
	cfg, err := c.config()
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(std.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
	probe, err := agent.ProbeConfig(cfg, log)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(c.Report); c.Report != "" && err == nil {
		return usageError(fmt.Sprintf("%s is there already; name a new file for the report", c.Report))
	}
	probe.Again, probe.Failed = c.Again, true
	report, err := decode.Probe(ctx, probe)
	if err != nil {
		return err
	}
	if c.Report != "" {
		text, err := thisMachine().report(report, probe.Prefer)
		if err != nil {
			return err
		}
		return errors.Join(writeReport(std, c.Report, text), noneWorks(report))
	}
	if c.JSON {
		err = listProbeJSON(std.Out, report, probe.Prefer)
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
	return &failure.Failure{Code: report.CodeNoDecoder, Message: "no decoder works on this box: " + found}
}

// config reads the configuration; a box that has none yet gets the defaults.
func (c probeCommand) config() (config.Config, error) {
	cfg, err := config.Load(c.Config)
	if c.Config == config.DefaultFile && errors.Is(err, fs.ErrNotExist) {
		return config.Defaults(), nil
	}
	return cfg, err
}

// listProbe writes the report for people.
func listProbe(w io.Writer, r decode.ProbeReport, p plan.Preference) error {
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
		fmt.Fprintf(w, "\n%s: this user may not open %s; decoders behind them are missing\n", report.CodeAccess, strings.Join(r.Closed, ", "))
	}
	for _, codec := range []format.Codec{format.H264, format.H265} {
		if _, err := fmt.Fprintf(w, "\n%s: %s", codec, verdict(r, codec, p)); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	return listFaults(w, r.Faults(p))
}

// listFaults names the known faults that apply to a box, with their ids.
func listFaults(w io.Writer, faults quirk.Rows) error {
	if len(faults) == 0 {
		return nil
	}
	fmt.Fprint(w, "\nKnown faults of this box (docs/hardware.md); [decode] ignore_quirks turns one off:\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range faults {
		fmt.Fprintf(t, "  %s\t%s\n", row.ID, row)
	}
	return t.Flush()
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
		return report.CodeDiffers + ": its pictures differ from those of the software decoder"
	case c.Colorimetry:
		return "with a colorimetry set"
	}
	return ""
}

// verdict is what will decode a codec.
func verdict(r decode.ProbeReport, codec format.Codec, p plan.Preference) string {
	first := r.First(codec, p)
	switch {
	case first == nil:
		return "no decoder is installed; gstreamer1.0-libav decodes in software"
	case first.Result == decode.Failed:
		return "no decoder passed; all are tried all the same, the first one first"
	}
	return fmt.Sprintf("%s (%s) is taken first", first.Element, first.Family)
}

// orNothing is a list that is [] in JSON when it is empty.
func orNothing(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// listProbeJSON writes the report for programs: a line for the box and one for each candidate.
func listProbeJSON(w io.Writer, r decode.ProbeReport, p plan.Preference) error {
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
		Chips  []string `json:"chips"`          // of the device tree, or maker and model
		Cards  []string `json:"cards"`          // kernel drivers of graphics cards that have outputs
		Quirks []string `json:"quirks"`         // known faults that apply, by id
	}{"box", r.GStreamer, r.Kernel, at, r.Closed, orNothing(r.Chips), orNothing(r.Cards), orNothing(r.Faults(p).IDs())})
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
