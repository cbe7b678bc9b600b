package kvstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// TestPlay lets events happen once, some times and without end, in the server's time.
func TestPlay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source, err := ReadSource(clip.H264())
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		var happened []string
		note := func(name string) func(*Stream) {
			return func(s *Stream) {
				happened = append(happened, fmt.Sprintf("%s of %s at %v", name, s.Name(), time.Since(began)*10))
			}
		}
		script := Script{
			Config:  Config{Speed: 10},
			Streams: []ScriptStream{{Name: "a", Source: source}, {Name: "b", Source: source}},
			Events: []Event{
				{Stream: "a", Every: 4 * time.Second, Do: note("endless")},
				{Stream: "b", At: 5 * time.Second, Do: note("once")},
				{Stream: "a", At: 5 * time.Second, Every: time.Second, Times: 2, Do: note("twice")},
			},
		}
		server, err := script.Server()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := server.Play(ctx, script.Events); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("ended by %v", err)
		}
		want := []string{
			"endless of a at 0s", "endless of a at 4s", "once of b at 5s", "twice of a at 5s", "twice of a at 6s", "endless of a at 8s",
		}
		if !slices.Equal(happened, want) {
			t.Errorf("happened %q, want %q", happened, want)
		}
		if err := server.Play(t.Context(), script.Events[1:]); err != nil {
			t.Errorf("events that have an end: %v", err)
		}
		all := 0
		if err := server.Play(t.Context(), []Event{{Do: func(*Stream) { all++ }}}); err != nil || all != 2 {
			t.Errorf("an event of every stream happened %d times, %v", all, err)
		}
	})
}

// TestBadScript refuses events that cannot happen.
func TestBadScript(t *testing.T) {
	do := func(*Stream) {}
	for name, e := range map[string]Event{
		"nothing to do":       {},
		"unknown stream":      {Stream: "b", Do: do},
		"negative time":       {At: -1, Do: do},
		"times without every": {Times: 2, Do: do},
	} {
		if _, err := (Script{Events: []Event{e}}).Server(); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
