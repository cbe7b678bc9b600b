package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// verdict is what became of a mutant.
type verdict string

const (
	killed   verdict = "killed"   // a test failed, or did not end
	survived verdict = "survived" // all passed
	broken   verdict = "broken"   // it does not compile, and counts for nothing
)

// Tests that take less than quick run first, all at once.
const quick = 2 * time.Second

// A mutant may take so many times what the tests took, and patience besides.
const (
	slower   = 5
	patience = 5 * time.Second
)

// try gives the verdict about a mutant.
func (p *testedPackage) try(ctx context.Context, m mutant) (verdict, error) {
	p.mu.Lock()
	v, ok := p.known[m.String()]
	p.mu.Unlock()
	if ok {
		return v, nil
	}
	work, err := os.MkdirTemp(p.work, "mutant-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	binary, err := p.build(ctx, work, m)
	v = broken
	if err == nil {
		v = p.judge(ctx, binary, m)
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return v, p.remember(m, v)
}

// build compiles the tests with the mutant in the place of its file.
func (p *testedPackage) build(ctx context.Context, work string, m mutant) (binary string, err error) {
	changed, overlay := filepath.Join(work, "changed.go"), filepath.Join(work, "overlay.json")
	binary = filepath.Join(work, "mutant.test")
	file := filepath.Join(p.folder, filepath.Base(m.file))
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{file: changed}})
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.WriteFile(changed, m.text, 0o600), os.WriteFile(overlay, text, 0o600)); err != nil {
		return "", err
	}
	return binary, p.command(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, ".").Run()
}

// judge runs the tests that reach the line of the mutant: the quick ones, and the others if those have not noticed.
// When none is known to reach it, it may be in a process that a test starts: all are run.
func (p *testedPackage) judge(ctx context.Context, binary string, m mutant) verdict {
	var first, then []test
	for _, t := range p.tests {
		switch {
		case !t.reaches(filepath.Base(m.file), m.line):
		case t.Took < quick:
			first = append(first, t)
		default:
			then = append(then, t)
		}
	}
	if len(first)+len(then) == 0 {
		then = p.tests
	}
	if p.fails(ctx, binary, first) || p.fails(ctx, binary, then) {
		return killed
	}
	return survived
}

// fails says that one of the tests fails, or does not end.
func (p *testedPackage) fails(ctx context.Context, binary string, tests []test) bool {
	if len(tests) == 0 {
		return false
	}
	limit := patience
	var names []string
	for _, t := range tests {
		limit += slower * t.Took
		names = append(names, t.Name)
	}
	ctx, end := context.WithTimeout(ctx, limit)
	defer end()
	cmd := p.command(ctx, binary, "-test.run", "^("+strings.Join(names, "|")+")$", "-test.failfast", "-test.timeout", "0")
	cmd.WaitDelay = time.Second // what a test has started may hold its output open
	// A property test that fails would leave its input in the tree, and try it again for ever.
	cmd.Env = append(os.Environ(), "RAPID_NOFAILFILE=true")
	return cmd.Run() != nil
}

// remember keeps a result, so that it outlives an interruption.
func (p *testedPackage) remember(m mutant, v verdict) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.known[m.String()] = v
	f, err := os.OpenFile(p.results, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", v, m)
	return errors.Join(err, f.Close())
}

func (p *testedPackage) readResults() error {
	f, err := os.Open(p.results)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		v, m, _ := strings.Cut(lines.Text(), " ")
		p.known[m] = verdict(v)
	}
	return lines.Err()
}
