// Package test holds what no single package owns: rules about all of the source,
// and tests of the whole way.
package test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/edge-agent/edge-agent"

// allowed is the import table of docs/architecture.md: what the files of a package may
// import besides the standard library, tests excepted. Names without a dot in their first part
// are packages of this module, the others are modules and stand for all below them.
var allowed = map[string][]string{
	"ingest/mkv": {"github.com/at-wat/ebml-go"},
	"ingest": {
		"ingest/mkv",
		"github.com/aws/aws-sdk-go-v2", "github.com/aws/smithy-go",
	},
	"ingest/kvstest": {
		"ingest/mkv", "ingest/kvstest/clip",
		"github.com/aws/aws-sdk-go-v2", "github.com/at-wat/ebml-go", "golang.org/x/time",
	},
	"ingest/kvstest/clip":      {},
	"ingest/kvstest/forms":     {"ingest/mkv", "github.com/at-wat/ebml-go"},
	"mqtt/statefile":           {"go.etcd.io/bbolt"},
	"decode/report":            {},
	"decode/system":            {"golang.org/x/sys"},
	"decode/timeline":          {},
	"decode/format":            {"ingest/mkv", "decode/report"},
	"decode/format/formattest": {},
	"decode/xserver":           {"decode/report"},
	"decode/drm":               {},
	"decode/quirk":             {"decode/format"},
	"decode/plan":              {"decode/format", "decode/quirk", "decode/report", "decode/xserver"},
	"decode": {
		"decode/report", "decode/system", "decode/timeline", "decode/format", "decode/xserver", "decode/quirk", "decode/plan", "decode/drm",
		"ingest/mkv", "mqtt/statefile", "golang.org/x/sys",
	},
	"gst": {
		"decode", "decode/drm", "decode/plan", "decode/report", "decode/system", "decode/timeline", "gst/sandbox", "github.com/go-gst", "golang.org/x/image",
	},
	"gst/sandbox": {
		"github.com/landlock-lsm/go-landlock", "github.com/elastic/go-seccomp-bpf", "kernel.org/pub/linux/libs/security/libcap/cap", "golang.org/x/sys",
	},
	"gst/sandbox/sandboxtest":    {"golang.org/x/sys"},
	"mqtt/contract":              {},
	"mqtt/contract/contracttest": {"github.com/santhosh-tekuri/jsonschema/v6"},
	"mqtt/secret":                {},
	"mqtt": {
		"mqtt/contract", "mqtt/secret", "mqtt/statefile", "github.com/eclipse/paho.mqtt.golang", "go.etcd.io/bbolt", "github.com/cenkalti/backoff/v5", "github.com/google/uuid",
		"golang.org/x/time",
	},
	"mqtt/brokertest":                  {"github.com/eclipse/paho.mqtt.golang"},
	"cmd/edge-agent/internal/web":      {"cmd/edge-agent/internal/terminal", "mqtt", "mqtt/contract", "github.com/prometheus/client_golang"},
	"cmd/edge-agent/internal/build":    {},
	"cmd/edge-agent/internal/terminal": {},
	"cmd/edge-agent/internal/failure":  {"ingest", "decode/report", "mqtt/contract"},
	"cmd/edge-agent/internal/config": {
		"ingest", "decode/plan", "decode/quirk", "decode/timeline", "mqtt", "mqtt/contract", "mqtt/secret", "github.com/BurntSushi/toml", "golang.org/x/sys",
	},
	"cmd/edge-agent/internal/logging": {"cmd/edge-agent/internal/config", "github.com/coreos/go-systemd"},
	"cmd/edge-agent/internal/capture": {"cmd/edge-agent/internal/failure", "ingest/mkv"},
	"cmd/edge-agent/internal/simulator": {
		"cmd/edge-agent/internal/config", "cmd/edge-agent/internal/failure", "ingest/kvstest", "ingest/kvstest/clip", "ingest/mkv", "github.com/BurntSushi/toml",
		"github.com/aws/aws-sdk-go-v2",
	},
	"cmd/edge-agent/internal/agent": {
		"cmd/edge-agent/internal/build", "cmd/edge-agent/internal/config", "cmd/edge-agent/internal/failure", "cmd/edge-agent/internal/web",
		"ingest", "ingest/mkv", "ingest/kvstest/clip", "decode", "decode/plan", "decode/quirk", "decode/report", "mqtt", "mqtt/contract", "mqtt/secret", "mqtt/statefile",
		"github.com/aws/aws-sdk-go-v2", "github.com/coreos/go-systemd", "github.com/google/uuid", "go.etcd.io/bbolt", "golang.org/x/sync",
	},
	"cmd/edge-agent": {
		"cmd/edge-agent/internal/agent", "cmd/edge-agent/internal/build", "cmd/edge-agent/internal/capture", "cmd/edge-agent/internal/config",
		"cmd/edge-agent/internal/failure", "cmd/edge-agent/internal/logging", "cmd/edge-agent/internal/simulator", "cmd/edge-agent/internal/terminal",
		"cmd/edge-agent/internal/web",
		"ingest", "ingest/kvstest", "ingest/kvstest/clip", "decode", "decode/format", "decode/plan", "decode/quirk", "decode/report", "mqtt", "mqtt/contract", "mqtt/secret",
		"mqtt/brokertest",
		"github.com/alecthomas/kong", "github.com/alecthomas/mango-kong", "github.com/muesli/roff", "github.com/aws/aws-sdk-go-v2", "github.com/BurntSushi/toml",
		"golang.org/x/sys", "golang.org/x/term",
	},
	"cmd/edge-agent-renderer":       {"decode", "gst"},
	"test":                          {},
	"test/kit":                      {},
	"test/elsewhere":                {},
	"test/mutate":                   {},
	"test/virtual-hardware/box":     {"ingest/kvstest", "mqtt", "mqtt/contract", "mqtt/brokertest"},
	"test/virtual-hardware/scanout": {},
	"test/bench": {
		"ingest", "ingest/mkv", "ingest/kvstest", "ingest/kvstest/clip", "decode", "decode/plan", "decode/system", "mqtt", "mqtt/contract", "mqtt/brokertest",
		"github.com/aws/aws-sdk-go-v2", "github.com/at-wat/ebml-go", "github.com/eclipse/paho.mqtt.golang", "golang.org/x/sys",
	},
}

