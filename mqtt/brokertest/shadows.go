package brokertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Limits of the device shadow service (AWS General Reference, "AWS IoT Core endpoints and quotas";
// Developer Guide, "Device Shadow error messages").
const (
	maxShadowSize   = 8 << 10
	maxShadowDepth  = 6
	maxClientToken  = 64
	shadowPatience  = 10 * time.Second
	shadowFilterGet = "$aws/things/+/shadow/name/+/get"
	shadowFilterUpd = "$aws/things/+/shadow/name/+/update"
)

type object = map[string]any

// Shadows stands in for the device shadow service of AWS IoT Core, as its Developer Guide
// describes it, at a broker: it answers get and update of named shadows, merges, counts versions
// and computes deltas. It does not time stamp single keys.
type Shadows struct {
	client paho.Client                        // nil without a broker
	out    func(topic string, payload []byte) // publishes

	mu        sync.Mutex
	documents map[string]*document // by the base of their topics
	requests  []string             // topics, as they came
	refuse    func(topic string) (code int)
}

type document struct {
	version           int64
	desired, reported object
	deleted           bool
}

// ShadowState is what a shadow holds; Version 0: it does not exist.
type ShadowState struct {
	Version           int64
	Desired, Reported map[string]any
}

// NewShadows is a service without a broker: it is handed requests with Answer, and gives to out
// what it would publish.
func NewShadows(out func(topic string, payload []byte)) *Shadows {
	return &Shadows{out: out, documents: make(map[string]*document)}
}

// StartShadows connects to the broker and answers until Stop.
func StartShadows(b *Broker) (*Shadows, error) {
	s := NewShadows(nil)
	s.out = func(topic string, payload []byte) { s.client.Publish(topic, 1, false, payload) }
	options := paho.NewClientOptions().AddBroker("tcp://" + b.Addr()).SetClientID("shadow-service").
		SetAutoReconnect(false).SetOrderMatters(false).SetConnectTimeout(shadowPatience)
	if b.options.Username != "" {
		options.SetUsername(b.options.Username).SetPassword(b.options.Password)
	}
	s.client = paho.NewClient(options)
	if err := finish(s.client.Connect()); err != nil {
		return nil, err
	}
	filters := map[string]byte{shadowFilterGet: 1, shadowFilterUpd: 1}
	if err := finish(s.client.SubscribeMultiple(filters, s.receive)); err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

func finish(token paho.Token) error {
	if !token.WaitTimeout(shadowPatience) {
		return errors.New("brokertest: the broker does not answer the shadow service")
	}
	return token.Error()
}

// Stop ends the connection.
func (s *Shadows) Stop() { s.client.Disconnect(250) }

// Refuse has every request answered with the HTTP status that code gives for its topic, unless
// that is 0. nil ends that.
func (s *Shadows) Refuse(code func(topic string) int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = code
}

// Requests are the topics of all requests that came over MQTT, in their order.
func (s *Shadows) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

// State is what a shadow holds.
func (s *Shadows) State(thing, name string) ShadowState {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.documents[shadowBase(thing, name)]
	if d == nil || d.deleted {
		return ShadowState{}
	}
	return ShadowState{Version: d.version, Desired: clone(d.desired), Reported: clone(d.reported)}
}

func clone(o object) object {
	if o == nil {
		return nil
	}
	return merge(object{}, o)
}

// Desire changes what is desired, as an application does with the HTTP API. What is null in the
// JSON text is removed; "null" removes all.
func (s *Shadows) Desire(thing, name, desired string) error {
	payload := fmt.Sprintf(`{"state":{"desired":%s}}`, desired)
	base := shadowBase(thing, name)
	s.mu.Lock()
	code, answers := s.update(base, []byte(payload))
	s.mu.Unlock()
	s.publish(answers)
	if code != 0 {
		return fmt.Errorf("brokertest: the shadow service answers %d: %s", code, answers[0].payload)
	}
	return nil
}

// Delete removes a shadow. Its version goes on, should it be made again.
func (s *Shadows) Delete(thing, name string) {
	base := shadowBase(thing, name)
	s.mu.Lock()
	answers := s.remove(base)
	s.mu.Unlock()
	s.publish(answers)
}

func (s *Shadows) remove(base string) []answer {
	d := s.documents[base]
	if d == nil || d.deleted {
		return nil
	}
	*d = document{version: d.version, deleted: true}
	return []answer{{base + "delete/accepted", withVersion(nil, d.version, nil)}}
}

func shadowBase(thing, name string) string {
	return "$aws/things/" + thing + "/shadow/name/" + name + "/"
}

// answer is a publication of the service.
type answer struct {
	topic   string
	payload []byte
}

func (s *Shadows) receive(_ paho.Client, m paho.Message) { s.Answer(m.Topic(), m.Payload()) }

// Answer takes in a request, a get or an update.
func (s *Shadows) Answer(topic string, payload []byte) {
	i := strings.LastIndexByte(topic, '/') + 1
	base, verb := topic[:i], topic[i:]
	s.mu.Lock()
	s.requests = append(s.requests, topic)
	var answers []answer
	switch {
	case s.refuse != nil && s.refuse(topic) != 0:
		answers = refusal(topic, payload, s.refuse(topic), "refused for a test")
	case verb == "get":
		answers = s.get(base, payload)
	default:
		_, answers = s.update(base, payload)
	}
	s.mu.Unlock()
	s.publish(answers)
}

func (s *Shadows) publish(answers []answer) {
	for _, a := range answers {
		s.out(a.topic, a.payload)
	}
}

func (s *Shadows) get(base string, payload []byte) []answer {
	d := s.documents[base]
	if d == nil || d.deleted {
		return refusal(base+"get", payload, 404, "No shadow exists with name: "+strings.Split(base, "/")[5])
	}
	state := object{}
	put(state, "desired", d.desired)
	put(state, "reported", d.reported)
	put(state, "delta", delta(d.desired, d.reported))
	return []answer{{base + "get/accepted", withVersion(state, d.version, payload)}}
}

func put(o object, key string, value object) {
	if len(value) > 0 {
		o[key] = value
	}
}

// withVersion is a document as an answer has it.
func withVersion(state object, version int64, request []byte) []byte {
	out := object{"version": version, "timestamp": time.Now().Unix()}
	if state != nil {
		out["state"], out["metadata"] = state, object{}
	}
	if token := tokenOf(request); token != "" {
		out["clientToken"] = token
	}
	text, _ := json.Marshal(out) // it came from JSON
	return text
}

func tokenOf(request []byte) string {
	var r struct {
		ClientToken string `json:"clientToken"`
	}
	json.Unmarshal(request, &r)
	return r.ClientToken
}

func refusal(topic string, request []byte, code int, message string) []answer {
	out := object{"code": code, "message": message, "timestamp": time.Now().Unix()}
	if token := tokenOf(request); token != "" && len(token) <= maxClientToken {
		out["clientToken"] = token
	}
	text, _ := json.Marshal(out)
	return []answer{{topic + "/rejected", text}}
}

// update carries out an update; code is 0 if it was accepted.
func (s *Shadows) update(base string, payload []byte) (code int, answers []answer) {
	no := func(code int, message string) (int, []answer) {
		return code, refusal(base+"update", payload, code, message)
	}
	var request struct {
		State   *object
		Version *int64
	}
	if err := json.Unmarshal(payload, &request); err != nil {
		return no(400, "Invalid JSON")
	}
	d := s.documents[base]
	if d == nil {
		d = &document{}
	}
	switch {
	case request.State == nil:
		return no(400, "Missing required node: state")
	case len(tokenOf(payload)) > maxClientToken:
		return no(400, "Invalid clientToken")
	case request.Version != nil && *request.Version != d.version:
		return no(409, "Version conflict")
	case depth(*request.State)-1 > maxShadowDepth:
		return no(400, fmt.Sprintf("JSON contains too many levels of nesting; maximum is %d", maxShadowDepth))
	case arrayWithNull(*request.State):
		return no(400, "State contains an invalid node")
	}
	next := document{version: d.version + 1, desired: d.desired, reported: d.reported}
	for key, value := range *request.State {
		section, ok := value.(object)
		if !ok && value != nil {
			return no(400, "Desired node must be an object")
		}
		switch key {
		case "desired":
			next.desired = change(next.desired, section)
		case "reported":
			next.reported = change(next.reported, section)
		default:
			return no(400, "State contains an invalid node")
		}
	}
	if size(next.desired)+size(next.reported) > maxShadowSize {
		return no(413, "The payload exceeds the maximum size allowed")
	}
	s.documents[base] = &next
	answers = []answer{{base + "update/accepted", withVersion(*request.State, next.version, payload)}}
	if differs := delta(next.desired, next.reported); len(differs) > 0 {
		answers = append(answers, answer{base + "update/delta", withVersion(differs, next.version, payload)})
	}
	return 0, answers
}

// change merges a section; null removes it.
func change(old, section object) object {
	if section == nil {
		return nil
	}
	return merge(clone(old), section)
}

// merge puts the keys of a patch into an object: null removes, objects are merged, all else, lists
// too, is replaced.
func merge(into, patch object) object {
	if into == nil {
		into = object{}
	}
	for key, value := range patch {
		inner, isObject := value.(object)
		old, _ := into[key].(object)
		switch {
		case value == nil:
			delete(into, key)
		case isObject:
			into[key] = merge(clone(old), inner)
		default:
			into[key] = value
		}
	}
	return into
}

// delta is what is desired and not reported, with the path to it.
func delta(desired, reported object) object {
	out := object{}
	for key, want := range desired {
		inner, isObject := want.(object)
		has, wasObject := reported[key].(object)
		switch {
		case isObject && wasObject:
			put(out, key, delta(inner, has))
		case !reflect.DeepEqual(want, reported[key]):
			out[key] = want
		}
	}
	return out
}

func depth(value any) int {
	deepest := 0
	switch value := value.(type) {
	case object:
		for _, v := range value {
			deepest = max(deepest, depth(v))
		}
		return deepest + 1
	case []any:
		for _, v := range value {
			deepest = max(deepest, depth(v))
		}
	}
	return deepest
}

func arrayWithNull(value any) bool {
	switch value := value.(type) {
	case object:
		for _, v := range value {
			if arrayWithNull(v) {
				return true
			}
		}
	case []any:
		for _, v := range value {
			if v == nil || arrayWithNull(v) {
				return true
			}
		}
	}
	return false
}

func size(section object) int {
	if len(section) == 0 {
		return 0
	}
	text, _ := json.Marshal(section)
	return len(text)
}
