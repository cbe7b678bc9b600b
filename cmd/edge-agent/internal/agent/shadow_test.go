package agent

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

const shadowFile = `
[agent]
id = "box"
[mqtt]
telemetry_interval = "10s"
[log]
level = "info"
[[streams]]
name = "gate"
stream_name = "camera"
[[streams]]
name = "yard"
stream_name = "yard-camera"
`

func TestADesiredConfigurationStandsOverTheFile(t *testing.T) {
	file, err := config.Parse("config.toml", shadowFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		desired string
		change  func(*config.Config)
	}{
		"nothing": {`{}`, func(*config.Config) {}},
		"single keys": {
			`{"mqtt":{"telemetry_interval":"60s"},"log":{"level":"debug"},"display":{"show":"yard","slate_after":"9s"},"decode":{"order":["software"]}}`,
			func(c *config.Config) {
				c.MQTT.TelemetryInterval, c.Log.Level = config.Duration(time.Minute), "debug"
				c.Display.Show, c.Display.SlateAfter, c.Decode.Order = "yard", config.Duration(9*time.Second), []string{"software"}
			},
		},
		"streams, which replace those of the file": {
			`{"streams":{"roof":{"stream_name":"r","max_lag":"0s"},"attic":{"stream_arn":"arn:aws:kinesisvideo:eu-west-1:123456789012:stream/a/1600000000000","start":"resume"}}}`,
			func(c *config.Config) {
				attic, roof := config.DefaultStream(), config.DefaultStream()
				attic.Name, attic.Start, attic.StreamARN = "attic", "resume", "arn:aws:kinesisvideo:eu-west-1:123456789012:stream/a/1600000000000"
				roof.Name, roof.StreamName, roof.MaxLag = "roof", "r", 0
				c.Streams = []config.Stream{attic, roof}
			},
		},
		"no streams": {`{"streams":{}}`, func(c *config.Config) { c.Streams = nil }},
	} {
		t.Run(name, func(t *testing.T) {
			want := file
			test.change(&want)
			got, err := config.ParseUnder("config.toml", shadowFile, nil, json.RawMessage(test.desired))
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%v\n%+v\n%+v", err, got, want)
			}
		})
	}
}

// What cannot be is refused by its key, whatever else there is; the rest is checked too.
func TestADesiredConfigurationIsChecked(t *testing.T) {
	for desired, want := range map[string][]string{
		`7`:                                 {"config config.invalid"},
		`{"mqtt":{"broker":"mqtt://evil"}}`: {"mqtt.broker shadow.not_settable"},
		`{"mqtt":7}`:                        {"mqtt shadow.not_settable"},
		`{"agent":{"state_dir":"/"}}`:       {"agent.state_dir shadow.not_settable"},
		`{"aws":{"iot":{"endpoint":"x"}}}`:  {"aws.iot shadow.not_settable"},
		`{"control":{"enabled":true,"allow":[]}}`: {
			"control.allow shadow.not_settable", "control.enabled shadow.not_settable",
		},
		`{"colour":{"a":1}}`:                   {"colour.a shadow.not_settable"},
		`{"log":{"level":"loud"}}`:             {"log.level config.invalid"},
		`{"log":{"level":7}}`:                  {"log.level config.invalid"},
		`{"Log":{"level":"info"}}`:             {"Log.level shadow.not_settable"},
		`{"mqtt":{"telemetry_interval":"0s"}}`: {"mqtt.telemetry_interval config.invalid"},
		`{"mqtt":{"telemetry_interval":5}}`:    {"mqtt.telemetry_interval config.invalid"},
		`{"decode":{"order":[]}}`:              {"decode.order config.invalid"},
		`{"display":{"show":"attic"}}`:         {"display.show config.invalid"},
		`{"streams":["gate"]}`:                 {"streams config.invalid"},
		`{"streams":{"gate":7}}`:               {"streams.gate config.invalid", "streams.gate.stream_name config.invalid"},
		`{"streams":{"gate":{"stream_name":"a","start":"never","on_lag":"x"},"yard":{"stream_name":"b","nme":1}}}`: {
			"streams.gate.on_lag config.invalid", "streams.gate.start config.invalid", "streams.yard.nme config.unknown_key",
		},
		`{"streams":{"Gate":{"stream_name":"a"}}}`:               {"streams.Gate.name config.invalid"},
		`{"streams":{"gate":{"stream_name":"a","name":"yard"}}}`: {"streams.gate.name shadow.not_settable"},
	} {
		_, err := config.ParseUnder("config.toml", shadowFile, nil, json.RawMessage(desired))
		var faults config.Errors
		if !errors.As(err, &faults) {
			t.Errorf("%s: %v", desired, err)
			continue
		}
		var got []string
		for key, f := range config.ShadowFaults(faults) {
			got = append(got, key+" "+f.Code)
			if strings.Contains(f.Reason, "streams[") || strings.Contains(f.Reason, "config.toml") {
				t.Errorf("%s: %s: %s", desired, key, f.Reason)
			}
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q\n%v", desired, got, want, err)
		}
	}
}

