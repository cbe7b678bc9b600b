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

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Config says how a Renderer works. Zero values mean the defaults.
type Config struct {
	Program   *Program // of the children; default: the installed one
	Env       []string // added to the child's environment
	Sandbox   Sandbox
	Sink      Sink   // default: Auto
	Connector string // KMS output to use; default: the first connected
	Prefer    Preference
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
	Report func(Report)
	// Devices is told that device nodes have come or gone, so that what a probe found may no longer be so. It must not
	// block.
	Devices func()
	Log     *slog.Logger

	DRM fs.FS  // default: /sys/class/drm
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
	gone    FrameCounts // of inputs that were closed
	shown   *Input
	turned  chan struct{} // closed when another input is shown
	slate   Slate
	current *attempt
	deny    denyList
	// unnegotiated are the elements that found no format for their pictures.
	unnegotiated map[string]bool
	probe        ProbeReport  // empty before SetProbe
	after        *failure     // since which no picture was shown
	replaced     *Plan        // by a better one, which has not shown a picture yet
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
		c.Sink = Auto
	}
	if c.Latency == 0 {
		c.Latency = DefaultLatency
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
		c.Report = func(Report) {}
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
	r := &Renderer{config: c, memory: c.Limits.pool(), log: c.Log, unnegotiated: make(map[string]bool), turned: make(chan struct{}), snapshots: make(chan struct{}, 1)}
	r.display.connector = c.Connector
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
	if r.config.Sink == Auto || r.config.Sink == KMS {
		if err := askAbout(Connectors(r.config.DRM), r.config.Dev); err != nil {
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
		if errors.Is(err, errRenewed) {
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
	if news && len(closed) > 0 && !r.config.Prefer.softwareOnly() {
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
		f = failed(CodeError, "the renderer process ended: %v", err)
	}
	if f.Code == CodeDisplayLost { // it hangs, and the process with it
		r.displayFailed(r.Stats().Display, f.Report, true)
		return
	}
	if f.plan != nil {
		name, now := f.plan.name(), time.Now()
		r.mu.Lock()
		span := r.deny.deny(name, f.worked, f.plan.Family == Software, now)
		if f.unnegotiated {
			r.unnegotiated[f.plan.Element] = true
		}
		r.after = f
		switch f.Code {
		case CodeStale:
			r.shown.still.blame(f.plan)
		case CodeSilent, CodeError:
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
func (r *Renderer) choose(f Format, found []string) (Plan, error) {
	p, denied := r.best(f, found)
	r.log.Debug("a decoder was chosen", "codec", f.Codec, "element", p.Element, "all_denied", denied, "of", r.candidates(f, found))
	if p.Element == "" {
		return Plan{}, failed(CodeNoDecoder, "GStreamer has no decoder for %s; install gstreamer1.0-libav", f.Codec)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Decoder, r.stats.Family = p.Element, p.Family
	return p, nil
}

// candidates are the elements for a format, in the order of the configuration, for the log.
func (r *Renderer) candidates(f Format, found []string) (elements []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range candidates(f.Codec, r.shown.prefer, found) {
		elements = append(elements, c.Element)
	}
	return elements
}

// best makes the best plan for a format; an empty one when there is none. When all are denied it is the one whose
// denial ends first: a decoder that failed before is better than none.
func (r *Renderer) best(f Format, found []string) (p Plan, denied bool) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	known, prefer := r.known(found, now), r.shown.prefer
	plans := Choose(f, r.stats.Display, prefer, known)
	if len(plans) == 0 {
		denied, known.Denied = true, nil
		plans = Choose(f, r.stats.Display, prefer, known)
		slices.SortStableFunc(plans, func(a, b Plan) int { return r.deny.soonest(a.name(), b.name()) })
	}
	if len(plans) == 0 {
		return Plan{}, denied
	}
	plans[0].Unpaced, plans[0].Checksums = r.config.Unpaced, r.config.Pictures != nil
	return plans[0], denied
}

// SetProbe tells what came of trying out the decoders. It counts from the next pipeline on.
func (r *Renderer) SetProbe(p ProbeReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.probe = p
}

// known is what this renderer knows of the decoders. r.mu is held, also while the
// functions are called.
func (r *Renderer) known(found []string, now time.Time) Known {
	return Known{
		Found:        found,
		Denied:       func(name string) bool { return r.deny.denied(name, now) },
		Broken:       r.probe.Broken,
		Differs:      r.probe.Differs,
		Unnegotiated: func(element string) bool { return r.unnegotiated[element] || r.probe.Unnegotiated(element) },
	}
}

// firstPicture reports that the picture is back, if it was gone.
func (r *Renderer) firstPicture(p Plan) {
	r.mu.Lock()
	f := r.after
	r.after = nil
	r.mu.Unlock()
	if f == nil {
		return
	}
	code := CodeRecovered
	message := fmt.Sprintf("%s (%s) shows the picture again on %v", p.Element, p.Family, p.Display)
	if f.plan.Element != p.Element {
		code = CodeFallback
		message = fmt.Sprintf("%s (%s) decodes now, after %s failed", p.Element, p.Family, f.plan.Element)
	}
	r.config.Report(Report{Code: code, Message: message, Detail: map[string]any{
		"element": p.Element, "family": string(p.Family), "display": p.Display.String(),
		"failed_element": f.plan.Element, "cause": f.Code,
	}})
}

// Push hands in one frame of a renderer's own input, which is shown until another one is; see
// [Input.Push].
func (r *Renderer) Push(f *mkv.Frame, at time.Duration, discont bool) {
	r.own.Push(f, at, discont, time.Time{})
}
