// Package decode turns the encoded frames of one stream into a picture, by way
// of a child process that does the decoding.
//
// In go frames with their place on the producer's time line ([Input.Push]).
// Out come reports and figures: what is decoded by which element, what was shown
// when, what was dropped. The picture itself never passes through this process:
//
//	Push ──▶ track ──▶ access units ──▶ gate ──▶ socket pair ──▶ renderer child (package gst) ──▶ display
//	                                     │ kept since the              │ opened, status, failure
//	                                     │ last key frame              ▼
//	                                     └── replay ◀── supervision: deny the plan, start the next child
//
// Every access unit has a number and is accounted for: [Input.Counts].
//
// A decoder that exists proves nothing. [Probe] tries out every one in a child of its own; one that fails while it
// is in use is denied for a growing time and then tried again beside the picture (reconsider.go). Five ways
// to fail are told apart: an error, the end of the process, a process that does not answer, frames that become
// no pictures, and pictures that stand still (watch.go, still.go); and how much memory a child takes is watched.
//
// What decides is pure and stands apart from what acts: [format.FormatOf] (what has to
// be decoded), [plan.Choose] (by which elements), [plan.ChooseDisplay] (to which
// screen), [timeline.Timeline] (when). The wire protocol ([Reader], [Writer]) is shared by both ends.
//
// [Renderer.Run] owns the child, the socket and every goroutine of this package:
// for each child one feeds, one reads what it says, one reads its log, one waits
// for its end, one watches that it is alive, one looks after its display and one tries better decoders again. When
// Run has returned, all of them are gone.
package decode

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/quirk"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/timeline"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Config says how a Renderer works. Zero values mean the defaults.
type Config struct {
	Program   *Program // of the children; default: the installed one
	Env       []string // added to the child's environment
	Sandbox   Sandbox
	Sink      plan.Sink // default: Auto
	Connector string    // KMS output to use; default: the first connected
	Path      plan.Path // to the screen; default: PathAuto
	Rotate    int       // degrees by which pictures are rotated, clockwise
	Prefer    plan.Preference
	Latency   time.Duration
	Unpaced   bool   // show as fast as pictures come
	Limits    Limits // of what waits for the child
	Patience  Patience
	Memory    uint64 // bytes that a child may take; default: half of the box's, at most 2 GiB

	// Pictures is told the checksums of all pictures that a pipeline has decoded so far, and
	// pays for them; nil leaves them out. It must not block.
	Pictures func(pipeline uint32, checksums []string)

	// Report is told what happens to the picture. It is called from the renderer's
	// goroutines and from Push, and must not block. What is reported is not logged here as well.
	Report func(report.Report)
	// Devices is told that device nodes have come or gone, so that what a probe found may no longer be so. It must not
	// block.
	Devices func()
	Log     *slog.Logger

	DRM fs.FS  // default: /sys/class/drm
	Sys fs.FS  // default: /sys
	Dev string // default: /dev
}

// Bounds of the renderer's life.
const (
	stopGrace   = time.Second // for a child to end by itself
	maxInFlight = 256         // frames in the child that have not reached the decoder
	// recordingInFlight is the same for a recording, see readAhead. At 60 frames a second 12 go between two statuses.
	recordingInFlight = 16
	maxBackoff        = 10 * time.Second       // between two attempts
	firstBackoff      = 100 * time.Millisecond // doubled from the second failure in a row
	checkEvery        = 100 * time.Millisecond // supervision
)