// A shadow that leaves out streams can take the ground from under a key of the file: both are named.
func TestAFaultOfTheFileUnderAShadowNamesTheFile(t *testing.T) {
	file := strings.Replace(shadowFile, "[log]", "[display]\nshow = \"yard\"\n[log]", 1)
	_, err := config.ParseUnder("config.toml", file, nil, json.RawMessage(`{"streams":{"gate":{"stream_name":"camera"}}}`))
	if err == nil || !strings.HasPrefix(err.Error(), "config.toml:7: display.show") {
		t.Errorf("%v", err)
	}
}

// Only what a reload puts into effect can be set, and the schemas have all of it.
func TestWhatAShadowCanSet(t *testing.T) {
	c, err := config.Parse("config.toml", shadowFile)
	if err != nil {
		t.Fatal(err)
	}
	c.Streams[0].StreamARN, c.Streams[0].VideoTrack = "arn", "main" // as if it could have both; empty ones are left out
	text, err := json.Marshal(config.ShadowDocument(c, nil))
	if err != nil {
		t.Fatal(err)
	}
	var reported map[string]map[string]any
	if err := json.Unmarshal(text, &reported); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for table, values := range reported {
		for key := range values {
			if table != "streams" {
				keys = append(keys, config.JoinKey(table, key))
			}
		}
	}
	slices.Sort(keys)
	if want := slices.Sorted(slices.Values(config.Live)); !slices.Equal(keys, want) {
		t.Errorf("%v can be seen, %v can be set", keys, want)
	}
	want := slices.DeleteFunc(config.KeysOf(reflect.TypeFor[config.Stream]()), func(k string) bool { return k == "name" })
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(reported["streams"]["gate"].(map[string]any))); !slices.Equal(got, want) {
		t.Errorf("%v of a stream can be seen, %v can be set", got, want)
	}
}

