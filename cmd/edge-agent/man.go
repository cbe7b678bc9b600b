package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	mangokong "github.com/alecthomas/mango-kong"
	"github.com/muesli/roff"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
)

// Run prints a manual page: section 1 from the grammar of the command line, section 5 from the schema of the
// configuration.
func (c manCommand) Run(_ context.Context, std stdio) error {
	if c.Section == "5" {
		page, err := configPage()
		if err != nil {
			return err
		}
		_, err = fmt.Fprint(std.Out, page)
		return err
	}
	var g grammar
	parser, err := newParser(&g, std, func(int) {})
	if err != nil {
		return err
	}
	page := mangokong.NewManPage(1, parser.Model)
	page.WithSection("Exit status", "0: done. 1: it failed, or check found a problem. 2: the command line is wrong, or check was interrupted.")
	page.WithSection("Files", "/etc/edge-agent/config.toml: the configuration, see edge-agent.toml(5).")
	_, err = fmt.Fprint(std.Out, page.Build(datedPage{roff.NewDocument()}))
	return err
}

// datedPage is a page with the date of the build instead of the present one: two builds are the same.
type datedPage struct{ *roff.Document }

// Heading writes the first line.
func (p datedPage) Heading(section uint, title, description string, _ time.Time) {
	p.Document.Heading(section, title, description, buildDate())
}

// buildDate is the date of what is built, as those who build packages give it; else today.
func buildDate() time.Time {
	if seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC()
	}
	return time.Now().UTC()
}

// schemaNode is what a manual page needs of the JSON schema.
type schemaNode struct {
	Description string                `json:"description"`
	Default     any                   `json:"default"`
	Properties  map[string]schemaNode `json:"properties"`
	Items       *schemaNode           `json:"items"`
}

// configPage is edge-agent.toml(5).
func configPage() (string, error) {
	var root schemaNode
	if err := json.Unmarshal(config.Schema, &root); err != nil {
		return "", err
	}
	var page strings.Builder
	fmt.Fprintf(&page, ".TH EDGE-AGENT.TOML 5 \"%s\" \"edge-agent\" \"configuration of edge-agent\"\n", buildDate().Format(time.DateOnly))
	page.WriteString(".SH NAME\nedge-agent.toml \\- configuration of edge-agent, /etc/edge-agent/config.toml\n")
	page.WriteString(`.SH DESCRIPTION
A TOML file. A key that is left out has its default.
.B edge-agent config check
says whether the file is valid. An environment variable can stand in for a key: EDGE_AGENT_MQTT_BROKER for broker of [mqtt].
`)
	tablePage(&page, "", root)
	page.WriteString(".SH SEE ALSO\n.BR edge-agent (1)\n")
	return page.String(), nil
}

// tablePage writes the keys of a table, and then the tables in it.
func tablePage(page *strings.Builder, path string, table schemaNode) {
	names := slices.Sorted(maps.Keys(table.Properties))
	for _, name := range names {
		if key := table.Properties[name]; !key.isTable() {
			value, _ := json.Marshal(key.Default)
			fmt.Fprintf(page, ".TP\n.B %s = %s\n.nf\n%s\n.fi\n", name, roffText(string(value)), roffText(key.Description))
		}
	}
	for _, name := range names {
		key, title := table.Properties[name], "[%s]"
		if !key.isTable() {
			continue
		}
		if key.Items != nil {
			key, title = *key.Items, "[[%s]]"
		}
		fmt.Fprintf(page, ".SH "+title+"\n", config.JoinKey(path, name))
		tablePage(page, config.JoinKey(path, name), key)
	}
}

func (n schemaNode) isTable() bool {
	return n.Properties != nil || n.Items != nil && n.Items.Properties != nil
}

// roffText is a text whose characters mean nothing to roff.
func roffText(text string) string {
	lines := strings.Split(strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\e`), "-", `\-`), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
