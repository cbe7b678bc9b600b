package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/agent"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/web"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Run asks the agent of this machine how it stands.
func (c statusCommand) Run(ctx context.Context, std stdio) error {
	s, text, err := web.Ask(ctx, c.Socket)
	if err != nil {
		return &failure.Failure{
			Code: agent.CodeSocket, Message: err.Error(), Err: err,
			Action: "Is the service running (systemctl status edge-agent)? For an agent that was started by hand, set [http] socket and give its path with --socket.",
		}
	}
	if c.JSON {
		_, err = fmt.Fprintf(std.Out, "%s\n", strings.TrimSpace(string(text)))
		return err
	}
	printAgent(std.Out, s, time.Now())
	return nil
}

// eventsShown is how many of the newest events are printed.
const eventsShown = 10

func printAgent(w io.Writer, s web.Status, now time.Time) {
	fmt.Fprintf(w, "%s   edge-agent %s, running for %v\n", s.Agent, s.Info.Version, now.Sub(s.Status.StartedAt.Time).Round(time.Second))
	fmt.Fprintf(w, "mqtt      %s\n", brokerLine(s))
	fmt.Fprintf(w, "clock     %s\n", s.Status.Clock)
	for _, d := range s.Info.Displays {
		fmt.Fprintf(w, "display   %s by %s, %dx%d%s\n", orNone(d.Connector), d.Sink, d.Width, d.Height, pathText(d.Path, s.Info.PassedOver))
	}
	if len(s.Info.Displays) == 0 {
		fmt.Fprintf(w, "display   none: %s\n", orNone(strings.Join(s.Info.PassedOver, "; ")))
	}
	for _, stream := range s.Status.Streams {
		printOneStream(w, stream, totalsOf(s, stream.Name), stream.Name == s.Status.Shown, now)
	}
	if len(s.Events) > 0 {
		fmt.Fprintln(w, "\nnewest events:")
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, e := range s.Events[max(0, len(s.Events)-eventsShown):] {
		times := ""
		if e.Count > 1 {
			times = fmt.Sprintf(" (%d times)", e.Count)
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\t%s%s\n", e.LastTS.Local().Format("01-02 15:04:05"), e.Code, e.Stream, e.Message, times)
	}
	_ = table.Flush()
}

func brokerLine(s web.Status) string {
	link := s.Status.MQTT
	waiting := fmt.Sprintf("events waiting: %d, dropped: %d", link.QueuedEvents, link.DroppedEvents)
	switch {
	case s.Broker.URL == "":
		return "no broker is configured"
	case s.Broker.Connected:
		return "connected to " + s.Broker.URL + ", " + waiting
	}
	return "not connected to " + s.Broker.URL + ": " + orNone(s.Broker.Error) + "; " + waiting
}

func printOneStream(w io.Writer, s contract.StreamStatus, totals web.Totals, shown bool, now time.Time) {
	where := ""
	if shown {
		where = ", on the display"
	}
	fmt.Fprintf(w, "\nstream %s: %s for %v%s\n", s.Name, s.State.State, now.Sub(s.State.Since.Time).Round(time.Second), where)
	if s.State.Code != "" {
		code, _ := contract.Lookup(s.State.Code)
		fmt.Fprintf(w, "  problem    %s: %s\n             %s\n", s.State.Code, s.State.Message, code.Action)
	}
	t := s.Telemetry
	fmt.Fprintf(w, "  lag        %s\n", lagText(t.Lag))
	fmt.Fprintf(w, "  received   %d fragments, %.1f Mbit/s, %.1f fps\n", totals.Fragments, float64(t.BitrateBPS)/1e6, t.FPS)
	fmt.Fprintf(w, "  frames     %d received, %d shown%s\n", totals.Received, totals.Shown, counted(", not shown", totals.Dropped))
	if s.State.Decoder != "" {
		fmt.Fprintf(w, "  decoder    %s\n", s.State.Decoder)
	}
	if again := counted("", totals.Reconnects); again != "" {
		fmt.Fprintf(w, "  reconnects%s\n", again)
	}
}

// counted writes counts by reason, "" when there are none.
func counted[N uint64 | int64](title string, by map[string]N) string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(by)) {
		if by[why] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", why, by[why]))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return title + " " + strings.Join(parts, ", ")
}

// pathText is how pictures get to a display, as far as it is known, and why they do not go over a plane.
func pathText(path string, passedOver []string) string {
	if path == "" {
		return ""
	}
	text := ", path " + path
	for _, why := range passedOver {
		if strings.HasPrefix(why, string(plan.PathPlane)+": ") {
			text += " (" + why + ")"
		}
	}
	return text
}
