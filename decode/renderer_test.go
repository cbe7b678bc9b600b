package decode

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/edge-agent/edge-agent/decode/format/formattest"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

// fakeEnv makes the test binary a renderer child without GStreamer. Its value
// says what the hardware decoder does with the fourth frame; the software decoder works.
const fakeEnv = "EDGE_AGENT_FAKE_RENDERER"

// fakeHealedEnv names a file; children that start when it exists have no fault.
const fakeHealedEnv = "EDGE_AGENT_FAKE_HEALED"

// fakeNodeEnv names the device node of the hardware decoder: children that start without it do not know the decoder.
const fakeNodeEnv = "EDGE_AGENT_FAKE_NODE"

// fakeUnconfinedEnv is what the sandbox of a child lacks, as it says.
const fakeUnconfinedEnv = "EDGE_AGENT_FAKE_UNCONFINED"

// fakePackageEnv names a file without which children know no decoder, as without a package that has some.
const fakePackageEnv = "EDGE_AGENT_FAKE_PACKAGE"

// fakeShownEnv names a file that gets the numbers of the frames whose pictures were on the screen, eight bytes each. Frames that
// end with a mark have a fate of their own in such children; see fakeFates.
const fakeShownEnv = "EDGE_AGENT_FAKE_SHOWN"

// fakeBuildEnv is the build that a fake child says it is of, instead of this one.
const fakeBuildEnv = "EDGE_AGENT_FAKE_BUILD"

// fakeVersionEnv is the version of GStreamer that a fake child says it has, instead of its process id.
const fakeVersionEnv = "EDGE_AGENT_FAKE_VERSION"

