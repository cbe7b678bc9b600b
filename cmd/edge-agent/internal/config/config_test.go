package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/kit"
)

func TestShippedConfigEqualsDefaults(t *testing.T) {
	const path = "../../../../config.toml"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(path, string(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := Defaults(); !reflect.DeepEqual(got, want) {
		t.Errorf("config.toml gives\n%+v\nthe defaults are\n%+v", got, want)
	}
	for _, key := range everyKey() {
		if !strings.Contains(string(text), "\n"+key+" = ") && !strings.Contains(string(text), "\n# "+key+" = ") {
			t.Errorf("config.toml does not show the key %s", key)
		}
	}
}

// The example is commented out, so that nothing else would notice a mistake in it.
func TestShippedExampleStreamIsValid(t *testing.T) {
	text, err := os.ReadFile("../../../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, example, found := strings.Cut(string(text), "\n# [[streams]]\n")
	if !found {
		t.Fatal("config.toml has no commented-out [[streams]]")
	}
	var on strings.Builder
	on.WriteString("[[streams]]\n")
	for line := range strings.Lines(example) {
		if rest, ok := strings.CutPrefix(line, "# "); ok && KeyLine.MatchString(rest) {
			on.WriteString(rest)
		}
	}
	c, err := Parse("config.toml", on.String())
	if err != nil {
		t.Fatalf("%v\nin\n%s", err, on.String())
	}
	want := DefaultStream()
	want.Name, want.StreamName = c.Streams[0].Name, c.Streams[0].StreamName
	if !reflect.DeepEqual(c.Streams[0], want) {
		t.Errorf("the example gives %+v, the defaults of a stream are %+v", c.Streams[0], want)
	}
}

func everyKey() []string {
	var keys []string
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		table := t.Field(i).Type
		if table.Kind() == reflect.Struct {
			keys = append(keys, keysBelow(table)...)
		}
	}
	return keys
}

// keysBelow are the keys of a table and of the tables in it.
func keysBelow(table reflect.Type) []string {
	var keys []string
	for i, key := range KeysOf(table) {
		if field := table.Field(i).Type; field.Kind() == reflect.Struct {
			keys = append(keys, keysBelow(field)...)
		} else {
			keys = append(keys, key)
		}
	}
	return keys
}

func TestConfigReadsEveryKey(t *testing.T) {
	got, err := Load("testdata/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Agent: Agent{ID: "dock-3", StateDir: "/srv/edge-agent"},
		AWS: AWS{
			Region: "eu-west-1", Endpoint: "http://127.0.0.1:4566",
			IoT: IoT{
				Endpoint: "abc.credentials.iot.eu-west-1.amazonaws.com", RoleAlias: "video", ThingName: "dock-3",
				CertFile: "thing.pem", KeyFile: "thing.key", CAFile: "root.pem",
			},
		},
		MQTT: MQTT{
			Broker: "mqtts://broker.example:8884", Profile: "standard", ClientID: "plant/dock-3", Username: "dock", PasswordFile: "/etc/edge-agent/password",
			TopicPrefix: "plant-video", TelemetryInterval: Duration(5 * time.Second),
			CAFile: "ca.pem", CertFile: "cert.pem", KeyFile: "key.pem", AllowPlaintext: true,
		},
		Display: Display{
			Sink: "kms", Connector: "HDMI-A-1", Path: "copy", Rotate: 90, Show: "gate",
			Latency: Duration(120 * time.Millisecond), SlateAfter: Duration(5 * time.Second),
		},
		Decode: Decode{
			Order: []string{"v4l2-stateful", "software"}, VendorElements: []string{"amlvdec"}, TrustedElements: []string{"v4l2slh264dec"}, IgnoreQuirks: []string{"pi4-pipelines"},
			Renderer: "/opt/edge-agent/edge-agent-renderer", RendererUser: "kiosk", RendererEnv: []string{"RKMPP_DEBUG"}, RendererPaths: []string{"/dev/vendor0"},
		},
		Control: Control{Enabled: true, Allow: []string{"status", "restart"}, PublicKeys: []string{"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE="}, Shadow: false, Clock: "system"},
		HTTP:    HTTP{Listen: "0.0.0.0:9464", TokenFile: "/etc/edge-agent/token", AllowRemote: true, Socket: "/run/edge-agent/other.sock"},
		Log:     Log{Level: "debug", Format: "json"},

		HomeAssistant: HomeAssistant{Enabled: true, DiscoveryPrefix: "home/assistant", BirthTopic: "home/status"},

		Streams: []Stream{
			{Name: "gate", StreamName: "Gate_Cam.1", Start: "earliest", MaxLag: Duration(90 * time.Second), OnLag: "stay", DecodeOrder: []string{"software"}, VideoTrack: "main"},
			{
				Name: "yard", Start: "now", MaxLag: Duration(10 * time.Second), OnLag: "jump", DecodeOrder: []string{}, VideoTrack: "2",
				StreamARN: "arn:aws:kinesisvideo:eu-west-1:123456789012:stream/yard/1600000000000",
			},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// Every faulty file in testdata has its message beside it.
func TestConfigFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no faulty files: %v", err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".toml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(name+".toml", string(text))
			var faults Errors
			if !errors.As(err, &faults) {
				t.Fatalf("got %v, want ConfigErrors", err)
			}
			var got strings.Builder
			for _, fault := range faults {
				got.WriteString(fault.Code + ": " + fault.Error() + "\n")
			}
			kit.Golden(t, filepath.Join("bad", name+".golden"), got.String())
		})
	}
}

func TestConfigUnreadable(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "absent.toml"))
	var fault *Error
	if !errors.As(err, &fault) || fault.Code != CodeUnreadable || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestEmptyIDBecomesTheHostName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "empty.toml")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Load(path)
	if err != nil || c.Agent.ID != IDFromHostname(host) {
		t.Errorf("id %q, error %v, want %q", c.Agent.ID, err, IDFromHostname(host))
	}
}

