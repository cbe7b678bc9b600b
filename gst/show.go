package gst

// #include "player.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// snapshotType is what a snapshot is sent as.
const snapshotType = "image/png"

// busWait is how long one wait for the bus lasts; what is urgent wakes it.
const busWait = time.Second

// show is one pipeline that runs, and what it tells the agent.
type show struct {
	open   decode.Open
	out    *decode.Writer
	player *player
	seen   *pictures

	prefix []byte // still to go in before the next frame
	taking sync.Mutex
	work   sync.WaitGroup // bus and snapshots
	quit   chan struct{}
	ended  chan struct{} // closed at the end of the stream or the first error

	mu     sync.Mutex
	line   decode.Timeline
	counts decode.Status // Fed and Anchored
}

// startError is an error of a pipeline that did not start, as the bus has it.
type startError struct{ news news }

func (e *startError) Error() string { return e.news.message }

// newShow builds and starts a pipeline.
func newShow(open decode.Open, out *decode.Writer) (*show, error) {
	player, err := newPlayer(open.Plan)
	if err != nil {
		return nil, err
	}
	s := &show{
		open: open, out: out, player: player, seen: newPictures(player, open.Plan.Checksums), prefix: open.Plan.Prefix,
		quit: make(chan struct{}), ended: make(chan struct{}),
		line: decode.Timeline{Budget: open.Latency},
	}
	if err := player.start(); err != nil {
		if errors.Is(err, errFrozen) {
			return nil, err
		}
		if n := player.wait(0); n.kind == C.NEWS_ERROR {
			err = &startError{n}
		}
		close(s.ended)
		return s, err
	}
	s.work.Go(s.listen)
	return s, nil
}

// frame pushes one access unit.
func (s *show) frame(m decode.Message) {
	at, key := time.Duration(m.Time), m.Flags&decode.FlagKey != 0
	now := s.player.now()
	s.mu.Lock()
	var due time.Duration
	if m.Flags&decode.FlagReplay != 0 {
		due = s.line.Replay(at, now)
	} else {
		var anchored bool
		if due, anchored = s.line.Map(at, key, now); anchored {
			s.counts.Anchored++
		}
	}
	s.counts.Fed++
	s.mu.Unlock()
	// A pipeline that takes no more has said why on the bus.
	_ = s.player.push(s.prefix, m.Payload, due, key, m.Flags&decode.FlagDiscont != 0)
	s.prefix = nil
}

// status is how far the pipeline is.
func (s *show) status() decode.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := s.counts
	status.Number = s.open.Number
	s.player.counts(&status, &s.line)
	s.seen.counts(&status)
	return status
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
		n := s.player.wait(busWait)
		switch {
		case n.kind == C.NEWS_FIRST_PICTURE:
			_ = s.out.JSON(decode.KindStatus, s.status())
		case n.kind == C.NEWS_WARNING && n.message != warning: // some decoders warn with every frame
			warning = n.message
			fmt.Fprintf(os.Stderr, "%s warns: %s\n", n.name, n.message)
		case n.kind == C.NEWS_ERROR && !over:
			_ = s.out.JSON(decode.KindFailure, failureOf(s.open, &startError{n}))
			fallthrough
		case n.kind == C.NEWS_EOS && !over:
			over = true
			close(s.ended)
		}
	}
}

// failureOf puts an error into the agent's words.
func failureOf(open decode.Open, err error) decode.Failure {
	f := decode.Failure{Number: open.Number, Code: decode.CodeError, Message: err.Error()}
	var e *startError
	switch {
	case errors.Is(err, errFrozen):
		f.Code = decode.CodeHang
	case errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist):
		f.Code = decode.CodeDisplayLost
	case errors.As(err, &e):
		f.Element, f.Domain, f.GstCode, f.Debug = e.news.factory, e.news.domain, e.news.code, e.news.debug
		if e.news.name == "sink" {
			f.Code = decode.CodeDisplayLost
		}
	}
	return f
}

// drain lets the pictures that are left be shown.
func (s *show) drain(timeout time.Duration) {
	s.player.endOfStream()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-s.ended:
	case <-timer.C:
	}
}

// snapshot sends the newest picture. One is made at a time: it costs a core.
func (s *show) snapshot(number int64) {
	if !s.taking.TryLock() {
		_ = s.out.Raw(decode.KindPicture, decode.FlagFailed, number, []byte("another snapshot is being made"))
		return
	}
	s.work.Go(func() {
		defer s.taking.Unlock()
		image, err := s.player.snapshot(snapshotType)
		if err != nil {
			_ = s.out.Raw(decode.KindPicture, decode.FlagFailed, number, []byte(err.Error()))
			return
		}
		_ = s.out.Raw(decode.KindPicture, 0, number, image)
	})
}

// close takes the pipeline down and waits for the goroutines.
func (s *show) close() error {
	close(s.quit)
	s.player.wake()
	s.work.Wait()
	if err := s.player.close(); err != nil {
		return err
	}
	s.seen.close()
	return nil
}
