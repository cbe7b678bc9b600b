package kvstest

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Script is a whole simulation as plain data: a service, its streams, and what happens to them when.
//
//	server, err := script.Server()
//	err = server.Start("127.0.0.1:0")
//	err = server.Play(ctx, script.Events)
type Script struct {
	Config  Config
	Streams []ScriptStream
	Events  []Event
}

// ScriptStream is what [Server.Add] takes.
type ScriptStream struct {
	Name   string
	Source *Source
	Config StreamConfig
}

// Event is something that happens to a stream, once or again and again.
type Event struct {
	Name   string        // for the log
	Stream string        // whose event it is; "" is every stream's
	At     time.Duration // when it happens first, in the server's time from the beginning of Play
	Every  time.Duration // from one time to the next; 0 is once
	Times  int           // how often it happens; 0 is without end, or once without Every
	Do     func(*Stream) // must not block
}

// Server makes the service of a script with all its streams, and checks the events. It has yet to be started.
func (s Script) Server() (*Server, error) {
	server := NewServer(s.Config)
	for _, stream := range s.Streams {
		if _, err := server.Add(stream.Name, stream.Source, stream.Config); err != nil {
			return nil, err
		}
	}
	return server, server.checkEvents(s.Events)
}

func (s *Server) checkEvents(events []Event) error {
	for i, e := range events {
		wrong := ""
		switch {
		case e.Do == nil:
			wrong = "does nothing"
		case e.Stream != "" && s.Stream(e.Stream) == nil:
			wrong = fmt.Sprintf("is about the stream %q, which there is not", e.Stream)
		case e.At < 0 || e.Every < 0 || e.Times < 0:
			wrong = "has a negative time"
		case e.Every == 0 && e.Times > 1:
			wrong = "happens more than once but does not say after how long"
		}
		if wrong != "" {
			return fmt.Errorf("kvstest: event %d (%s) %s", i, e.Name, wrong)
		}
	}
	return nil
}

// occurrence is an event that is still to happen.
type occurrence struct {
	Event
	next time.Time
	left int
}

// Play lets events happen, each at its time from now on. It returns when none is left, or with the error of ctx when
// that is over before.
func (s *Server) Play(ctx context.Context, events []Event) error {
	if err := s.checkEvents(events); err != nil {
		return err
	}
	began := s.clock.now()
	var due []*occurrence
	for _, e := range events {
		o := &occurrence{e, began.Add(e.At), e.Times}
		switch {
		case e.Every == 0:
			o.left = 1
		case e.Times == 0:
			o.left = math.MaxInt
		}
		due = append(due, o)
	}
	for o := earliest(due); o != nil; o = earliest(due) {
		if err := s.clock.sleepUntil(ctx, o.next); err != nil {
			return err
		}
		s.happen(o.Event)
		o.left--
		o.next = o.next.Add(o.Every)
	}
	return nil
}

// earliest is the occurrence that comes next, of those at one time the first in the list; nil if none is left.
func earliest(due []*occurrence) *occurrence {
	var first *occurrence
	for _, o := range due {
		if o.left > 0 && (first == nil || o.next.Before(first.next)) {
			first = o
		}
	}
	return first
}

func (s *Server) happen(e Event) {
	s.mu.Lock()
	var concerned []*Stream
	for name, stream := range s.streams {
		if e.Stream == "" || e.Stream == name {
			concerned = append(concerned, stream)
		}
	}
	s.mu.Unlock()
	for _, stream := range concerned {
		s.config.Log.Info("event", "event", e.Name, "stream", stream.name, "sessions", stream.Sessions())
		e.Do(stream)
	}
}
