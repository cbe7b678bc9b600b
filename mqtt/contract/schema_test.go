package contract

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

// The tests of this file hold code, JSON Schema and golden payloads together.

const schemaDir = "../../docs/schema"

func compileSchema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	return contracttest.Schema(t, filepath.Join(schemaDir, name+".json"))
}

// schemaTypes says which Go type each schema describes.
func schemaTypes() map[string]reflect.Type {
	types := map[string]reflect.Type{
		"info": reflect.TypeFor[Info](), "state": reflect.TypeFor[State](), "telemetry": reflect.TypeFor[Telemetry](),
		"event": reflect.TypeFor[Event](), "signed-command": reflect.TypeFor[signed](),
		"shadow-reported": reflect.TypeFor[ShadowReported](), "shadow-desired": reflect.TypeFor[ShadowDesired](),
	}
	for _, v := range Verbs() {
		types["command-"+string(v)] = reflect.TypeFor[Order]()
		types["response-"+string(v)] = reflect.TypeFor[Response]()
	}
	return types
}

func TestEveryPayloadHasItsSchema(t *testing.T) {
	files, err := filepath.Glob(schemaDir + "/*.json")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		found = append(found, strings.TrimSuffix(filepath.Base(file), ".json"))
	}
	for name := range schemaTypes() {
		if !slices.Contains(found, name) {
			t.Errorf("there is no schema %s", name)
		}
	}
	if len(found) != len(schemaTypes()) {
		t.Errorf("%d schemas for %d payloads: %v", len(found), len(schemaTypes()), found)
	}
}

