package main

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

// run calls the program with args and nothing on standard input.
func run(args ...string) (status int, out, err string) {
	var o, e strings.Builder
	status = execute(context.Background(), args, stdio{In: strings.NewReader(""), Out: &o, Err: &e})
	return status, o.String(), e.String()
}

func TestHelpGolden(t *testing.T) {
	t.Setenv("COLUMNS", "100")
	for _, command := range []string{"edge-agent", "run", "demo", "inspect", "probe", "simulate", "explain", "version", "completion", "ctl", "ctl seek", "ctl set", "ctl watch"} {
		t.Run(command, func(t *testing.T) {
			args := append(strings.Fields(command), "--help")
			if command == "edge-agent" {
				args = args[1:]
			}
			status, out, errs := run(args...)
			if status != exitOK || errs != "" {
				t.Errorf("status %d, standard error %q", status, errs)
			}
			kit.Golden(t, filepath.Join("help", strings.ReplaceAll(command, " ", "-")+".txt"), out)
		})
	}
}

func TestBadUsage(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"frobnicate"},
		{"inspect"},
		{"inspect", "-", "again"},
		{"run", "--confg", "x"},
		{"demo", "--for", "soon"},
		{"simulate", "--stream", "gate"},
		{"simulate", "--stream", "a gate=clip.mkv"},
		{"simulate", "--stream", "=clip.mkv"},
		{"explain", "ingest.ct"},
		{"ctl", "status", "--id", "box"},
		{"ctl", "--broker", "mqtt://127.0.0.1:1", "status"},
		{"ctl", "--broker", "mqtt://127.0.0.1:1", "--id", "box", "seek", "gate"},
		{"ctl", "--broker", "mqtt://127.0.0.1:1", "--id", "box", "--sign-key", "absent.pem", "status"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			status, out, errs := run(args...)
			if status != exitUsage || out != "" || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "edge-agent: usage: ") || strings.Contains(errs, "?.") {
				t.Errorf("status %d, standard output %q, standard error %q", status, out, errs)
			}
		})
	}
}

// Who steers has no configuration file: the advice is about the flags.
func TestCtlAdvice(t *testing.T) {
	for broker, advice := range map[string]string{
		"mqtt://127.0.0.1:1":  "Check --broker,",
		"host-without-scheme": "Correct the flags",
	} {
		status, _, errs := run("ctl", "--broker", broker, "--id", "box", "status")
		if status != exitFailed || !strings.Contains(errs, advice) || strings.Contains(errs, "[mqtt]") {
			t.Errorf("%s: status %d, standard error %q", broker, status, errs)
		}
	}
}

func TestParse(t *testing.T) {
	for line, want := range map[string]command{
		"run":                      &runCommand{Config: "/etc/edge-agent/config.toml", InvalidConfig: "auto"},
		"run --config c.toml":      &runCommand{Config: "c.toml", InvalidConfig: "auto"},
		"demo":                     &demoCommand{},
		"demo --for 1m30s":         &demoCommand{For: 90 * time.Second},
		"inspect -":                &inspectCommand{File: "-"},
		"inspect --json a.mkv":     &inspectCommand{File: "a.mkv", JSON: true},
		"explain":                  &explainCommand{},
		"simulate":                 &simulateCommand{Listen: "127.0.0.1:0"},
		"simulate --stream a=b=,c": &simulateCommand{Listen: "127.0.0.1:0", Streams: []streamFile{{"a", "b=,c"}}},
		"simulate --stream a=b --credentials A:b/c+d= --credentials E:f:g:h,i": &simulateCommand{
			Listen: "127.0.0.1:0", Streams: []streamFile{{"a", "b"}},
			Keys: []accessKey{{AccessKeyID: "A", SecretAccessKey: "b/c+d="}, {AccessKeyID: "E", SecretAccessKey: "f", SessionToken: "g:h,i"}},
		},
		"simulate --listen :80 --stream a=b --stream c=d": &simulateCommand{Listen: ":80", Streams: []streamFile{{"a", "b"}, {"c", "d"}}},
	} {
		name, got, err := parse(strings.Fields(line), stdio{})
		if err != nil || !reflect.DeepEqual(got, want) || name != strings.Fields(line)[0] {
			t.Errorf("%s: %q %+v, error %v, want %+v", line, name, got, err, want)
		}
	}
}

func TestConfigFaultsAreOneLineEach(t *testing.T) {
	status, out, errs := run("run", "--config", "internal/config/testdata/bad/unknown-keys.toml")
	lines := strings.Split(strings.TrimSuffix(errs, "\n"), "\n")
	if status != exitFailed || out != "" || len(lines) != 9 {
		t.Fatalf("status %d, standard output %q, %d lines of errors:\n%s", status, out, len(lines), errs)
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "edge-agent: config.") || !strings.Contains(line, "unknown-keys.toml:") {
			t.Errorf("not a fault with code and file: %s", line)
		}
	}
}

func TestFailureIsOneLineWithWhatToDo(t *testing.T) {
	status, _, errs := run("inspect", filepath.Join(t.TempDir(), "absent.mkv"))
	if status != exitFailed || strings.Count(errs, "\n") != 1 ||
		!strings.HasPrefix(errs, "edge-agent: capture.unreadable: ") || !strings.HasSuffix(errs, "Check the path and the permissions of the file.\n") {
		t.Errorf("status %d, standard error %q", status, errs)
	}
}

func TestErrorsKeepTheirCode(t *testing.T) {
	for want, err := range map[string]error{
		"edge-agent: mqtt.tls: no: bad. ":        fmt.Errorf("start: %w", &contract.Error{Code: "mqtt.tls", Message: "no: bad"}),
		"edge-agent: ingest.credentials: none. ": fmt.Errorf("start: %w", &ingest.Error{Code: ingest.CodeCredentials, Message: "none"}),
		"edge-agent: decode.crash: gone. ":       fmt.Errorf("start: %w", &report.Error{Code: report.CodeCrash, Message: "gone"}),
		"edge-agent: demo.failed: no picture. ":  fmt.Errorf("demo: %w", &failure.Failure{Code: "demo.failed", Message: "no picture."}),
		"edge-agent: internal: odd. ":            fmt.Errorf("odd"),
	} {
		var out strings.Builder
		if status := printError(&out, err); status != exitFailed || !strings.HasPrefix(out.String(), want) {
			t.Errorf("status %d, %q, want it to begin with %q", status, out.String(), want)
		}
	}
}

func TestExplain(t *testing.T) {
	status, out, errs := run("explain", "kvs.media.4500")
	code, _ := contract.Lookup("kvs.media.4500")
	if status != exitOK || errs != "" || !strings.Contains(out, code.Summary) || !strings.Contains(out, code.Action) {
		t.Errorf("status %d, %q, %q", status, out, errs)
	}
	status, out, _ = run("explain")
	if status != exitOK || strings.Count(out, "\n") != len(contract.Codes()) {
		t.Errorf("status %d, the list has %d lines, the table %d codes", status, strings.Count(out, "\n"), len(contract.Codes()))
	}
	status, out, _ = run("explain", "decode")
	if status != exitOK || !strings.Contains(out, "decode.none ") || strings.Contains(out, "display.none") {
		t.Errorf("status %d, of decode: %q", status, out)
	}
}

func TestVersion(t *testing.T) {
	for _, args := range []string{"version", "--version"} {
		if status, out, _ := run(args); status != exitOK || !strings.HasPrefix(out, "edge-agent "+build.Version+" (commit ") {
			t.Errorf("%s: status %d, %q", args, status, out)
		}
	}
}
