package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigLimits(t *testing.T) {
	many := func(s string) string { return strings.Repeat(s, maxSize/len(s)-50) }
	for name, test := range map[string]struct {
		text string
		line int
	}{
		"dotted key":           {"# one\n" + many("a.") + "a = 1", 2},
		"spaced dotted key":    {many("a . ") + "a = 1", 1},
		"quoted dotted key":    {many(`"a".`) + "a = 1", 1},
		"dotted table":         {"\n\n[" + many("a.") + "a]", 3},
		"lists":                {"a = " + many("["), 1},
		"lists over lines":     {"a = " + many("[\n"), maxNesting + 1},
		"inline tables":        {"a = " + many("{a="), 1},
		"behind an escape":     {`a = "\""` + "\nb = " + many("["), 2},
		"behind a long text":   {"a = '''\n'' \" \n'''\nb = " + many("["), 4},
		"behind a literal":     {`a = '\'` + "\nb = " + many("["), 2},
		"behind a comment":     {"# \"\"\"\nb = " + many("["), 2},
		"behind an empty text": {"a = \"\"\nb = " + many("["), 2},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("x.toml", test.text)
			var fault *Error
			if !errors.As(err, &fault) || fault.Code != "config.syntax" || fault.Line != test.line || !strings.Contains(fault.Message, "nested") {
				t.Errorf("got %.300v", err)
			}
		})
	}
}

// What stands in strings and comments is not nesting, and brackets that are closed do not add up.
func TestConfigLimitsLeaveTextAlone(t *testing.T) {
	deep := strings.Repeat("[", 99) + strings.Repeat("a.", 99)
	for _, text := range []string{
		"# " + deep, `a = "` + deep + `"`, "a = '" + deep + "'", "a = \"\"\"\n" + deep + "\n\\\"\"\" \"\"\"", "a = '''\n" + deep + "\n'''",
		"a = [" + strings.Repeat("[1.5], ", 99) + "]", "a = [" + strings.Repeat("1.5, ", 99) + "]", strings.Repeat("a.b = 1\n", 99),
	} {
		if line := CheckNesting(text); line != 0 {
			t.Errorf("line %d of %s", line, text)
		}
	}
}

func TestALargeConfigIsNotRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(path, []byte(strings.Repeat("# a comment\n", maxSize/10)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{path, "/dev/zero"} {
		_, err := Load(path)
		var fault *Error
		if !errors.As(err, &fault) || fault.Code != CodeUnreadable || !strings.Contains(fault.Message, "256 KiB") {
			t.Errorf("%s: %v", path, err)
		}
	}
}
