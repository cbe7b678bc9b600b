package brokertest

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// bare is a shadow service that nobody listens to.
func bare() *Shadows { return NewShadows(func(string, []byte) {}) }

func parse(t *testing.T, text string) object {
	t.Helper()
	var o object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// The examples of the Developer Guide, "Device Shadow service documents" and "Interacting with shadows".
func TestShadowsMergeAndTellTheDifference(t *testing.T) {
	const base = "$aws/things/lamp/shadow/name/edge-agent/"
	for _, test := range []struct{ name, before, update, accepted, delta string }{
		{
			"fields that are only reported are no difference", `{"reported":{"color":"GREEN","engine":"ON"}}`,
			`{"desired":{"color":"RED","state":"STOP"}}`, `{"desired":{"color":"RED","state":"STOP"}}`, `{"color":"RED","state":"STOP"}`,
		},
		{
			"nested", `{"reported":{"lights":{"color":{"r":255,"g":0,"b":255}}}}`,
			`{"desired":{"lights":{"color":{"r":255,"g":255,"b":255}}}}`, `{"desired":{"lights":{"color":{"r":255,"g":255,"b":255}}}}`, `{"lights":{"color":{"g":255}}}`,
		},
		{"lists are replaced", `{"desired":{"colors":["RED","GREEN"]},"reported":{"colors":["RED"]}}`, `{"desired":{"colors":["RED"]}}`, `{"desired":{"colors":["RED"]}}`, ``},
		{"null removes", `{"desired":{"a":1,"b":2},"reported":{"a":1}}`, `{"desired":{"b":null}}`, `{"desired":{"b":null}}`, ``},
		{"null removes all", `{"desired":{"a":1}}`, `{"desired":null,"reported":{"a":2}}`, `{"desired":null,"reported":{"a":2}}`, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := bare()
			if code, a := s.update(base, []byte(`{"state":`+test.before+`}`)); code != 0 {
				t.Fatalf("%s", a[0].payload)
			}
			code, answers := s.update(base, []byte(`{"state":`+test.update+`,"clientToken":"x"}`))
			if code != 0 || answers[0].topic != base+"update/accepted" {
				t.Fatalf("%d %s %s", code, answers[0].topic, answers[0].payload)
			}
			accepted := parse(t, string(answers[0].payload))
			if !reflect.DeepEqual(accepted["state"], any(parse(t, test.accepted))) || accepted["version"] != 2.0 || accepted["clientToken"] != "x" {
				t.Errorf("accepted %s", answers[0].payload)
			}
			if (len(answers) > 1) != (test.delta != "") {
				t.Fatalf("%d answers", len(answers))
			}
			if test.delta != "" {
				if delta := parse(t, string(answers[1].payload)); !reflect.DeepEqual(delta["state"], any(parse(t, test.delta))) || answers[1].topic != base+"update/delta" {
					t.Errorf("delta %s", answers[1].payload)
				}
			}
		})
	}
}

func TestShadowsRefuse(t *testing.T) {
	const base = "$aws/things/lamp/shadow/name/edge-agent/"
	for name, test := range map[string]struct {
		payload string
		code    int
	}{
		"no JSON":        {`{"state":`, 400},
		"no state":       {`{"desired":{}}`, 400},
		"another state":  {`{"state":{"wanted":{}}}`, 400},
		"no object":      {`{"state":{"desired":7}}`, 400},
		"token":          {`{"state":{"desired":{"a":1}},"clientToken":"` + strings.Repeat("x", 65) + `"}`, 400},
		"version":        {`{"state":{"desired":{"a":1}},"version":9}`, 409},
		"large":          {`{"state":{"desired":{"a":"` + strings.Repeat("x", 8<<10) + `"}}}`, 413},
		"deep":           {`{"state":{"desired":{"1":{"2":{"3":{"4":{"5":{"6":{"7":1}}}}}}}}}`, 400},
		"null in a list": {`{"state":{"desired":{"a":[null]}}}`, 400},
	} {
		s := bare()
		code, answers := s.update(base, []byte(test.payload))
		if code != test.code || len(answers) != 1 || answers[0].topic != base+"update/rejected" {
			t.Errorf("%s: %d %v", name, code, answers)
		}
	}
	s := bare()
	if a := s.get(base, nil); a[0].topic != base+"get/rejected" || !strings.Contains(string(a[0].payload), "404") {
		t.Errorf("get of none: %s %s", a[0].topic, a[0].payload)
	}
}

func TestADeletedShadowGoesOnCounting(t *testing.T) {
	const base = "$aws/things/lamp/shadow/name/edge-agent/"
	s := bare()
	s.update(base, []byte(`{"state":{"desired":{"a":1}}}`))
	if a := s.remove(base); len(a) != 1 || a[0].topic != base+"delete/accepted" {
		t.Errorf("answers %v", a)
	}
	if s.State("lamp", "edge-agent").Version != 0 {
		t.Error("it is still there")
	}
	s.update(base, []byte(`{"state":{"reported":{"a":1}}}`))
	if got := s.State("lamp", "edge-agent"); got.Version != 2 || got.Desired != nil {
		t.Errorf("then %+v", got)
	}
}

func TestPolicy(t *testing.T) {
	p, err := ParsePolicy([]byte(`{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"iot:Connect","Resource":"arn:aws:iot:r:1:client/${iot:Connection.Thing.ThingName}",
		 "Condition":{"ForAllValues:StringEquals":{"iot:ConnectAttributes":["LastWill"]}}},
		{"Effect":"Allow","Action":["iot:Publish","iot:RetainPublish"],"Resource":["arn:aws:iot:r:1:topic/a/*/state","arn:aws:iot:r:1:topic/b"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		action, resource string
		attributes       []string
		allowed          bool
	}{
		{"iot:Connect", "client/lamp", nil, true},
		{"iot:Connect", "client/lamp", []string{"LastWill"}, true},
		{"iot:Connect", "client/lamp", []string{"LastWill", "PersistentConnect"}, false},
		{"iot:Connect", "client/other", nil, false},
		{"iot:Publish", "topic/a/x/state", nil, true},
		{"iot:Publish", "topic/a/x/states", nil, false},
		{"iot:Subscribe", "topic/a/x/state", nil, false},
		{"iot:RetainPublish", "topic/a//state", nil, true},
	} {
		if got := p.Allows("lamp", test.action, test.resource, test.attributes...); got != test.allowed {
			t.Errorf("%+v: %v", test, got)
		}
	}
	if unused := strings.Join(p.Unused(), " "); strings.Contains(unused, "Publish arn:aws:iot:r:1:topic/a") || !strings.Contains(unused, "iot:Publish arn:aws:iot:r:1:topic/b") {
		t.Errorf("unused: %s", unused)
	}
	for _, text := range []string{`{"Statement":[{"Effect":"Deny"}]}`, `{"Statement":[{"Effect":"Allow","Condition":{"Bool":{"a":"b"}}}]}`, `[]`} {
		if _, err := ParsePolicy([]byte(text)); err == nil {
			t.Errorf("%s is taken for a policy", text)
		}
	}
}
