package gst

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

var restarts = flag.Int("restarts", 50, "how often TestRestartsLeakNothing kills the renderer")

// lives collects the checksums of the pictures of one renderer child after the other.
type lives struct {
	mu   sync.Mutex
	sums [][]string
}

func (l *lives) add(_ uint32, sums []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := len(l.sums) - 1
	if last < 0 || len(sums) < len(l.sums[last]) {
		l.sums = append(l.sums, nil)
		last++
	}
	l.sums[last] = sums
}

func (l *lives) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sums) == 0 {
		return nil
	}
	return l.sums[len(l.sums)-1]
}

// Each way to die is told apart, and the next child decodes the same pictures from the last key frame on, but for those
// that were there before and that no other refers to.
func TestPicturesAfterFaults(t *testing.T) {
	whole := clip(t, "320x180", "90", append(slices.Clone(x264), "-sc_threshold", "0")...)
	want := reference(t, ffmpeg, whole, size{320, 180, 90})
	for _, c := range []struct {
		signal syscall.Signal
		code   string
		detail string
		value  any
	}{
		{syscall.SIGSEGV, report.CodeCrash, "signal", "segmentation fault"},
		{syscall.SIGBUS, report.CodeCrash, "signal", "bus error"},
		{syscall.SIGABRT, report.CodeCrash, "signal", "aborted"},
		{syscall.SIGKILL, report.CodeCrash, "signal", "killed"},
		{syscall.SIGSTOP, report.CodeHang, "process_state", "stopped by a signal"},
	} {
		t.Run(c.signal.String(), func(t *testing.T) {
			var pictures lives
			p := decode.DefaultPatience
			p.Status = 3 * time.Second // a busy machine is no fault
			r, reports := run(t, decode.Config{Sink: plan.None, Unpaced: true, Patience: p, Pictures: pictures.add})
			push(r, whole[:75])
			await(t, r, reports, "the pictures", func() bool { return r.Stats().Decoded >= 70 && len(pictures.last()) >= 70 })
			struck := time.Now()
			if err := syscall.Kill(childOf(t, os.Getpid()), c.signal); err != nil {
				t.Fatal(err)
			}
			news := <-reports
			if news.Code != c.code || news.Detail[c.detail] != c.value || news.Detail["element"] != "avdec_h264" {
				t.Errorf("%+v", news)
			}
			noticed := time.Since(struck)
			if got := <-reports; got.Code != report.CodeRecovered || got.Detail["element"] != "avdec_h264" {
				t.Errorf("%+v", got)
			}
			t.Logf("noticed after %v, picture after %v", noticed.Round(time.Millisecond), time.Since(struck).Round(time.Millisecond))
			push(r, whole[75:])
			const last = 87 // the decoder keeps two, for B-frames
			await(t, r, reports, "the rest", func() bool { return slices.Contains(pictures.last(), want[last]) })
			got := pictures.last()
			inOrder(t, got, want[60:])
			fresh := max(0, slices.Index(got, want[75]))
			compare(t, got[fresh:], want[75:][:len(got)-fresh])
		})
	}
}

// agentEnv makes the test binary an agent that does nothing but keep a renderer.
const agentEnv = "TEST_EDGE_AGENT_AGENT"

func beAgent() {
	os.Unsetenv(agentEnv)
	r := decode.New(decode.Config{Program: decode.NewProgram(os.Args[0]), Sandbox: decode.Sandbox{User: "root"}, Env: []string{childEnv + "=1"}, Sink: plan.None, DRM: fstest.MapFS{}})
	_ = r.Run(context.Background())
}

