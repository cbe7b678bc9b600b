package mqtt

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const commandBase = "edge-agent/v1/gate-7/cmd/"

// orderText is a command as JSON: id "a", issued at t0, to be done within a minute.
func orderText(args string) string {
	return `{"schema":1,"id":"a","issued_at":"2026-03-01T12:00:00.000Z","expires_at":"2026-03-01T12:01:00.000Z","args":` + args + `}`
}

func arrived(verb, payload string) received {
	return received{topic: commandBase + verb, verb: verb, size: len(payload), payload: []byte(payload)}
}

func TestAdmit(t *testing.T) {
	all := rules{enabled: true, allowed: map[Verb]bool{}}
	for _, v := range Verbs() {
		all.allowed[v] = true
	}
	const door = `{"stream":"door"}`
	tests := []struct {
		name    string
		verb    string
		payload string
		change  func(*rules, *received) // may be nil
		now     time.Duration           // after it was issued
		clock   Clock                   // "" means synced
		code    string                  // of the refusal, "" when admitted
		says    string
	}{
		{name: "good", verb: "stop", payload: orderText(door)},
		{name: "without args", verb: "status", payload: strings.Replace(orderText(`0`), `,"args":0`, "", 1)},
		{name: "without schema", verb: "status", payload: strings.Replace(orderText(`{}`), `"schema":1,`, "", 1)},
		{name: "just in time", verb: "stop", payload: orderText(door), now: time.Minute - 1},
		{name: "from a clock a minute ahead", verb: "stop", payload: orderText(door), now: -maxAhead},
		{name: "harmless with a wrong clock", verb: "status", payload: orderText(`{}`), clock: ClockUnsynced},

		{name: "retained", verb: "stop", payload: orderText(door), change: func(_ *rules, m *received) { m.retained = true }, code: "control.retained", says: "retain flag"},
		{name: "oversize", verb: "stop", payload: orderText(door), change: func(_ *rules, m *received) { m.size, m.payload = maxCommand+1, nil }, code: "control.oversize", says: "more than 16384 bytes"},
		{name: "expired", verb: "stop", payload: orderText(door), now: time.Minute, code: "control.expired", says: "expired 0s ago"},
		{name: "expired, harmless", verb: "status", payload: orderText(`{}`), now: time.Hour, code: "control.expired", says: "59m"},
		{name: "from the future", verb: "stop", payload: orderText(door), now: -maxAhead - time.Millisecond, code: "control.future", says: "1m0.001s ahead"},
		{name: "lives too long", verb: "stop", payload: strings.Replace(orderText(door), "12:01", "12:11", 1), code: "control.malformed", says: "11m0s"},
		{name: "unknown verb", verb: "shell", payload: orderText(`{"line":"rm"}`), code: "control.unknown", says: `"shell"`},
		{name: "disabled", verb: "status", payload: orderText(`{}`), change: func(r *rules, _ *received) { r.enabled = false }, code: "control.disabled", says: "enabled"},
		{name: "not allowed", verb: "stop", payload: orderText(door), change: func(r *rules, _ *received) { r.allowed = map[Verb]bool{VerbStatus: true} }, code: "control.not_allowed", says: "stop"},
		{name: "wrong clock", verb: "stop", payload: orderText(door), clock: ClockUnsynced, code: "control.clock", says: "unsynced"},
		{name: "unknown clock", verb: "reload", payload: orderText(`{}`), clock: ClockUnknown, code: "control.clock", says: "unknown"},

		{name: "nothing", verb: "stop", payload: ``, code: "control.malformed", says: "JSON object"},
		{name: "null", verb: "stop", payload: `null`, code: "control.malformed", says: "JSON object"},
		{name: "no JSON", verb: "stop", payload: `stop door`, code: "control.malformed", says: "JSON object"},
		{name: "more after it", verb: "stop", payload: orderText(door) + `{}`, code: "control.malformed", says: "JSON object"},
		{name: "unknown field", verb: "stop", payload: strings.Replace(orderText(door), `"id"`, `"force":true,"id"`, 1), code: "control.malformed", says: `unknown field "force"`},
		{name: "field in capitals", verb: "stop", payload: strings.Replace(orderText(door), `"id"`, `"ID"`, 1), code: "control.malformed", says: `unknown field "ID"`},
		{name: "no id", verb: "stop", payload: strings.Replace(orderText(door), `"id":"a",`, ``, 1), code: "control.malformed", says: "id is not"},
		{name: "long id", verb: "stop", payload: strings.Replace(orderText(door), `"a"`, `"`+strings.Repeat("a", 65)+`"`, 1), code: "control.malformed", says: "id is not"},
		{name: "id of other characters", verb: "stop", payload: strings.Replace(orderText(door), `"a"`, `"a b"`, 1), code: "control.malformed", says: "id is not"},
		{name: "id that is a number", verb: "stop", payload: strings.Replace(orderText(door), `"a"`, `7`, 1), code: "control.malformed", says: "id cannot be a number"},
		{name: "no time", verb: "stop", payload: `{"id":"a","expires_at":"2026-03-01T12:01:00Z"}`, code: "control.malformed", says: "issued_at is missing"},
		{name: "no end", verb: "stop", payload: `{"id":"a","issued_at":"2026-03-01T12:00:00Z"}`, code: "control.malformed", says: "expires_at is missing"},
		{name: "time that is none", verb: "stop", payload: strings.Replace(orderText(door), "2026-03-01T12:00:00.000Z", "noon", 1), code: "control.malformed", says: "noon"},
		{name: "other schema", verb: "stop", payload: strings.Replace(orderText(door), `"schema":1`, `"schema":2`, 1), code: "control.malformed", says: "schema 2"},
		{name: "args of a wrong type", verb: "stop", payload: orderText(`["door"]`), code: "control.malformed", says: "args: not a JSON object"},
		{name: "args that are null", verb: "stop", payload: orderText(`null`), code: "control.malformed", says: "args is empty"},
		{name: "unknown argument", verb: "stop", payload: orderText(`{"stream":"door","force":true}`), code: "control.malformed", says: `args: unknown field "force"`},
		{name: "argument of a wrong type", verb: "stop", payload: orderText(`{"stream":7}`), code: "control.malformed", says: "stream cannot be a number"},
		{name: "argument missing", verb: "stop", payload: orderText(`{}`), code: "control.malformed", says: "it is empty"},
		{name: "argument for a topic", verb: "snapshot", payload: orderText(`{"stream":"../x/#"}`), code: "control.malformed", says: "not one of a-z"},

		{name: "seek", verb: "seek", payload: orderText(`{"stream":"door","to":"server:2026-03-01T11:00:00Z"}`)},
		{name: "seek nowhere", verb: "seek", payload: orderText(`{"stream":"door","to":"yesterday"}`), code: "control.malformed", says: "yesterday"},
		{name: "show", verb: "show", payload: orderText(`{"stream":"door","display":"HDMI-A-1"}`)},
		{name: "show on a path", verb: "show", payload: orderText(`{"stream":"door","display":"/dev/dri/card0"}`), code: "control.malformed", says: "no connector"},
		{name: "set", verb: "set", payload: orderText(`{"log_level":"debug","max_lag_ms":0,"stream":"door","decode_order":["va","v4l2-stateless"]}`)},
		{name: "set nothing", verb: "set", payload: orderText(`{}`), code: "control.malformed", says: "nothing to set"},
		{name: "set a level that is none", verb: "set", payload: orderText(`{"log_level":"loud"}`), code: "control.malformed", says: "loud"},
		{name: "set a lag below zero", verb: "set", payload: orderText(`{"max_lag_ms":-1}`), code: "control.malformed", says: "-1"},
		{name: "set a fraction", verb: "set", payload: orderText(`{"max_lag_ms":1.5}`), code: "control.malformed", says: "max_lag_ms cannot be a number"},
		{name: "set a flood of telemetry", verb: "set", payload: orderText(`{"telemetry_interval_ms":10}`), code: "control.malformed", says: "1000"},
		{name: "set a stream and nothing of it", verb: "set", payload: orderText(`{"log_level":"info","stream":"door"}`), code: "control.malformed", says: "max_lag_ms only"},
		{name: "set an order twice the same", verb: "set", payload: orderText(`{"decode_order":["va","va"]}`), code: "control.malformed", says: "twice"},
		{name: "explain", verb: "explain", payload: orderText(`{"code":"kvs.media.4500"}`)},
		{name: "explain what is none", verb: "explain", payload: orderText(`{"code":"nope"}`), code: "control.malformed", says: "nope"},
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
			command, no := admit(r, m, t0.Add(test.now), clock)
			switch {
			case test.code == "" && no != nil:
				t.Errorf("refused: %+v", no)
			case test.code == "" && (command.ID != "a" || string(command.Verb) != test.verb || command.Args == nil):
				t.Errorf("admitted %+v", command)
			case test.code != "" && no == nil:
				t.Errorf("admitted %+v", command)
			case test.code != "" && (no.code != test.code || !strings.Contains(no.reason, test.says)):
				t.Errorf("refused: %+v", no)
			}
		})
	}
}

