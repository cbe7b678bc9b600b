package decode

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// attempt is the agent's side of one child's life.
type attempt struct {
	r        *Renderer
	child    *child
	out      *Writer
	hello    chan Hello    // one
	screened chan Screened // what became of displays that were asked for
	moved    chan struct{} // holds a token after a status
	progress progress
	again    bool // the child before this one has shown nothing

	greeted chan struct{} // closed once own and found are set, and the child has a display
	own     []string      // elements that existed when the child started
	nodes   []deviceNode  // that own or found depends on
	seen    []deviceNode  // a moment ago; of reconsider

	outbox outbox
	over   <-chan struct{} // closed when the child is given up

	slating sync.Mutex // one slate is sent at a time
	slated  Slate      // the one that was sent last

	whereabouts chan struct{}  // closed once nodesOf is set
	asked       bool           // for nodesOf; of feed
	pipelines   map[string]int // opened so far, by element; of feed
	place       func()         // gives the place on the decoder's device back; nil when there is none

	sentTo sentTo // what became of the frames is not known yet

	mu      sync.Mutex
	found   []string          // elements that exist now
	nodesOf map[string]string // device nodes of own, as far as the child has said
	feeding *Input            // whose frames the child gets
	plan    *plan.Plan        // in use
	format  *format.Format    // that plan decodes
	showing time.Time         // since when plan shows pictures; zero before
	waiter  chan picture
	request int64 // number of the snapshot that waiter waits for

	promoted *plan.Plan // a better one, which takes over at the next key frame

	lacking *format.Format // for which there is no decoder; nil when there is one
}

// newAttempt makes the attempt of a child, which is given up when over is closed.
func newAttempt(r *Renderer, c *child, nodes []deviceNode, again bool, over <-chan struct{}) *attempt {
	out := NewWriter(c.conn)
	return &attempt{
		over: over, outbox: outbox{filled: make(chan struct{}, 1)},
		r: r, nodes: nodes, seen: nodes, child: c, again: again, out: out,
		whereabouts: make(chan struct{}), pipelines: make(map[string]int),
		hello: make(chan Hello, 1), screened: make(chan Screened, 8), greeted: make(chan struct{}), moved: make(chan struct{}, 1),
		progress: progress{patience: r.config.Patience, started: time.Now(), atWork: c.atWork, effort: c.effort, writing: out.since},
	}
}

// feed gives the child a pipeline for the format of the frames, and the frames.
func (a *attempt) feed(ctx context.Context) error {
	var hello Hello
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case hello = <-a.hello:
	}
	a.own = hello.Elements
	a.mu.Lock()
	a.found = hello.Elements
	a.mu.Unlock()
	if err := a.setTheStage(); err != nil {
		return broken(ctx, err)
	}
	if err := a.sendSlate(); err != nil { // before the first pipeline; newer ones come by post
		return broken(ctx, err)
	}
	close(a.greeted)
	in, turned := a.r.showing()
	in.gate.Rewind()
	for {
		err := a.feedFrom(ctx, in, turned)
		if !errors.Is(err, errTurned) {
			return err
		}
		in, turned = a.r.showing()
		if err := a.cut(); err != nil {
			return broken(ctx, err)
		}
		in.gate.Rewind() // it may be the same input again, and have given frames to the pipeline that was cut
		if in.gate.Stats().Waiting == 0 {
			a.r.log.Info("nothing is kept of the stream that is to be shown; waiting for a key frame", "stream", in.name)
		}
	}
}

// feedFrom gives the child the frames of an input until another one is shown.
func (a *attempt) feedFrom(ctx context.Context, in *Input, turned <-chan struct{}) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	var waiting sync.WaitGroup
	defer waiting.Wait()
	waiting.Go(func() {
		select {
		case <-turned:
			end(errTurned)
		case <-ctx.Done():
		}
	})
	defer end(nil)
	defer in.gate.Release()
	a.mu.Lock()
	a.feeding = in
	a.mu.Unlock()
	a.sentTo.feed(in)
	var open *format.Format
	decodable := true
	for {
		if err := a.room(ctx, in.gate); err != nil {
			return err
		}
		u, err := in.gate.Take(ctx)
		if err != nil {
			return err
		}
		better, err := a.takesOver(u)
		if err != nil {
			return err
		}
		if !u.Format.Continues(open) || better {
			err := a.open(ctx, u.Format)
			if decodable = !isNoDecoder(err); !decodable {
				err = a.lack(err, u.Format, open != nil)
			}
			if err != nil {
				return err
			}
			open = u.Format
		}
		if !decodable {
			in.ledger.settle(u.Number, report.DropUnsupported)
			continue
		}
		a.sentTo.frame(u.Number)
		if err := a.out.Frame(u); err != nil {
			return broken(ctx, err)
		}
		a.progress.sent(u, time.Now())
		a.r.fed()
	}
}

func isNoDecoder(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.Code == report.CodeNoDecoder
}

// lack takes in that there is no decoder for a format, and reports it. The child goes on without a pipeline, so that
// its slate says what is missing; reconsider looks whether a decoder has been installed.
func (a *attempt) lack(err error, f *format.Format, piped bool) error {
	a.mu.Lock()
	a.plan, a.format, a.showing, a.lacking = nil, nil, time.Time{}, f
	a.mu.Unlock()
	a.r.note(err, 0)
	if !piped {
		return nil
	}
	return a.cut()
}

// cut has the child give up the pipeline at once.
func (a *attempt) cut() error {
	a.progress.cut()
	a.leavePlace()
	a.sentTo.cut()
	return a.out.Raw(KindCut, 0, 0, nil)
}

