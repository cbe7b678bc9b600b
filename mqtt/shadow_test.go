package mqtt

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/mqtt/brokertest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
)

func TestShadowTopicsFitAWSIoTCore(t *testing.T) {
	topics := newShadow(strings.Repeat("x", iotMaxClientID), nil, nil).topics
	if n := len(topics.filters()); n > iotMaxFilters {
		t.Errorf("%d filters in one SUBSCRIBE", n)
	}
	for _, topic := range append(topics.filters(), topics.get(), topics.update()) {
		if err := AWSIoT.bounds().admit(message{topic: topic, qos: 1}); err != nil {
			t.Error(err)
		}
	}
}

// shadowBench is a shadow without a connection: the test is the service, and the clock.
type shadowBench struct {
	*shadow
	t        *testing.T
	now      time.Time
	reported []string // codes
}

func newShadowBench(t *testing.T) *shadowBench {
	b := &shadowBench{t: t, now: contracttest.T0}
	b.shadow = newShadow("gate-7", make(chan struct{}, 1), func(code, _ string, _ map[string]any) { b.reported = append(b.reported, code) })
	b.open()
	return b
}

// asks returns the next request, which has to be there after a while.
func (b *shadowBench) asks(after time.Duration, topic string) shadowOrder {
	b.t.Helper()
	b.now = b.now.Add(after)
	m, ok := b.next(b.now)
	if !ok || m.topic != "$aws/things/gate-7/shadow/name/edge-agent/"+topic || m.retained || m.qos != 1 {
		b.t.Fatalf("after %v: %+v, %v", after, m, ok)
	}
	var o shadowOrder
	if err := json.Unmarshal(m.payload, &o); err != nil {
		b.t.Fatal(err)
	}
	return o
}

func (b *shadowBench) asksNothing(after time.Duration) {
	b.t.Helper()
	b.now = b.now.Add(after)
	if m, ok := b.next(b.now); ok {
		b.t.Fatalf("%s %s", m.topic, m.payload)
	}
}

// answers is a message of the service; token and version are put in.
func (b *shadowBench) answers(topic, token string, version int64, fields string) {
	text := fmt.Sprintf(`{"clientToken":%q,"version":%d,%s}`, token, version, fields)
	b.take(b.topics.base+topic, []byte(text), b.now)
}

func (b *shadowBench) report(version string) {
	text, _ := json.Marshal(contract.ShadowReported{Version: version})
	b.set(text, text)
}

// synced has read version 10 and reported "1".
func (b *shadowBench) synced() {
	b.t.Helper()
	b.answers("get/accepted", b.asks(0, "get").ClientToken, 10, `"state":{"desired":{"config":{"log":{"level":"debug"}}}}`)
	b.report("1")
	b.answers("update/accepted", b.asks(shadowPause, "update").ClientToken, 11, `"state":{}`)
	b.asksNothing(time.Hour)
}

func (b *shadowBench) desires() string {
	select {
	case d := <-b.desired:
		return fmt.Sprintf("%d %s", d.Version, d.Config)
	default:
		return "nothing"
	}
}

func TestStaleAndDoubledNewsIsPassedOver(t *testing.T) {
	b := newShadowBench(t)
	b.synced()
	if got := b.desires(); got != `10 {"log":{"level":"debug"}}` {
		t.Errorf("desired %s", got)
	}
	b.answers("update/delta", "another", 9, `"state":{"config":{"log":{"level":"error"}}}`)
	b.answers("update/delta", "another", 11, `"state":{"config":{"log":{"level":"error"}}}`)
	b.answers("update/accepted", "another", 11, `"state":{}`)
	b.answers("get/accepted", "another", 99, `"state":{"desired":{"config":{"log":{"level":"error"}}}}`)
	b.asksNothing(time.Hour)
	if got := b.desires(); got != "nothing" {
		t.Errorf("desired %s", got)
	}

	b.answers("update/delta", "another", 13, `"state":{}`)
	b.answers("update/delta", "another", 12, `"state":{}`)
	get := b.asks(0, "get")
	b.asksNothing(0)
	b.answers("get/accepted", get.ClientToken, 13, `"state":{"desired":{"config":{"log":{"level":"warn"}}},"reported":{"version":"1"}}`)
	if got := b.desires(); got != `13 {"log":{"level":"warn"}}` {
		t.Errorf("desired %s", got)
	}
}

