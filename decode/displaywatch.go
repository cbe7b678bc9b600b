package decode

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/xserver"
)

// lookEvery is how often the outputs are looked at: plugging and unplugging is seen within that time.
const lookEvery = 500 * time.Millisecond

// askRefusedAgain is how long a refusal of an X server is kept.
const askRefusedAgain = 5 * time.Second

// How long a way to a screen that failed is passed over, unless something is plugged or unplugged: doubled with
// every failure in a row.
const (
	passFirst = time.Second
	passMost  = 30 * time.Second
)

// display is what a renderer knows about where its pictures go. It outlives the children.
//
//	          chosen                 unplugged, failed
//	(none) ───────────▶ in use ─────────────────────────▶ lost ──┐
//	   ▲                  ▲                                       │ looked for every lookEvery
//	   └─ there is none ──┴──────── plugged, works again ◀────────┘
type display struct {
	mu        sync.Mutex
	connector string // that is wanted; "" for the best
	number    uint32
	failed    map[plan.Sink]pass
	noPlane   bool   // the path over a plane failed with this screen
	noPath    string // that the path that was asked for is not possible, as reported
	seen      []plan.Connector
	lost      bool          // one that was in use
	why       string        // code of the newest failure
	told      string        // why there is none, as reported
	trouble   report.Report // why there is none now; empty while one works, and where none was asked for

	// Of the goroutine that chooses, which waits for servers without holding mu.
	refused xRefusal
	xClient net.Conn // see xserver.Server.Access; nil when there is none
}

// pass is a sink that is passed over.
type pass struct {
	times int
	until time.Time
}

// pass passes over a sink from now on. One that hangs is not tried soon: that takes long, and nothing is shown
// meanwhile.
func (d *display) pass(s plan.Sink, hangs bool, now time.Time) time.Duration {
	p := d.failed[s]
	span := min(passFirst<<min(p.times, 16), passMost)
	if hangs {
		span = passMost
	}
	if d.failed == nil {
		d.failed = make(map[plan.Sink]pass)
	}
	d.failed[s] = pass{p.times + 1, now.Add(span)}
	return span
}

// xRefusal is the last refusal of an X server, which logs every one: it is not asked again at every look.
type xRefusal struct {
	server xserver.Name
	err    error
	until  time.Time
}

// xAccess is xserver.Server.Access, with a refusal kept for a while.
func (d *display) xAccess(s xserver.Server) error {
	now := time.Now()
	if d.refused.server == s.Name() && now.Before(d.refused.until) {
		return d.refused.err
	}
	conn, err := s.Access()
	d.leaveX()
	d.xClient, d.refused = conn, xRefusal{}
	if refused := xserver.Refused(""); errors.As(err, &refused) {
		d.refused = xRefusal{s.Name(), err, now.Add(askRefusedAgain)}
	}
	return err
}

// leaveX closes the connection of xAccess.
func (d *display) leaveX() {
	if d.xClient != nil {
		d.xClient.Close()
		d.xClient = nil
	}
}

// look forgets what failed when the outputs are not as they were.
func (d *display) look(connectors []plan.Connector) {
	if !slices.Equal(connectors, d.seen) {
		d.seen = connectors
		d.noPlane = false
		clear(d.failed)
	}
}

// CheckConnector says why pictures cannot go to a KMS output now.
func (r *Renderer) CheckConnector(name string) error {
	switch now := r.Stats().Display; {
	case r.config.Sink != plan.KMS && r.config.Sink != plan.Auto:
		return report.Errorf(report.CodeConnector, "pictures go to %s, which has no connectors; that is [display] sink", r.config.Sink)
	case now.Sink == plan.X11 || now.Sink == plan.Wayland:
		return report.Errorf(report.CodeConnector, "pictures go to a window on %s, which has no connectors; [display] sink = \"kms\" does without it", now.Sink)
	}
	_, err := plan.Surroundings{Connectors: plan.Connectors(r.config.DRM)}.TryKMS(name)
	return err
}

// SetConnector has pictures go to another KMS output; "" for the best there is. It is looked for within lookEvery, and
// until it is there.
func (r *Renderer) SetConnector(name string) {
	d := &r.display
	d.mu.Lock()
	defer d.mu.Unlock()
	if name != d.connector {
		d.connector = name
		d.told = ""
		clear(d.failed)
	}
}

func (r *Renderer) connector() string {
	r.display.mu.Lock()
	defer r.display.mu.Unlock()
	return r.display.connector
}

// setTheStage tells a new child what to load, and the display, which it opens meanwhile.
func (a *attempt) setTheStage() error {
	if err := a.out.JSON(KindLoad, Load{a.r.likely(a.own)}); err != nil {
		return err
	}
	return a.showOn(a.r.chooseDisplay(a.own, plan.Connectors(a.r.config.DRM)))
}