// Renderer keeps a picture on a screen by way of one child process at a time.
// Its methods may be called from any goroutine.
//
//	           Hello           first frame         first picture
//	starting ─────────▶ idle ─────────────▶ open ────────────────▶ showing
//	   ▲                                     │ error, crash, hang,    │
//	   │ after the back-off                  ▼ silence, lost display  │
//	   └─────────────────────────────── plan denied ◀─────────────────┘
type Renderer struct {
	config Config
	own    *Input
	log    *slog.Logger

	snapshots chan struct{} // a place for the one that is being taken
	display   display

	early      *child // that Start has started, for Run
	earlyNodes []deviceNode

	memory  *pool         // of all inputs' frames
	numbers atomic.Uint64 // of frames

	mu      sync.Mutex
	inputs  []*Input
	gone    report.FrameCounts // of inputs that were closed
	shown   *Input
	turned  chan struct{} // closed when another input is shown
	slate   Slate
	current *attempt
	deny    denyList
	// unnegotiated are the elements that found no format for their pictures.
	unnegotiated map[string]bool
	probe        ProbeReport  // empty before SetProbe
	hardware     hardware     // behind the elements
	places       Places       // on devices
	copied       bool         // a known fault of the decoder forbids to show its pictures from a plane
	after        *failure     // since which no picture was shown
	replaced     *plan.Plan   // by a better one, which has not shown a picture yet
	nodes        []deviceNode // that there were at the last look
	looked       bool
	confined     bool // or reported that it is not
	closed       []deviceNode
	stats        Stats
}

// New makes a renderer, which does nothing before Run but queue frames.
func New(c Config) *Renderer {
	if c.Program == nil {
		c.Program = InstalledProgram()
	}
	if c.Sink == "" {
		c.Sink = plan.Auto
	}
	if c.Path == "" {
		c.Path = plan.PathAuto
	}
	if c.Latency == 0 {
		c.Latency = timeline.DefaultLatency
	}
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits
	}
	if c.Patience == (Patience{}) {
		c.Patience = DefaultPatience
	}
	if c.Memory == 0 {
		c.Memory = memoryLimit()
	}
	if c.Report == nil {
		c.Report = func(report.Report) {}
	}
	if c.Devices == nil {
		c.Devices = func() {}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.DRM == nil {
		c.DRM = os.DirFS("/sys/class/drm")
	}
	if c.Dev == "" {
		c.Dev = "/dev"
	}
	if c.Sys == nil {
		c.Sys = os.DirFS("/sys")
	}
	r := &Renderer{config: c, memory: c.Limits.pool(), log: c.Log, unnegotiated: make(map[string]bool), turned: make(chan struct{}), snapshots: make(chan struct{}, 1)}
	r.display.connector = c.Connector
	r.hardware.chips = readChips(c.Sys)
	r.own = r.Input("", c.Prefer)
	r.own.gate.Unpark()
	r.shown = r.own
	return r
}

// Start starts the first child ahead of Run, which takes it over: it comes up while the caller makes the rest ready. To
// be called at most once, and followed by Run or Stop. That it cannot be started is for Run to report.
func (r *Renderer) Start() { r.early, r.earlyNodes, _ = r.startChild() }

// Stop ends what Start has started, where Run does not follow.
func (r *Renderer) Stop() {
	if r.early != nil {
		r.early.stop(0)
		_ = r.early.log.Close()
		r.early = nil
	}
}

// child gives the child that was started early, or a new one, and the device nodes that were there before it was.
func (r *Renderer) child() (*child, []deviceNode, error) {
	if c := r.early; c != nil {
		r.early = nil
		return c, r.earlyNodes, nil
	}
	return r.startChild()
}

func (r *Renderer) startChild() (*child, []deviceNode, error) {
	nodes := deviceNodes(r.config.Dev)
	l := r.launch()
	if len(nodes) == 0 {
		l.env = append(slices.Clone(l.env), PreloadEnv+"=1")
	}
	c, err := startChild(l)
	return c, nodes, err
}

func (r *Renderer) launch() launch {
	return launch{program: r.config.Program, env: r.config.Env, dev: r.config.Dev, sandbox: r.config.Sandbox}
}

// Run keeps a renderer child alive until the context ends, and returns when
// child and goroutines are gone. The error is always nil: what fails is reported and tried again.
func (r *Renderer) Run(ctx context.Context) error {
	defer r.Stop() // what was started early, where the context ends first
	defer r.display.leaveX()
	if r.config.Sink == plan.Auto || r.config.Sink == plan.KMS {
		if err := askAbout(plan.Connectors(r.config.DRM), r.config.Dev); err != nil {
			r.log.Info(err.Error()) // it is shown on all the same, in a mode that the sink chooses
		}
	}
	inARow := 0
	for ctx.Err() == nil {
		shown := r.Stats().Shown
		err := r.once(ctx, inARow > 1)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errRenewed) || errors.Is(err, errSpent) {
			r.log.Info(err.Error())
			continue
		}
		if r.Stats().Shown > shown {
			inARow = 0
		}
		inARow++
		wait := backoff(inARow)
		r.note(err, wait)
		_, turned := r.showing()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-turned: // what made the child fail may have been the stream
		case <-timer.C:
		}
		timer.Stop()
	}
	return nil
}

