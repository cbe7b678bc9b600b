package decode

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// sysWith is a /sys in which the driver has the first render node.
func sysWith(driver string) fs.FS {
	return fstest.MapFS{"class/drm/renderD128/device/driver": {Mode: fs.ModeSymlink, Data: []byte("../../../bus/pci/drivers/" + driver)}}
}

// tenFrames are a clip that fakes can decode.
func tenFrames() []Clip {
	c := Clip{Format: format.Format{Codec: format.H264, Stream: format.AVC, CodecData: formattest.AVCC}}
	for i := range 10 {
		c.Units = append(c.Units, Unit{Data: formattest.Lengths, Time: time.Duration(i), Key: i == 0})
	}
	return []Clip{c}
}

// probe probes with fakes, whose hardware decoder has the fault.
func probe(t *testing.T, fault string, change ...func(*ProbeConfig)) (ProbeReport, []string) {
	t.Helper()
	var tried []string
	c := ProbeConfig{
		Program: NewProgram(os.Args[0]), Sandbox: Sandbox{Off: true}, Env: []string{fakeEnv + "=" + fault, fakeVersionEnv + "=1.22.0", "GORACE=atexit_sleep_ms=0"},
		Clips: tenFrames(), Limit: 20 * time.Second, Sys: sysWith("i915"),
		Tried: func(c Candidate) { tried = append(tried, c.Element) },
	}
	for _, f := range change {
		f(&c)
	}
	r, err := Probe(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r, tried
}

func TestProbe(t *testing.T) {
	short := func(c *ProbeConfig) { c.Limit = 2 * time.Second }
	for fault, c := range map[string]struct {
		code   string
		change func(*ProbeConfig)
	}{
		"none":   {"", func(*ProbeConfig) {}},
		"crash":  {report.CodeCrash, func(*ProbeConfig) {}},
		"error":  {report.CodeError, func(*ProbeConfig) {}},
		"close":  {report.CodeCrash, func(*ProbeConfig) {}},
		"hang":   {report.CodeHang, short},
		"silent": {report.CodeStale, func(*ProbeConfig) {}}, // the fake's pictures go on, all the same
		"mute":   {report.CodeSilent, short},
	} {
		t.Run(fault, func(t *testing.T) {
			r, tried := probe(t, fault, c.change)
			kit.Expect(t, "tried", strings.Join(tried, " "), "vah264dec avdec_h264")
			hardware, software := r.Candidates[0], r.Candidates[1]
			kit.Expect(t, "code", hardware.Code, c.code)
			kit.Expect(t, "device", hardware.Device, "/dev/dri/renderD128")
			kit.Expect(t, "driver", hardware.Driver, "i915")
			kit.Expect(t, "broken", r.Broken("vah264dec", format.H264), c.code != "")
			kit.Expect(t, "software", software.Result, Passed)
			kit.Expect(t, "pictures", software.Pictures, 10)
			kit.Expect(t, "device of software", software.Device, "")
			if c.code == "" {
				kit.Expect(t, "checksum", hardware.Checksum, software.Checksum)
			}
		})
	}
}

func TestProbeWithoutClip(t *testing.T) {
	r, _ := probe(t, "none", func(c *ProbeConfig) { c.Clips = nil })
	kit.Expect(t, "result", r.Candidates[0].Result, Untried)
	kit.Expect(t, "broken", r.Broken("vah264dec", format.H264), false)
}

func TestProbeThatCannotStart(t *testing.T) {
	_, err := Probe(t.Context(), ProbeConfig{Program: NewProgram(os.Args[0]), Sandbox: Sandbox{Off: true}, Env: []string{fakeEnv + "=exit"}})
	var e *report.Error
	if !errors.As(err, &e) || e.Code != report.CodeCrash {
		t.Errorf("got %v", err)
	}
}

// Results are kept until what they depend on changes.
func TestProbeCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decoders.json")
	cache := func(c *ProbeConfig) { c.Cache = file }
	first, _ := probe(t, "crash", cache)
	again, _ := probe(t, "none", cache)
	kit.Expect(t, "kept", again.Candidates[0].Code, report.CodeCrash)
	kit.Expect(t, "time", again.Time.Equal(first.Time), true)

	edit := func(change func(*ProbeReport)) func(*ProbeConfig) {
		return func(c *ProbeConfig) {
			r := first
			change(&r)
			b, _ := json.Marshal(r)
			if err := os.WriteFile(file, b, 0o600); err != nil {
				t.Fatal(err)
			}
			c.Cache = file
		}
	}
	for name, change := range map[string]func(*ProbeConfig){
		"asked for": func(c *ProbeConfig) { edit(func(*ProbeReport) {})(c); c.Again = true },
		"kernel":    edit(func(r *ProbeReport) { r.Kernel = "5.0" }),
		"GStreamer": edit(func(r *ProbeReport) { r.GStreamer = "1.24.0" }),
		"driver":    func(c *ProbeConfig) { edit(func(*ProbeReport) {})(c); c.Sys = sysWith("xe") },
		"device": edit(func(r *ProbeReport) {
			r.Candidates = []Candidate{{Element: "vah264dec", Codec: format.H264, Family: plan.VA, Driver: "i915", Device: "/dev/dri/renderD129", Result: Failed}}
		}),
		"unreadable": func(c *ProbeConfig) { _ = os.WriteFile(file, []byte("{"), 0o600); c.Cache = file },
		"nowhere":    func(c *ProbeConfig) { c.Cache = filepath.Join(file, "below a file") },
	} {
		r, _ := probe(t, "none", change)
		if r.Candidates[0].Result != Passed {
			t.Errorf("%s: the old result is used: %+v", name, r.Candidates[0])
		}
	}
}

