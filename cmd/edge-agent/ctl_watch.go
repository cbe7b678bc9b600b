package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/terminal"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

type ctlWatch struct{}

// watchInterval is the least time between two drawings of the table.
const watchInterval = 500 * time.Millisecond

// run shows all agents until ctx ends, over any broken connection: on a terminal a table that is drawn again
// and again, else a line for whatever has changed.
func (ctlWatch) run(ctx context.Context, std stdio, f ctlFlags) error {
	fleet, err := mqtt.Watch(ctx, f.broker(), f.Prefix)
	if err != nil {
		return err
	}
	v := newView(std.Out)
	lines := plainLines{out: std.Out, err: std.Err, said: make(map[string]string)}
	look := time.NewTicker(watchInterval)
	defer look.Stop()
	for {
		select {
		case <-fleet.Ended():
			return nil
		case <-look.C:
		}
		select {
		case <-fleet.Changed():
		default:
			continue
		}
		rows, lost := fleetRows(fleet.Agents()), fleet.Err()
		if v.terminal {
			v.draw(fleetTable(rows, lost))
		} else {
			lines.say(rows, lost)
		}
	}
}

// fleetRow is a stream of an agent, or an agent without streams.
type fleetRow struct {
	Agent, stream, state, figures, decoder, event string
}

func fleetRows(agents []mqtt.AgentView) []fleetRow {
	var rows []fleetRow
	for _, a := range agents {
		event := "-"
		if e := a.LastEvent; e.Code != "" {
			event = e.TS.Format("15:04:05 ") + strings.TrimSpace(e.Stream+" "+e.Code)
		}
		if len(a.Streams) == 0 {
			rows = append(rows, fleetRow{terminal.Plain(a.ID), "-", online(a, "online"), figures(contract.Telemetry{}), "-", terminal.Plain(event)})
		}
		for _, s := range a.Streams {
			state := strings.TrimSpace(string(s.State.State) + " " + s.State.Code)
			telemetry, decoder := s.Telemetry, s.State.Decoder
			if !a.Online { // what it said last does not hold now
				telemetry, decoder = contract.Telemetry{}, ""
			}
			rows = append(rows, fleetRow{
				terminal.Plain(a.ID), terminal.Plain(s.Name), terminal.Plain(online(a, state)), figures(telemetry), terminal.Plain(orDash(decoder)), terminal.Plain(event),
			})
		}
	}
	return rows
}

// online is the state, unless the agent is not there to have any.
func online(a mqtt.AgentView, state string) string {
	if !a.Online {
		return contract.Offline
	}
	return state
}

func fleetTable(rows []fleetRow, lost error) []string {
	var b bytes.Buffer
	if lost != nil {
		sayLost(&b, lost)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "AGENT\tSTREAM\tSTATE\tFRAMES/S\tSERVICE\tPRODUCER\tLOCAL\tDECODER\tLAST EVENT")
	for _, r := range rows {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.Agent, r.stream, r.state, r.figures, r.decoder, r.event)
	}
	t.Flush()
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// plainLines says what is new, for files and pipes.
type plainLines struct {
	out, err io.Writer
	lost     bool              // the connection, and that was said
	said     map[string]string // by agent and stream
}

func (p *plainLines) say(rows []fleetRow, lost error) {
	switch {
	case lost != nil && !p.lost:
		sayLost(p.err, lost)
	case lost == nil && p.lost:
		fmt.Fprintln(p.err, "edge-agent: connected to the broker again")
	}
	p.lost = lost != nil
	for _, r := range rows {
		lags := strings.Split(r.figures, "\t")
		line := fmt.Sprintf("agent=%s stream=%s state=%q fps=%s service=%q producer=%q local=%q decoder=%s event=%q",
			r.Agent, r.stream, r.state, lags[0], lags[1], lags[2], lags[3], r.decoder, r.event)
		if key := r.Agent + "/" + r.stream; p.said[key] != line {
			p.said[key] = line
			fmt.Fprintln(p.out, line)
		}
	}
}
