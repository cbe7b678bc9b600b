package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// Whatever looks like a code in the sources is in the code table, so that
// `edge-agent explain` knows it.
func TestEveryCodeIsInTheTable(t *testing.T) {
	like, isKey := codePattern(), configKeys(t)
	seen := map[string]bool{}
	for _, path := range goSources(t) {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, ok := n.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil || !like.MatchString(text) || isKey[text] {
				return true
			}
			seen[text] = true
			if _, ok := contract.Lookup(text); !ok {
				t.Errorf("%s uses the code %q, which is not in the table", path, text)
			}
			return true
		})
	}
	if !seen["config.unknown_key"] || !seen["capture.truncated"] {
		t.Error("codes that are in use were not found: the search is broken")
	}
}

// configKeys are the keys of the configuration, some of which begin like a code.
func configKeys(t *testing.T) map[string]bool {
	t.Helper()
	meta, err := toml.DecodeFile("../config.toml", new(map[string]any))
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, key := range meta.Keys() {
		keys[key.String()] = true
	}
	return keys
}

// codePattern matches an area of the table with anything behind it.
func codePattern() *regexp.Regexp {
	areas := map[string]bool{}
	for _, c := range contract.Codes() {
		if i := strings.LastIndexByte(c.Code, '.'); i > 0 {
			areas[regexp.QuoteMeta(c.Code[:i])] = true
		}
	}
	var names []string
	for area := range areas {
		names = append(names, area)
	}
	return regexp.MustCompile(`^(` + strings.Join(names, "|") + `)\.[a-zA-Z0-9_.]*[a-zA-Z0-9_]$`)
}

// goSources lists the Go files of the program: no tests, and not the benchmarks, whose files
// have names that look like codes.
func goSources(t *testing.T) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasPrefix(path, "../test/") && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil || len(paths) == 0 {
		t.Fatalf("no sources: %v", err)
	}
	return paths
}
