package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// telemetry is what the agent tells over MQTT about the stream, every second.
type telemetry struct{ messages <-chan mqtt.Message }

// report is what one message tells of the frames since the one before.
type report struct {
	From      contract.Time  `json:"from"`
	To        contract.Time  `json:"to"`
	Frames    int            `json:"frames"`
	Shown     int            `json:"shown_frames"`
	Dropped   int            `json:"dropped_frames"`
	DroppedBy map[string]int `json:"dropped_by"`
}

func listen(ctx context.Context, broker *brokertest.Broker, stream string) (telemetry, error) {
	topics, err := contract.NewTopics(contract.DefaultPrefix, agentID)
	if err != nil {
		return telemetry{}, err
	}
	l, err := mqtt.Listen(ctx, mqtt.Broker{URL: broker.URL()}, topics.Telemetry(stream))
	if err != nil {
		return telemetry{}, err
	}
	return telemetry{l.Messages}, nil
}

// next waits for a message.
func (t telemetry) next(ctx context.Context) (r report, err error) {
	select {
	case <-ctx.Done():
		return r, fmt.Errorf("no telemetry: %w", ctx.Err())
	case m, ok := <-t.messages:
		if !ok {
			return r, errEnded
		}
		return r, json.Unmarshal(m.Payload, &r)
	}
}

// playing returns when pictures have been there for the time of warming up.
func (t telemetry) playing(ctx context.Context) error {
	for shown := 0; shown == 0; {
		r, err := t.next(ctx)
		if err != nil {
			return err
		}
		shown = r.Shown
	}
	_, err := t.pictures(ctx, warmUp)
	return err
}

// pictures counts for a time, to the end of a message's second.
func (t telemetry) pictures(ctx context.Context, d time.Duration) (n int, err error) {
	for start := time.Now(); time.Since(start) < d-100*time.Millisecond; {
		r, err := t.next(ctx)
		if err != nil {
			return 0, err
		}
		n += r.Shown
	}
	return n, nil
}

// reports are all that came so far.
type reports struct {
	news chan struct{} // has something when one came, or when none will

	mu    sync.Mutex
	list  []report
	ended error // why none will
}

func newReports() *reports { return &reports{news: make(chan struct{}, 1)} }

// listen notes what comes until ctx ends.
func (rs *reports) listen(ctx context.Context, told telemetry) {
	for rs.add(told.next(ctx)) {
	}
}

func (rs *reports) add(r report, err error) (more bool) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.ended = err; err == nil {
		rs.list = append(rs.list, r)
	}
	select {
	case rs.news <- struct{}{}:
	default:
	}
	return err == nil
}

// until waits until there are reports of all up to a time.
func (rs *reports) until(ctx context.Context, to time.Time) error {
	for {
		rs.mu.Lock()
		there, err := len(rs.list) > 0 && !rs.list[len(rs.list)-1].To.Before(to), rs.ended
		rs.mu.Unlock()
		if there || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no telemetry: %w", ctx.Err())
		case <-rs.news:
		}
	}
}

// dropped adds up what was dropped in the seconds that have part in a time.
func (rs *reports) dropped(from, to time.Time) (n int) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.list {
		if r.To.After(from) && r.From.Before(to) {
			n += r.Dropped
		}
	}
	return n
}

// reasons adds up why frames were dropped since a time.
func (rs *reports) reasons(from time.Time) map[string]int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	by := map[string]int{}
	for _, r := range rs.list {
		if r.To.Before(from) {
			continue
		}
		for reason, n := range r.DroppedBy {
			by[reason] += n
		}
	}
	return by
}
