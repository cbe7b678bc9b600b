package config

import (
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Salvaged is what a configuration file with faults still says: where to show and to whom to report that it has faults.
type Salvaged struct {
	Config          // without streams and commands; keys with faults have their defaults
	Names  []string // names of the streams that are configured, as far as they are valid
}

// Salvage gives what is usable of a file with faults. MQTT is off unless all that decides who the agent is there
// is in order: [agent], [mqtt] and, for AWS IoT Core, [aws.iot].
func Salvage(path string, faults Errors) Salvaged {
	text, err := ReadTOML(path)
	if err != nil {
		text = ""
	}
	s := salvageText(path, text, faults)
	if s.Agent.ID == "" {
		host, _ := os.Hostname()
		s.Agent.ID = IDFromHostname(host)
	}
	return s
}

func salvageText(name, text string, faults Errors) Salvaged {
	var tables map[string]any
	if CheckNesting(text) > 0 {
		text = ""
	}
	if _, err := toml.Decode(text, &tables); err != nil {
		tables = nil
	}
	d := decoder{file: name, lines: keyLines(text)}
	c := Defaults()
	d.table("", tables, reflect.ValueOf(&c).Elem())
	s := Salvaged{Config: c, Names: validNames(c.Streams)}
	reportable := len(tables) > 0 && !decidesIdentity(append(faults, d.faults...))
	s.Streams, s.Control, s.HomeAssistant = nil, Defaults().Control, Defaults().HomeAssistant
	s.revertFaults(d.faults)
	if !reportable {
		s.MQTT = Defaults().MQTT
	}
	return s
}

// validNames are the names that can stand in topics, each once.
func validNames(streams []Stream) (names []string) {
	for _, s := range streams {
		if contract.ValidName(s.Name) == nil && !slices.Contains(names, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names
}

// decidesIdentity says that a fault is in what decides who the agent is at which broker.
func decidesIdentity(faults Errors) bool {
	return slices.ContainsFunc(faults, func(f *Error) bool {
		return f.Key == "" || slices.ContainsFunc([]string{"agent", "mqtt", "aws.iot"}, func(table string) bool {
			return f.Key == table || strings.HasPrefix(f.Key, table+".")
		})
	})
}

// revertFaults gives keys with faults their defaults: first those keys alone, and where that does not help their
// tables.
func (s *Salvaged) revertFaults(faults Errors) {
	s.revert(faults, func(key string) string { return key })
	s.revert(s.check(), func(key string) string { return key })
	s.revert(s.check(), func(key string) string { table, _, _ := strings.Cut(key, "."); return table })
	if len(s.check()) > 0 {
		s.Config = Defaults()
	}
}

func (s *Salvaged) check() (faults Errors) {
	d := decoder{}
	checkConfig(&s.Config, d.invalid)
	return d.faults
}

func (s *Salvaged) revert(faults Errors, what func(key string) string) {
	defaults := Defaults()
	for _, f := range faults {
		into, from := reflect.ValueOf(&s.Config).Elem(), reflect.ValueOf(&defaults).Elem()
		for key := range strings.SplitSeq(what(f.Key), ".") {
			field, ok := reflect.Value{}, false
			if into.Kind() == reflect.Struct {
				field, ok = FieldOf(into, key)
			}
			if !ok {
				into = reflect.Value{} // a key that does not exist
				break
			}
			from, _ = FieldOf(from, key)
			into = field
		}
		if into.IsValid() {
			into.Set(from)
		}
	}
}
