package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Run prints one code, those that begin with what was given, or the table of all.
func (c explainCommand) Run(_ context.Context, std stdio) error {
	if c.Code == "" {
		listCodes(std.Out, "")
		return nil
	}
	code, ok := contract.Lookup(c.Code)
	if !ok && listCodes(std.Out, strings.TrimSuffix(c.Code, ".")+".") > 0 {
		return nil
	}
	if !ok {
		return unknownCode(c.Code)
	}
	_, err := fmt.Fprintf(std.Out, "%s (%s)\n%s\n%s\n", code.Code, code.Severity, code.Summary, code.Action)
	return err
}

// listCodes prints the codes that begin so, and says how many there are.
func listCodes(w io.Writer, beginning string) (n int) {
	for _, c := range contract.Codes() {
		if strings.HasPrefix(c.Code, beginning) {
			fmt.Fprintf(w, "%-45s %-8s %s\n", c.Code, c.Severity, c.Summary)
			n++
		}
	}
	return n
}

func unknownCode(code string) error {
	var known []string
	for _, c := range contract.Codes() {
		known = append(known, c.Code)
	}
	hint := "`edge-agent explain` lists all"
	if near := config.Nearest(code, known); near != "" {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	return usageError(fmt.Sprintf("there is no code %q; %s", code, hint))
}