func TestGoldenPayloadsFitTheirSchemas(t *testing.T) {
	for name := range payloads {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			schema := compileSchema(t, strings.TrimSuffix(name, "-empty"))
			if err := schema.Validate(contracttest.JSON(t, text)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASignedCommandFitsItsSchema(t *testing.T) {
	private, err := secret.ParsePrivateKey(contracttest.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Sign(private, contracttest.CommandBase+"stop", []byte(contracttest.Order(`{"stream":"door"}`)))
	if err != nil {
		t.Fatal(err)
	}
	schema := compileSchema(t, "signed-command")
	if err := schema.Validate(contracttest.JSON(t, text)); err != nil {
		t.Error(err)
	}
	if err := schema.Validate(contracttest.JSON(t, bytes.Replace(text, []byte(`"signature":"`), []byte(`"signature":"%`), 1))); err == nil {
		t.Error("what is not base64 fits")
	}
}

// A field that is added, removed, renamed or of another type has to be so in the schema too.
func TestSchemasHaveTheFieldsOfTheCode(t *testing.T) {
	for name, typ := range schemaTypes() {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(schemaDir, name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var root map[string]any
			if err := json.Unmarshal(text, &root); err != nil {
				t.Fatal(err)
			}
			w := walker{t: t, root: root}
			kind, verb, _ := strings.Cut(name, "-")
			switch kind {
			case "command":
				if verbs[Verb(verb)].args == nil {
					break // signed-command begins otherwise
				}
				w.raw = reflect.TypeOf(verbs[Verb(verb)].args()).Elem()
			case "response":
				w.raw = reflect.TypeOf(goldenData[Verb(verb)])
			}
			w.compare(name, root, typ)
		})
	}
}

// walker compares a schema with a type.
type walker struct {
	t    *testing.T
	root map[string]any
	raw  reflect.Type // what a json.RawMessage stands for
}

func (w walker) compare(at string, schema map[string]any, typ reflect.Type) {
	if name, ok := schema["$ref"].(string); ok {
		schema = w.root["$defs"].(map[string]any)[strings.TrimPrefix(name, "#/$defs/")].(map[string]any)
	}
	if either, ok := schema["anyOf"].([]any); ok { // null or
		schema = either[1].(map[string]any)
	}
	if typ == reflect.TypeFor[json.RawMessage]() {
		typ = w.raw
	}
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch {
	case typ == reflect.TypeFor[Schema]():
		if schema["const"] != 1.0 {
			w.t.Errorf("%s is not 1", at)
		}
	case typ == reflect.TypeFor[Time](), typ.Kind() == reflect.String:
		w.wantType(at, schema, "string")
	case typ.Kind() == reflect.Bool:
		w.wantType(at, schema, "boolean")
	case typ.Kind() == reflect.Float64:
		w.wantType(at, schema, "number")
	case typ.Kind() == reflect.Int, typ.Kind() == reflect.Int64, typ.Kind() == reflect.Uint64:
		w.wantType(at, schema, "integer")
	case typ.Kind() == reflect.Map:
		w.wantType(at, schema, "object")
		if values, ok := schema["additionalProperties"].(map[string]any); ok {
			w.compare(at+".*", values, typ.Elem())
		}
	case typ.Kind() == reflect.Slice:
		w.wantType(at, schema, "array")
		w.compare(at+"[]", schema["items"].(map[string]any), typ.Elem())
	case typ.Kind() == reflect.Struct:
		w.wantType(at, schema, "object")
		w.fields(at, schema, typ)
	}
}

func (w walker) wantType(at string, schema map[string]any, want string) {
	got := schema["type"]
	if list, ok := got.([]any); ok { // "or null"
		got = list[0]
	}
	if got != want && !(got == nil && schema["enum"] != nil && want == "string") {
		w.t.Errorf("%s is %v in the schema, %s in the code", at, got, want)
	}
}

func (w walker) fields(at string, schema map[string]any, typ reflect.Type) {
	properties := schema["properties"].(map[string]any)
	seen := 0
	for _, f := range reflect.VisibleFields(typ) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous {
			continue
		}
		seen++
		property, ok := properties[name].(map[string]any)
		if !ok {
			w.t.Errorf("%s has no %s in the schema", at, name)
			continue
		}
		names, _ := schema["required"].([]any)
		required := slices.Contains(names, any(name))
		if optional := strings.Contains(options, "omit"); optional == required && name != "args" {
			w.t.Errorf("%s.%s: required is %v in the schema", at, name, required)
		}
		if f.Type.Kind() != reflect.Interface { // that can be anything
			w.compare(at+"."+name, property, f.Type)
		}
	}
	if seen != len(properties) {
		w.t.Errorf("%s has %d fields in the code, %d in the schema", at, seen, len(properties))
	}
}

// Whatever the arguments: the agent admits a command if and only if it fits the schema.
func TestSchemasAdmitWhatTheAgentAdmits(t *testing.T) {
	all := Rules{Enabled: true, Allowed: map[Verb]bool{}}
	schemas := map[Verb]*jsonschema.Schema{}
	for _, v := range Verbs() {
		all.Allowed[v] = true
		schemas[v] = compileSchema(t, "command-"+string(v))
	}
	values := []string{
		`"door"`, `"Door"`, `""`, `null`, `7`, `-1`, `0`, `5000`, `86400001`, `true`, `[]`, `{}`, `["va"]`, `["va","va"]`, `["va","software"]`, `["VA"]`,
		`"now"`, `"earliest"`, `"fragment:12"`, `"fragment:x"`, `"server:2026-03-01T11:00:00Z"`, `"debug"`, `"HDMI-A-1"`, `"/dev"`, `"ingest.cut"`,
	}
	fields := []string{"stream", "to", "display", "log_level", "decode_order", "max_lag_ms", "telemetry_interval_ms", "code", "other"}
	admitted := 0
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SampledFrom(Verbs()).Draw(t, "verb")
		chosen := rapid.MapOfN(rapid.SampledFrom(fields), rapid.SampledFrom(values), 0, 3).Draw(t, "args")
		var args []string
		for _, name := range fields {
			if value, ok := chosen[name]; ok {
				args = append(args, `"`+name+`":`+value)
			}
		}
		text := contracttest.Order("{" + strings.Join(args, ",") + "}")
		if rapid.Bool().Draw(t, "good args") { // so that some are admitted
			good, err := json.Marshal(goldenArgs[v])
			if err != nil {
				t.Fatal(err)
			}
			text = contracttest.Order(string(good))
		}
		text = rapid.SampledFrom([]string{
			text, text, text, text, strings.Replace(text, `"schema":1,`, "", 1), strings.Replace(text, `"schema":1`, `"schema":2`, 1),
			strings.Replace(text, `"id":"a"`, `"id":"a b"`, 1), strings.Replace(text, `"id":"a",`, ``, 1), contracttest.Order("null"), contracttest.Order(`"x"`),
			strings.Replace(text, "12:00:00.000Z", "12:00:00", 1), strings.Replace(text, `"id"`, `"ID"`, 1), strings.Replace(text, `"args":`, `"arg":`, 1),
		}).Draw(t, "text")
		_, no := Admit(all, arrived(string(v), text), contracttest.T0.Add(time.Second), ClockSynced)
		value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		invalid := schemas[v].Validate(value)
		if no == nil {
			admitted++
		}
		if v == VerbExplain && no != nil && strings.Contains(no.Reason, "no code of the code table") {
			return // the schema does not have the table
		}
		if (no == nil) != (invalid == nil) {
			t.Fatalf("%s %s\nagent: %+v\nschema: %v", v, text, no, invalid)
		}
	})
	if admitted == 0 {
		t.Error("nothing was admitted: the test tests nothing")
	}
}
