package gst

// #include "player.h"
import "C"

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edge-agent/edge-agent/decode"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/system"
	"github.com/edge-agent/edge-agent/decode/timeline"
)

// busWait is how long one wait for the bus lasts; what is urgent wakes it.
const busWait = time.Second

// show is one pipeline that decodes for the screen, and what it tells the agent.
type show struct {
	open   decode.Open
	out    *decode.Writer
	player *player
	seen   *pictures

	prefix []byte // still to go in before the next frame

	// Of the reader: old frames went in, and newer ones join them for as long as some of them wait.
	catchingUp bool
	catchUntil time.Duration // running time
	hiding     bool          // frames only have to be decoded

	work   sync.WaitGroup // listen
	quit   chan struct{}
	ended  chan struct{} // closed at the end of the stream or the first error
	failed atomic.Bool   // ended by an error

	crowded func() // sends a status now, because much is settled

	lost atomic.Uint64 // frames of which the decoder made no picture

	mu     sync.Mutex
	screen *screen       // nil while there is none
	before decode.Status // Shown and Late on screens before
	line   timeline.Timeline
	counts decode.Status // Fed, Anchored and Handover
	frames ledger

	waiting time.Time // when the first frame came that has no picture on the screen yet
}

// startError is an error of a pipeline that did not start, as the bus has it.
type startError struct{ news news }

func (e *startError) Error() string { return e.news.message }

// newShow builds and starts a pipeline whose pictures go to a screen, if there is one. crowded sends a status.
func newShow(open decode.Open, screen *screen, out *decode.Writer, crowded func()) (*show, error) {
	player, err := newPlayer(open.Plan, open.Number)
	if err != nil {
		return nil, err
	}
	s := &show{
		open: open, out: out, crowded: crowded, player: player, seen: newPictures(player, open.Plan.Checksums), prefix: open.Plan.Prefix,
		quit: make(chan struct{}), ended: make(chan struct{}),
		line: timeline.Timeline{Budget: open.Latency},
	}
	s.showOn(screen)
	if err := player.start(); err != nil {
		if errors.Is(err, errFrozen) {
			return nil, err
		}
		if n := waitNews(player.pipeline, 0); n.kind == C.NEWS_ERROR {
			err = &startError{n}
		}
		s.failed.Store(true)
		close(s.ended)
		return s, err
	}
	s.work.Go(s.listen)
	return s, nil
}

// showOn makes a screen the one that gets the pictures; nil for none.
func (s *show) showOn(screen *screen) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.screen != nil {
		s.screen.counts(&s.before, &s.line)
	}
	if screen != nil {
		screen.turn(s.open.Number)
	}
	s.screen = screen
	s.player.show(screen)
}

// collectEvery is after how many frames the ledger is brought up to date, if no status does so before.
const collectEvery = 128

// frame pushes one access unit.
func (s *show) frame(m decode.Message) {
	s.mu.Lock()
	name := s.name(m, runningTime())
	s.counts.Fed++
	if s.waiting.IsZero() {
		s.waiting = time.Now()
	}
	if s.counts.Fed%collectEvery == 0 {
		s.frames.collect(s.player.fates())
		s.frames.bound(s.player.queued())
	}
	crowded := len(s.frames.settled) >= mostSettled
	s.mu.Unlock()
	if crowded {
		s.crowded()
	}
	// A pipeline that takes no more has said why on the bus.
	_ = s.player.push(s.prefix, m, name)
	s.prefix = nil
	s.handedOver(m)
}

// name gives a frame its name in the pipeline, where it stands for its time, and says from which one on pictures are to
// be seen. s.mu is held.
func (s *show) name(m decode.Message, now time.Duration) time.Duration {
	at, key := time.Duration(m.Time), m.Flags&decode.FlagKey != 0
	if s.old(m, at, now) {
		s.hiding = true
		s.player.showFrom(math.MaxInt64)
		return s.frames.sent(m.Number, at, s.line.Replay(at, key, now), key)
	}
	var name time.Duration
	if !key && s.line.Replayed(at) {
		name = s.line.Replay(at, key, now)
	} else {
		var anchored bool
		s.line.Depth(s.player.depth())
		if name, anchored = s.line.Map(at, key, now); anchored {
			s.counts.Anchored++
		}
		s.player.hold(s.line.Hold())
	}
	name = s.frames.sent(m.Number, at, name, key)
	if s.hiding {
		s.hiding = false
		s.player.showFrom(name)
	}
	return name
}

// handedOver notes how long a frame has taken from the network to the decoder's queue.
func (s *show) handedOver(m decode.Message) {
	if m.Received == 0 {
		return
	}
	took := system.Monotonic() - m.Received
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.counts.Handover) < decode.MaxHandover {
		s.counts.Handover = append(s.counts.Handover, took)
	}
}

// The bounds of catching up.
const (
	catchMost = 3 * time.Second
	catchLeft = 3 // frames that wait for a decoder that keeps up
)

