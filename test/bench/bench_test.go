package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// The roles are taken by the program itself, which under test is the test's.
func TestMain(m *testing.M) {
	if played, err := play(os.Args[1:]); err != nil {
		fail(err)
	} else if !played {
		os.Exit(m.Run())
	}
}

// A whole bench, as short as can be, gives every row a ratio.
func TestQuickBench(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute or two")
	}
	for _, program := range []string{"gst-launch-1.0", "ffmpeg", "Xvfb", curl} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip(err)
		}
	}
	folder := t.TempDir()
	agent := filepath.Join(folder, "edge-agent")
	// Built as the test is, so that cgo is compiled only once.
	build := exec.Command("go", "build", fmt.Sprintf("-race=%t", raceDetector), "-o", folder+"/", "../../cmd/edge-agent", "../../cmd/edge-agent-renderer")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, only := range []string{"", "lasting"} {
		e := quick
		e.only = only
		var table, log strings.Builder
		if err := run(t.Context(), agent, e, &table, &log); err != nil {
			t.Errorf("%v\n%s", err, log.String())
		}
		t.Log("\n" + table.String())
		rows, _, _ := strings.Cut(table.String(), "\n\n")
		contests, err := (&bench{extent: e}).wanted()
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		for _, c := range contests {
			want += len(c.rows)
		}
		if n := strings.Count(rows, "\n"); n != want {
			t.Errorf("the table has %d rows of %d", n, want)
		}
		if strings.Contains(rows, "not measured") {
			t.Error("a row was not measured")
		}
	}
}