// A child ends with its agent, however that ends, and even if the child itself hangs.
func TestChildDoesNotOutliveItsAgent(t *testing.T) {
	agent := exec.Command(os.Args[0])
	agent.Env = append(os.Environ(), agentEnv+"=1")
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = agent.Process.Kill()
			_ = agent.Wait()
		}
	}()
	var child int
	until(t, "the agent has a child", func() bool {
		for _, pid := range childrenOf(agent.Process.Pid) {
			// Go itself tries at start what a child can do, and one that is not yet executed is not yet bound to its agent.
			if env, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); bytes.Contains(env, []byte(childEnv+"=1\x00")) {
				child = pid
			}
		}
		return child != 0
	})
	_ = syscall.Kill(child, syscall.SIGSTOP)
	_ = agent.Process.Kill()
	_ = agent.Wait()
	ended = true
	until(t, "the child is gone", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child))
		return err != nil || strings.Contains(string(stat), ") Z ") // whoever inherited it may be slow to reap
	})
}

// until polls until something is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			t.Fatalf("it never was so that %s", what)
		case <-tick.C:
		}
	}
}

// childrenOf lists the children of a process, dead ones that nobody has reaped among them.
func childrenOf(parent int) []int {
	var pids []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, file := range files {
		b, _ := os.ReadFile(file)
		for _, field := range strings.Fields(string(b)) {
			var pid int
			if n, _ := fmt.Sscan(field, &pid); n == 1 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// footprint is what a process holds.
type footprint struct {
	descriptors, goroutines, children int
	heap                              uint64
}

func measure(t *testing.T) footprint {
	t.Helper()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return footprint{len(fds), runtime.NumGoroutine(), len(childrenOf(os.Getpid())), m.HeapAlloc}
}

// However often the renderer dies, nothing is left of it.
func TestRestartsLeakNothing(t *testing.T) {
	frames := clip(t, "64x64", "10", x264...)
	r, reports := run(t, decode.Config{Sink: plan.None, Unpaced: true})
	go func() {
		for {
			select {
			case <-reports: // how often it died is known
			case <-t.Context().Done():
				return
			}
		}
	}()
	life := func() {
		before := r.Stats()
		until(t, "there are pictures", func() bool {
			push(r, frames)
			return r.Stats().Shown > before.Shown
		})
		if err := syscall.Kill(childOf(t, os.Getpid()), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		until(t, "the child is gone", func() bool { return r.Stats().Restarts > before.Restarts })
	}
	for range 5 { // until everything is in place that stays
		life()
	}
	settled := func() footprint {
		until(t, "there is one child", func() bool { return len(childrenOf(os.Getpid())) == 1 && r.Stats().GStreamer != "" })
		return measure(t)
	}
	before := settled()
	for range *restarts {
		life()
	}
	after := settled()
	t.Logf("after 5 restarts %+v, after %d more %+v", before, *restarts, after)
	if after.descriptors > before.descriptors+2 || after.goroutines > before.goroutines+2 || after.children != 1 || after.heap > before.heap+1<<20 {
		t.Errorf("after 5 restarts %+v, after %d more %+v", before, *restarts, after)
	}
}

// That nothing could be negotiated is in the debug text of the first error, where package decode looks for it.
func TestNotNegotiatedIsSaid(t *testing.T) {
	frames := clip(t, "64x64", "10", x264...)
	a := serve(t)
	defer a.close()
	p := plan.Choose(formatOf(t, frames), plan.Display{Sink: plan.None}, plan.Preference{}, plan.Known{Found: []string{"avdec_h264"}})[0]
	p.Element = "capsfilter caps=video/x-h264,profile=none ! avdec_h264"
	if err := a.out.JSON(decode.KindOpen, decode.Open{Number: 1, Plan: p}); err != nil {
		t.Fatal(err)
	}
	a.send(frames)
	var f decode.Failure
	if err := a.until(decode.KindFailure).Decode(&f); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(f.Debug, "not-negotiated") || f.Domain != "gst-stream-error-quark" {
		t.Errorf("%+v", f)
	}
}

func TestDevices(t *testing.T) {
	got := devices(decode.Describe{Elements: []string{"avdec_h264", "v4l2src", "nosuchdec"}}).Nodes
	if node, ok := got["v4l2src"]; ok && !strings.HasPrefix(node, "/dev/video") {
		t.Errorf("v4l2src uses %q", node)
	}
	delete(got, "v4l2src") // not installed everywhere
	if len(got) > 0 {
		t.Errorf("devices of elements that have none: %v", got)
	}
}
