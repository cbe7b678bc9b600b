package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// codeNotSettable is of a key that belongs to the box.
const codeNotSettable = "shadow.not_settable"

// shadowSource stands for the name of a file in what is said about keys that a shadow desires.
const shadowSource = "device shadow"

// overlay puts what a device shadow desires over the tables of the file, before they are decoded
// and checked like any file. It can set the keys that need no restart; [[streams]] as a whole,
// as an object by name.
func (d *decoder) overlay(tables map[string]any, desired json.RawMessage) {
	var wanted map[string]any
	if err := json.Unmarshal(desired, &wanted); err != nil {
		d.shadowed = []string{"config"}
		d.invalid("config", "is no object", "Write it like the configuration file: {\"log\": {\"level\": \"debug\"}}.")
		return
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if name == "streams" {
			d.overlayStreams(tables, wanted[name])
		} else {
			d.overlayTable(tables, name, wanted[name])
		}
	}
}

func (d *decoder) overlayTable(tables map[string]any, name string, wanted any) {
	keys, isObject := wanted.(map[string]any)
	if !isObject {
		d.shadowed = append(d.shadowed, name)
		d.notSettable(name)
		return
	}
	table, isTable := tables[name].(map[string]any)
	if tables[name] == nil {
		table, isTable = make(map[string]any), true
		tables[name] = table
	}
	for key, value := range keys {
		at := JoinKey(name, key)
		d.shadowed = append(d.shadowed, at)
		switch {
		case !slices.Contains(Live, at):
			d.notSettable(at)
		case isTable: // else the file is at fault
			table[key] = value
		}
	}
	if len(table) == 0 {
		delete(tables, name)
	}
}

func (d *decoder) overlayStreams(tables map[string]any, wanted any) {
	d.shadowed = append(d.shadowed, "streams")
	byName, ok := wanted.(map[string]any)
	if !ok {
		d.invalid("streams", "is no object", "Give every stream a key, its name, with an object.")
		return
	}
	list := []map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		d.streamNames = append(d.streamNames, name)
		at := fmt.Sprintf("streams[%d]", len(list))
		keys, ok := byName[name].(map[string]any)
		if !ok {
			d.invalid(at, "is no object", `Write it like {"stream_name": "camera"}.`)
		}
		stream := map[string]any{"name": name}
		for key, value := range keys {
			if key == "name" {
				d.notSettable(at + ".name")
				continue
			}
			stream[key] = value
		}
		list = append(list, stream)
	}
	tables["streams"] = list
}

func (d *decoder) notSettable(at string) {
	d.note(&Error{
		Code: codeNotSettable, Key: at, Message: "cannot be set in a device shadow",
		Action: "What can: " + strings.Join(append([]string{"streams"}, Live...), ", ") + ".",
	})
}

// isShadowed tells whether the value of a key is from a shadow.
func (d *decoder) isShadowed(at string) bool {
	return slices.ContainsFunc(d.shadowed, func(key string) bool {
		return at == key || strings.HasPrefix(at, key+".") || strings.HasPrefix(at, key+"[")
	})
}

// shadowKey is a key as the shadow has it: streams are known by their names there.
func (d *decoder) shadowKey(at string) string {
	for i, name := range d.streamNames {
		at = strings.Replace(at, fmt.Sprintf("streams[%d]", i), "streams."+name, 1)
	}
	return at
}

// ShadowFaults are the faults of a desired configuration by their keys.
func ShadowFaults(faults Errors) map[string]contract.ShadowFault {
	byKey := make(map[string]contract.ShadowFault)
	for _, f := range faults {
		reason := *f
		reason.File, reason.Line, reason.Key = f.File, f.Line, ""
		byKey[f.Key] = contract.ShadowFault{Code: f.Code, Reason: Shorten(strings.TrimPrefix(reason.Error(), shadowSource+": "))}
	}
	return byKey
}

// maxReason keeps what a shadow says about faults small: all of it has 8 KB.
const maxReason = 400

// Shorten cuts a text to what a shadow document has room for.
func Shorten(text string) string {
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + "…"
}

// ShadowDocument is what a shadow can set, as it is in effect. What is desired in another spelling,
// such as "60s" for "1m0s", keeps that, so that it does not stand there as a difference.
func ShadowDocument(c Config, desired json.RawMessage) contract.ShadowConfig {
	var wanted contract.ShadowConfig
	_ = json.Unmarshal(desired, &wanted) // it was checked; nil desires nothing
	out := contract.ShadowConfig{
		MQTT:    contract.ShadowMQTT{TelemetryInterval: spelled(c.MQTT.TelemetryInterval, wanted.MQTT.TelemetryInterval)},
		Display: contract.ShadowDisplay{Connector: &c.Display.Connector, Show: &c.Display.Show, SlateAfter: spelled(c.Display.SlateAfter, wanted.Display.SlateAfter)},
		Decode:  contract.ShadowDecode{Order: c.Decode.Order},
		Log:     contract.ShadowLog{Level: c.Log.Level},
		Streams: make(map[string]contract.ShadowStreamConfig),
	}
	for _, s := range c.Streams {
		desired := wanted.Streams[s.Name]
		out.Streams[s.Name] = contract.ShadowStreamConfig{
			StreamName: named(s.StreamName, desired.StreamName), StreamARN: named(s.StreamARN, desired.StreamARN), Start: s.Start,
			MaxLag: spelled(s.MaxLag, desired.MaxLag), OnLag: s.OnLag, DecodeOrder: s.DecodeOrder,
			VideoTrack: named(string(s.VideoTrack), desired.VideoTrack),
		}
	}
	return out
}

// named leaves out what is empty, unless that is desired.
func named(value string, desired *string) *string {
	if value == "" && desired == nil {
		return nil
	}
	return &value
}

func spelled(d Duration, wanted string) string {
	var same Duration
	if same.UnmarshalText([]byte(wanted)) == nil && same == d {
		return wanted
	}
	return d.String()
}