// backoff is the wait after failures in a row: none after the first, because
// the next plan is probably good.
func backoff(inARow int) time.Duration {
	if inARow < 2 {
		return 0
	}
	return min(firstBackoff<<min(inARow-2, 16), maxBackoff)
}

// once is the life of one child; again says that the one before has shown nothing. The error is why it ended.
func (r *Renderer) once(ctx context.Context, again bool) error {
	c, nodes, err := r.child()
	r.devicesNow(nodes)
	if err != nil {
		return notStarted(err)
	}
	running, end := context.WithCancelCause(ctx)
	a := newAttempt(r, c, nodes, again, running.Done())
	r.setCurrent(a)
	defer r.setCurrent(nil)
	defer a.leavePlace()

	unblock := context.AfterFunc(running, func() { _ = c.conn.SetWriteDeadline(time.Now()) })
	defer unblock()
	var all sync.WaitGroup
	all.Go(func() { c.copyLog(r.log) })
	all.Go(func() { end(c.ending(running)) })
	all.Go(func() {
		end(a.read(running, c.conn))
		c.saidAll() // after its own reason has ended the context, which is better than how the process ended
	})
	all.Go(func() { end(a.watch(running)) })
	all.Go(func() { a.reconsider(running) })
	all.Go(func() { end(a.post(running)) })
	all.Go(func() { end(a.watchDisplay(running)) })
	end(a.feed(running))

	grace := time.Duration(0)
	if ctx.Err() != nil {
		grace = stopGrace
	}
	c.stop(grace)
	all.Wait()
	if ctx.Err() == nil {
		a.sentTo.died(r.everyInput())
	}
	return a.blame(context.Cause(running))
}

func (r *Renderer) everyInput() []*Input {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.inputs)
}

// devicesNow takes in which device nodes there are, and reports what changed since the last time.
func (r *Renderer) devicesNow(nodes []deviceNode) {
	r.tellClosed(nodes)
	r.mu.Lock()
	changed := r.looked && !slices.Equal(nodes, r.nodes)
	r.nodes, r.looked = nodes, true
	if changed {
		r.hardware.moved()
	}
	r.mu.Unlock()
	if changed {
		r.config.Devices()
	}
}

// tellClosed reports device nodes that the user may not open, once.
func (r *Renderer) tellClosed(nodes []deviceNode) {
	closed := closedNodes(nodes)
	r.mu.Lock()
	news := !slices.Equal(closed, r.closed)
	r.closed = closed
	r.mu.Unlock()
	if news && len(closed) > 0 && !r.config.Prefer.SoftwareOnly() {
		r.config.Report(access(closed, groupOf))
	}
}

func (r *Renderer) setCurrent(a *attempt) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = a
	if a == nil {
		r.stats.Restarts++
	}
}

// note remembers and reports why a child ended.
func (r *Renderer) note(err error, wait time.Duration) {
	var f *failure
	if !errors.As(err, &f) {
		f = failed(report.CodeError, "the renderer process ended: %v", err)
	}
	if f.Code == report.CodeDisplayLost { // it hangs, and the process with it
		r.displayFailed(r.Stats().Display, f.Report, true)
		return
	}
	if f.plan != nil {
		name, now := f.plan.Name(), time.Now()
		r.mu.Lock()
		span := r.deny.deny(f.plan.DeniedBy(), f.worked, f.plan.Family == plan.Software, now)
		if f.unnegotiated {
			r.unnegotiated[f.plan.Element] = true
		}
		r.after = f
		switch f.Code {
		case report.CodeStale:
			r.shown.still.blame(f.plan)
		case report.CodeSilent, report.CodeError:
			r.shown.silent.blame(f.plan)
		}
		r.mu.Unlock()
		if span > 0 {
			f.Message += fmt.Sprintf("; %s is passed over for %v", name, span)
		} else {
			f.Message += fmt.Sprintf("; %s is tried once more", name)
		}
		f.setDetail("element", f.plan.Element)
		f.setDetail("family", string(f.plan.Family))
		f.setDetail("display", f.plan.Display.String())
	}
	if wait > 0 {
		f.setDetail("retry_in_ms", wait.Milliseconds())
	}
	r.config.Report(f.Report)
}

