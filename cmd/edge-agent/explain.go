package main

import (
	"context"
	"fmt"
	"io"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Run prints one code, or the table of all.
func (c explainCommand) Run(_ context.Context, std stdio) error {
	if c.Code == "" {
		return listCodes(std.Out)
	}
	code, ok := contract.Lookup(c.Code)
	if !ok {
		return unknownCode(c.Code)
	}
	_, err := fmt.Fprintf(std.Out, "%s (%s)\n%s\n%s\n", code.Code, code.Severity, code.Summary, code.Action)
	return err
}

func listCodes(w io.Writer) error {
	for _, c := range contract.Codes() {
		if _, err := fmt.Fprintf(w, "%-45s %-8s %s\n", c.Code, c.Severity, c.Summary); err != nil {
			return err
		}
	}
	return nil
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