// fakeChild speaks the protocol. Its version of GStreamer is its process id, and
// its snapshot the frames it got as letters, as in the gate's tests.
func fakeChild() {
	fault := os.Getenv(fakeEnv)
	if _, err := os.Stat(os.Getenv(fakeHealedEnv)); err == nil {
		fault = "none"
	}
	if fault == "exit" {
		fmt.Fprintln(os.Stderr, "libmissing.so: cannot open shared object file")
		os.Exit(3)
	}
	file := os.NewFile(ChildFD, "agent")
	conn, err := net.FileConn(file)
	if err != nil {
		panic(err)
	}
	_ = file.Close()
	in, out := NewReader(conn, FromAgent), NewWriter(conn)
	elements := []string{"vah264dec", "avdec_h264", "kmssink"}
	if fault == "unnegotiated" {
		elements[0] = "v4l2h264dec"
	}
	if file := os.Getenv(fakePackageEnv); file != "" {
		if _, err := os.Stat(file); err != nil {
			elements = elements[2:]
		}
	}
	if node := os.Getenv(fakeNodeEnv); node != "" {
		if _, err := os.Stat(node); err != nil {
			elements = elements[1:]
		}
	}
	version := cmp.Or(os.Getenv(fakeVersionEnv), strconv.Itoa(os.Getpid()))
	_ = out.JSON(KindHello, Hello{Build: cmp.Or(os.Getenv(fakeBuildEnv), Build), GStreamer: version, Elements: elements, Unconfined: strings.Fields(os.Getenv(fakeUnconfinedEnv))})
	// Heartbeats while there is a pipeline say nothing, rather than that there is none: that would prove it gone.
	var telling sync.Mutex
	piped := false
	pipe := func(is bool) {
		telling.Lock()
		defer telling.Unlock()
		piped = is
	}
	go func() {
		for range time.Tick(20 * time.Millisecond) {
			telling.Lock()
			if piped {
				_ = out.JSON(KindDevices, Devices{})
			} else {
				_ = out.JSON(KindStatus, Status{})
			}
			telling.Unlock()
		}
	}()
	var open Open
	var got []byte
	var sums []string
	fates := fakeFates{file: os.Getenv(fakeShownEnv), seen: map[uint64]bool{}}
	for fed := uint64(0); ; {
		m, err := in.Next()
		if err != nil {
			os.Exit(0)
		}
		switch m.Kind {
		case KindScreen:
			fakeScreen(fault, m, out)
		case KindCut:
			got = append(got, '/')
			pipe(false)
			fates.later = nil // it can no longer tell
		case KindSlate:
			var s Slate
			_ = m.Decode(&s)
			got = append(got, '<')
			got = append(append(got, s.State...), '>')
		case KindOpen:
			if fates.later != nil {
				_ = out.JSON(KindDrained, Status{Number: open.Number, Fed: fed, Decoded: fed, Shown: fed, Settled: fates.rest()})
			}
			fed, open, sums = 0, Open{}, nil
			_ = m.Decode(&open)
			pipe(true)
			got = append(got, '|')
			_ = out.JSON(KindOpened, Opened{Number: open.Number})
			if fault == "deaf" && open.Plan.Element == "vah264dec" { // it goes on telling
				pipe(false)
				select {}
			}
		case KindFrame:
			fed++
			got = append(got, letter(m))
			s := Status{Number: open.Number, Fed: fed, Decoded: fed, Shown: fed, Fresh: fed, FrameTime: time.Duration(m.Time), Wall: time.Now()}
			s.Settled = fates.of(m)
			switch {
			case open.Plan.Element == "v4l2h264dec" && !open.Plan.Colorimetry:
				_ = out.JSON(KindFailure, Failure{
					Code: report.CodeError, Element: "appsrc", Domain: "gst-stream-error-quark", GstCode: 1,
					Message: "Internal data stream error.", Debug: "streaming stopped, reason not-negotiated (-4)",
				})
			case fault == "blind": // whoever decodes
				s.Decoded, s.Shown, s.Fresh, s.Wall = 0, 0, 0, time.Time{}
			case fault == "still" && fed >= 4: // whoever decodes
				s.Fresh = 3
			case open.Plan.Element != "vah264dec" || fed < 4 || fault == "none":
			case fault == "stale":
				s.Fresh = 3
			default:
				s.Decoded, s.Shown = misbehave(fault, out), 3
			}
			sums = append(sums, strconv.FormatUint(s.Decoded, 16))
			_ = out.JSON(KindStatus, s)
		case KindDrain:
			n := uint64(len(sums))
			_ = out.JSON(KindDrained, Status{Number: open.Number, Fed: fed, Decoded: n, Shown: n, Checksums: sums})
		case KindDescribe:
			var asked Describe
			_ = m.Decode(&asked)
			d := Devices{Nodes: map[string]string{}}
			if asked.Opened && slices.Equal(asked.Elements, []string{"vah264dec"}) { // as GStreamer's do
				d.Nodes["vah264dec"] = "/dev/dri/renderD128"
			}
			_ = out.JSON(KindDevices, d)
		case KindSnapshot:
			if fault == "snapshot" {
				os.Exit(1)
			}
			_ = out.Raw(KindPicture, 0, m.Time, got)
		}
	}
}

// fakeFates is what becomes of the frames of a fake child. Marks at the end of a frame decide: X ends the process, once for
// each frame; L is late; N makes no picture; P is on the screen only when the next frame comes, or the pipeline is
// drained; S makes the child slow.
type fakeFates struct {
	file  string
	seen  map[uint64]bool
	later []report.Settled
}

