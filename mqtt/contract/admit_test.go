package contract

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
)

func arrived(verb, payload string) Received {
	return Received{Topic: contracttest.CommandBase + verb, Verb: verb, Size: len(payload), Payload: []byte(payload)}
}

func TestAdmit(t *testing.T) {
	all := Rules{Enabled: true, Allowed: map[Verb]bool{}}
	for _, v := range Verbs() {
		all.Allowed[v] = true
	}
	const door = `{"stream":"door"}`
	tests := []struct {
		name    string
		verb    string
		payload string
		change  func(*Rules, *Received) // may be nil
		now     time.Duration           // after it was issued
		clock   Clock                   // "" means synced
		code    string                  // of the refusal, "" when admitted
		says    string
	}{
		{name: "good", verb: "stop", payload: contracttest.Order(door)},
		{name: "without args", verb: "status", payload: strings.Replace(contracttest.Order(`0`), `,"args":0`, "", 1)},
		{name: "without schema", verb: "status", payload: strings.Replace(contracttest.Order(`{}`), `"schema":1,`, "", 1)},
		{name: "just in time", verb: "stop", payload: contracttest.Order(door), now: time.Minute - 1},
		{name: "from a clock a minute ahead", verb: "stop", payload: contracttest.Order(door), now: -maxAhead},
		{name: "harmless with a wrong clock", verb: "status", payload: contracttest.Order(`{}`), clock: ClockUnsynced},

		{name: "retained", verb: "stop", payload: contracttest.Order(door), change: func(_ *Rules, m *Received) { m.Retained = true }, code: "control.retained", says: "retain flag"},
		{name: "oversize", verb: "stop", payload: contracttest.Order(door), change: func(_ *Rules, m *Received) { m.Size, m.Payload = MaxCommand+1, nil }, code: "control.oversize", says: "more than 16384 bytes"},
		{name: "expired", verb: "stop", payload: contracttest.Order(door), now: time.Minute, code: "control.expired", says: "expired 0s ago"},
		{name: "expired, harmless", verb: "status", payload: contracttest.Order(`{}`), now: time.Hour, code: "control.expired", says: "59m"},
		{name: "from the future", verb: "stop", payload: contracttest.Order(door), now: -maxAhead - time.Millisecond, code: "control.future", says: "1m0.001s ahead"},
		{name: "lives too long", verb: "stop", payload: strings.Replace(contracttest.Order(door), "12:01", "12:11", 1), code: "control.malformed", says: "11m0s"},
		{name: "unknown verb", verb: "shell", payload: contracttest.Order(`{"line":"rm"}`), code: "control.unknown", says: `"shell"`},
		{name: "disabled", verb: "status", payload: contracttest.Order(`{}`), change: func(r *Rules, _ *Received) { r.Enabled = false }, code: "control.disabled", says: "enabled"},
		{name: "not allowed", verb: "stop", payload: contracttest.Order(door), change: func(r *Rules, _ *Received) { r.Allowed = map[Verb]bool{VerbStatus: true} }, code: "control.not_allowed", says: "stop"},
		{name: "wrong clock", verb: "stop", payload: contracttest.Order(door), clock: ClockUnsynced, code: "control.clock", says: "unsynced"},
		{name: "unknown clock", verb: "reload", payload: contracttest.Order(`{}`), clock: ClockUnknown, code: "control.clock", says: "unknown"},

		{name: "nothing", verb: "stop", payload: ``, code: "control.malformed", says: "JSON object"},
		{name: "null", verb: "stop", payload: `null`, code: "control.malformed", says: "JSON object"},
		{name: "no JSON", verb: "stop", payload: `stop door`, code: "control.malformed", says: "JSON object"},
		{name: "more after it", verb: "stop", payload: contracttest.Order(door) + `{}`, code: "control.malformed", says: "JSON object"},
		{name: "unknown field", verb: "stop", payload: strings.Replace(contracttest.Order(door), `"id"`, `"force":true,"id"`, 1), code: "control.malformed", says: `unknown field "force"`},
		{name: "field in capitals", verb: "stop", payload: strings.Replace(contracttest.Order(door), `"id"`, `"ID"`, 1), code: "control.malformed", says: `unknown field "ID"`},
		{name: "no id", verb: "stop", payload: strings.Replace(contracttest.Order(door), `"id":"a",`, ``, 1), code: "control.malformed", says: "id is not"},
		{name: "long id", verb: "stop", payload: strings.Replace(contracttest.Order(door), `"a"`, `"`+strings.Repeat("a", 65)+`"`, 1), code: "control.malformed", says: "id is not"},
		{name: "id of other characters", verb: "stop", payload: strings.Replace(contracttest.Order(door), `"a"`, `"a b"`, 1), code: "control.malformed", says: "id is not"},
		{name: "id that is a number", verb: "stop", payload: strings.Replace(contracttest.Order(door), `"a"`, `7`, 1), code: "control.malformed", says: "id cannot be a number"},
		{name: "no time", verb: "stop", payload: `{"id":"a","expires_at":"2026-03-01T12:01:00Z"}`, code: "control.malformed", says: "issued_at is missing"},
		{name: "no end", verb: "stop", payload: `{"id":"a","issued_at":"2026-03-01T12:00:00Z"}`, code: "control.malformed", says: "expires_at is missing"},
		{name: "time that is none", verb: "stop", payload: strings.Replace(contracttest.Order(door), "2026-03-01T12:00:00.000Z", "noon", 1), code: "control.malformed", says: "noon"},
		{name: "other schema", verb: "stop", payload: strings.Replace(contracttest.Order(door), `"schema":1`, `"schema":2`, 1), code: "control.malformed", says: "schema 2"},
		{name: "args of a wrong type", verb: "stop", payload: contracttest.Order(`["door"]`), code: "control.malformed", says: "args: not a JSON object"},
		{name: "args that are null", verb: "stop", payload: contracttest.Order(`null`), code: "control.malformed", says: "args is empty"},
		{name: "unknown argument", verb: "stop", payload: contracttest.Order(`{"stream":"door","force":true}`), code: "control.malformed", says: `args: unknown field "force"`},
		{name: "argument of a wrong type", verb: "stop", payload: contracttest.Order(`{"stream":7}`), code: "control.malformed", says: "stream cannot be a number"},
		{name: "argument missing", verb: "stop", payload: contracttest.Order(`{}`), code: "control.malformed", says: "it is empty"},
		{name: "argument for a topic", verb: "snapshot", payload: contracttest.Order(`{"stream":"../x/#"}`), code: "control.malformed", says: "not one of a-z"},

		{name: "seek", verb: "seek", payload: contracttest.Order(`{"stream":"door","to":"server:2026-03-01T11:00:00Z"}`)},
		{name: "seek nowhere", verb: "seek", payload: contracttest.Order(`{"stream":"door","to":"yesterday"}`), code: "control.malformed", says: "yesterday"},
		{name: "show", verb: "show", payload: contracttest.Order(`{"stream":"door","display":"HDMI-A-1"}`)},
		{name: "show on a path", verb: "show", payload: contracttest.Order(`{"stream":"door","display":"/dev/dri/card0"}`), code: "control.malformed", says: "no connector"},
		{name: "set", verb: "set", payload: contracttest.Order(`{"log_level":"debug","max_lag_ms":0,"stream":"door","decode_order":["va","v4l2-stateless"]}`)},
		{name: "set nothing", verb: "set", payload: contracttest.Order(`{}`), code: "control.malformed", says: "nothing to set"},
		{name: "set a level that is none", verb: "set", payload: contracttest.Order(`{"log_level":"loud"}`), code: "control.malformed", says: "loud"},
		{name: "set a lag below zero", verb: "set", payload: contracttest.Order(`{"max_lag_ms":-1}`), code: "control.malformed", says: "-1"},
		{name: "set a fraction", verb: "set", payload: contracttest.Order(`{"max_lag_ms":1.5}`), code: "control.malformed", says: "max_lag_ms cannot be a number"},
		{name: "set a flood of telemetry", verb: "set", payload: contracttest.Order(`{"telemetry_interval_ms":10}`), code: "control.malformed", says: "1000"},
		{name: "set a stream and nothing of it", verb: "set", payload: contracttest.Order(`{"log_level":"info","stream":"door"}`), code: "control.malformed", says: "max_lag_ms only"},
		{name: "set an order twice the same", verb: "set", payload: contracttest.Order(`{"decode_order":["va","va"]}`), code: "control.malformed", says: "twice"},
		{name: "explain", verb: "explain", payload: contracttest.Order(`{"code":"kvs.media.4500"}`)},
		{name: "explain what is none", verb: "explain", payload: contracttest.Order(`{"code":"nope"}`), code: "control.malformed", says: "nope"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, m := all, arrived(test.verb, test.payload)
			if test.change != nil {
				test.change(&r, &m)
			}
			clock := ClockSynced
			if test.clock != "" {
				clock = test.clock
			}
			command, no := Admit(r, m, contracttest.T0.Add(test.now), clock)
			switch {
			case test.code == "" && no != nil:
				t.Errorf("refused: %+v", no)
			case test.code == "" && (command.ID != "a" || string(command.Verb) != test.verb || command.Args == nil):
				t.Errorf("admitted %+v", command)
			case test.code != "" && no == nil:
				t.Errorf("admitted %+v", command)
			case test.code != "" && (no.Code != test.code || !strings.Contains(no.Reason, test.says)):
				t.Errorf("refused: %+v", no)
			}
		})
	}
}

