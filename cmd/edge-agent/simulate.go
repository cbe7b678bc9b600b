package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/logging"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/simulator"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// Run serves until ctx ends. The events of a script happen meanwhile.
func (c simulateCommand) Run(ctx context.Context, std stdio) error {
	script, err := c.script()
	if err != nil {
		return err
	}
	if len(c.Keys) > 0 {
		script.Config.Credentials = nil
	}
	for _, key := range c.Keys {
		script.Config.Credentials = append(script.Config.Credentials, aws.Credentials(key))
	}
	script.Config.Log, _ = logging.New(config.Log{Level: "info", Format: "text"}, std.Err)
	server, err := script.Server()
	if err != nil {
		return c.unusable(err)
	}
	defer server.Close()
	if err := server.Start(c.Listen); err != nil {
		return &failure.Failure{Code: "simulate.listen", Message: err.Error(), Err: err}
	}
	introduce(server, script, std)
	if server.Play(ctx, script.Events) == nil {
		<-ctx.Done() // what is left are streams without events
	}
	return nil
}

// script is what the flags or the file of the command line say.
func (c simulateCommand) script() (kvstest.Script, error) {
	if c.Script != "" {
		return simulator.Load(c.Script)
	}
	if len(c.Streams) == 0 {
		return firstClip()
	}
	var script kvstest.Script
	for _, s := range c.Streams {
		source, err := simulator.ReadSource(s.File)
		if err != nil {
			return script, err
		}
		script.Streams = append(script.Streams, kvstest.ScriptStream{Name: s.Name, Source: source})
	}
	return script, nil
}

// firstClip is what is served when nothing is named: the clip of the demo.
func firstClip() (kvstest.Script, error) {
	source, err := kvstest.ReadSource(clip.H264())
	return kvstest.Script{Streams: []kvstest.ScriptStream{{Name: demoStream, Source: source}}}, err
}

// unusable says that what was asked for, although well written, cannot be simulated.
func (c simulateCommand) unusable(err error) error {
	if c.Script == "" {
		return usageError(err.Error())
	}
	return config.Errors{{Code: config.CodeInvalid, File: c.Script, Message: "cannot be simulated: " + err.Error(), Err: err}}
}

// accessKey is the value of simulate --credentials.
type accessKey aws.Credentials

// UnmarshalText reads ID:SECRET or ID:SECRET:TOKEN.
func (k *accessKey) UnmarshalText(text []byte) error {
	parts := append(strings.SplitN(string(text), ":", 3), "", "")
	k.AccessKeyID, k.SecretAccessKey, k.SessionToken = parts[0], parts[1], parts[2]
	if !simulator.ValidKeyID.MatchString(k.AccessKeyID) || k.SecretAccessKey == "" {
		return errors.New("not a valid access key; write ID:SECRET or ID:SECRET:TOKEN")
	}
	return nil
}

// introduce tells how an agent finds the service, and signs with the first of its credentials.
func introduce(server *kvstest.Server, script kvstest.Script, std stdio) {
	known, region := kvstest.Credentials(), script.Config.Region
	if len(script.Config.Credentials) > 0 {
		known = script.Config.Credentials[0]
	}
	if region == "" {
		region = "us-east-1"
	}
	environment := fmt.Sprintf("AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s", known.AccessKeyID, known.SecretAccessKey)
	if known.SessionToken != "" {
		environment += " AWS_SESSION_TOKEN=" + known.SessionToken
	}
	fmt.Fprintf(std.Out, `Kinesis Video Streams is simulated at %s. To connect an agent, run

  %s edge-agent run --config FILE

with this in FILE:

  [aws]
  region = %q
  endpoint = %q
`, server.URL(), environment, region, server.URL())
	for _, s := range script.Streams {
		fmt.Fprintf(std.Out, "\n  [[streams]]\n  name = %q\n  stream_name = %q\n", streamTopic(s.Name), s.Name)
	}
}

// streamTopic makes the service's name of a stream fit to be the agent's own.
func streamTopic(name string) string { return config.IDFromHostname(name) }