func (f *fakeFates) of(m Message) []report.Settled {
	if m.Number == 0 {
		return nil
	}
	mark := byte(0)
	if f.file != "" && len(m.Payload) > 0 && m.Flags&FlagReplay == 0 {
		mark = m.Payload[len(m.Payload)-1]
	}
	died := f.file + strconv.FormatUint(m.Number, 10)
	if _, err := os.Stat(died); mark == 'X' && err != nil {
		_ = os.WriteFile(died, nil, 0o600)
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	settled := f.rest()
	fate := report.Settled{Frame: m.Number}
	if m.Flags&FlagReplay != 0 {
		fate.Reason = report.DropCatchUp
		return append(settled, fate)
	}
	switch mark {
	case 'L':
		fate.Reason = report.DropLate
	case 'N':
		fate.Reason = report.DropNoPicture
	case 'P':
		f.later = append(f.later, fate)
		return settled
	case 'S':
		time.Sleep(5 * time.Millisecond)
	}
	return append(settled, f.show(fate)...)
}

// rest settles what came before.
func (f *fakeFates) rest() (settled []report.Settled) {
	settled, f.later = f.show(f.later...), nil
	return settled
}

// show notes what was on the screen.
func (f *fakeFates) show(fates ...report.Settled) []report.Settled {
	for _, fate := range fates {
		if fate.Reason == report.Shown && f.file != "" && !f.seen[fate.Frame] {
			f.seen[fate.Frame] = true
			file, err := os.OpenFile(f.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				panic(err)
			}
			_, _ = file.Write(binary.LittleEndian.AppendUint64(nil, fate.Frame))
			_ = file.Close()
		}
	}
	return fates
}

func letter(m Message) byte {
	b := "dK"[m.Flags&FlagKey]
	if m.Flags&FlagReplay != 0 {
		b = "rk"[m.Flags&FlagKey]
	}
	return b
}

func misbehave(fault string, out *Writer) (decoded uint64) {
	switch fault {
	case "crash":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "hang":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		select {} // the signal may take a moment
	case "error":
		_ = out.JSON(KindFailure, Failure{Code: report.CodeError, Element: "vah264dec", Domain: "gst-stream-error-quark", GstCode: 7, Message: "Failed to decode data"})
	case "display":
		_ = out.JSON(KindFailure, Failure{Code: report.CodeDisplayLost, Element: "fakesink", Message: "gone"})
	case "nonsense":
		_, _ = out.w.Write(bytes.Repeat([]byte{0xff}, 64))
	case "memory":
		ballast := make([]byte, 512<<20)
		for i := range ballast {
			ballast[i] = 1
		}
		time.Sleep(time.Hour)
		runtime.KeepAlive(ballast)
	case "mute":
		for range time.Tick(StatusInterval) {
			_ = out.JSON(KindStatus, Status{})
		}
	case "last words":
		_ = out.JSON(KindFailure, Failure{Code: report.CodeError, Element: "vah264dec", Message: "there is no driver"})
		os.Exit(1)
	case "close":
		_ = out.w.(net.Conn).Close()
		select {}
	}
	return 3
}

// rig is a renderer whose children are fakes, and what it reports.
type rig struct {
	*Renderer
	t       *testing.T
	reports chan report.Report
	stop    context.CancelFunc
	end     chan error
	track   *mkv.Track
	n       int
}

func start(t *testing.T, fault string, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, reports: make(chan report.Report, 100), end: make(chan error, 1)}
	c := Config{
		Program: NewProgram(os.Args[0]), Sandbox: Sandbox{Off: true}, Env: []string{fakeEnv + "=" + fault, "GORACE=atexit_sleep_ms=0"}, Sink: plan.None, DRM: fstest.MapFS{}, Dev: t.TempDir(),
		Report:   func(news report.Report) { r.reports <- news },
		Patience: Patience{Hello: 20 * time.Second, Open: 20 * time.Second, Status: 20 * time.Second, First: 20 * time.Second, Next: 20 * time.Second},
	}
	for _, f := range change {
		f(&c)
	}
	r.Renderer = New(c)
	r.track = &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: formattest.AVCC}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(context.Background())
	go func() { r.end <- r.Run(ctx) }()
	t.Cleanup(r.finish)
	return r
}

