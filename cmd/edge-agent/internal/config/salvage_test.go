package config

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// What is in order of a file with faults is used to show and report them.
func TestSalvage(t *testing.T) {
	const whole = `
[agent]
id = "gate-7"
[aws]
region = "eu-west-1"
[mqtt]
broker = "mqtts://broker.example"
[display]
sink = "kms"
connector = "HDMI-A-2"
[control]
enabled = true
allow = ["status"]
[log]
format = "json"
[[streams]]
name = "gate"
stream_name = "camera"
`
	for name, c := range map[string]struct {
		text         string
		mqtt         bool
		sink, format string
		streams      []string
	}{
		"an unknown key of a stream":   {whole + "start_at = \"now\"\n", true, "kms", "json", []string{"gate"}},
		"an unknown key of mqtt":       {strings.Replace(whole, "broker =", "brokre =", 1), false, "kms", "json", []string{"gate"}},
		"an unknown key of the agent":  {strings.Replace(whole, "id =", "name =", 1), false, "kms", "json", []string{"gate"}},
		"an unknown table":             {whole + "[dispaly]\nsink = \"none\"\n", true, "kms", "json", []string{"gate"}},
		"a wrong value of the display": {strings.Replace(whole, `"kms"`, `"hdmi"`, 1), true, "auto", "json", []string{"gate"}},
		"values that contradict":       {strings.Replace(whole, `"kms"`, `"x11"`, 1), true, "x11", "json", []string{"gate"}},
		"a stream without a name":      {strings.Replace(whole, `name = "gate"`, `name = ""`, 1), true, "kms", "json", nil},
		"a wrong type":                 {strings.Replace(whole, `"json"`, `7`, 1), true, "kms", "text", []string{"gate"}},
		"a table that is a value":      {"mqtt = 7\n" + strings.Replace(whole, "[mqtt]\nbroker = \"mqtts://broker.example\"\n", "", 1), false, "kms", "json", []string{"gate"}},
		"no TOML":                      {whole + "name = gate", false, "auto", "text", nil},
		"nothing":                      {"", false, "auto", "text", nil},
	} {
		_, err := Parse("box.toml", c.text)
		var faults Errors
		if name == "nothing" {
			faults = Errors{Unreadable("box.toml", os.ErrNotExist)}
		} else if !errors.As(err, &faults) {
			t.Errorf("%s: the file is valid", name)
		}
		got := salvageText("box.toml", c.text, faults)
		if (got.MQTT.Broker != "") != c.mqtt || got.Display.Sink != c.sink || got.Log.Format != c.format || !slices.Equal(got.Names, c.streams) {
			t.Errorf("%s: %+v", name, got)
		}
		if got.Control.Enabled || len(got.Streams) > 0 {
			t.Errorf("%s: commands or streams are left: %+v", name, got)
		}
		if faults := got.check(); len(faults) > 0 {
			t.Errorf("%s: what is left is not valid: %v", name, faults)
		}
	}
}