// old says that a frame is to be decoded at once, and shown only if it is the newest there is: it was given to another
// decoder before, it is of a burst of old ones, or such frames still wait. s.mu is held.
func (s *show) old(m decode.Message, at, now time.Duration) bool {
	live := m.Flags&decode.FlagStored == 0 && !s.open.Plan.Unpaced
	if m.Flags&decode.FlagReplay != 0 || live && s.line.Joining(at, now) {
		if !s.catchingUp {
			s.catchingUp, s.catchUntil = true, now+catchMost
		}
		return true
	}
	s.catchingUp = live && s.catchingUp && now < s.catchUntil && s.player.queued() > catchLeft
	return s.catchingUp
}

// rarity says how far apart frames are, and when the first one came after the newest picture, which was shown at a
// time.
func (s *show) rarity(picture time.Time) (gap time.Duration, waiting time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if picture.After(s.waiting) { // of what came meanwhile nothing is known; the next frame tells
		s.waiting = time.Time{}
	}
	return s.line.Gap(), s.waiting
}

// status is how far the pipeline is, with what has happened since the last one.
func (s *show) status() decode.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.statusNow()
}

// statusNow is status; s.mu is held.
func (s *show) statusNow() decode.Status {
	status := s.before
	status.Fed, status.Anchored, status.Handover = s.counts.Fed, s.counts.Anchored, s.counts.Handover
	s.counts.Handover = nil
	status.Number = s.open.Number
	s.player.counts(&status)
	if s.screen != nil {
		s.screen.counts(&status, &s.line)
	}
	s.seen.counts(&status)
	status.Skipped += s.lost.Load()
	s.frames.collect(s.player.fates())
	status.Settled = s.frames.take(mostSettled)
	return status
}

// adjust gives the decoder more time when it always takes more than the budget leaves.
func (s *show) adjust() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if margin, ok := s.player.margin(); ok {
		s.line.Margin(margin)
		s.player.hold(s.line.Hold())
	}
}

// listen tells the agent what the bus says, until quit. Only the first error is
// the cause; those that follow are its consequences.
func (s *show) listen() {
	over, warning := false, ""
	for {
		select {
		case <-s.quit:
			return
		default:
		}
		n := waitNews(s.player.pipeline, busWait)
		switch {
		case n.kind == C.NEWS_WARNING && n.message != warning: // some decoders warn with every frame
			warning = n.message
			fmt.Fprintf(os.Stderr, "%s warns: %s\n", n.name, n.message)
		case n.kind == C.NEWS_LOST:
			if s.lost.Add(1) == 1 {
				fmt.Fprintf(os.Stderr, "%s made no picture of a frame; more of these are only counted\n", n.factory)
			}
		case n.kind == C.NEWS_ERROR && !over:
			s.failed.Store(true)
			_ = s.out.JSON(decode.KindFailure, failureOf(s.open.Number, &startError{n}))
			fallthrough
		case n.kind == C.NEWS_EOS && !over:
			over = true
			close(s.ended)
		}
	}
}

// failureOf puts an error into the agent's words.
func failureOf(number uint32, err error) decode.Failure {
	f := decode.Failure{Number: number, Code: report.CodeError, Message: err.Error()}
	var e *startError
	switch {
	case errors.Is(err, errFrozen):
		f.Code = report.CodeHang
	case errors.As(err, &e):
		f.Element, f.Domain, f.GstCode, f.Debug = e.news.factory, e.news.domain, e.news.code, e.news.debug
	}
	return f
}

// drain lets the pictures that are left be shown. It is false when the decoder did not come to its end.
func (s *show) drain(timeout time.Duration) (ended bool) {
	s.player.endOfStream()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	began := time.Now()
	select {
	case <-s.ended:
		ended = !s.failed.Load()
	case <-timer.C:
	}
	if s.screen != nil {
		s.screen.drain(timeout - time.Since(began))
	}
	return ended
}

// close takes the pipeline down and waits for the goroutines. Pictures that wait are
// not shown any more. It returns the last status: frames that are not settled by then are settled as made if their
// picture had left the decoder, else as unmade.
func (s *show) close(made, unmade report.Reason) (decode.Status, error) {
	last := s.status() // while the player is there
	if err := s.stop(); err != nil {
		return last, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.frames.rest(made, unmade)
	last.Settled = append(last.Settled, s.frames.take(len(s.frames.settled))...)
	return last, nil
}

// stop is close without the counting, which goes on until nothing runs any more.
func (s *show) stop() error {
	if s.screen != nil {
		s.screen.turn(0) // lets go of a decoder that waits for room
	}
	close(s.quit)
	C.bus_wake(element(s.player.pipeline))
	s.work.Wait()
	if err := s.player.stop(); err != nil {
		return err
	}
	s.mu.Lock()
	s.frames.collect(s.player.fates())
	s.mu.Unlock()
	s.player.free()
	s.seen.close()
	return nil
}
