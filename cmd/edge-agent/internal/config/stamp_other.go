//go:build !linux

package config

// Stamp is of no file: the daemon needs Linux.
type Stamp struct{}

func StampOf(string) Stamp { return Stamp{} }
