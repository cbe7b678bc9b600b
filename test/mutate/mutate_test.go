package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module writes a package with tests and goes there.
func module(t *testing.T, code, tests string) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("GOFLAGS", "")
	for name, text := range map[string]string{"go.mod": "module m\n\ngo 1.26\n", "m.go": code, "m_test.go": tests} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// whats are the faults of a function's body, without their places.
func whats(t *testing.T, body string) (all []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "m.go")
	if err := os.WriteFile(file, []byte("package m\n\nfunc f() {\n"+body+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found, err := mutants(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range found {
		all = append(all, m.what)
	}
	slices.Sort(all)
	return all
}

func TestMutants(t *testing.T) {
	for body, want := range map[string][]string{
		"g()": {"without g()"},
		"if a && b { return }": {
			"always false: a && b", "always true: a && b", "without if a && b { return }", "without return", "|| instead of && in a && b",
		},
		"x = a <= 8": {
			"4 instead of 8", "9 instead of 8", "< instead of <= in a <= 8", "> instead of <= in a <= 8", "without x = a <= 8",
		},
		"x := true":                      {"false instead of true"},
		"x := min(a, b) + c":             {"- instead of + in min(a, b) + c", "max instead of min"},
		"switch a { case b, c: g() }":    {"case without b", "case without c", "without g()"},
		"x := T{A: a, B: b}":             {"without the element A: a", "without the element B: b"},
		`x := "word"`:                    {`"mutant" instead of "word"`},
		`x := "two words"`:               nil,
		"log.Info(a)":                    nil,
		"s.log.Warn(a)":                  nil,
		"s.log.Close()":                  {"without s.log.Close()"},
		"defer g(); go h(); i++; c <- a": {"without c <- a", "without defer g()", "without go h()", "without i++"},
		"select { case <-a: g() }":       {"without g()"},
		"for { if a == 0 { continue } }": {"!= instead of == in a == 0", "1 instead of 0", "always false: a == 0", "always true: a == 0", "without continue", "without if a == 0 { continue }"},
	} {
		if got := whats(t, body); !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", body, got, want)
		}
	}
}

// A fault is noticed when a test fails, or does not end; one that does not compile counts for nothing; and the tree
// stays as it is.
func TestVerdicts(t *testing.T) {
	module(t, `package m

import "os"

func Add(a, b int) int {
	if a > 1000 {
		return -1
	}
	return a + b
}

func Count() (n int) {
	for n < 10 {
		n++
	}
	return n
}

var _ = os.Args
`, `package m

import "testing"

func TestAdd(t *testing.T) {
	if Add(2, 3) != 5 {
		t.Error("wrong")
	}
}

func TestCount(t *testing.T) {
	if Count() != 10 {
		t.Error("wrong")
	}
}
`)
	before := readAll(t)
	var out strings.Builder
	k := task{workers: 2, cache: t.TempDir()}
	if err := k.run(t.Context(), []string{"."}, &out); err != nil {
		t.Fatal(err)
	}
	want := `m.go:6:2: without if a > 1000 { return -1 }
m.go:6:7: >= instead of > in a > 1000
m.go:6:9: 1001 instead of 1000
m.go:6:9: 500 instead of 1000
m.go:6:2: always false: a > 1000
m.go:7:11: 2 instead of 1
m.go:7:3: without return -1`
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	found := slices.Sorted(slices.Values(lines[1 : len(lines)-3]))
	expected := slices.Sorted(slices.Values(strings.Split(want, "\n")))
	if !slices.Equal(found, expected) {
		t.Errorf("survivors:\n%s\nwant\n%s", strings.Join(found, "\n"), strings.Join(expected, "\n"))
	}
	score := strings.Fields(lines[len(lines)-1])
	if len(score) != 4 || score[0] != "m.go" || score[1] != "8" || score[2] != "15" || score[3] != "53" {
		t.Errorf("the score is %q", score)
	}
	if after := readAll(t); after != before {
		t.Errorf("the tree was changed: %s", after)
	}
	out.Reset()
	if err := k.run(t.Context(), []string{"m.go"}, &out); err != nil || strings.Count(out.String(), "\n") != len(lines)-1 {
		t.Errorf("what is known is not tried again, but told: %v %s", err, out.String())
	}
}

func readAll(t *testing.T) (all string) {
	t.Helper()
	files, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all += file + "\n" + string(text)
	}
	return all
}

// Tests that fail by themselves judge nothing; those that fail together end it.
func TestFailingTests(t *testing.T) {
	module(t, "package m\n\nvar N = 1\n", "package m\n\nimport \"testing\"\n\nvar runs int\n\n"+
		"func TestA(t *testing.T) {\n\tif runs++; runs > 1 || N != 1 {\n\t\tt.Error(runs)\n\t}\n}\n\n"+
		"func TestB(t *testing.T) { TestA(t) }\n\nfunc TestC(t *testing.T) { t.Error(N) }\n")
	k := task{workers: 1, cache: t.TempDir()}
	var out strings.Builder
	if err := k.run(t.Context(), []string{"."}, &out); err == nil || !strings.Contains(err.Error(), "fail together") {
		t.Errorf("%v %s", err, out.String())
	}
}

func TestSample(t *testing.T) {
	all := make([]mutant, 100)
	for i := range all {
		all[i].line = i
	}
	a, b, other := task{sample: 10, seed: 1}.chosen(all), task{sample: 10, seed: 1}.chosen(all), task{sample: 10, seed: 2}.chosen(all)
	lines := func(ms []mutant) (l []int) {
		for _, m := range ms {
			l = append(l, m.line)
		}
		return l
	}
	if !slices.Equal(lines(a), lines(b)) || slices.Equal(lines(a), lines(other)) || len(a) != 10 || !slices.IsSorted(lines(a)) {
		t.Errorf("%v, again %v, with another seed %v", lines(a), lines(b), lines(other))
	}
}
