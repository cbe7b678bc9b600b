package main

import (
	"context"
	"fmt"
	"os"

	"github.com/edge-agent/edge-agent/ingest/kvstest"
)

// Run serves until ctx ends.
func (c simulateCommand) Run(ctx context.Context, std stdio) error {
	server := kvstest.NewServer(kvstest.Config{Log: newLogger(LogConfig{Level: "info", Format: "text"}, std.Err)})
	defer server.Close()
	for _, s := range c.Streams {
		file, err := os.ReadFile(s.File)
		if err != nil {
			return &failure{Code: "capture.unreadable", Message: err.Error(), Err: err}
		}
		source, err := kvstest.ReadSource(file)
		if err != nil {
			return &failure{Code: "capture.malformed", Message: s.File + ": " + err.Error(), Err: err}
		}
		if _, err := server.Add(s.Name, source, kvstest.StreamConfig{}); err != nil {
			return usageError(err.Error())
		}
	}
	if err := server.Start(c.Listen); err != nil {
		return &failure{Code: "simulate.listen", Message: err.Error(), Err: err}
	}
	known := kvstest.Credentials()
	fmt.Fprintf(std.Out, `Kinesis Video Streams is simulated at %s. An agent comes here with

  AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s edge-agent run --config FILE

and in FILE

  [aws]
  region = "us-east-1"
  endpoint = "%s"
`, server.URL(), known.AccessKeyID, known.SecretAccessKey, server.URL())
	for _, s := range c.Streams {
		fmt.Fprintf(std.Out, "\n  [[streams]]\n  name = %q\n  stream_name = %q\n", streamTopic(s.Name), s.Name)
	}
	<-ctx.Done()
	return nil
}

// streamTopic makes the service's name of a stream fit to be the agent's own.
func streamTopic(name string) string { return idFromHostname(name) }