func TestSignatures(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	_, stranger, _ := ed25519.GenerateKey(nil)
	other, _, _ := ed25519.GenerateKey(nil)
	r := Rules{Enabled: true, Allowed: map[Verb]bool{VerbStop: true, VerbStart: true}, Keys: []ed25519.PublicKey{other, public}}
	text := contracttest.Order(`{"stream":"door"}`)
	sign := func(key ed25519.PrivateKey, verb string) string {
		payload, err := Sign(key, contracttest.CommandBase+verb, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return string(payload)
	}
	right := sign(private, "stop")
	tests := []struct {
		name, verb, payload string
		keys                []ed25519.PublicKey
		code                string
	}{
		{"right", "stop", right, r.Keys, ""},
		{"not signed", "stop", text, r.Keys, "control.signature"},
		{"by a stranger", "stop", sign(stranger, "stop"), r.Keys, "control.signature"},
		{"for another verb", "start", right, r.Keys, "control.signature"},
		{"changed", "stop", strings.Replace(right, base64.StdEncoding.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text+" ")), 1), r.Keys, "control.signature"},
		{"cut", "stop", strings.Replace(right, `"signature":"`, `"signature":"AAAA`, 1), r.Keys, "control.signature"},
		{"not base64", "stop", strings.Replace(right, `"signature":"`, `"signature":"%`, 1), r.Keys, "control.malformed"},
		{"more than is signed", "stop", strings.Replace(right, `{`, `{"id":"b",`, 1), r.Keys, "control.malformed"},
		{"signed for nobody", "stop", right, nil, "control.signature"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r.Keys = test.keys
			command, no := Admit(r, arrived(test.verb, test.payload), contracttest.T0, ClockSynced)
			if no == nil != (test.code == "") || no != nil && no.Code != test.code || command.ID != "a" && test.code == "control.signature" {
				t.Errorf("admitted %+v, refused %+v", command, no)
			}
		})
	}
}