func TestSignatures(t *testing.T) {
	public, private, _ := ed25519.GenerateKey(nil)
	_, stranger, _ := ed25519.GenerateKey(nil)
	other, _, _ := ed25519.GenerateKey(nil)
	r := rules{enabled: true, allowed: map[Verb]bool{VerbStop: true, VerbStart: true}, keys: []ed25519.PublicKey{other, public}}
	text := orderText(`{"stream":"door"}`)
	sign := func(key ed25519.PrivateKey, verb string) string {
		payload, err := wrap(key, commandBase+verb, []byte(text))
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
		{"right", "stop", right, r.keys, ""},
		{"not signed", "stop", text, r.keys, "control.signature"},
		{"by a stranger", "stop", sign(stranger, "stop"), r.keys, "control.signature"},
		{"for another verb", "start", right, r.keys, "control.signature"},
		{"changed", "stop", strings.Replace(right, base64.StdEncoding.EncodeToString([]byte(text)), base64.StdEncoding.EncodeToString([]byte(text+" ")), 1), r.keys, "control.signature"},
		{"cut", "stop", strings.Replace(right, `"signature":"`, `"signature":"AAAA`, 1), r.keys, "control.signature"},
		{"not base64", "stop", strings.Replace(right, `"signature":"`, `"signature":"%`, 1), r.keys, "control.malformed"},
		{"more than is signed", "stop", strings.Replace(right, `{`, `{"id":"b",`, 1), r.keys, "control.malformed"},
		{"signed for nobody", "stop", right, nil, "control.signature"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r.keys = test.keys
			command, no := admit(r, arrived(test.verb, test.payload), t0, ClockSynced)
			if no == nil != (test.code == "") || no != nil && no.code != test.code || command.ID != "a" && test.code == "control.signature" {
				t.Errorf("admitted %+v, refused %+v", command, no)
			}
		})
	}
}

