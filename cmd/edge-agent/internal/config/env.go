package config

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// envPrefix begins the names of environment variables that stand in for keys, for containers: EDGE_AGENT_MQTT_BROKER is
// broker of [mqtt]. They are put over the file.
const envPrefix = "EDGE_AGENT_"

// envStreams lists streams: NAME=STREAM, where STREAM is the name or the ARN, separated by commas.
const envStreams = envPrefix + "STREAMS"

// ofKubernetes are the beginnings of variables that Kubernetes sets in every container where there is a Service with
// the name edge-agent.
var ofKubernetes = []string{envPrefix + "SERVICE_", envPrefix + "PORT"}

// settings are the variables of an environment that stand in for keys, by name.
func settings(environ []string) map[string]string {
	found := map[string]string{}
	for _, variable := range environ {
		name, value, ok := strings.Cut(variable, "=")
		foreign := slices.ContainsFunc(ofKubernetes, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if ok && strings.HasPrefix(name, envPrefix) && !foreign {
			found[name] = value
		}
	}
	return found
}

// overlayEnvironment puts what environment variables say over the tables of the file, before they are decoded and
// checked like any file.
func (d *decoder) overlayEnvironment(tables map[string]any, environ []string) {
	d.variables = map[string]string{}
	known := variables()
	found := settings(environ)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if name == envStreams {
			d.variables["streams"] = name
			tables["streams"] = streamTables(found[name])
			continue
		}
		key, ok := known[name]
		if !ok {
			d.unknownVariable(name, slices.Sorted(maps.Keys(known)))
			continue
		}
		d.variables[key.path] = name
		d.setKey(tables, strings.Split(key.path, "."), key.value(found[name]))
	}
}

// setKey puts a value into tables in tables. Where the file has no table, it is at fault, and that is found later.
func (d *decoder) setKey(tables map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		if tables[name] == nil {
			tables[name] = map[string]any{}
		}
		inner, ok := tables[name].(map[string]any)
		if !ok {
			return
		}
		tables = inner
	}
	tables[path[len(path)-1]] = value
}

func (d *decoder) unknownVariable(name string, known []string) {
	action := "What can be set: " + envPrefix + "<TABLE>_<KEY> for the keys of config.toml, and " + envStreams + "."
	if near := Nearest(strings.ToLower(name), lowered(known)); near != "" {
		action = fmt.Sprintf("Did you mean %s? ", strings.ToUpper(near)) + action
	}
	d.faults = append(d.faults, &Error{
		Code: CodeUnknownKey, File: "environment", Key: name, Message: "stands for no key", Action: action,
	})
}

func lowered(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = strings.ToLower(text)
	}
	return out
}

// variable is the variable that a key, or something below it, is from; "" for none.
func (d *decoder) variable(at string) string {
	for key, name := range d.variables {
		if at == key || strings.HasPrefix(at, key+".") || strings.HasPrefix(at, key+"[") {
			return name
		}
	}
	return ""
}

// configKey is one key of the configuration.
type configKey struct {
	path string // such as aws.iot.endpoint
	kind reflect.Type
}

// Keys are all keys, such as mqtt.broker; those of a stream are streams.name and so on.
func Keys() (keys []string) {
	for _, k := range append(keysIn("", reflect.TypeFor[Config]()), keysIn("streams", reflect.TypeFor[Stream]())...) {
		keys = append(keys, k.path)
	}
	return keys
}

// variables are the keys by the names of their variables.
func variables() map[string]configKey {
	found := map[string]configKey{}
	for _, key := range keysIn("", reflect.TypeFor[Config]()) {
		found[envPrefix+strings.ToUpper(strings.ReplaceAll(key.path, ".", "_"))] = key
	}
	return found
}

// keysIn are the keys of a table and of the tables in it, but for the lists of tables.
func keysIn(path string, table reflect.Type) (keys []configKey) {
	for i := range table.NumField() {
		field := table.Field(i)
		at := JoinKey(path, field.Tag.Get("toml"))
		switch {
		case field.Type.Kind() == reflect.Struct:
			keys = append(keys, keysIn(at, field.Type)...)
		case field.Type != reflect.TypeFor[[]Stream]():
			keys = append(keys, configKey{at, field.Type})
		}
	}
	return keys
}

// value is a text as TOML would have it. What cannot be read stays text, which is then of the wrong type.
func (k configKey) value(text string) any {
	switch k.kind.Kind() {
	case reflect.Int:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case reflect.Bool:
		if v, err := strconv.ParseBool(text); err == nil {
			return v
		}
	case reflect.Slice:
		list := []any{}
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
		return list
	}
	return text
}

// streamTables reads NAME=STREAM,NAME=STREAM. A name alone is that of the stream too.
func streamTables(text string) any {
	tables := []map[string]any{}
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, stream, ok := strings.Cut(part, "=")
		if !ok {
			stream = name
		}
		key := "stream_name"
		if strings.HasPrefix(stream, "arn:") {
			key = "stream_arn"
		}
		tables = append(tables, map[string]any{"name": name, key: stream})
	}
	if len(tables) == 0 {
		return []any{}
	}
	return tables
}