func TestIDFromHostname(t *testing.T) {
	for host, want := range map[string]string{
		"gateway":                       "gateway",
		"Gate.Way_7":                    "gate-way-7",
		"-a-":                           "a",
		"größe":                         "gr--e",
		"":                              "edge-agent",
		"...":                           "edge-agent",
		strings.Repeat("x", 63) + "..y": strings.Repeat("x", 63),
	} {
		if got := IDFromHostname(host); got != want {
			t.Errorf("%q becomes %q, want %q", host, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"broker", "username", "password_file", "id"}
	for word, want := range map[string]string{
		"brokr": "broker", "Broker": "broker", "user_name": "username", "passwort_file": "password_file",
		"idd": "id", "completely": "", "": "",
	} {
		if got := Nearest(word, known); got != want {
			t.Errorf("nearest to %q is %q, want %q", word, got, want)
		}
	}
}

// The published hash is of what the file says: the same for this file as long as no key comes or goes, another one for every
// value that is left out.
func TestConfigHash(t *testing.T) {
	content, err := os.ReadFile("testdata/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	whole, err := Parse("full.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	if got := whole.Hash(); got != "2e40e284c0038698" {
		t.Errorf("%s: a key has come or gone, or a value is read otherwise", got)
	}
	hashes := map[string]string{whole.Hash(): "the whole file"}
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		without := strings.Join(lines[:i], "") + strings.Join(lines[i+1:], "")
		c, err := Parse("full.toml", without)
		if err != nil || !strings.Contains(line, " = ") || reflect.DeepEqual(c, whole) {
			continue // it cannot be left out, or is the default
		}
		if other, ok := hashes[c.Hash()]; ok {
			t.Errorf("without %q it has the hash of %q", line, other)
		}
		hashes[c.Hash()] = line
	}
	if len(hashes) < 30 {
		t.Errorf("only %d lines were left out", len(hashes))
	}
}
