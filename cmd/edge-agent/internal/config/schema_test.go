package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/test/kit"
)

// config.toml is the one place where keys are described. The schema and the reference page are generated from it and
// from Config: go test -update writes them anew.
func TestConfigSchemaAndReference(t *testing.T) {
	text, err := os.ReadFile("../../../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	described := descriptions(string(text))
	for _, key := range append(keysIn("", reflect.TypeFor[Config]()), keysIn("streams", reflect.TypeFor[Stream]())...) {
		if described[key.path] == "" {
			t.Errorf("config.toml does not describe %s", key.path)
		}
	}
	var schema bytes.Buffer
	out := json.NewEncoder(&schema)
	out.SetEscapeHTML(false)
	out.SetIndent("", "\t")
	if err := out.Encode(schemaOf(described)); err != nil {
		t.Fatal(err)
	}
	kit.Golden(t, "../config.schema.json", schema.String())
	kit.Golden(t, "../../../../../docs/configuration.md", referenceOf(described))
}

var streamKeyLine = regexp.MustCompile(`^([a-z_]+)  +(\S.*)$`)

// descriptions are the comments of config.toml by key. Keys that follow each other share the comment above them; those
// of streams are listed in theirs.
func descriptions(text string) map[string]string {
	found := map[string]string{}
	var comment []string
	table, stream, used := "", "", false
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch m := KeyLine.FindStringSubmatch(line); {
		case strings.HasPrefix(line, "#"):
			if used {
				comment, used = nil, false
			}
			line = strings.TrimPrefix(strings.TrimPrefix(line, "#"), " ")
			if m := streamKeyLine.FindStringSubmatch(line); m != nil && table == "log" {
				stream = "streams." + m[1]
				found[stream] = m[2]
			} else if rest := strings.TrimLeft(line, " "); stream != "" && strings.HasPrefix(line, "  ") {
				found[stream] += "\n" + rest
			} else {
				stream = ""
			}
			comment = append(comment, line)
		case tableLine.MatchString(line):
			table, comment, used = tableLine.FindStringSubmatch(line)[2], nil, false
		case m != nil:
			found[JoinKey(table, m[1])] = strings.TrimSpace(strings.Join(comment, "\n"))
			used = true
		case used || line == "":
			if !used && len(comment) > 0 && table != "" {
				used = true // a comment about the table
			}
		}
	}
	return found
}

// choices are what the values of some keys may be.
var choices = map[string][]string{
	"mqtt.profile": {string(mqtt.Standard), string(mqtt.AWSIoT)}, "display.sink": knownSinks, "display.path": knownPaths, "decode.order": KnownFamilies,
	"streams.decode_order": KnownFamilies, "control.allow": knownVerbs, "control.clock": {clockSynced, ClockSystem},
	"log.level": KnownLogLevels, "log.format": knownLogFormats, "streams.on_lag": {lagJump, LagStay},
}

type object = map[string]any

func schemaOf(described map[string]string) object {
	stream := DefaultStream()
	tables := tableSchema("", reflect.ValueOf(Defaults()), described)
	streams := tableSchema("streams", reflect.ValueOf(stream), described)
	streams["required"] = []string{"name"}
	tables["properties"].(object)["streams"] = object{"type": "array", "items": streams}
	tables["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	tables["title"] = "Configuration of edge-agent"
	return tables
}

func tableSchema(path string, v reflect.Value, described map[string]string) object {
	properties := object{}
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("toml")
		at := JoinKey(path, name)
		switch field := v.Field(i); {
		case field.Kind() == reflect.Struct:
			properties[name] = tableSchema(at, field, described)
		case field.Type() != reflect.TypeFor[[]Stream]():
			properties[name] = keySchema(at, field, described[at])
		}
	}
	return object{"type": "object", "properties": properties, "additionalProperties": false}
}

func keySchema(at string, v reflect.Value, description string) object {
	s := object{"description": description, "type": "string"}
	switch {
	case v.Type() == reflect.TypeFor[Duration]():
		s["pattern"] = `^([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$|^0$`
		s["default"] = v.Interface().(Duration).String()
		return s
	case v.Type() == reflect.TypeFor[TrackRef]():
		s["type"] = []string{"string", "integer"}
	case v.Kind() == reflect.Bool:
		s["type"] = "boolean"
	case v.Kind() == reflect.Int:
		s["type"], s["enum"] = "integer", plan.Rotations // there is no other number
	case v.Kind() == reflect.Slice:
		s["type"], s["items"] = "array", object{"type": "string"}
		if of := choices[at]; of != nil {
			s["items"] = object{"type": "string", "enum": of}
		}
		s["default"] = v.Interface()
		return s
	}
	if of := choices[at]; of != nil {
		s["enum"] = of
	}
	s["default"] = v.Interface()
	return s
}