// room waits until the child holds few enough frames.
func (a *attempt) room(ctx context.Context, g *Gate) error {
	for {
		most := uint64(maxInFlight)
		if g.recording() {
			most = recordingInFlight
		}
		if a.progress.inFlight() < most {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-a.moved:
		}
	}
}

// open asks for a pipeline. Its answer is not awaited: frames may follow at once.
func (a *attempt) open(ctx context.Context, f *format.Format) error {
	if err := a.locateDenied(ctx); err != nil {
		return err
	}
	p, err := a.r.choose(*f, a.own)
	if err != nil {
		return err
	}
	if p.Pipelines > 0 && a.pipelines[p.Element] >= p.Pipelines {
		return errSpent
	}
	a.pipelines[p.Element]++
	a.takePlace(p)
	a.mu.Lock()
	a.plan, a.format, a.showing, a.lacking = &p, f, time.Time{}, nil
	in := a.feeding
	a.mu.Unlock()
	a.progress.suspect(!a.r.standsStill(p))
	a.r.log.Info("opening a decoder", "element", p.Element, "family", p.Family, "display", p.Display.String())
	number := a.progress.open(p.Family == plan.Software, time.Now())
	a.sentTo.open(number, in)
	if err := a.out.JSON(KindOpen, Open{Number: number, Plan: p, Latency: a.r.config.Latency}); err != nil {
		return broken(ctx, err)
	}
	return a.askForNodes(ctx)
}

// read takes in what the child says until it says no more.
func (a *attempt) read(ctx context.Context, from io.Reader) error {
	a.child.heard.Store(true)
	r := NewReader(from, FromRenderer)
	for {
		m, err := r.Next()
		if err != nil {
			var errno syscall.Errno // a connection reset, by a process that died with frames unread
			a.child.saidAll()
			if errors.Is(err, io.EOF) || errors.As(err, &errno) || ctx.Err() != nil {
				return broken(ctx, err)
			}
			return failed(report.CodeCrash, "the renderer process sent an invalid message: %v", err)
		}
		a.progress.hearing(time.Now(), m.Kind == KindHello)
		if err := a.take(m); err != nil {
			return err
		}
	}
}

// take handles one message.
func (a *attempt) take(m Message) error {
	switch m.Kind {
	case KindHello:
		var h Hello
		if err := m.decodeBounded(&h); err != nil {
			return err
		}
		if err := h.check(); err != nil {
			return err
		}
		select {
		case a.hello <- h:
			a.r.greet(h)
			a.r.reportUnconfined(a.child.unconfined, h.Unconfined)
		default:
			return failed(report.CodeCrash, "the renderer process sent an invalid message: a second hello")
		}
	case KindOpened:
		var o Opened
		if err := m.decodeBounded(&o); err != nil {
			return err
		}
		a.progress.opened(o.Number, time.Now())
		a.sentTo.opened(o.Number)
	case KindStatus, KindDrained:
		var s Status
		if err := m.decodeBounded(&s); err != nil {
			return err
		}
		a.sentTo.status(s, m.Kind == KindDrained)
		a.status(s)
		if m.Kind == KindDrained {
			a.progress.drained(s)
		}
	case KindFailure:
		var f Failure
		if err := m.decodeBounded(&f); err != nil {
			return err
		}
		return f.failure()
	case KindDevices:
		var d Devices
		if err := m.decodeBounded(&d); err != nil {
			return err
		}
		a.takeNodes(d.Nodes)
	case KindScreened:
		var s Screened
		if err := m.decodeBounded(&s); err != nil {
			return err
		}
		a.progress.screened(s.Number, time.Now())
		select {
		case a.screened <- s:
		default: // it fails faster than anybody can look
		}
	case KindPicture:
		a.answer(m)
	}
	return nil
}

func (a *attempt) status(s Status) {
	before, current := a.progress.advance(s, time.Now())
	if told := a.r.config.Pictures; told != nil && s.Number > 0 {
		told(s.Number, s.Checksums)
	}
	select {
	case a.moved <- struct{}{}:
	default:
	}
	a.mu.Lock()
	in := a.feeding
	a.mu.Unlock()
	if !current {
		in = nil
	}
	if len(s.Handover) > 0 {
		a.r.log.Debug("frames reached the decoder", "after", s.Handover)
	}
	a.r.count(before, s, in)
	if current && before.Shown == 0 && s.Shown > 0 {
		a.mu.Lock()
		plan := a.plan
		if plan != nil {
			a.showing = time.Now()
		}
		a.mu.Unlock()
		if plan == nil { // it cannot show pictures of a pipeline that was not asked for
			return
		}
		a.r.firstPicture(*plan)
		a.regained(*plan)
	}
}

// watch ends the attempt when the child does not work.
func (a *attempt) watch(ctx context.Context) error {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case now := <-ticker.C:
			if err := a.progress.check(now); err != nil && !a.excuses(err) {
				return a.child.examine(err)
			}
			if err := a.child.overweight(a.r.config.Memory, now); err != nil {
				return err
			}
		}
	}
}

// blame names the plan that was in use.
func (a *attempt) blame(err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if f.Code != report.CodeNoDecoder && f.Code != report.CodeDisplayLost && f.Code != report.CodeStream {
		f.plan = a.plan
		if f.plan != nil {
			p := a.located(*f.plan)
			f.plan = &p
		}
	}
	if !a.showing.IsZero() {
		f.worked = time.Since(a.showing)
	}
	return f
}
