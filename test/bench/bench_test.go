package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The service of a bench, and what pulls from it, is the program itself, which under test is the test's.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && (os.Args[1] == serveCommand || os.Args[1] == pullCommand) {
		main()
		return
	}
	os.Exit(m.Run())
}

// A whole bench, as short as can be, gives every row a ratio.
func TestQuickBench(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes half a minute")
	}
	for _, program := range []string{"gst-launch-1.0", "ffmpeg", "Xvfb", curl} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	agent := filepath.Join(t.TempDir(), "edge-agent")
	// Built as the test is, so that cgo is compiled only once.
	build := exec.Command("go", "build", fmt.Sprintf("-race=%t", raceDetector), "-o", agent, "../../cmd/edge-agent")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var table, log strings.Builder
	if err := run(t.Context(), agent, quick, &table, &log); err != nil {
		t.Errorf("%v\n%s", err, log.String())
	}
	t.Log("\n" + table.String())
	rows, _, _ := strings.Cut(table.String(), "\n\n")
	want := 0
	for _, c := range (&bench{service: &service{}}).contests() {
		want += len(c.rows)
	}
	if n := strings.Count(rows, "\n"); n != want {
		t.Errorf("the table has %d rows of %d", n, want)
	}
	if strings.Contains(rows, "not measured") {
		t.Error("a row was not measured")
	}
}

func TestRatiosAreTakenRoundByRound(t *testing.T) {
	// The machine was half as fast in the second round, for both.
	rounds := []round{
		{ours: {"cpu": 1}, "peer": {"cpu": 2}},
		{ours: {"cpu": 2}, "peer": {"cpu": 4}},
		{ours: {"cpu": 3}, "peer": {"cpu": 2}},
	}
	l := row{figure: "cpu", peer: "peer", aim: 1}.line(rounds)
	if l.ours != 2 || l.theirs != 2 || l.ratio != 0.5 || l.low != 0.5 || l.high != 1.5 {
		t.Errorf("%+v", l)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		ratio, aim float64
		want       string
	}{
		{0, 1, "not measured"},
		{3, 0, ""},
		{0.9, 1, "reached"},
		{1.004, 1, "reached"}, // it is printed as 1.00
		{1.006, 1, "missed"},
	} {
		if got := (line{row: row{aim: c.aim}, ratio: c.ratio}).verdict(); got != c.want {
			t.Errorf("ratio %v, aim %v: %q, want %q", c.ratio, c.aim, got, c.want)
		}
	}
}

func TestMedian(t *testing.T) {
	if m := median([]float64{9, 1, 2}); m != 2 {
		t.Errorf("of three: %v", m)
	}
	if m := median([]float64{4, 1, 2, 9}); m != 3 {
		t.Errorf("of four: %v", m)
	}
}

func TestParseStat(t *testing.T) {
	// The name may hold brackets and blanks.
	got := parseStat("42 (a) b (c) S 7 42 42 0 -1 4194304 100 200 0 0 11 22 33 44 20 0 1 0 500 1000 10")
	if want := (stat{pid: 42, parent: 7, ticks: 110}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What a child takes counts with its parent.
func TestUsageOfTree(t *testing.T) {
	child := command(t.Context(), "sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer end(child)
	alone, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tree, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if alone.full == 0 || alone.share == 0 || tree.full <= alone.full {
		t.Errorf("with a child %+v, of which this process is %+v", tree.memory, alone)
	}
}
