package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// testedPackage is a package with what its tests reach.
type testedPackage struct {
	folder string // absolute
	work   string // a folder for what is built
	tests  []test // the fastest first

	results string // file, one result a line
	mu      sync.Mutex
	known   map[string]verdict
}

// test is one test of a package, unchanged.
type test struct {
	Name  string
	Took  time.Duration
	Lines map[string][]span // that it reaches, by file name
}

// span is from one line to another one, both included.
type span struct{ From, To int }

func (t test) reaches(file string, line int) bool {
	return slices.ContainsFunc(t.Lines[file], func(s span) bool { return s.From <= line && line <= s.To })
}

// openPackage finds out what the tests of a package reach, which takes as long as all of them, or remembers it.
func openPackage(ctx context.Context, folder, cache string, out io.Writer) (p *testedPackage, err error) {
	p = &testedPackage{known: map[string]verdict{}}
	if p.folder, err = filepath.Abs(folder); err != nil {
		return nil, err
	}
	sum, err := hashOf(p.folder)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	if p.work, err = os.MkdirTemp("", "mutate-"); err != nil {
		return nil, err
	}
	base := filepath.Join(cache, filepath.Base(p.folder)+"-"+sum)
	p.results = base + ".results"
	if err := p.readResults(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if text, err := os.ReadFile(base + ".coverage"); err == nil {
		return p, json.Unmarshal(text, &p.tests)
	}
	fmt.Fprintf(out, "%s: every test once, to see what it reaches\n", folder)
	if err := p.cover(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	text, err := json.Marshal(p.tests)
	if err == nil {
		err = os.WriteFile(base+".coverage", text, 0o644)
	}
	return p, err
}

func (p *testedPackage) close() error { return os.RemoveAll(p.work) }

// hashOf is of all Go files of a folder.
func hashOf(folder string) (string, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n", filepath.Base(file), len(text))
		sum.Write(text)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8]), nil
}

// cover runs every test by itself. One that fails by itself is left out.
func (p *testedPackage) cover(ctx context.Context) error {
	binary := filepath.Join(p.work, "covered.test")
	if out, err := p.command(ctx, "go", "test", "-c", "-cover", "-vet=off", "-o", binary, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	list, err := p.command(ctx, binary, "-test.list", "^(Test|Example|Fuzz)").Output()
	if err != nil {
		return err
	}
	profile := filepath.Join(p.work, "profile")
	for name := range strings.FieldsSeq(string(list)) {
		began := time.Now()
		err := p.command(ctx, binary, "-test.run", "^"+name+"$", "-test.coverprofile", profile).Run()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text, missing := os.ReadFile(profile)
		_ = os.Remove(profile)
		if err == nil && missing == nil {
			p.tests = append(p.tests, test{name, time.Since(began), linesOf(text)})
		}
	}
	slices.SortStableFunc(p.tests, func(a, b test) int { return cmp.Compare(a.Took, b.Took) })
	var fast []test
	for _, t := range p.tests {
		if t.Took < quick {
			fast = append(fast, t)
		}
	}
	if p.fails(ctx, binary, fast) { // then every mutant would
		return errors.New("the tests that take less than " + quick.String() + " fail together, in unchanged code")
	}
	return nil
}

// command runs in the folder of the package, as go test does.
func (p *testedPackage) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = p.folder
	return cmd
}

// linesOf reads a coverage profile: lines of "module/path/file.go:12.34,56.78 statements count".
func linesOf(profile []byte) map[string][]span {
	lines := map[string][]span{}
	for line := range bytes.Lines(profile) {
		path, rest, ok := strings.Cut(string(line), ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) != 3 || fields[2] == "0" {
			continue
		}
		from, to, _ := strings.Cut(fields[0], ",")
		name := path[strings.LastIndexByte(path, '/')+1:]
		lines[name] = append(lines[name], span{number(from), number(to)})
	}
	return lines
}

// number is the line of "line.column".
func number(position string) int {
	line, _, _ := strings.Cut(position, ".")
	n, _ := strconv.Atoi(line)
	return n
}

func mapKeys[K comparable, V any](m map[K]V) iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
