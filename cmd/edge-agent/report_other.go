//go:build !linux

package main

import "errors"

// kernelMessages reads the kernel's log, where there is Linux.
func kernelMessages() ([]string, error) { return nil, errors.ErrUnsupported }
