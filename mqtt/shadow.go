package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/google/uuid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Shadow is the device shadow ShadowName of a thing: a document that AWS IoT Core keeps, with what
// the agent reports and what is desired of it (Developer Guide, "AWS IoT Device Shadow service").
type Shadow struct {
	Thing string
	// Desire is given the desired configuration after each connect if it is not the one given
	// last, and whenever it changes. The goroutine that carries out commands calls it.
	Desire func(ctx context.Context, d Desired)
}

// Desired is a desired configuration.
type Desired struct {
	Version int64           // of the shadow when this was read
	Config  json.RawMessage // desired.config, its keys sorted; nil when there is none
}

const (
	// shadowAnswer is how long the service may take to answer a request.
	shadowAnswer = 10 * time.Second
	// shadowEvery is the least time between two updates. Far more are allowed for a thing, but
	// every one costs money.
	shadowEvery = 5 * time.Second
	// shadowPause is the least time between two readings, however fast others change the document.
	shadowPause = time.Second
	// maxShadow is the size of a shadow, desired and reported together without their metadata:
	// "Maximum size of a JSON state document" is 8 KB. The rest is for how the service counts.
	maxShadow = 8000
	// maxShadowAnswer bounds what the service sends: the document with a time for each of its values, within "MQTT
	// payload size".
	maxShadowAnswer = iotMaxPayload
)

// shadow keeps the agent's part of the device shadow and the service's in step. The service
// promises no order: every document has a version, and what is older than the newest known is
// passed over. What others change is only taken for news that the document has to be read again:
// a delta lacks what was taken back, and any message may be lost.
//
//	connected ──▶ get ──▶ accepted: version, desired, reported ──▶ Desire
//	               ▲            │
//	               │            ▼
//	   news, a conflict     update, when what is reported there is not what is to be
//	               │            │
//	               └────────────┴──▶ accepted: the next version
//
// At most one request is on its way. Safe for concurrent use.
type shadow struct {
	topics  shadowTopics
	desired chan Desired // has room for the newest
	wake    chan struct{}
	report  func(code, message string, detail map[string]any)

	mu         sync.Mutex
	connected  bool
	request    *shadowRequest              // on its way, may be nil
	outdated   bool                        // the document has to be read
	changed    bool                        // there may be something to update
	ready      time.Time                   // no request before: the last one failed
	nextGet    time.Time                   // no get before
	nextUpdate time.Time                   // no update before
	retry      *backoff.ExponentialBackOff // begins anew once both sides agree; that a get succeeds says nothing of updates

	version     int64           // of the newest document known; 0: there is none
	there       contract.Object // what is reported in it
	desiredSize int             // bytes of what is desired in it
	given       *string         // the desired configuration last handed out; nil: none yet
	full, brief []byte          // what is to be reported; brief is without what may be large
}

// shadowRequest waits for its answer.
type shadowRequest struct {
	token   string
	becomes contract.Object // what is reported once an update is accepted; nil: it is a get
	due     time.Time
}

func newShadow(thing string, wake chan struct{}, report func(code, message string, detail map[string]any)) *shadow {
	return &shadow{
		topics:  shadowTopics{base: "$aws/things/" + thing + "/shadow/name/" + contract.ShadowName + "/"},
		desired: make(chan Desired, 1), wake: wake, report: report,
		retry: &backoff.ExponentialBackOff{InitialInterval: 4 * time.Second, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 5 * time.Minute},
	}
}

// shadowTopics are the topics of one shadow (Developer Guide, "Device Shadow MQTT topics").
type shadowTopics struct{ base string }

func (t shadowTopics) get() string    { return t.base + "get" }
func (t shadowTopics) update() string { return t.base + "update" }

// filters are all that is listened to, without the wildcards that the guide advises against.
func (t shadowTopics) filters() []string {
	return []string{t.get() + "/accepted", t.get() + "/rejected", t.update() + "/accepted", t.update() + "/rejected", t.update() + "/delta", t.base + "delete/accepted"}
}

// set replaces what is to be reported.
func (s *shadow) set(full, brief []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(full) == string(s.full) {
		return
	}
	s.full, s.brief, s.changed = full, brief, true
	nudge(s.wake)
}

// open begins a connection, on which the topics were subscribed to.
func (s *shadow) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected, s.outdated, s.request = true, true, nil
	s.ready, s.nextGet = time.Time{}, time.Time{}
}