// The document that stands beside the schema is one that the agent takes, and what it then
// reports is the same, so that no difference stays.
func TestTheDesiredDocumentOfTheContractLeavesNoDifference(t *testing.T) {
	text, err := os.ReadFile("../../../../mqtt/contract/testdata/shadow-desired.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Config json.RawMessage }
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	for _, wanted := range []string{string(document.Config), `{"mqtt":{"telemetry_interval":"60000ms"},"streams":{"a":{"stream_name":"b","max_lag":"0h"}}}`} {
		c, err := config.ParseUnder("config.toml", shadowFile, nil, json.RawMessage(wanted))
		if err != nil {
			t.Fatal(err)
		}
		reported, err := json.Marshal(config.ShadowDocument(c, json.RawMessage(wanted)))
		if err != nil {
			t.Fatal(err)
		}
		if diff := difference(readObject(t, wanted), readObject(t, string(reported))); len(diff) > 0 {
			t.Errorf("these differ: %v", diff)
		}
	}
}

func readObject(t *testing.T, text string) (o map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// difference are the paths at which what is reported is not what is desired.
func difference(desired, reported map[string]any) (paths []string) {
	for key, want := range desired {
		inner, isObject := want.(map[string]any)
		has, wasObject := reported[key].(map[string]any)
		if isObject && wasObject {
			for _, path := range difference(inner, has) {
				paths = append(paths, config.JoinKey(key, path))
			}
		} else if !reflect.DeepEqual(want, reported[key]) {
			paths = append(paths, key)
		}
	}
	return paths
}

func TestDesiredIsKept(t *testing.T) {
	dir := t.TempDir()
	for _, wanted := range []string{`{"log":{"level":"debug"}}`, `{"log":{"level":"warn"}}`} {
		d := desiredConfig{Thing: "box", Version: 7, Config: json.RawMessage(wanted)}
		if err := d.keep(dir); err != nil {
			t.Fatal(err)
		}
		if got, err := readDesired(dir, "box"); err != nil || !reflect.DeepEqual(got, d) {
			t.Errorf("%+v, %v", got, err)
		}
	}
	if got, err := readDesired(dir, "another"); err != nil || len(got.Config) > 0 {
		t.Errorf("another thing gets %+v, %v", got, err)
	}
	for range 2 {
		if err := (desiredConfig{Thing: "box"}).keep(dir); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	if err := os.WriteFile(filepath.Join(dir, desiredName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readDesired(dir, "box"); err == nil {
		t.Error("a broken file is read")
	}
	if (desiredConfig{Config: json.RawMessage(`{}`)}).keep(filepath.Join(dir, "absent")) == nil {
		t.Error("kept in no folder")
	}
}

// What is kept counts at a start, unless it does not go with the file any more or is not permitted.
func TestAStartUnderAShadow(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "config.toml")
	load := func(control string) (config.Config, shadowed) {
		t.Helper()
		text := strings.Replace(shadowFile, "[agent]", "[agent]\nstate_dir = \""+dir+"\"", 1)
		text = strings.Replace(text, "[mqtt]", "[mqtt]\nprofile = \"aws-iot\"\nbroker = \"mqtts://localhost\"\ncert_file = \"c\"\nkey_file = \"k\"", 1)
		if err := os.WriteFile(file, []byte(text+control), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		return underShadow(file, cfg)
	}
	const permitted = "[control]\nenabled = true\nshadow = true\n"
	keep := func(wanted string) {
		t.Helper()
		if err := (desiredConfig{Thing: "box", Version: 5, Config: json.RawMessage(wanted)}).keep(dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, s := load(permitted); len(s.over.Config) > 0 || s.outcome.Status != contract.ShadowNone {
		t.Errorf("nothing kept: %+v", s)
	}
	keep(`{"log":{"level":"debug"}}`)
	if cfg, s := load(permitted); cfg.Log.Level != "debug" || s.over.Version != 5 || s.outcome.Status != contract.ShadowApplied {
		t.Errorf("kept: %+v %+v", cfg.Log, s)
	}
	if cfg, s := load(""); cfg.Log.Level != "info" || len(s.over.Config) > 0 || s.outcome.Status != contract.ShadowNone {
		t.Errorf("not permitted: %+v %+v", cfg.Log, s)
	}
	keep(`{"log":{"level":"debug"},"display":{"show":"attic"}}`)
	if cfg, s := load(permitted); cfg.Log.Level != "info" || len(s.over.Config) > 0 || s.wish.Version != 5 || s.outcome.Faults["display.show"].Code != config.CodeInvalid {
		t.Errorf("not fitting: %+v %+v", cfg.Log, s)
	}
	if err := os.WriteFile(filepath.Join(dir, desiredName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if cfg, s := load(permitted); cfg.Log.Level != "info" || s.outcome.Code != "storage.damaged" {
		t.Errorf("broken: %+v %+v", cfg.Log, s)
	}
}

// Whatever is desired: what the agent takes fits the schema, and so does what it then reports,
// which leaves no difference.
func TestWhatTheAgentTakesFitsTheSchemas(t *testing.T) {
	desired, reported := compileShadowSchema(t, "shadow-desired"), compileShadowSchema(t, "shadow-reported")
	values := []any{
		"", "gate", "yard", "camera", "10s", "0s", "+.5s", "90s", "1h1m", "-1s", "debug", "loud", "now", "resume", "never", "jump", "stay",
		"arn:aws:kinesisvideo:eu-west-1:123456789012:stream/a/1600000000000", 7.0, true,
		[]any{},
		[]any{"va"},
		[]any{"va", "va"},
		[]any{"software", "v4l2"},
		[]any{7.0},
	}
	keys := append([]string{"mqtt.broker", "log.format", "display.sink", "control.shadow", "colour.a"}, config.Live...)
	streamKeys := append(config.KeysOf(reflect.TypeFor[config.Stream]()), "nme")
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		wanted := map[string]any{}
		for _, at := range rapid.SliceOfN(rapid.SampledFrom(keys), 0, 3).Draw(t, "keys") {
			table, key := config.CutLastKey(at)
			if wanted[table] == nil {
				wanted[table] = map[string]any{}
			}
			wanted[table].(map[string]any)[key] = rapid.SampledFrom(values).Draw(t, at)
		}
		if rapid.Bool().Draw(t, "streams") {
			streams := map[string]any{}
			for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"gate", "yard", "Roof"}), 0, 2).Draw(t, "names") {
				stream := map[string]any{"stream_name": "camera"}
				for _, key := range rapid.SliceOfN(rapid.SampledFrom(streamKeys), 0, 2).Draw(t, "of "+name) {
					stream[key] = rapid.SampledFrom(values).Draw(t, key)
				}
				streams[name] = stream
			}
			wanted["streams"] = streams
		}
		text, err := json.Marshal(wanted)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.ParseUnder("config.toml", shadowFile, nil, text)
		if err != nil {
			return
		}
		taken++
		if err := desired.Validate(map[string]any{"config": wanted}); err != nil {
			t.Fatalf("%s is taken and does not fit: %v", text, err)
		}
		answer := contract.ShadowReported{Desired: contract.ShadowOutcome{Status: contract.ShadowApplied}, Config: config.ShadowDocument(c, text)}
		payload, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(string(payload)))
		if err != nil {
			t.Fatal(err)
		}
		if err := reported.Validate(value); err != nil {
			t.Fatalf("%s is reported and does not fit: %v", payload, err)
		}
		has := value.(map[string]any)["config"].(map[string]any)
		if diff := difference(wanted, has); len(diff) > 0 {
			t.Fatalf("%s differs from %s in %v", text, payload, diff)
		}
	})
	if taken == 0 {
		t.Error("nothing was taken: the test tests nothing")
	}
}

func compileShadowSchema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile("../../../../docs/schema/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// Whatever comes from the shadow: it breaks nothing, and changes nothing but what it may set.
func FuzzDesiredConfiguration(f *testing.F) {
	f.Add([]byte(`{"log":{"level":"debug"},"streams":{"gate":{"stream_name":"camera"}}}`))
	f.Add([]byte(`{"mqtt":{"broker":"mqtt://evil"},"streams":[{"name":"x"}]}`))
	f.Add([]byte(`{"streams":{"a":{"name":{},"decode_order":[null]}},"aws":{"iot":{}}}`))
	file, err := config.Parse("config.toml", shadowFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := config.ParseUnder("config.toml", shadowFile, nil, text)
		if err != nil {
			var faults config.Errors
			if !errors.As(err, &faults) || len(faults) == 0 || len(config.ShadowFaults(faults)) == 0 {
				t.Fatalf("%v", err)
			}
			return
		}
		streams := c.Streams
		if changed := keepStarted(&c, file); len(changed) > 0 {
			t.Fatalf("%s has changed %v", text, changed)
		}
		for _, s := range streams {
			if contract.ValidName(s.Name) != nil {
				t.Fatalf("a stream is called %q", s.Name)
			}
		}
	})
}