// Made by `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`.
const (
	privatePEM = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEICNeF+caLWtuvgCfCPbcrxjByv0pzaMidsPAB5VoB/yT
-----END PRIVATE KEY-----
`
	publicLine = "MCowBQYDK2VwAyEA0ydWbcDHIm3QUIoSmHXqo9Ps8qx494lQh9cq1uzwUX4="
)

func TestKeysAreReadAsOpensslWritesThem(t *testing.T) {
	private, err := ParsePrivateKey(privatePEM)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{publicLine, "-----BEGIN PUBLIC KEY-----\n" + publicLine + "\n-----END PUBLIC KEY-----\n", "0ydWbcDHIm3QUIoSmHXqo9Ps8qx494lQh9cq1uzwUX4="} {
		public, err := ParsePublicKey(text)
		if err != nil || !public.Equal(private.Public()) {
			t.Errorf("%s: %v, %v", text, public, err)
		}
	}
	for _, text := range []string{"", "key", "AAAA", privatePEM} {
		if key, err := ParsePublicKey(text); err == nil {
			t.Errorf("%q is taken for the public key %v", text, key)
		}
	}
	if _, err := ParsePrivateKey(publicLine); err == nil {
		t.Error("a public key is taken for a private one")
	}
}

// Within any time there are never more commands than the rate allows.
func TestTheRateHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b bucket
		var taken []time.Time
		now := t0
		for range rapid.IntRange(1, 100).Draw(t, "commands") {
			now = now.Add(time.Duration(rapid.IntRange(0, 1500).Draw(t, "ms")) * time.Millisecond)
			if b.take(now) {
				taken = append(taken, now)
			} else if since := len(taken) - commandBurst; since < 0 || now.Sub(taken[since]) >= commandBurst*commandInterval {
				t.Fatal("a command within the rate is refused")
			}
		}
		for i := range taken {
			for j := i; j < len(taken); j++ {
				if n, within := j-i+1, taken[j].Sub(taken[i]); n > commandBurst+int(within/commandInterval) {
					t.Fatalf("%d commands within %s", n, within)
				}
			}
		}
	})
}

// No id that can still be valid is ever forgotten.
func TestRecordsOutliveTheirCommands(t *testing.T) {
	valid := commandBurst + int((maxLifetime+maxAhead)/commandInterval)
	if valid >= maxRecords {
		t.Errorf("%d commands can be valid at a time, %d are remembered", valid, maxRecords)
	}
}

func FuzzAdmit(f *testing.F) {
	f.Add("stop", orderText(`{"stream":"door"}`))
	f.Add("set", orderText(`{"max_lag_ms":1}`))
	f.Fuzz(func(t *testing.T, verb, payload string) {
		all := rules{enabled: true, allowed: map[Verb]bool{}}
		for _, v := range Verbs() {
			all.allowed[v] = true
		}
		command, no := admit(all, arrived(verb, payload), t0, ClockSynced)
		if no == nil && (command.Args == nil || !idForm().MatchString(command.ID) || verbs[command.Verb].args == nil) {
			t.Errorf("admitted %+v", command)
		}
		if no != nil {
			if _, known := Lookup(no.code); !known || no.reason == "" {
				t.Errorf("refused %+v", no)
			}
			if _, err := json.Marshal(no.reason); err != nil {
				t.Error(err)
			}
		}
	})
}