func TestTogether(t *testing.T) {
	kit.Expect(t, "order matters", together([]string{"a", "b"}) != together([]string{"b", "a"}), true)
	kit.Expect(t, "one unseen", together([]string{"a", ""}), "")
	kit.Expect(t, "none", together(nil), "")
}

func TestDiffers(t *testing.T) {
	software := func(element, checksum string) Candidate {
		return Candidate{Codec: format.H264, Family: plan.Software, Element: element, Pictures: 90, Checksum: checksum}
	}
	for _, c := range []struct {
		what   string
		change func(*Candidate)
		others []Candidate
		want   bool
	}{
		{"other pictures", func(*Candidate) {}, []Candidate{software("avdec_h264", "b")}, true},
		{"the same", func(c *Candidate) { c.Checksum = "b" }, []Candidate{software("avdec_h264", "b")}, false},
		{"the same as the first of two", func(c *Candidate) { c.Checksum = "b" }, []Candidate{software("avdec_h264", "b"), software("openh264dec", "c")}, false},
		{"nothing to compare with", func(*Candidate) {}, nil, false},
		{"pictures that cannot be compared", func(c *Candidate) { c.Checksum = "" }, []Candidate{software("avdec_h264", "b")}, false},
		{"fewer pictures", func(c *Candidate) { c.Pictures = 89 }, []Candidate{software("avdec_h264", "b")}, false},
		{"another codec", func(c *Candidate) { c.Codec = format.H265 }, []Candidate{software("avdec_h264", "b")}, false},
	} {
		have := Candidate{Codec: format.H264, Family: plan.V4L2Stateless, Element: "v4l2slh264dec", Pictures: 90, Checksum: "a", Result: Passed}
		c.change(&have)
		r := ProbeReport{Candidates: append([]Candidate{have}, c.others...)}
		kit.Expect(t, c.what, r.Differs(have.Element, have.Codec), c.want)
	}
}

func TestFirst(t *testing.T) {
	r, _ := probe(t, "none")
	kit.Expect(t, "both are good", r.First(format.H264, plan.Preference{}).Element, "vah264dec")
	r.Candidates[0].Checksum = "another"
	kit.Expect(t, "wrong pictures", r.First(format.H264, plan.Preference{}).Element, "avdec_h264")
	kit.Expect(t, "wrong pictures, trusted", r.First(format.H264, plan.Preference{Trusted: []string{"vah264dec"}}).Element, "vah264dec")
	kit.Expect(t, "none", r.First(format.H265, plan.Preference{}), nil)
}

// What failed is tried again when that is asked for; what took the box down, once only.
func TestProbeOfWhatFailed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decoders.json")
	failed := func(c *ProbeConfig) { c.Cache, c.Failed = file, true }
	first, _ := probe(t, "error", failed)
	kit.Expect(t, "first", first.Candidates[0].Result, Failed)
	for down, want := range map[int]Result{0: Passed, 1: Passed, 2: Failed} {
		before := ProbeReport{GStreamer: first.GStreamer, Kernel: first.Kernel}
		broken := first.Candidates[0]
		for range down {
			before = before.without(broken, ProbeReport{})
			broken, before.Candidates = before.Candidates[0], nil
		}
		before.Candidates = []Candidate{broken}
		b, _ := json.Marshal(before)
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		r, _ := probe(t, "none", failed)
		kit.Expect(t, "result", r.Candidates[0].Result, want)
		if want == Failed {
			kit.Expect(t, "code", r.Candidates[0].Code, report.CodeDown)
			r, _ = probe(t, "none", failed, func(c *ProbeConfig) { c.Again = true })
			kit.Expect(t, "result", r.Candidates[0].Result, Passed)
		}
		kit.Expect(t, "down", r.Candidates[0].Down, 0)
	}
}

// When a trial does not come back, the next start finds that; when the agent is stopped in it, nothing.
func TestProbeThatIsCutShort(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decoders.json")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c := ProbeConfig{
		Program: NewProgram(os.Args[0]), Sandbox: Sandbox{Off: true}, Env: []string{fakeEnv + "=mute", "GORACE=atexit_sleep_ms=0"}, Clips: tenFrames(), Cache: file, Sys: sysWith("i915"),
	}
	ended := make(chan error, 1)
	go func() { _, err := Probe(ctx, c); ended <- err }()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for len(lastProbe(file).Candidates) == 0 {
		select {
		case <-deadline:
			t.Fatal("nothing is kept while a decoder is tried")
		case <-tick.C:
		}
	}
	during := lastProbe(file).Candidates[0]
	kit.Expect(t, "code", during.Code, report.CodeDown)
	kit.Expect(t, "down", during.Down, 1)
	stop()
	kit.Expect(t, "error", <-ended, context.Canceled)
	kit.Expect(t, "kept", len(lastProbe(file).Candidates), 0)
}

// lastProbe is LastProbe of a file that is not damaged, or of none.
func lastProbe(file string) ProbeReport {
	r, _ := LastProbe(file)
	return r
}

// A damaged file costs the trials of decoders, no more.
func TestProbeStartsOverWithoutADamagedCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "decoders.json")
	for name, put := range map[string]func() error{
		"endless": func() error { return os.Symlink("/dev/zero", file) },
		"FIFO":    func() error { return syscall.Mkfifo(file, 0o600) },
		"no JSON": func() error { return os.WriteFile(file, []byte(`{"candidates": [`), 0o600) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		r, damage := LastProbe(file)
		if damage == nil || len(r.Candidates) != 0 {
			t.Errorf("%s: %v, %v", name, r, damage)
		}
		if _, err := os.Lstat(file); err == nil {
			t.Errorf("%s: still there", name)
		}
	}
}