// finish stops the renderer and makes sure that its last child is gone.
func (r *rig) finish() {
	r.stop()
	select {
	case err := <-r.end:
		if err != nil {
			r.t.Error(err)
		}
	case <-time.After(20 * time.Second):
		r.t.Fatal("Run does not return")
	}
	if pid, err := strconv.Atoi(r.Stats().GStreamer); err == nil {
		if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
			r.t.Errorf("child %d after Run: %v", pid, err)
		}
	}
}

// push pushes frames written as letters.
func (r *rig) push(units string) { r.pushData(formattest.Lengths, units) }

func (r *rig) pushData(data []byte, units string) {
	for _, u := range units {
		r.n++
		r.Push(&mkv.Frame{Track: r.track, Data: data, Key: u == 'K'}, time.Duration(r.n), false)
	}
}

// report waits for the next report, which must have the code.
func (r *rig) report(code string) report.Report {
	r.t.Helper()
	select {
	case got := <-r.reports:
		if got.Code != code {
			r.t.Fatalf("reported %s (%s), want %s", got.Code, got.Message, code)
		}
		return got
	case <-time.After(20 * time.Second):
		r.t.Fatalf("no report of %s; %+v", code, r.Stats())
	}
	return report.Report{}
}

// shown waits until so many pictures were shown.
func (r *rig) shown(n uint64) {
	r.t.Helper()
	r.until("pictures", func() bool { return r.Stats().Shown >= n })
}

// until waits until something is so.
func (r *rig) until(what string, so func() bool) {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-deadline:
			r.t.Fatalf("waiting for %s: %+v", what, r.Stats())
		case <-tick.C:
		}
	}
}

func (r *rig) got() string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b, err := r.Snapshot(ctx, Snapshot{PNG: true})
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func TestRendererShows(t *testing.T) {
	r := start(t, "none")
	r.push("dKdd")
	r.shown(3)
	kit.Expect(t, "got", r.got(), "|Kdd")
	s := r.Stats()
	kit.Expect(t, "decoder", s.Decoder, "vah264dec")
	kit.Expect(t, "family", s.Family, plan.VA)
	kit.Expect(t, "display", s.Display, plan.Display{Sink: plan.None})
	kit.Expect(t, "fed", s.Fed, 3)
	kit.Expect(t, "decoded", s.Decoded, 3)
	kit.Expect(t, "dropped", s.Dropped, 1) // it came before the first key frame
	kit.Expect(t, "frame time", s.FrameTime, 4)
	kit.Expect(t, "restarts", s.Restarts, 0)
}

// A child that was started ahead of a Run that has nothing to do any more is ended by it.
func TestEarlyStartForNothing(t *testing.T) {
	r := New(Config{Program: NewProgram(os.Args[0]), Sandbox: Sandbox{Off: true}, Env: []string{fakeEnv + "=none"}, Sink: plan.None, DRM: fstest.MapFS{}, Dev: t.TempDir()})
	r.Start()
	ended := r.early.exited
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Run(ctx); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	default:
		t.Error("it lives on")
		r.Stop()
	}
}

func TestNewFormatReopens(t *testing.T) {
	r := start(t, "none")
	r.push("Kd")
	r.track = &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: formattest.AVCC, Width: 640}
	r.push("dKd") // d: the new track does not begin here
	r.shown(4)
	kit.Expect(t, "got", r.got(), "|Kd|Kd")
}