func TestUnknownContest(t *testing.T) {
	e := quick
	e.only = "sleeping"
	if err := run(t.Context(), "edge-agent", e, io.Discard, io.Discard); err == nil || !strings.Contains(err.Error(), "watching") {
		t.Errorf("%v", err)
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

// A row without an aim hides a fault for as long as nobody thinks about its figure.
func TestEveryRowHasAnAim(t *testing.T) {
	names := map[string]bool{}
	for _, c := range (&bench{extent: full}).contests() {
		for _, r := range c.rows {
			if r.aim == 0 && r.most == 0 && !r.zero {
				t.Errorf("%s, %q: no aim", c.name, r.name)
			}
			if names[r.name+r.peer] {
				t.Errorf("%s, %q: there are two of that name", c.name, r.name)
			}
			names[r.name+r.peer] = true
		}
	}
}

func TestTimesAreNoRatios(t *testing.T) {
	rounds := []round{
		{ours: {"wait": 100}, "peer": {"wait": 50}},
		{ours: {"wait": 120}, "peer": {"wait": 60}},
		{ours: {"wait": 400}, "peer": {"wait": 200}},
	}
	for _, c := range []struct {
		row
		want string
	}{
		{row{most: 300, peer: "peer"}, "wait\t120 ms\t60.0 ms\tpeer\t2.00\t100–400 ms\t≤ 300 ms\treached"},
		{row{most: 300, peer: "peer", worst: true}, "wait\t400 ms\t60.0 ms\tpeer\t2.00\t100–400 ms\t≤ 300 ms\tmissed"},
		{row{most: 300}, "wait\t120 ms\t–\t\t–\t100–400 ms\t≤ 300 ms\treached"},
		{row{}, "wait\t120 ms\t–\t\t–\t100–400 ms\t–\t"},
		{row{zero: true, worst: true}, "wait\t400 ms\t–\t\t–\t100–400 ms\t0 ms\tmissed"},
		{row{peer: "peer", aim: 2}, "wait\t120 ms\t60.0 ms\tpeer\t2.00\t2.00–2.00\t≤ 2.00\treached"},
	} {
		c.name, c.figure, c.unit = "wait", "wait", "ms"
		if got := c.line(rounds).String(); got != c.want {
			t.Errorf("%+v\ngot  %q\nwant %q", c.row, got, c.want)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		line
		want string
	}{
		{line{row: row{peer: "p", aim: 1}}, "not measured"},
		{line{row: row{peer: "p"}, measured: true, ours: 3}, ""},
		{line{row: row{peer: "p", aim: 1}, measured: true, ratio: 0.9}, "reached"},
		{line{row: row{peer: "p", aim: 1}, measured: true, ratio: 1.004}, "reached"}, // it is printed as 1.00
		{line{row: row{peer: "p", aim: 1}, measured: true, ratio: 1.006}, "missed"},
		{line{row: row{most: 300}, measured: true, ours: 300.4}, "reached"}, // as 300
		{line{row: row{most: 300}, measured: true, ours: 300.6}, "missed"},
		{line{row: row{most: 1}, measured: true, ours: 0}, "reached"},
		{line{row: row{most: 1}, measured: true, ours: -3}, "reached"}, // memory that shrank
		{line{row: row{zero: true}, measured: true, ours: 0}, "reached"},
		{line{row: row{zero: true}, measured: true, ours: 1}, "missed"},
	} {
		if got := c.verdict(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.line, got, c.want)
		}
	}
}

// What was seen is put together from numbers that begin again and from the times at which they came.
func TestViewing(t *testing.T) {
	began := time.Unix(1_700_000_000, 0)
	at := func(frame int) time.Time {
		return began.Add(time.Duration(frame)*time.Second/clipFPS + 200*time.Millisecond)
	}
	v := &viewing{of: &numbered{began: began}}
	for _, f := range []int{297, 298, 299, 300, 301, 330, 331, 331, 333} { // 302 to 329 and 332 were not seen
		v.add(f%numberedFrames, at(f))
	}
	v.add(332%numberedFrames, at(334)) // and then it was, in the wrong order
	v.add(335%numberedFrames, at(335))
	v.add(1099%numberedFrames, at(1099)) // more than a clip later
	all := v.between(began, at(2000))
	if got, want := all[len(all)-1].frame, 1099; got-all[0].frame != want-297 {
		t.Errorf("the last frame is %d after the first, want %d", got-all[0].frame, want-297)
	}
	if n := missing(v.between(at(297), at(331))); n != 28 {
		t.Errorf("%d frames are missing, want 28", n)
	}
	if n := missing(v.between(at(330), at(336))); n != 1 { // 334
		t.Errorf("%d frames are missing, want 1", n)
	}
	if n := len(repeated(v.between(at(297), at(336)))); n != 1 {
		t.Errorf("%d pictures came twice, want 1", n)
	}
	if got, want := v.longest(at(297), at(336)), 29*time.Second/clipFPS; (got - want).Abs() > time.Millisecond {
		t.Errorf("the longest interval is %v, want %v", got, want)
	}
	if got, want := v.longest(at(302), at(321)), 20*time.Second/clipFPS; (got - want).Abs() > time.Millisecond {
		t.Errorf("the interval that has not ended is %v, want %v", got, want)
	}
	if got := middle(lags(v.between(at(297), at(302)))); (got - 200*time.Millisecond).Abs() > time.Millisecond {
		t.Errorf("the lag is %v", got)
	}
	v.blind = at(1100)
	v.add(1109%numberedFrames, at(1109))
	v.add(1112%numberedFrames, at(1112))
	if n := missing(v.between(at(1099), at(1113))); n != 2 { // of the others nobody knows
		t.Errorf("%d frames are missing, want 2", n)
	}
	if len(v.between(at(302), at(330))) != 0 || missing(nil) != 0 || middle(nil) != 0 {
		t.Error("something was seen when there was nothing")
	}
}

// A report counts when its second has part in the time that is asked about.
func TestReports(t *testing.T) {
	second := func(n float64) time.Time { return time.Unix(1_700_000_000, int64(n*1e9)) }
	rs := newReports()
	for i, dropped := range []int{1, 10, 100, 1000} {
		rs.add(report{From: contract.Time{Time: second(float64(i))}, To: contract.Time{Time: second(float64(i + 1))}, Dropped: dropped}, nil)
	}
	if err := rs.until(t.Context(), second(4)); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		from, to float64
		want     int
	}{{0, 4, 1111}, {1, 3, 110}, {1.5, 1.6, 10}, {0.9, 1.1, 11}, {4, 9, 0}} {
		if got := rs.dropped(second(c.from), second(c.to)); got != c.want {
			t.Errorf("from %v to %v %d were dropped, want %d", c.from, c.to, got, c.want)
		}
	}
	rs.add(report{}, errEnded)
	if err := rs.until(t.Context(), second(9)); !errors.Is(err, errEnded) {
		t.Errorf("%v", err)
	}
}

// A process that computes all the time gets what it is given, by each way that this machine has.
func TestThrottle(t *testing.T) {
	cmd := command(t.Context(), "sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	pid := cmd.Process.Pid
	ways := map[string]func() (func() error, error){
		"stopping":     func() (func() error, error) { return stopInTurn(t.Context(), pid, 0.2), nil },
		throttleName(): func() (func() error, error) { return throttle(t.Context(), pid, 0.2) },
	}
	for name, way := range ways {
		release, err := way()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		before, err := ranFor(pid)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for ran := before; ran-before < 300*time.Millisecond; { // at 20 % that takes a second and a half
			if time.Since(began) > time.Minute {
				t.Fatalf("%s: it does not run", name)
			}
			if err := pause(t.Context(), 10*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if ran, err = ranFor(pid); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < time.Second {
			t.Errorf("%s: 300 ms of CPU took it %v, want about 1.5 s", name, took)
		}
		if err := release(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDensest(t *testing.T) {
	at := func(ms ...int) (times []time.Time) {
		for _, m := range ms {
			times = append(times, time.UnixMilli(int64(m)))
		}
		return times
	}
	for _, c := range []struct {
		times []time.Time
		want  int
	}{
		{nil, 0},
		{at(5), 1},
		{at(0, 2001, 1000, 1001), 2},       // from 1001 to 2001
		{at(0, 2001, 1000, 1001, 1500), 3}, // from 1000 on, or from 1001 on
	} {
		if got := densest(c.times, time.Second); got != c.want {
			t.Errorf("%v: %d, want %d", c.times, got, c.want)
		}
	}
}

func TestHandoversAreReadFromTheLog(t *testing.T) {
	var log bytes.Buffer
	l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l.Info("something else", "after", time.Second)
	l.Debug(handoverText, "after", []time.Duration{412345})
	l.Debug(handoverText, "after", []time.Duration{3 * time.Millisecond, 950})
	got, err := handovers(log.String())
	if want := []time.Duration{412345, 3 * time.Millisecond, 950}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v of\n%s", got, err, log.String())
	}
}

func TestGrowth(t *testing.T) {
	// It fills, stays and grows by one.
	if g := growth([]float64{1, 8, 9, 9, 10, 10, 10, 11, 11, 11}); g != 1 {
		t.Errorf("it grew by %v", g)
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
	debug.FreeOSMemory() // or the rest of another test goes back between the two looks
	tree, err := usageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	alone, err := memoryOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if alone.full == 0 || alone.share == 0 || tree.full <= alone.full {
		t.Errorf("with a child %+v, of which this process is %+v", tree.memory, alone)
	}
}
