//go:build !linux

package main

// stamp is of no file: the daemon needs Linux.
type stamp struct{}

func fileStamp(string) stamp { return stamp{} }