func TestFallback(t *testing.T) {
	quick := func(c *Config) { c.Patience.Status = 500 * time.Millisecond }
	impatient := func(c *Config) { c.Patience.Next, c.Patience.More = 100*time.Millisecond, 2 }
	for fault, c := range map[string]struct {
		code   string
		change func(*Config)
		detail map[string]any
	}{
		"crash":    {report.CodeCrash, func(*Config) {}, map[string]any{"signal": "killed", "element": "vah264dec", "family": "va"}},
		"hang":     {report.CodeHang, quick, map[string]any{"element": "vah264dec"}},
		"error":    {report.CodeError, func(*Config) {}, map[string]any{"gst_domain": "gst-stream-error-quark", "gst_code": 7}},
		"silent":   {report.CodeSilent, impatient, map[string]any{"element": "vah264dec"}},
		"nonsense": {report.CodeCrash, func(*Config) {}, nil},
		"close":    {report.CodeCrash, quick, nil},

		"last words": {report.CodeError, func(*Config) {}, map[string]any{"gst_element": "vah264dec"}},
	} {
		t.Run(fault, func(t *testing.T) {
			r := start(t, fault, c.change)
			r.push("KdKdddd")
			got := r.report(c.code)
			for key, want := range c.detail {
				kit.Expect(t, key, got.Detail[key], want)
			}
			if !strings.Contains(got.Message, "vah264dec is passed over for 30s") {
				t.Errorf("the report says %q", got.Message)
			}
			r.report(report.CodeFallback)
			s := r.Stats()
			kit.Expect(t, "decoder", s.Decoder, "avdec_h264")
			kit.Expect(t, "restarts", s.Restarts, 1)
			if !slices.Equal(s.Denied, []string{"vah264dec"}) {
				t.Errorf("denied: %v", s.Denied)
			}
			r.push("d")
			if got := r.got(); !strings.HasPrefix(got, "|k") || strings.ContainsRune(got[2:], 'K') {
				t.Errorf("the second child got %q; want it to begin with the last key frame, replayed", got)
			}
		})
	}
}

// The Raspberry Pi 4's decoder wants a colorimetry that the stream leaves open: it is set, and remembered.
func TestColorimetryIsSetAfterwards(t *testing.T) {
	r := start(t, "unnegotiated")
	r.push("Kddd")
	r.report(report.CodeError)
	back := r.report(report.CodeRecovered)
	kit.Expect(t, "element", back.Detail["element"], any("v4l2h264dec"))
	r.track = &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: formattest.AVCC, Width: 640}
	r.over()
	r.push("Kddd")
	r.shown(7)
	kit.Expect(t, "reports", len(r.reports), 0)
	kit.Expect(t, "decoder", r.Stats().Decoder, "v4l2h264dec")

	p, _ := probe(t, "unnegotiated")
	kit.Expect(t, "result", p.Candidates[0].Result, Passed)
	kit.Expect(t, "colorimetry", p.Candidates[0].Colorimetry, true)
	kit.Expect(t, "unnegotiated", p.Unnegotiated("v4l2h264dec"), true)
	kit.Expect(t, "unnegotiated", p.Unnegotiated("avdec_h264"), false)
}

func TestLostDisplayIsNotTheDecodersFault(t *testing.T) {
	r := start(t, "display")
	r.push("Kddd")
	r.report(report.CodeDisplayLost)
	kit.Expect(t, "denied", len(r.Stats().Denied), 0)
}

func TestChildThatDoesNotStart(t *testing.T) {
	r := start(t, "exit")
	got := r.report(report.CodeCrash)
	kit.Expect(t, "exit status", got.Detail["exit_status"], any(3))
	if last, _ := got.Detail["last_line"].(string); !strings.Contains(last, "libmissing") {
		t.Errorf("last line: %q", last)
	}
	r.report(report.CodeCrash) // and again
}

func TestNoSuchProgram(t *testing.T) {
	r := start(t, "", func(c *Config) { c.Program = NewProgram("/does/not/exist") })
	r.report(report.CodeRenderer)
}

// That a kernel cannot confine renderers is reported once, and the picture comes all the same.
func TestUnconfinedRendererIsReportedOnce(t *testing.T) {
	r := start(t, "crash", func(c *Config) { c.Env = append(c.Env, fakeUnconfinedEnv+"=landlock") })
	if got := r.report(report.CodeSandbox); !strings.HasSuffix(got.Message, ": landlock") {
		t.Error(got.Message)
	}
	r.push("Kdddd")
	r.report(report.CodeCrash)
	r.report(report.CodeFallback) // by another process
	r.until("pictures", func() bool { return r.Stats().Shown > 0 })
	kit.Expect(t, "reports", len(r.reports), 0)
}