// referenceOf is the page of all keys.
func referenceOf(described map[string]string) string {
	var b strings.Builder
	b.WriteString(`# Configuration

Every key, with its default. This page is generated from the comments of [config.toml](../config.toml), which is also the
file to begin with; ` + "`edge-agent config schema`" + ` prints a JSON schema for editors.

An environment variable stands in for a key, and is put over the file: ` + "`EDGE_AGENT_MQTT_BROKER`" + ` for ` + "`broker`" + ` of ` + "`[mqtt]`" + `. Lists are
separated by commas. ` + "`EDGE_AGENT_STREAMS=gate=Gate_Cam,yard=arn:aws:…`" + ` lists streams, each with its name and the name or
ARN in Kinesis Video Streams. ` + "`edge-agent config print`" + ` shows what is in effect, ` + "`edge-agent config check`" + ` whether it is valid.
A reload (SIGHUP, or the MQTT command) puts these into effect at once: `)
	for i, key := range Live {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("`" + key + "`")
	}
	b.WriteString(" and all of `[[streams]]`. The others need a restart, which the answer says.\n")
	table := ""
	line := func(key configKey, value any) {
		of, name := CutLastKey(key.path)
		if of != table {
			table = of
			title := "[" + of + "]"
			if of == "streams" {
				title = "[[streams]]"
			}
			fmt.Fprintf(&b, "\n## %s\n", title)
		}
		fmt.Fprintf(&b, "\n### `%s = %s`\n\n```text\n%s\n```\n", name, tomlText(value), described[key.path])
	}
	defaults := reflect.ValueOf(Defaults())
	for _, key := range keysIn("", defaults.Type()) {
		line(key, valueAt(defaults, key.path))
	}
	stream := reflect.ValueOf(DefaultStream())
	for _, key := range keysIn("streams", stream.Type()) {
		line(key, valueAt(stream, strings.TrimPrefix(key.path, "streams.")))
	}
	return b.String()
}

func valueAt(v reflect.Value, path string) any {
	for name := range strings.SplitSeq(path, ".") {
		v, _ = FieldOf(v, name)
	}
	return v.Interface()
}

func tomlText(v any) string {
	var b bytes.Buffer
	_ = toml.NewEncoder(&b).Encode(map[string]any{"v": v})
	return strings.TrimSpace(strings.TrimPrefix(b.String(), "v = "))
}

// The schema admits what the agent admits and refuses unknown keys and wrong types.
func TestConfigSchemaAgrees(t *testing.T) {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(path string) error {
		var tables map[string]any
		if _, err := toml.DecodeFile(path, &tables); err != nil {
			return err
		}
		text, err := json.Marshal(tables)
		if err != nil {
			return err
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			return err
		}
		return schema.Validate(value)
	}
	for _, good := range []string{"../../../../config.toml", "testdata/full.toml"} {
		if err := valid(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"unknown-keys", "wrong-types"} {
		if err := valid(filepath.Join("testdata/bad", bad+".toml")); err == nil {
			t.Errorf("%s is admitted", bad)
		}
	}
}

func TestConfigFromTheEnvironment(t *testing.T) {
	c, err := ParseUnder("c.toml", "[mqtt]\nbroker = \"mqtt://localhost\"\nusername = \"u\"\n[[streams]]\nname = \"old\"\nstream_name = \"old\"\n", []string{
		"EDGE_AGENT_MQTT_BROKER=mqtts://broker", "EDGE_AGENT_AWS_IOT_THING_NAME=", "EDGE_AGENT_DECODE_ORDER=va, software", "EDGE_AGENT_DECODE_SANDBOX=false",
		"EDGE_AGENT_DISPLAY_LATENCY=300ms", "PATH=/bin", "EDGE_AGENT_SERVICE_HOST=10.0.0.1", "EDGE_AGENT_PORT_9464_TCP_ADDR=10.0.0.1",
		"EDGE_AGENT_STREAMS=gate=Gate.Cam,yard=arn:aws:kinesisvideo:eu-west-1:123456789012:stream/yard/1600000000000,shed",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, s := range c.Streams {
		names = append(names, s.Name+" "+s.StreamName+s.StreamARN)
	}
	want := []string{"gate Gate.Cam", "yard arn:aws:kinesisvideo:eu-west-1:123456789012:stream/yard/1600000000000", "shed shed"}
	if c.MQTT.Broker != "mqtts://broker" || c.MQTT.Username != "u" || !slices.Equal(c.Decode.Order, []string{"va", "software"}) || c.Decode.Sandbox ||
		c.Display.Latency.String() != "300ms" || !slices.Equal(names, want) || c.Streams[0].OnLag != lagJump {
		t.Errorf("%+v", c)
	}
	for variable, want := range map[string]string{
		"EDGE_AGENT_MQTT_BROKR=x":          "environment: EDGE_AGENT_MQTT_BROKR stands for no key. Did you mean EDGE_AGENT_MQTT_BROKER?",
		"EDGE_AGENT_HTTP_SNAPSHOTS=maybe":  "environment variable EDGE_AGENT_HTTP_SNAPSHOTS: http.snapshots is text. It must be true or false",
		"EDGE_AGENT_DISPLAY_LATENCY=5":     "environment variable EDGE_AGENT_DISPLAY_LATENCY: display.latency",
		"EDGE_AGENT_STREAMS=BAD=x":         "environment variable EDGE_AGENT_STREAMS: streams[0].name",
		"EDGE_AGENT_MQTT_BROKER=ftp://a":   "environment variable EDGE_AGENT_MQTT_BROKER: mqtt.broker",
		"EDGE_AGENT_DECODE_ORDER=nonsense": "environment variable EDGE_AGENT_DECODE_ORDER: decode.order",
	} {
		if _, err := ParseUnder("c.toml", "", []string{variable}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", variable, err, want)
		}
	}
}
