package contract

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/test/kit"
)

// The list of codes may only grow at its end; -update does not help to remove one.
func TestCodesAreAppendOnly(t *testing.T) {
	var codes strings.Builder
	for _, c := range Codes() {
		codes.WriteString(c.Code + "\n")
	}
	published, err := os.ReadFile("testdata/codes.txt")
	if err != nil && !kit.Updating() {
		t.Fatal(err)
	}
	if !strings.HasPrefix(codes.String(), string(published)) {
		t.Fatal("a code of testdata/codes.txt was removed, renamed or moved; fleets match on them")
	}
	kit.Golden(t, "codes.txt", string([]byte(codes.String())))
}

func TestEveryCodeSaysWhatHappenedAndWhatToDo(t *testing.T) {
	for _, c := range Codes() {
		switch c.Severity {
		case SeverityInfo, SeverityWarning, SeverityError:
		default:
			t.Errorf("%s: severity %q", c.Code, c.Severity)
		}
		for _, text := range []string{c.Summary, c.Action} {
			if !strings.HasSuffix(text, ".") || len(text) > 200 {
				t.Errorf("%s: not a short sentence: %q", c.Code, text)
			}
		}
	}
}

func TestACodeCannotBeListedTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a table with the same code twice is accepted")
		}
	}()
	indexCodes([]Code{{Code: "a.b"}, {Code: "c"}, {Code: "a.b"}})
}

func TestLookup(t *testing.T) {
	tests := []struct {
		code, summary string
		found         bool
	}{
		{"mqtt.tls", "No secure connection", true},
		{"kvs.media.4500", "Access to the stream's KMS key", true},
		{"kvs.media.3000", "an error that the agent does not know", true},
		{"kvs.http.ResourceNotFoundException", "The stream does not exist", true},
		{"kvs.http.SomethingNewException", "an error that the agent does not know", true},
		{"kvs.media.", "", false},
		{"kvs.media.x1", "", false},
		{"kvs.http.", "", false},
		{"kvs.http.4Exception", "", false},
		{"kvs.http.a b", "", false},
		{"kvs.http.503", "not available", true},
		{"kvs.http.418", "an error that the agent does not know", true},
		{"kvs.http.5033", "", false},
		{"kvs.http.Parameter.Malformed", "an error that the agent does not know", true},
		{"kvs.http." + strings.Repeat("A", 64), "an error that the agent does not know", true},
		{"kvs.http." + strings.Repeat("A", 65), "", false},
		{"mqtt", "", false},
		{"", "", false},
	}
	for _, test := range tests {
		c, found := Lookup(test.code)
		if found != test.found || found && (c.Code != test.code || !strings.Contains(c.Summary, test.summary)) {
			t.Errorf("Lookup(%q) = %+v, %v", test.code, c, found)
		}
	}
}

// namedCode is a code as documents for users write it; keys of the configuration look alike.
var namedCode = regexp.MustCompile("`((?:ingest|kvs|decode|display|mqtt|agent|storage|control|check)\\.[A-Za-z0-9_.]+)`")

// Every code that a document names is one, or a key of the configuration.
func TestDocumentsNameCodesThatExist(t *testing.T) {
	config, err := os.ReadFile("../../config.toml")
	if err != nil {
		t.Fatal(err)
	}
	documents, _ := filepath.Glob("../../docs/*.md")
	named := 0
	documents = slices.DeleteFunc(documents, func(path string) bool { return strings.HasSuffix(path, "/architecture.md") }) // it names Go
	for _, path := range append(documents, "../../README.md", "../../CHANGELOG.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range namedCode.FindAllStringSubmatch(string(text), -1) {
			named++
			table, key, _ := strings.Cut(m[1], ".")
			isKey := strings.Contains(string(config), "["+table+"]") && strings.Contains(string(config), "\n"+key+" = ")
			if _, ok := Lookup(m[1]); !ok && !isKey {
				t.Errorf("%s names %s, which does not exist", path, m[1])
			}
		}
	}
	if named < 50 {
		t.Errorf("only %d codes are named", named)
	}
}