func TestNoDecoder(t *testing.T) {
	r := start(t, "none")
	r.track = &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH265}
	r.Push(&mkv.Frame{Track: r.track, Data: formattest.HEVCAnnexB, Key: true}, 0, false)
	r.report(report.CodeNoDecoder)
}

// Without a decoder the process stays, with its slate, and the frames are counted. One that is installed is found and used, in
// another process.
func TestDecoderThatIsInstalledLater(t *testing.T) {
	installed := filepath.Join(t.TempDir(), "package")
	r := start(t, "none", func(c *Config) { c.Env = append(c.Env, fakePackageEnv+"="+installed) })
	r.push("Kdd")
	r.report(report.CodeNoDecoder)
	r.push("Kdd")
	r.until("all frames are counted", func() bool {
		f := r.Stats().Frames
		return f.Received == 6 && f.Dropped[report.DropUnsupported] == 6 && f.Queued == 0
	})
	r.SetSlate(Slate{State: "no decoder"})
	r.until("the slate", func() bool { return strings.HasPrefix(r.got(), "<no decoder>") })
	kit.Expect(t, "restarts", r.Stats().Restarts, 0)
	kit.Expect(t, "reports", len(r.reports), 0)
	if err := os.WriteFile(installed, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for r.Stats().Shown == 0 { // it takes over at a key frame
		r.push("Kd")
		<-tick.C
	}
	kit.Expect(t, "decoder", r.Stats().Decoder, "vah264dec")
}

func TestTrackThatCannotBeDecoded(t *testing.T) {
	r := start(t, "none")
	r.track = &mkv.Track{Number: 1, Type: mkv.Video, CodecID: "V_VP9"}
	r.push("KdKd")
	r.report(report.CodeCodec)
	r.track = &mkv.Track{Number: 2, Type: mkv.Audio, CodecID: "A_AAC"}
	r.push("K")
	r.track = &mkv.Track{Number: 1, Type: mkv.Video, CodecID: mkv.CodecH264, CodecPrivate: formattest.AVCC}
	r.push("K")
	r.shown(1)
	if len(r.reports) > 0 {
		t.Errorf("reported twice: %+v", <-r.reports)
	}
}

func TestNoDisplay(t *testing.T) {
	r := start(t, "none", func(c *Config) { c.Sink = plan.KMS })
	r.push("K")
	r.report(report.CodeNoDisplay)
}

func TestOverflowIsReportedOnce(t *testing.T) {
	r := start(t, "none", func(c *Config) {
		c.Limits = Limits{Units: 4, Bytes: 1 << 20}
		c.Program = programOf("/bin/sleep", "60") // says nothing, takes nothing
	})
	r.push("Kdddddddd")
	r.report(report.CodeDropped)
	r.push("KdddK")
	r.report(report.CodeDropped)
	s := r.Stats()
	kit.Expect(t, "dropped", s.Dropped, 9+4)
	kit.Expect(t, "waiting", s.Waiting, 1)
	kit.Expect(t, "reports", len(r.reports), 0)
}

func TestSnapshotWithoutChild(t *testing.T) {
	r := New(Config{})
	if _, err := r.Snapshot(t.Context(), Snapshot{PNG: true}); err == nil || reportOf(err).Code != report.CodeNoPicture {
		t.Error(err)
	}
}

func TestSnapshotHasADeadline(t *testing.T) {
	r := start(t, "none", func(c *Config) { c.Program = programOf("/bin/sleep", "60") })
	deadline := time.After(20 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		_, err := r.Snapshot(ctx, Snapshot{PNG: true})
		cancel()
		if err != nil && strings.Contains(err.Error(), "in time") {
			return
		}
		select {
		case <-deadline:
			t.Fatal(err)
		default:
		}
	}
}
