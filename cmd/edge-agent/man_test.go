package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
)

// The manual pages name every command and every key, are the same for the same date, and roff has nothing against them.
func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	_, first, stderr := run("__man", "1")
	for _, want := range []string{"2023-11-14", "run [flags]", "check [flags]", "status [flags]", "config <command>", "ctl ", "edge-agent\\&.toml(5)"} {
		if !strings.Contains(first, want) {
			t.Errorf("edge-agent(1) lacks %q: %s", want, stderr)
		}
	}
	_, fifth, stderr := run("__man", "5")
	for _, key := range config.Keys() {
		dot := strings.LastIndex(key, ".")
		table, name := key[:dot], key[dot+1:]
		if !strings.Contains(fifth, "\n.B "+name+" = ") || !strings.Contains(fifth, "["+table+"]") {
			t.Errorf("edge-agent.toml(5) lacks %s: %s", key, stderr)
		}
	}
	for section, page := range map[string]string{"1": first, "5": fifth} {
		if _, again, _ := run("__man", section); again != page {
			t.Errorf("section %s is another one the second time", section)
		}
		groff, err := exec.LookPath("groff")
		if err != nil {
			t.Skip("groff is not installed: nothing reads the pages")
		}
		cmd := exec.Command(groff, "-man", "-ww", "-z", "-Tutf8", "-k")
		cmd.Stdin = strings.NewReader(page)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("section %s: %v\n%s", section, err, out)
		}
	}
}
