package main

import (
	"bufio"
	"context"
)

// Run lists the capture. What stands before and after a fault is listed all the
// same; the error tells of the first fault.
func (c inspectCommand) Run(_ context.Context, std stdio) error {
	in := std.In
	if c.File != "-" {
		f, err := openCapture(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	out := bufio.NewWriterSize(std.Out, 64<<10)
	l := table(out)
	if c.JSON {
		l = jsonLines(out)
	}
	fault := inspect(in, l)
	if err := out.Flush(); err != nil {
		return err
	}
	return fault
}