// Of several that come before anybody looks, the newest counts.
func TestOnlyTheNewestDesiredIsKept(t *testing.T) {
	b := newShadowBench(t)
	b.synced()
	b.answers("update/delta", "another", 12, `"state":{}`)
	b.answers("get/accepted", b.asks(0, "get").ClientToken, 12, `"state":{}`)
	if got := b.desires(); got != "12 " {
		t.Errorf("desired %q", got)
	}
}

// Somebody else has changed the document between our reading and our writing.
func TestAConflictIsReadAgainAndWrittenAnew(t *testing.T) {
	b := newShadowBench(t)
	b.synced()
	b.report("2")
	update := b.asks(0, "update")
	if update.Version != 11 {
		t.Errorf("for version %d", update.Version)
	}
	b.answers("update/rejected", update.ClientToken, 0, `"code":409,"message":"Version conflict"`)
	b.answers("get/accepted", b.asks(0, "get").ClientToken, 12, `"state":{"reported":{"version":"1","welcome":"aws-iot"}}`)
	again := b.asks(shadowEvery, "update")
	if again.Version != 12 || again.State.Reported["version"] != "2" {
		t.Errorf("%+v %+v", again, again.State)
	}
	if value, there := again.State.Reported["welcome"]; !there || value != nil {
		t.Errorf("what nobody reports any more stays: %+v", again.State.Reported)
	}
	if len(b.reported) > 0 {
		t.Errorf("reported %v", b.reported)
	}
}

// A hole in the versions is a change of which no news came.
func TestAHoleInTheVersionsIsRead(t *testing.T) {
	b := newShadowBench(t)
	b.synced()
	b.report("2")
	b.answers("update/accepted", b.asks(0, "update").ClientToken, 14, `"state":{}`)
	b.asks(0, "get")
}

// News may overtake the answer that was made before it.
func TestNewsThatOvertakesAnAnswerIsRead(t *testing.T) {
	b := newShadowBench(t)
	get := b.asks(0, "get")
	b.answers("update/delta", "another", 11, `"state":{}`)
	b.answers("get/accepted", get.ClientToken, 10, `"state":{}`)
	b.asks(shadowPause, "get")

	b = newShadowBench(t) // somebody makes the shadow between our reading and our first writing
	b.report("1")
	b.answers("get/rejected", b.asks(0, "get").ClientToken, 0, `"code":404`)
	b.answers("update/accepted", b.asks(shadowPause, "update").ClientToken, 2, `"state":{}`)
	b.asks(0, "get")
}

// Somebody who changes the shadow all the time does not keep the agent from reporting, nor
// has it read more than once a second.
func TestConstantNewsDoesNotKeepFromReporting(t *testing.T) {
	b := newShadowBench(t)
	b.synced()
	version, gets, updates := int64(11), 0, 0
	for i := range 600 { // a minute
		version++
		b.answers("update/delta", "another", version, `"state":{}`)
		b.report(fmt.Sprint(i))
		for range 2 {
			m, ok := b.next(b.now)
			switch {
			case !ok:
			case strings.HasSuffix(m.topic, "/get"):
				gets++
				b.answers("get/accepted", b.request.token, version, `"state":{"reported":{"version":"1"}}`)
			default:
				updates++
				version++
				b.answers("update/accepted", b.request.token, version, `"state":{}`)
			}
		}
		b.now = b.now.Add(100 * time.Millisecond)
	}
	if gets > 61 || updates < 10 || updates > 13 {
		t.Errorf("%d gets, %d updates", gets, updates)
	}
}

func TestADeletedShadowIsWrittenWhole(t *testing.T) {
	b := newShadowBench(t)
	b.synced()
	b.take(b.topics.base+"delete/accepted", []byte(`{"version":11,"timestamp":1}`), b.now)
	b.answers("get/rejected", b.asks(0, "get").ClientToken, 0, `"code":404,"message":"No shadow exists with name: edge-agent"`)
	update := b.asks(shadowEvery, "update")
	if update.Version != 0 || update.State.Reported["version"] != "1" || update.State.Reported["schema"] != 1.0 {
		t.Errorf("%+v %+v", update, update.State)
	}
	if len(b.reported) > 0 {
		t.Errorf("reported %v", b.reported)
	}
}