// close ends a connection.
func (s *shadow) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected, s.request = false, nil
}

// next is the next request to send, if there is one.
func (s *shadow) next(now time.Time) (message, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.connected {
		return message{}, false
	}
	if s.request != nil {
		if now.Before(s.request.due) {
			return message{}, false
		}
		s.fail(now, "shadow.unanswered", fmt.Sprintf("the device shadow service did not answer within %s", shadowAnswer), nil)
	}
	switch {
	case now.Before(s.ready):
	case s.outdated && !now.Before(s.nextGet):
		s.outdated = false // what comes from now on may not be in the answer
		return s.ask(now, s.topics.get(), shadowOrder{}, nil), true
	case s.changed && !s.outdated && !now.Before(s.nextUpdate):
		return s.makeUpdate(now)
	}
	return message{}, false
}

// due returns a channel that fires when next may have something to send.
func (s *shadow) due() <-chan time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.ready
	switch {
	case !s.connected:
		return nil
	case s.request != nil:
		at = s.request.due
	case s.outdated:
		at = later(at, s.nextGet)
	case s.changed:
		at = later(at, s.nextUpdate)
	default:
		return nil
	}
	return time.After(time.Until(at))
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// shadowOrder is the payload of a request.
type shadowOrder struct {
	State       *shadowState `json:"state,omitempty"`
	Version     int64        `json:"version,omitempty"`
	ClientToken string       `json:"clientToken"`
}

type shadowState struct {
	Desired  contract.Object `json:"desired,omitempty"`
	Reported contract.Object `json:"reported,omitempty"`
}

func (s *shadow) ask(now time.Time, topic string, o shadowOrder, becomes contract.Object) message {
	o.ClientToken = uuid.NewString()
	s.request = &shadowRequest{token: o.ClientToken, becomes: becomes, due: now.Add(shadowAnswer)}
	payload, err := json.Marshal(o)
	if err != nil { // all of it came from JSON
		panic(err)
	}
	return message{topic: topic, qos: 1, payload: payload}
}

// makeUpdate tells the service what is not as it has it. The version makes it refuse, should
// somebody else have changed the document meanwhile.
func (s *shadow) makeUpdate(now time.Time) (message, bool) {
	s.changed = false
	if s.full == nil {
		return message{}, false
	}
	text := s.full
	if len(text)+s.desiredSize > maxShadow {
		text = s.brief
	}
	if size := len(text) + s.desiredSize; size > maxShadow {
		s.report("shadow.too_large", fmt.Sprintf("the device shadow would have %d bytes, at most %d can be stored", size, maxShadow), nil)
		return message{}, false
	}
	becomes := contract.DecodeObject(text)
	patch := contract.MergePatch(s.there, becomes)
	if len(patch) == 0 {
		s.retry.Reset()
		return message{}, false
	}
	s.nextUpdate = now.Add(shadowEvery)
	return s.ask(now, s.topics.update(), shadowOrder{State: &shadowState{Reported: patch}, Version: s.version}, becomes), true
}

// shadowAnswerMessage is what the service publishes: a document, or why there is none.
type shadowAnswerMessage struct {
	State       shadowState `json:"state"`
	Version     int64       `json:"version"`
	ClientToken string      `json:"clientToken"`
	Code        int         `json:"code"`
	Message     string      `json:"message"`
}

// receive runs on paho's goroutine and must not block.
func (s *shadow) receive(_ paho.Client, m paho.Message) { s.take(m.Topic(), m.Payload(), time.Now()) }

// take takes in a message of the service.
func (s *shadow) take(topic string, payload []byte, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer nudge(s.wake)
	kind, ok := strings.CutPrefix(topic, s.topics.base)
	var a shadowAnswerMessage
	if !ok || len(payload) > maxShadowAnswer || json.Unmarshal(payload, &a) != nil {
		return // not of the service
	}
	ours := s.request != nil && a.ClientToken == s.request.token
	switch kind {
	case "get/accepted":
		if ours && s.request.becomes == nil {
			s.got(a, now)
		}
	case "update/accepted":
		if ours && s.request.becomes != nil {
			s.updated(a)
		} else {
			s.news(a.Version)
		}
	case "update/delta":
		if !ours { // what was our own doing is accepted, too
			s.news(a.Version)
		}
	case "delete/accepted":
		s.outdated = true
	case "get/rejected", "update/rejected":
		if ours {
			s.rejected(a, now)
		}
	}
}