// pure are the packages that must build and pass without a C compiler.
var pure = []string{"ingest/...", "decode/...", "mqtt/...", "cmd/edge-agent/..."}

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath string
	Name       string
	Standard   bool
	Imports    []string // of files that are not tests
	Module     *struct{ Path string }
	CgoFiles   []string
}

// goList runs go list in the root of the module.
func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Name,Standard,Imports,Module,CgoFiles"}, args...)...)
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	var packages []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func TestImportTable(t *testing.T) {
	for _, p := range goList(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		may, ok := allowed[name]
		if !ok {
			t.Errorf("package %s has no row in the import table", name)
			continue
		}
		for _, imported := range p.Imports {
			if !mayImport(may, imported) {
				t.Errorf("%s may not import %s", name, imported)
			}
		}
		if len(p.CgoFiles) > 0 && name != "gst" {
			t.Errorf("%s uses cgo, which only gst may", name)
		}
	}
}

func mayImport(may []string, imported string) bool {
	if inside, ok := strings.CutPrefix(imported, module+"/"); ok {
		return slices.Contains(may, inside)
	}
	if host, _, _ := strings.Cut(imported, "/"); !strings.Contains(host, ".") {
		return true // standard library, and C
	}
	return slices.ContainsFunc(may, func(m string) bool {
		return imported == m || strings.HasPrefix(imported, m+"/")
	})
}

func TestMayImport(t *testing.T) {
	may := []string{"ingest/mkv", "github.com/at-wat/ebml-go"}
	for imported, want := range map[string]bool{
		"fmt": true, "encoding/json": true, "C": true,
		module + "/ingest/mkv": true, module + "/ingest": false, module + "/ingest/mkv/deep": false,
		"github.com/at-wat/ebml-go": true, "github.com/at-wat/ebml-go/mkvcore": true,
		"github.com/at-wat/ebml-good": false, "golang.org/x/sync/errgroup": false,
	} {
		if got := mayImport(may, imported); got != want {
			t.Errorf("%s: %v, want %v", imported, got, want)
		}
	}
}

// What a package drags in through others counts too: nothing of AWS behind the decoder,
// no cgo but behind gst.
func TestTransitiveImports(t *testing.T) {
	for name, foreign := range map[string][]string{
		"ingest/mkv":     {module + "/ingest", module + "/decode", "github.com/aws/", "github.com/eclipse/"},
		"decode":         {module + "/ingest/kvstest", module + "/mqtt", "github.com/aws/", "github.com/eclipse/", "github.com/go-gst/"},
		"gst":            {module + "/mqtt", "github.com/aws/", "github.com/eclipse/"},
		"mqtt":           {module + "/ingest", module + "/decode", module + "/gst", "github.com/aws/", "github.com/go-gst/"},
		"cmd/edge-agent": {module + "/gst", "github.com/go-gst/"},
		"ingest":         {module + "/decode", module + "/mqtt", module + "/gst", "github.com/eclipse/", "github.com/go-gst/"},
	} {
		for _, p := range goList(t, "-deps", "./"+name) {
			if p.ImportPath == module+"/"+name {
				continue
			}
			for _, f := range foreign {
				if p.ImportPath == f || strings.HasSuffix(f, "/") && strings.HasPrefix(p.ImportPath, f) {
					t.Errorf("%s depends on %s", name, p.ImportPath)
				}
			}
		}
	}
}

func TestBuildsWithoutCgo(t *testing.T) {
	args := []string{"build", "-race=false"} // which needs cgo
	for _, p := range pure {
		args = append(args, "./"+p)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", cmd, err, out)
	}
}

// Every module in one of the two binaries is in NOTICE.
func TestNoticeIsComplete(t *testing.T) {
	notice, err := os.ReadFile("../NOTICE")
	if err != nil {
		t.Fatal(err)
	}
	modules := map[string]bool{}
	for _, p := range goList(t, "-deps", "./cmd/edge-agent", "./cmd/edge-agent-renderer") {
		if p.Module != nil && p.Module.Path != module {
			modules[p.Module.Path] = true
		}
	}
	for path := range modules {
		if strings.HasPrefix(path, "github.com/aws/aws-sdk-go-v2/") {
			path = "github.com/aws/aws-sdk-go-v2 and the modules below it"
		}
		if !strings.Contains(string(notice), "\n"+path) {
			t.Errorf("NOTICE does not name %s, which is in a binary", path)
		}
	}
}