// likely are the elements for the format that waits, or for the most common one.
func (r *Renderer) likely(found []string) []string {
	in, _ := r.showing()
	f, ok := in.gate.format()
	if !ok {
		f = format.Format{Codec: format.H264}
	}
	p, _ := r.best(f, found)
	return []string{p.Parser, p.Element}
}

// sendSlate sends the newest slate, if any was set.
func (a *attempt) sendSlate() error {
	a.slating.Lock() // an older one must not overtake it
	defer a.slating.Unlock()
	a.r.mu.Lock()
	slate := a.r.slate
	a.r.mu.Unlock()
	if slate == (Slate{}) || slate == a.slated {
		return nil
	}
	a.slated = slate
	slate.AtOnce = a.again
	return a.out.JSON(KindSlate, slate)
}

// SetSlate says what stands on the screen while there is no picture. It does not wait for the child.
func (r *Renderer) SetSlate(s Slate) {
	r.mu.Lock()
	same := s == r.slate
	r.slate = s
	a := r.current
	r.mu.Unlock()
	if !same && a != nil {
		a.outbox.putSlate()
	}
}

// showOn asks the child for a display.
func (a *attempt) showOn(c plan.Choice) error {
	d := &a.r.display
	d.mu.Lock()
	d.number++
	number := d.number
	d.mu.Unlock()
	a.progress.screenAsked(number, time.Now())
	a.r.mu.Lock()
	a.r.stats.Display, a.r.stats.Passed = c.Display, c.Passed
	a.r.mu.Unlock()
	where := "showing on " + c.Display.String()
	if c.Display.Sink == plan.None {
		where = "showing nowhere"
	}
	a.r.log.Info(where, "passed_over", strings.Join(c.Passed, "; "))
	return a.out.JSON(KindScreen, Screen{Number: number, Display: c.Display, Unpaced: a.r.config.Unpaced})
}

// watchDisplay sees to it that pictures go to the best display there is, until the context ends.
func (a *attempt) watchDisplay(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-a.greeted:
	}
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case s := <-a.screened:
			a.r.screened(s)
		case <-ticker.C:
			if err := a.lookForDisplay(); err != nil {
				return broken(ctx, err)
			}
		}
	}
}

// lookForDisplay asks for another display when the present one is not the best any more.
func (a *attempt) lookForDisplay() error {
	a.r.mu.Lock()
	now := a.r.stats.Display
	a.r.mu.Unlock()
	window := (now.Sink == plan.X11 || now.Sink == plan.Wayland) && a.r.connector() == ""
	if window || a.r.config.Sink == plan.None {
		return nil // what is plugged there is the desktop's business
	}
	// One look for both questions: what is pulled between two would be gone without having been lost.
	connectors := plan.Connectors(a.r.config.DRM)
	if now.Sink == plan.KMS && !hasScreen(now, connectors) {
		a.r.lostDisplay(report.Report{Code: report.CodeDisplayLost, Message: now.Connector + " was unplugged", Detail: map[string]any{"connector": now.Connector}})
	}
	choice := a.r.chooseDisplay(a.own, connectors)
	if choice.Display == now {
		return nil
	}
	return a.showOn(choice)
}

// hasScreen says that there still is a screen, as far as is known, perhaps another one.
func hasScreen(d plan.Display, connectors []plan.Connector) bool {
	return slices.ContainsFunc(connectors, func(c plan.Connector) bool {
		return c.Name == d.Connector && "/dev/dri/"+c.Card == d.Card && (c.Connected || c.Unknown)
	})
}

// chooseDisplay chooses a display out of those that did not fail a short while ago. When the one that is wanted cannot
// be used, that is reported once, and the choice is None until it can.
func (r *Renderer) chooseDisplay(found []string, connectors []plan.Connector) plan.Choice {
	now := time.Now()
	d := &r.display
	d.mu.Lock()
	d.look(connectors)
	connector, failed, noPlane := d.connector, maps.Clone(d.failed), d.noPlane
	d.mu.Unlock()
	choice, err := plan.ChooseDisplay(r.config.Sink, connector, plan.Surroundings{
		Getenv: os.Getenv, Connectors: connectors, Reachable: dial, XAccess: d.xAccess, Found: found,
		Denied: func(s plan.Sink) (string, bool) {
			return "it failed a short while ago", s != plan.None && now.Before(failed[s].until)
		},
	})
	if err == nil && choice.Display.Sink == plan.None && r.config.Sink == plan.Auto {
		err = choice.Refused
	}
	if err != nil {
		choice.Display = plan.Display{Sink: plan.None}
	}
	if choice.Display.Sink != plan.None {
		choice.Display.Rotate = r.config.Rotate
	}
	if choice.Display.Sink == plan.KMS {
		r.mu.Lock()
		noPlane = noPlane || r.copied
		r.mu.Unlock()
		if choice.Display.Path = r.config.Path; noPlane {
			choice.Display.Path = plan.PathCopy
		}
	}
	if news := d.chosen(err); news.Code != "" {
		r.config.Report(news)
	}
	return choice
}

