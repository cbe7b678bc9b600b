package main

import (
	"bufio"
	"context"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/capture"
)

// Run lists the capture. What stands before and after a fault is listed all the
// same; the error tells of the first fault.
func (c inspectCommand) Run(_ context.Context, std stdio) error {
	in := std.In
	if c.File != "-" {
		f, err := capture.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	out := bufio.NewWriterSize(std.Out, 64<<10)
	l := capture.Table(out)
	if c.JSON {
		l = capture.JSONLines(out)
	}
	fault := capture.Inspect(in, l)
	if err := out.Flush(); err != nil {
		return err
	}
	return fault
}
