package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/kit"
)

func TestComplete(t *testing.T) {
	for line, want := range map[string]string{
		"ct":                             "ctl",
		"ctl see":                        "seek",
		"ctl --broker mqtt://a --id b s": "status start stop seek show set snapshot",
		"ctl --broker seek":              "", // it is the value of the flag
		"ctl --json see":                 "seek",
		"ctl seek ":                      "",
		"ctl seek door ":                 "now earliest fragment: server: producer:",
		"ctl seek door fragment:":        "",
		"ctl seek door now ":             "",
		"ctl --sign":                     "--sign-key",
		"ctl seek --sign":                "--sign-key",
		"ctl watch --pref":               "--prefix",
		"ctl --sign-key ":                ":files",
		"ctl --sign-key=a":               ":files",
		"ctl snapshot door -o ":          ":files",
		"ctl set --log-level ":           "debug info warn error",
		"ctl set --log-level=w":          "--log-level=warn",
		"ctl set --decode-order va,so":   "va,software",
		"ctl set --decode-order=va,so":   "--decode-order=va,software",
		"ctl --no-such-flag=":            "",
		"explain kvs.media.4500":         "kvs.media.4500",
		"ctl explain decode.cr":          "decode.crash",
		"inspect ":                       ":files",
		"inspect --":                     "--help --json",
		"run --config ":                  ":files",
		"completion ":                    "bash zsh fish",
		"render":                         "", // hidden
		"version ":                       "",
		"no-such-command --he":           "--help",
	} {
		status, out, errs := run(append([]string{"__complete", "fish"}, strings.Split(line, " ")...)...)
		var got []string
		for l := range strings.Lines(out) {
			word, _, _ := strings.Cut(l, "\t")
			got = append(got, word)
		}
		if status != exitOK || errs != "" || strings.Join(got, " ") != want {
			t.Errorf("%s: status %d, %q, %q, want %s", line, status, got, errs, want)
		}
	}
	if _, out, _ := run("__complete", "zsh", "explain", ""); strings.Count(out, "\n") != len(contract.Codes()) {
		t.Errorf("%d codes", strings.Count(out, "\n"))
	}
	if status, _, _ := run("__complete", "zsh"); status != exitUsage {
		t.Errorf("without a word: status %d", status)
	}
}

// bash cuts words at = and :, whose last part alone is what it completes.
func TestWordsAsBashCutsThem(t *testing.T) {
	for split, want := range map[string]string{
		"ctl see":                         "seek",
		"ctl --broker mqtts : // a : 1 s": "status start stop seek show set snapshot",
		"ctl set --log-level = w":         "warn",
		"ctl set --log-level =":           "debug info warn error",
		"ctl seek door producer : 20":     "",
		"ctl seek door producer :":        "",
		"ctl --ca =":                      ":files",
	} {
		_, out, _ := run(append([]string{"__complete", "bash"}, strings.Fields(split)...)...)
		var got []string
		for l := range strings.Lines(out) {
			word, _, _ := strings.Cut(l, "\t")
			got = append(got, word)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %s", split, got, want)
		}
	}
}

// Whatever stands on the command line, completing it is no reason to fail.
func TestCompleteAnything(t *testing.T) {
	words := rapid.SliceOfN(rapid.OneOf(
		rapid.SampledFrom([]string{
			"", "-", "--", "=", ":", "::", "=:", ",", "--=", "--ca", "--ca=", "-o", "-o=", "ctl", "set", "seek", "snapshot", "explain", "inspect",
			"--json", "--decode-order", "--decode-order=va,", "a,b,", "fragment:", "producer:1", "--no-such", "__complete",
		}),
		rapid.String(),
	), 1, 6)
	var g grammar
	parser, err := newParser(&g, stdio{}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		split := words.Draw(t, "words")
		joined, cut := unsplit(split)
		last := joined[len(joined)-1]
		if !strings.HasPrefix(last, cut) || strings.Join(joined, "") != strings.Join(split, "") {
			t.Fatalf("bash's %q is %q, cut at %q", split, joined, cut)
		}
		for _, w := range [][]string{split, joined} {
			for _, c := range complete(parser.Model.Node, w) {
				if c != files && !strings.HasPrefix(c.text, w[len(w)-1]) {
					t.Fatalf("%q becomes %q", w, c.text)
				}
			}
		}
	})
}