func TestFailuresWaitLongerEachTime(t *testing.T) {
	b := newShadowBench(t)
	b.report("1")
	for i, refuse := range []func(shadowOrder){
		func(o shadowOrder) { b.answers("get/rejected", o.ClientToken, 0, `"code":429,"message":"Too many"`) },
		func(o shadowOrder) { b.answers("get/rejected", o.ClientToken, 0, `"code":500`) },
		func(shadowOrder) { b.asksNothing(shadowAnswer - 1); b.asksNothing(1) },
		func(o shadowOrder) { b.answers("get/rejected", o.ClientToken, 0, `"code":403`) },
	} {
		refuse(b.asks(0, "get"))
		b.asksNothing(time.Second << i)
		b.now = b.now.Add(10 * time.Second << i)
	}
	if want := []string{"shadow.refused", "shadow.refused", "shadow.unanswered", "shadow.refused"}; !reflect.DeepEqual(b.reported, want) {
		t.Errorf("reported %v", b.reported)
	}
	b.answers("get/accepted", b.asks(0, "get").ClientToken, 1, `"state":{}`)
	b.asks(shadowPause, "update")
}

// The wait is for the service; another connection reads at once.
func TestAConnectionReadsAtOnceWhateverFailedBefore(t *testing.T) {
	b := newShadowBench(t)
	b.answers("get/rejected", b.asks(0, "get").ClientToken, 0, `"code":500`)
	b.asksNothing(0)
	b.close()
	b.open()
	b.asks(0, "get")
}

// An update that always fails waits longer each time too, although the document can be read in between.
func TestUpdatesThatFailWaitLongerEachTime(t *testing.T) {
	b := newShadowBench(t)
	b.synced()
	b.report("2")
	for i := range 5 {
		b.answers("update/rejected", b.asks(0, "update").ClientToken, 0, `"code":403`)
		b.asksNothing(time.Second << i)
		b.answers("get/accepted", b.asks(10*time.Second<<i, "get").ClientToken, 11, `"state":{}`)
	}
	b.answers("update/accepted", b.asks(0, "update").ClientToken, 12, `"state":{}`)
	b.report("3")
	b.answers("update/rejected", b.asks(shadowEvery, "update").ClientToken, 0, `"code":403`)
	b.asks(7*time.Second, "get")
}

// An answer that comes after its time is news, not an answer.
func TestALateAnswer(t *testing.T) {
	b := newShadowBench(t)
	b.synced()
	b.report("2")
	late := b.asks(0, "update")
	b.asksNothing(shadowAnswer)
	b.answers("update/accepted", late.ClientToken, 12, `"state":{}`)
	get := b.asks(time.Minute, "get")
	b.answers("get/accepted", get.ClientToken, 12, `"state":{"reported":{"schema":1,"version":"2","config_hash":"","shown":"","complete":false,"desired":{"version":0,"status":"","code":"","reason":""},"config":{}}}`)
	b.asksNothing(time.Hour)
}

func TestAnUpdateThatCannotBeTakenIsNotRepeated(t *testing.T) {
	for _, code := range []int{400, 413} {
		b := newShadowBench(t)
		b.synced()
		b.report("2")
		b.answers("update/rejected", b.asks(0, "update").ClientToken, 0, fmt.Sprintf(`"code":%d`, code))
		b.asksNothing(time.Hour)
		b.report("3")
		b.asks(0, "update")
		if !reflect.DeepEqual(b.reported, []string{"shadow.refused"}) {
			t.Errorf("%d: reported %v", code, b.reported)
		}
	}
}

// What is desired counts too: a shadow has room for both together.
func TestALargeReportIsSentWithoutStreamsOrNotAtAll(t *testing.T) {
	large := func(n int) string { return `{"version":"` + strings.Repeat("x", n) + `"}` }
	b := newShadowBench(t)
	b.answers("get/accepted", b.asks(0, "get").ClientToken, 10, `"state":{"desired":{"other":"`+strings.Repeat("x", 3000)+`"}}`)
	b.set([]byte(large(6000)), []byte(large(4000)))
	if o := b.asks(shadowPause, "update"); len(o.State.Reported["version"].(string)) != 4000 {
		t.Errorf("%d bytes", len(o.State.Reported["version"].(string)))
	}
	b = newShadowBench(t)
	b.answers("get/accepted", b.asks(0, "get").ClientToken, 10, `"state":{"desired":{"other":"`+strings.Repeat("x", 3000)+`"}}`)
	b.set([]byte(large(7000)), []byte(large(6000)))
	b.asksNothing(time.Hour)
	if !reflect.DeepEqual(b.reported, []string{"shadow.too_large"}) {
		t.Errorf("reported %v", b.reported)
	}
}