// chosen takes in why the display that is wanted cannot be used, nil when it can, and gives what is to be reported.
func (d *display) chosen(err error) (out report.Report) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		if d.trouble.Code == report.CodeNoAccess {
			d.trouble, d.told = report.Report{}, ""
		}
		return report.Report{}
	}
	out = reportOf(err)
	if d.trouble.Code != report.CodeDisplayLost && d.trouble.Code != report.CodeBusy { // which say more
		d.trouble = out
	}
	if d.lost || d.told == out.Message {
		return report.Report{}
	}
	d.told = out.Message
	return out
}

// screened takes in what became of a display that was asked for.
func (r *Renderer) screened(s Screened) {
	d := &r.display
	d.mu.Lock()
	current := s.Number == d.number
	back := current && s.Failure == nil && d.lost
	d.mu.Unlock()
	if current {
		d.leaveX() // the sink is connected now, or has failed
	}
	r.mu.Lock()
	now := r.stats.Display
	r.mu.Unlock()
	if current && s.Failure == nil {
		r.mu.Lock()
		r.stats.Mode, r.stats.Path, r.stats.PathNotes = s.Mode, s.Path, s.Passed
		r.mu.Unlock()
		if now.Sink == plan.KMS {
			r.log.Info("the path of pictures to the screen", "path", s.Path, "display", now.String(), "passed_over", strings.Join(s.Passed, "; "))
		}
	}
	if current && s.Failure == nil && now.Sink != plan.None {
		d.mu.Lock()
		d.trouble, d.told = report.Report{}, ""
		d.mu.Unlock()
	}
	if current && s.Failure == nil && r.config.Path == plan.PathPlane && s.Path != plan.PathPlane {
		r.pathImpossible(s.Passed)
	}
	switch {
	case !current:
	case s.Failure != nil && s.Failure.Code == report.CodePath:
		r.pathFailed(s.Failure.failure().Report)
	case s.Failure != nil:
		fault := s.Failure.failure().Report
		hangs := fault.Code == report.CodeHang
		if hangs {
			fault.Code = report.CodeDisplayLost
		}
		r.displayFailed(now, fault, hangs)
	case back && now.Sink != plan.None:
		d.mu.Lock()
		d.lost, d.told, d.why = false, "", ""
		d.mu.Unlock()
		r.config.Report(report.Report{Code: report.CodeDisplayBack, Message: "showing on " + now.String() + " again", Detail: map[string]any{"display": now.String()}})
	}
}

// pathFailed leaves the path over a plane, until something is plugged or unplugged: the display itself and the decoder
// are not to blame.
func (r *Renderer) pathFailed(why report.Report) {
	r.display.mu.Lock()
	r.display.noPlane = true
	r.display.mu.Unlock()
	r.mu.Lock()
	r.stats.Display.Path = "" // so that the one that is chosen next is another one
	r.mu.Unlock()
	r.config.Report(why)
}

// pathImpossible reports, once, that the path that was asked for by name is not there on this box.
func (r *Renderer) pathImpossible(why []string) {
	news := report.Report{
		Code:    report.CodePath,
		Message: fmt.Sprintf("the path to the screen that [display] path names is not possible here (%s); the path %q is used", strings.Join(why, "; "), plan.PathCopy),
	}
	r.display.mu.Lock()
	told := r.display.noPath == news.Message
	r.display.noPath = news.Message
	r.display.mu.Unlock()
	if !told {
		r.config.Report(news)
	}
}

// displayFailed passes over the sink of a display for a while, and reports why. hangs says that it did not answer.
func (r *Renderer) displayFailed(now plan.Display, report report.Report, hangs bool) {
	d := &r.display
	d.mu.Lock()
	span := d.pass(now.Sink, hangs, time.Now())
	again := d.lost && d.why == report.Code
	d.why = report.Code
	d.mu.Unlock()
	report.Message = fmt.Sprintf("%v: %s; it is tried again in %v", now, report.Message, span)
	r.mu.Lock()
	r.stats.Display = plan.Display{} // whatever is chosen next is another one
	r.mu.Unlock()
	if again {
		r.log.Info(report.Message, "code", report.Code)
		return
	}
	r.lostDisplay(report)
}

// lostDisplay reports that the display is gone.
func (r *Renderer) lostDisplay(report report.Report) {
	r.display.mu.Lock()
	r.display.lost, r.display.trouble = true, report
	r.display.mu.Unlock()
	r.config.Report(report)
}

// DisplayTrouble says why there is no display that works, for as long as there is none. Its code is "" while one works,
// and where none was asked for.
func (r *Renderer) DisplayTrouble() report.Report {
	r.display.mu.Lock()
	defer r.display.mu.Unlock()
	return r.display.trouble
}

func dial(network, address string) error {
	conn, err := net.DialTimeout(network, address, xserver.DialTimeout)
	if err != nil {
		return err
	}
	return conn.Close()
}