// Every list that the grammar names is known to the completion, and no verb is left out.
func TestTheGrammarIsCompleted(t *testing.T) {
	var g grammar
	parser, err := newParser(&g, stdio{}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	err = kong.Visit(parser.Model, func(node kong.Visitable, next kong.Next) error {
		if v, ok := node.(*kong.Value); ok && v.Tag.Get("complete") != "" && len(listed(v)) == 0 {
			t.Errorf("%s: nobody knows the list %q", v.Summary(), v.Tag.Get("complete"))
		}
		return next(nil)
	})
	if err != nil {
		t.Fatal(err)
	}
	_, out, _ := run("__complete", "zsh", "ctl", "")
	for _, v := range contract.Verbs() {
		if !strings.Contains("\n"+out, "\n"+string(v)+"\t") {
			t.Errorf("%s is no completion of ctl", v)
		}
	}
}

// A person sits before a real shell, writes a part of a word and presses the tab key.
func TestShellsComplete(t *testing.T) {
	const posix = `; edge-agent() { if [ "$1" = __complete ]; then command edge-agent "$@"; else printf '<%s>' "ran $*"; fi; }`
	const fish = `; function edge-agent; if test "$argv[1]" = __complete; command edge-agent $argv; else; printf '<%s>' "ran $argv"; end; end`
	for name, shell := range map[string]struct {
		args []string
		load string // the completion, and a function that shows what would have been run
	}{
		"bash":            {[]string{"bash", "--norc", "--noprofile", "-i"}, `source <(edge-agent completion bash)` + posix},
		"zsh":             {[]string{"zsh", "-f", "-i"}, `autoload -U compinit; compinit -D; source <(edge-agent completion zsh)` + posix},
		"zsh's functions": {[]string{"zsh", "-f", "-i"}, `edge-agent completion zsh > _edge-agent; fpath+=$PWD; autoload -U compinit; compinit -D` + posix},
		"fish":            {[]string{"fish", "--no-config", "-i"}, `edge-agent completion fish | source` + fish},
	} {
		t.Run(name, func(t *testing.T) {
			s := startShell(t, shell.args)
			s.write(shell.load + "; printf '<%s>' ready\r")
			s.until("<ready>")
			for typed, want := range map[string]string{
				"ctl snap\tgate":                     "ctl snapshot gate",
				"ctl --bro\tmqtt://127.0.0.1 wat\t":  "ctl --broker mqtt://127.0.0.1 watch",
				"explain decode.cra\t":               "explain decode.crash",
				"ctl seek gate prod\t2026":           "ctl seek gate producer:2026",
				"ctl set --log-level=deb\t":          "ctl set --log-level=debug",
				"ctl set --decode-order va,softw\t":  "ctl set --decode-order va,software",
				"inspect a-capt\t":                   "inspect a-capture.mkv",
				"ctl --ca=a-capt\t":                  "ctl --ca=a-capture.mkv",
				"completion fis\t":                   "completion fish",
				"ctl --password-file a-capt\tstat\t": "ctl --password-file a-capture.mkv status",
			} {
				s.write("edge-agent " + typed + "\r")
				s.until(fmt.Sprintf("<ran %s>", want))
			}
		})
	}
}

// shell is an interactive shell on a terminal of its own.
type shell struct {
	t        *testing.T
	terminal *os.File
	ended    chan struct{}
	mu       sync.Mutex
	out      bytes.Buffer
	more     chan struct{}
}

// startShell runs a shell where edge-agent is in the PATH and a file in the folder.
func startShell(t *testing.T, args []string) *shell {
	t.Helper()
	path, err := exec.LookPath(args[0])
	if err != nil {
		t.Skipf("%v (Debian package %s)", err, args[0])
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, bin := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a-capture.mkv"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "edge-agent")); err != nil {
		t.Fatal(err)
	}
	master, slave := openTerminal(t)
	cmd := exec.Command(path, args[1:]...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(os.Environ()), "PATH="+bin+":"+os.Getenv("PATH"), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir, "TERM=xterm", "PS1=> ", "LC_ALL=C.UTF-8",
		"GORACE=atexit_sleep_ms=0") // or every press of the key would take a second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	slave.Close()
	if err != nil {
		t.Fatal(err)
	}
	s := &shell{t: t, terminal: master, ended: make(chan struct{}), more: make(chan struct{}, 1)}
	go s.read()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		master.Close()
		<-s.ended
		if t.Failed() {
			t.Logf("%s said:\n%q", path, s.out.String())
		}
	})
	return s
}

// openTerminal makes a pseudo-terminal.
func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 50, Col: 300})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func (s *shell) read() {
	defer close(s.ended)
	buffer := make([]byte, 4096)
	for {
		n, err := s.terminal.Read(buffer)
		if err != nil { // EIO once the shell is gone
			return
		}
		s.mu.Lock()
		s.out.Write(buffer[:n])
		s.mu.Unlock()
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
}

func (s *shell) write(text string) {
	s.t.Helper()
	if _, err := s.terminal.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// until waits for a text on the terminal.
func (s *shell) until(text string) {
	s.t.Helper()
	late := time.After(kit.Patience)
	for {
		s.mu.Lock()
		seen := strings.Contains(s.out.String(), text)
		s.mu.Unlock()
		if seen {
			return
		}
		select {
		case <-s.more:
		case <-late:
			s.t.Fatalf("%s did not come", text)
		}
	}
}