// choose takes the plan for a format with what the child found.
func (r *Renderer) choose(f format.Format, found []string) (plan.Plan, error) {
	p, denied := r.best(f, found)
	r.log.Debug("a decoder was chosen", "codec", f.Codec, "element", p.Element, "all_denied", denied, "of", r.candidates(f, found))
	if p.Element == "" {
		return plan.Plan{}, failed(report.CodeNoDecoder, "GStreamer has no decoder for %s; install gstreamer1.0-libav", f.Codec)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Decoder, r.stats.Family = p.Element, p.Family
	r.copied = p.Copied
	return p, nil
}

// candidates are the elements for a format, in the order of the configuration, for the log.
func (r *Renderer) candidates(f format.Format, found []string) (elements []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range plan.Candidates(f.Codec, r.shown.prefer, found) {
		elements = append(elements, c.Element)
	}
	return elements
}

// best makes the best plan for a format; an empty one when there is none. When all are denied it is the one whose
// denial ends first: a decoder that failed before is better than none.
func (r *Renderer) best(f format.Format, found []string) (p plan.Plan, denied bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	known, prefer := r.known(found, now), r.shown.prefer
	plans := plan.Choose(f, r.stats.Display, prefer, known)
	if len(plans) == 0 {
		denied, known.Denied = true, nil
		plans = plan.Choose(f, r.stats.Display, prefer, known)
		slices.SortStableFunc(plans, func(a, b plan.Plan) int { return r.deny.soonest(a.DeniedBy(), b.DeniedBy()) })
	}
	if len(plans) == 0 {
		return plan.Plan{}, denied
	}
	plans[0].Unpaced, plans[0].Checksums = r.config.Unpaced, r.config.Pictures != nil
	return plans[0], denied
}

// SetProbe tells what came of trying out the decoders. It counts from the next pipeline on.
func (r *Renderer) SetProbe(p ProbeReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probe, r.hardware.stale = p, false
}

// known is what this renderer knows of the decoders. r.mu is held, also while the
// functions are called.
func (r *Renderer) known(found []string, now time.Time) plan.Known {
	return plan.Known{
		Found:        found,
		Denied:       func(by string) bool { return r.deny.denied(by, now) },
		Device:       r.device,
		Slower:       r.probe.Slower,
		Box:          quirk.Box{GStreamer: r.stats.GStreamer, Chips: r.hardware.chips},
		Broken:       r.probe.Broken,
		Differs:      r.probe.Differs,
		Unnegotiated: func(element string) bool { return r.unnegotiated[element] || r.probe.Unnegotiated(element) },
	}
}

// firstPicture reports that the picture is back, if it was gone.
func (r *Renderer) firstPicture(p plan.Plan) {
	r.mu.Lock()
	f := r.after
	r.after = nil
	r.mu.Unlock()
	if f == nil {
		return
	}
	code := report.CodeRecovered
	message := fmt.Sprintf("%s (%s) shows the picture again on %v", p.Element, p.Family, p.Display)
	if f.plan.Element != p.Element {
		code = report.CodeFallback
		message = fmt.Sprintf("%s (%s) decodes now, after %s failed", p.Element, p.Family, f.plan.Element)
	}
	r.config.Report(report.Report{Code: code, Message: message, Detail: map[string]any{
		"element": p.Element, "family": string(p.Family), "display": p.Display.String(),
		"failed_element": f.plan.Element, "cause": f.Code,
	}})
}

// Push hands in one frame of a renderer's own input, which is shown until another one is; see
// [Input.Push].
func (r *Renderer) Push(f *mkv.Frame, at time.Duration, discont bool) {
	r.own.Push(f, at, discont, time.Time{})
}