// Within any time there are never more commands than the rate allows.
func TestTheRateHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Bucket
		var taken []time.Time
		now := contracttest.T0
		for range rapid.IntRange(1, 100).Draw(t, "commands") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			if b.Take(now) {
				taken = append(taken, now)
			} else if since := len(taken) - CommandBurst; since < 0 || now.Sub(taken[since]) >= CommandBurst*CommandInterval {
				t.Fatal("a command within the rate is refused")
			}
		}
		for i := range taken {
			for j := i; j < len(taken); j++ {
				if n, within := j-i+1, taken[j].Sub(taken[i]); n > CommandBurst+int(within/CommandInterval) {
					t.Fatalf("%d commands within %s", n, within)
				}
			}
		}
	})
}

func FuzzAdmit(f *testing.F) {
	f.Add("stop", contracttest.Order(`{"stream":"door"}`))
	f.Add("set", contracttest.Order(`{"max_lag_ms":1}`))
	f.Fuzz(func(t *testing.T, verb, payload string) {
		all := Rules{Enabled: true, Allowed: map[Verb]bool{}}
		for _, v := range Verbs() {
			all.Allowed[v] = true
		}
		command, no := Admit(all, arrived(verb, payload), contracttest.T0, ClockSynced)
		if no == nil && (command.Args == nil || !idForm().MatchString(command.ID) || verbs[command.Verb].args == nil) {
			t.Errorf("admitted %+v", command)
		}
		if no != nil {
			if _, known := Lookup(no.Code); !known || no.Reason == "" {
				t.Errorf("refused %+v", no)
			}
			if _, err := json.Marshal(no.Reason); err != nil {
				t.Error(err)
			}
		}
	})
}