// news tells that a version exists. An older one than is known says nothing new.
func (s *shadow) news(version int64) {
	if version > s.version {
		s.outdated = true
	}
}

// got takes in a document, whatever its version: one that was deleted begins anew.
func (s *shadow) got(a shadowAnswerMessage, now time.Time) {
	s.request, s.changed = nil, true
	s.nextGet = now.Add(shadowPause)
	s.version, s.there = a.Version, a.State.Reported
	desired, _ := json.Marshal(a.State.Desired) // it came from JSON
	s.desiredSize = len(desired)
	config := ""
	if c, exists := a.State.Desired["config"]; exists {
		text, _ := json.Marshal(c)
		config = string(text)
	}
	if s.given != nil && *s.given == config {
		return
	}
	s.given = &config
	select { // one that nobody has taken is of no interest any more
	case <-s.desired:
	default:
	}
	d := Desired{Version: a.Version}
	if config != "" {
		d.Config = json.RawMessage(config)
	}
	s.desired <- d // has room: only this sends, and it has just been emptied
}

// updated notes what the service has now. A hole before its version is somebody's change.
func (s *shadow) updated(a shadowAnswerMessage) {
	if a.Version != s.version+1 {
		s.outdated = true
	}
	s.version, s.there = a.Version, s.request.becomes
	s.request = nil
	s.retry.Reset()
}

// rejected takes in an error (Developer Guide, "Device Shadow error messages").
func (s *shadow) rejected(a shadowAnswerMessage, now time.Time) {
	get := s.request.becomes == nil
	switch {
	case get && a.Code == 404: // no shadow yet: the first update makes it
		s.got(shadowAnswerMessage{}, now)
	case !get && a.Code == 409: // somebody was faster
		s.request, s.outdated = nil, true
	case !get && (a.Code == 400 || a.Code == 413): // the same again would not do either
		s.request = nil
		s.report("shadow.refused", s.refusal(a), map[string]any{"request": "update", "code": a.Code, "message": a.Message})
	default:
		request := "update"
		if get {
			request = "get"
		}
		s.fail(now, "shadow.refused", s.refusal(a), map[string]any{"request": request, "code": a.Code, "message": a.Message})
	}
}

func (s *shadow) refusal(a shadowAnswerMessage) string {
	return fmt.Sprintf("the device shadow service refused a request: %d %.200s", a.Code, a.Message)
}

// fail ends a request without success. The next one waits, longer each time, and reads the
// document anew.
func (s *shadow) fail(now time.Time, code, message string, detail map[string]any) {
	s.request, s.outdated = nil, true
	s.ready = now.Add(s.retry.NextBackOff())
	s.report(code, message, detail)
}

// SetShadow reports in the device shadow, if there is one: at the next occasion, and only what
// has changed.
func (c *Client) SetShadow(r contract.ShadowReported) {
	if c.shadow == nil {
		return
	}
	r.Complete = true
	full, ok := c.marshal(c.shadow.topics.update(), r)
	r.Complete, r.Streams, r.Desired.Faults = false, nil, nil
	brief, okToo := c.marshal(c.shadow.topics.update(), r)
	if ok && okToo {
		c.shadow.set(full, brief)
	}
}

// subscribeShadow asks for what the shadow service answers. Without it the shadow is left alone.
func (c *Client) subscribeShadow(ctx context.Context, l *link) error {
	err := l.subscribeAll(ctx, c.shadow.topics.filters(), maxShadowAnswer, c.shadow.receive)
	if coded := (*contract.Error)(nil); errors.As(err, &coded) && coded.Code == "mqtt.refused" {
		c.log.Error("the device shadow is not kept", "code", coded.Code, "err", err)
		c.Event(contract.Event{Code: coded.Code, Message: err.Error()})
		return nil
	}
	if err == nil {
		c.shadow.open()
	}
	return err
}

// noteShadow tells what went wrong with the shadow.
func (c *Client) noteShadow(code, message string, detail map[string]any) {
	c.log.Warn(message, "code", code)
	c.Event(contract.Event{Code: code, Message: message, Detail: detail})
}