// A configuration that has very many faults is reported as rejected, if not why in each place.
func TestManyFaultsLeaveRoomForTheVerdict(t *testing.T) {
	b := newShadowBench(t)
	faults := make(map[string]contract.ShadowFault)
	for i := range 50 {
		faults[fmt.Sprintf("streams.s%d.start", i)] = contract.ShadowFault{Code: "config.invalid", Reason: strings.Repeat("x", 300)}
	}
	c := &Client{shadow: b.shadow}
	c.SetShadow(contract.ShadowReported{Desired: contract.ShadowOutcome{Status: contract.ShadowRejected, Faults: faults}})
	b.answers("get/rejected", b.asks(0, "get").ClientToken, 0, `"code":404`)
	outcome, _ := b.asks(shadowPause, "update").State.Reported["desired"].(contract.Object)
	if outcome["status"] != string(contract.ShadowRejected) || outcome["faults"] != nil {
		t.Errorf("reported %v", outcome)
	}
}

func TestForeignMessagesAreNoAnswers(t *testing.T) {
	b := newShadowBench(t)
	get := b.asks(0, "get")
	for _, text := range []string{``, `[]`, `{"version":"x"}`, `{"clientToken":"` + get.ClientToken + `","state":[]}`} {
		b.take(b.topics.base+"get/accepted", []byte(text), b.now)
	}
	b.take("$aws/things/other/shadow/name/edge-agent/get/accepted", []byte(`{"clientToken":"`+get.ClientToken+`"}`), b.now)
	b.answers("update/accepted", get.ClientToken, 1, `"state":{}`) // an answer to what was not asked
	if b.request == nil {
		t.Error("one of them was taken for the answer")
	}
}

// Where the topics of the shadow are refused nothing is asked, also when an earlier connection had them.
func TestAShadowWithoutItsTopicsIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(n int) behaviour { // SUBSCRIBE, "online", the get, and the event
			return behaviour{noTopic: n > 0, cutAfter: 4 * max(0, 1-n)}
		})
		defer f.close()
		c := newTestClientWith(t, f, Config{Shadow: &Shadow{Thing: "gate-7", Desire: func(context.Context, Desired) {}}})
		c.Event(contract.Event{Code: "lag.high"})
		stop := start(c)
		time.Sleep(time.Minute)
		stop()
		if n := len(f.received(c.shadow.topics.get())); n != 1 || len(f.dials) != 2 {
			t.Errorf("%d requests on %d connections", n, len(f.dials))
		}
	})
}

// Whatever stands there: the patch makes of it what is to be, and does not touch the rest.
func TestMergePatch(t *testing.T) {
	objects := rapid.Custom(func(t *rapid.T) contract.Object {
		return drawObject(t, 3)
	})
	rapid.Check(t, func(t *rapid.T) {
		from, to := objects.Draw(t, "from"), objects.Draw(t, "to")
		patch := contract.MergePatch(from, to)
		if got := applyPatch(from, patch); !reflect.DeepEqual(got, to) {
			t.Fatalf("%v patched with %v is %v, not %v", from, patch, got, to)
		}
		if reflect.DeepEqual(from, to) && len(patch) > 0 {
			t.Fatalf("a patch for nothing: %v", patch)
		}
	})
}

func drawObject(t *rapid.T, depth int) contract.Object {
	o := contract.Object{}
	for range rapid.IntRange(0, 3).Draw(t, "fields") {
		key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "key")
		if depth > 0 && rapid.Bool().Draw(t, "nested") {
			o[key] = drawObject(t, depth-1)
		} else {
			o[key] = rapid.SampledFrom([]any{"x", 1.0, true, []any{"x"}, []any{}}).Draw(t, "value")
		}
	}
	return o
}

// applyPatch is RFC 7396, chapter 2.
func applyPatch(target any, patch any) any {
	fields, isObject := patch.(contract.Object)
	if !isObject {
		return patch
	}
	result := contract.Object{}
	if old, was := target.(contract.Object); was {
		for k, v := range old {
			result[k] = v
		}
	}
	for k, v := range fields {
		if v == nil {
			delete(result, k)
		} else {
			result[k] = applyPatch(result[k], v)
		}
	}
	return result
}

