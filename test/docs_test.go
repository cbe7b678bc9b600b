package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName     = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")
	testFunction = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
)

// Every test that a document names exists: what a document promises is held by it.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	have, named := map[string]bool{}, map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != ".." {
			return filepath.SkipDir
		}
		code, document := strings.HasSuffix(path, "_test.go"), strings.HasSuffix(path, ".md")
		if !code && !document {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if code {
			for _, m := range testFunction.FindAllSubmatch(text, -1) {
				have[string(m[1])] = true
			}
			return nil
		}
		for _, m := range testName.FindAllSubmatch(text, -1) {
			named[string(m[1])] = path
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(named) < 30 {
		t.Errorf("only %d tests are named", len(named))
	}
	for name, path := range named {
		if !have[name] {
			t.Errorf("%s names %s, which does not exist", path, name)
		}
	}
}
