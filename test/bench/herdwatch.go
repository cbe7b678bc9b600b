package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// herdWatch is another client of the broker, which sees what a herd does.
type herdWatch struct {
	client, sender paho.Client
	news           chan struct{} // has something when something came

	mu     sync.Mutex
	online map[string]time.Time // by topic: when it was so first
	told   int                  // telemetry
	sent   map[string]time.Time // commands that have no response, by id
	took   []time.Duration      // of those that have
}

func watchHerd(broker string) (*herdWatch, error) {
	w := &herdWatch{news: make(chan struct{}, 1), online: make(map[string]time.Time), sent: make(map[string]time.Time)}
	w.client = paho.NewClient(paho.NewClientOptions().AddBroker(broker).SetClientID("watch").SetAutoReconnect(false).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { w.receive(m, time.Now()) }))
	// The confirmation of a command, on the same connection, would hold up what mosquitto sends next until this machine
	// acknowledges it, up to 40 ms later.
	w.sender = paho.NewClient(paho.NewClientOptions().AddBroker(broker).SetClientID("send").SetAutoReconnect(false))
	if err := errors.Join(done(w.client.Connect()), done(w.sender.Connect())); err != nil {
		return nil, err
	}
	base := contract.DefaultPrefix + "/v1/+/"
	return w, done(w.client.SubscribeMultiple(map[string]byte{
		base + "availability": 1, base + "streams/+/telemetry": 0, base + "cmd/+/response": 1,
	}, nil))
}

// done waits for what was asked of the broker.
func done(token paho.Token) error {
	if !token.WaitTimeout(answerWithin) {
		return errors.New("the broker does not answer")
	}
	return token.Error()
}

func (w *herdWatch) stop() {
	w.client.Disconnect(0)
	w.sender.Disconnect(0)
}

func (w *herdWatch) receive(m paho.Message, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch topic := m.Topic(); {
	case strings.HasSuffix(topic, "/availability"):
		if _, known := w.online[topic]; !known && string(m.Payload()) == contract.Online {
			w.online[topic] = now
		}
	case strings.HasSuffix(topic, "/telemetry"):
		w.told++
		return
	default:
		var r contract.Response
		if json.Unmarshal(m.Payload(), &r) != nil || r.Status != contract.StatusSucceeded {
			return
		}
		if sent, ok := w.sent[r.ID]; ok {
			w.took = append(w.took, now.Sub(sent))
			delete(w.sent, r.ID)
		}
	}
	select {
	case w.news <- struct{}{}:
	default:
	}
}

func (w *herdWatch) toldSoFar() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told
}

// until waits until count says so many.
func (w *herdWatch) until(ctx context.Context, what string, within time.Duration, n int, count func() int) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		w.mu.Lock()
		has := count()
		w.mu.Unlock()
		if has >= n {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d %s", has, n, what)
		case <-w.news:
		}
	}
}

// allOnline waits until n have said "online" and gives how many seconds after a time that was.
func (w *herdWatch) allOnline(ctx context.Context, n int, since time.Time) (seconds float64, err error) {
	if err := w.until(ctx, "are online", onlineWithin, n, func() int { return len(w.online) }); err != nil {
		return 0, err
	}
	for _, at := range w.online {
		seconds = max(seconds, at.Sub(since).Seconds())
	}
	return seconds, nil
}

// mostInASecond is how many came online within any one second.
func (w *herdWatch) mostInASecond() (most int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var times []time.Time
	for _, at := range w.online {
		times = append(times, at)
	}
	return densest(times, time.Second)
}

// densest is how many of the times are within a span, at most.
func densest(times []time.Time, span time.Duration) (most int) {
	slices.SortFunc(times, time.Time.Compare)
	first := 0
	for i, at := range times {
		for at.Sub(times[first]) > span {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// command sends the command status to an agent.
func (w *herdWatch) command(agent string) error {
	topics, err := contract.NewTopics(contract.DefaultPrefix, agent)
	if err != nil {
		return err
	}
	now := time.Now()
	id := agent + "-" + strconv.FormatInt(now.UnixNano(), 36)
	payload, err := json.Marshal(map[string]any{"id": id, "issued_at": contract.Time{Time: now}, "expires_at": contract.Time{Time: now.Add(time.Minute)}})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.sent[id] = now
	w.mu.Unlock()
	w.sender.Publish(topics.Command(contract.VerbStatus), 1, false, payload)
	return nil
}

// allAnswered waits until n commands have been answered and gives how long each took.
func (w *herdWatch) allAnswered(ctx context.Context, n int) ([]time.Duration, error) {
	if err := w.until(ctx, "commands were answered", answerWithin, n, func() int { return len(w.took) }); err != nil {
		return nil, err
	}
	return w.took, nil
}
