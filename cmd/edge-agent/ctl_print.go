package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/terminal"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// printers write the data of a response for people. One for each verb.
var printers = map[contract.Verb]func(io.Writer, json.RawMessage) error{
	contract.VerbStatus: printer(printStatus),
	contract.VerbStart:  printer(printStream), contract.VerbStop: printer(printStream), contract.VerbRestart: printer(printStream),
	contract.VerbSeek: printer(func(w io.Writer, d contract.SeekData) {
		fmt.Fprintf(w, "%s goes on at %s; it was at fragment %s\n", d.Stream, d.To, orNone(d.From))
	}),
	contract.VerbShow: printer(func(w io.Writer, d contract.ShowData) {
		fmt.Fprintf(w, "%s is shown instead of %s\n", d.Stream, orNone(d.Before))
	}),
	contract.VerbSet: printer(func(w io.Writer, d contract.SetData) {
		for _, c := range d.Changed {
			fmt.Fprintf(w, "%s: %v, was %v\n", strings.TrimPrefix(c.Stream+" "+c.Name, " "), c.New, c.Old)
		}
	}),
	contract.VerbSnapshot: printer(func(w io.Writer, d contract.SnapshotData) {
		fmt.Fprintf(w, "%s, %dx%d, %d bytes\n", d.Stream, d.Width, d.Height, d.Bytes)
	}),
	contract.VerbProbe:  printer(printProbe),
	contract.VerbReload: printer(printReload),
	contract.VerbExplain: printer(func(w io.Writer, d contract.ExplainData) {
		fmt.Fprintf(w, "%s (%s)\n%s\n%s\n", d.Code, d.Severity, d.Summary, d.Action)
	}),
}

func printer[T any](write func(io.Writer, T)) func(io.Writer, json.RawMessage) error {
	return func(w io.Writer, text json.RawMessage) error {
		var data T
		if err := terminal.DecodePlain(text, &data); err != nil {
			return &failure.Failure{Code: "control.no_answer", Message: "the agent's response makes no sense: " + err.Error(), Err: err}
		}
		write(w, data)
		return nil
	}
}

func printData(w io.Writer, v contract.Verb, data json.RawMessage) error { return printers[v](w, data) }

// orNone names what may be missing.
func orNone(s string) string { return cmp.Or(s, "none") }

func printStream(w io.Writer, d contract.StreamData) { fmt.Fprintf(w, "%s: %s\n", d.Stream, d.State) }

func printStatus(w io.Writer, d contract.StatusData) {
	fmt.Fprintf(w, "edge-agent %s, since %s, clock %s, shows %s, events waiting: %d\n",
		d.Version, d.StartedAt.Format("2006-01-02 15:04:05 UTC"), d.Clock, orNone(d.Shown), d.MQTT.QueuedEvents)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STREAM\tSTATE\tFRAMES/S\tSERVICE\tPRODUCER\tLOCAL\tDECODER\tCODE")
	for _, s := range d.Streams {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.Name, s.State.State, figures(s.Telemetry), orDash(s.State.Decoder)+"\t"+orDash(s.State.Code))
	}
	t.Flush()
	for _, s := range d.Streams {
		if s.State.Code != "" {
			fmt.Fprintf(w, "%s: %s: %s\n", s.Name, s.State.Code, s.State.Message)
		}
		if dropped := s.Telemetry.DroppedBy; len(dropped) > 0 {
			fmt.Fprintf(w, "%s: dropped in the last interval: %s\n", s.Name, reasonsText(dropped))
		}
	}
}

// reasonsText lists counts by reason, "late 3, overload 1".
func reasonsText(r contract.Reasons) string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(r)) {
		parts = append(parts, fmt.Sprintf("%s %d", why, r[why]))
	}
	return strings.Join(parts, ", ")
}

// figures are a stream's rate of frames and its lags, as columns.
func figures(t contract.Telemetry) string {
	if t.To.IsZero() {
		return "-\t-\t-\t-"
	}
	return fmt.Sprintf("%.1f\t%s\t%s\t%s", t.FPS, lagOf(t.Lag.Service), lagOf(t.Lag.Producer), lagOf(t.Lag.Local))
}

// lagOf is the median.
func lagOf(d *contract.Distribution) string {
	if d == nil {
		return "-"
	}
	return fmt.Sprintf("%d ms", d.P50)
}

func printProbe(w io.Writer, d contract.ProbeData) {
	fmt.Fprintf(w, "GStreamer %s\n", d.GStreamer)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "CODEC\tDECODER\tFAMILY\tDEVICE\tDRIVER\tRESULT\tFRAMES/S\tCODE")
	for _, c := range d.Decoders {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%.1f\t%s\n", c.Codec, c.Name, c.Kind, orDash(c.Device), orDash(c.Driver), c.Result, c.FPS, orDash(c.Code))
	}
	t.Flush()
	for _, each := range d.Displays {
		fmt.Fprintf(w, "display %s %s %dx%d\n", each.Sink, each.Connector, each.Width, each.Height)
	}
}

func printReload(w io.Writer, d contract.ReloadData) {
	fmt.Fprintf(w, "configuration %s\n", d.ConfigHash)
	for _, part := range []struct {
		what string
		list []string
	}{{"added", d.Added}, {"removed", d.Removed}, {"changed", d.Changed}, {"changes only with a restart of the agent", d.Restart}} {
		if len(part.list) > 0 {
			fmt.Fprintf(w, "%s: %s\n", part.what, strings.Join(part.list, ", "))
		}
	}
}