// Whatever operators do meanwhile, in whatever order and however often the service's messages
// arrive, and whenever the connection breaks: in the end the service has what is to be reported,
// and the agent has been given what is desired.
func TestBothSidesAgreeInTheEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type arrival struct {
			topic   string
			payload []byte
		}
		var flying []arrival
		service := brokertest.NewShadows(func(topic string, payload []byte) { flying = append(flying, arrival{topic, payload}) })
		agent := newShadow("gate-7", make(chan struct{}, 1), func(string, string, map[string]any) {})
		agent.open()
		now, given, reported := contracttest.T0, "", contract.Object{}
		arrive := func(i int, again bool) {
			a := flying[i]
			if !again {
				flying = append(flying[:i:i], flying[i+1:]...)
			}
			agent.take(a.topic, a.payload, now)
		}
		work := func() {
			if m, ok := agent.next(now); ok {
				service.Answer(m.topic, m.payload)
			}
			select {
			case d := <-agent.desired:
				given = string(d.Config)
			default:
			}
		}
		actions := map[string]func(*rapid.T){
			"desire": func(t *rapid.T) {
				level := rapid.SampledFrom([]string{`"a"`, `"b"`, `null`}).Draw(t, "level")
				text := rapid.SampledFrom([]string{`{"config":{"log":` + level + `}}`, `{"config":null}`, `null`, `{"other":` + level + `}`}).Draw(t, "desired")
				if err := service.Desire("gate-7", contract.ShadowName, text); err != nil {
					t.Fatal(err)
				}
			},
			"report": func(t *rapid.T) {
				reported = drawObject(t, 2)
				text, _ := json.Marshal(reported)
				agent.set(text, text)
			},
			"delete": func(*rapid.T) { service.Delete("gate-7", contract.ShadowName) },
			"break":  func(*rapid.T) { flying = nil; agent.close(); agent.open() },
			"wait":   func(*rapid.T) { now = now.Add(2 * time.Second) },
			"arrive": func(t *rapid.T) {
				if len(flying) > 0 {
					arrive(rapid.IntRange(0, len(flying)-1).Draw(t, "which"), rapid.Bool().Draw(t, "again"))
				}
			},
			"": func(*rapid.T) { work() },
		}
		t.Repeat(actions)
		for range 20 {
			for len(flying) > 0 {
				arrive(0, false)
			}
			work()
			now = now.Add(time.Hour)
		}
		state := service.State("gate-7", contract.ShadowName)
		want := ""
		if c, ok := state.Desired["config"]; ok {
			text, _ := json.Marshal(c)
			want = string(text)
		}
		if given != want {
			t.Fatalf("the agent was given %q, desired is %q", given, want)
		}
		if len(reported) > 0 && !reflect.DeepEqual(state.Reported, reported) {
			t.Fatalf("the service has %v, reported is %v", state.Reported, reported)
		}
		flying = nil
		work()
		if len(flying) > 0 {
			t.Fatalf("it goes on for ever: %v", flying)
		}
	})
}

// Nothing that comes on the topics of the shadow, in whatever order, breaks anything: what is
// asked stays within the limits, and a document that is read is believed.
func FuzzShadowTakes(f *testing.F) {
	f.Add("get/accepted", []byte(`{"state":{"desired":{"config":{}},"reported":{}},"version":3,"clientToken":"t"}`))
	f.Add("update/delta", []byte(`{"state":{},"version":4}`))
	f.Add("update/rejected", []byte(`{"code":409,"message":"Version conflict","clientToken":"t"}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		b := &shadowBench{t: t, now: contracttest.T0}
		b.shadow = newShadow("gate-7", make(chan struct{}, 1), func(code, _ string, _ map[string]any) {})
		b.open()
		b.report("1")
		for range 3 {
			if m, ok := b.next(b.now); ok {
				if err := AWSIoT.bounds().admit(m); err != nil {
					t.Fatal(err)
				}
				b.request.token = "t" // so that the payload can be an answer
			}
			b.take(b.topics.base+topic, payload, b.now)
			b.now = b.now.Add(time.Minute)
		}
	})
}
