package gst

// #include "player.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/gst/sandbox"

	"github.com/edge-agent/edge-agent/decode/report"
)

// Main is the whole life of a renderer process: it serves the socket that the
// agent left at descriptor decode.ChildFD until the agent closes it. Signals that end the agent are not for
// this process: the agent decides when it ends.
func Main(ctx context.Context) error {
	go initOnce() // it takes as long as the sandbox
	nameThreads(decode.RendererName)
	var unconfined []string
	if os.Getenv(decode.SandboxEnv) != decode.SandboxOff {
		unconfined = sandbox.Enter(os.Getenv, filepath.SplitList(os.Getenv(decode.SandboxPathsEnv)))
	}
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	tidying := time.AfterFunc(startUp, tidy)
	defer tidying.Stop()
	C.die_of_faults()
	file := os.NewFile(decode.ChildFD, "agent")
	conn, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("there is no agent at descriptor %d; this command is started by the agent itself: %w", decode.ChildFD, err)
	}
	_ = file.Close() // conn has a descriptor of its own
	return Serve(ctx, conn, unconfined)
}

// nameThreads names the threads that there are, after which those to come are named: ps shows that. The process was
// started through a descriptor, whose number is its name otherwise.
func nameThreads(name string) {
	files, _ := filepath.Glob("/proc/self/task/*/comm")
	for _, file := range files {
		_ = os.WriteFile(file, []byte(name), 0)
	}
}

// startUp is how long a start takes, which tidying up would delay.
const startUp = 2 * time.Second

// tidy makes Go give back the memory that the start has left: hardly anything is allocated here in Go, so there need
// not be much to spare.
func tidy() {
	debug.SetGCPercent(25)
	debug.FreeOSMemory()
}

// Serve does what the agent at the other end of conn says, until it closes its end (nil), the context ends or the
// pipeline is frozen. It closes conn. unconfined is what the sandbox of this process lacks.
func Serve(ctx context.Context, conn io.ReadWriteCloser, unconfined []string) error {
	s := &server{out: decode.NewWriter(conn), done: make(chan struct{}), reworded: make(chan struct{}, 1)}
	hello := decode.Hello{Build: decode.Build, GStreamer: Version(), Elements: Elements(), Unconfined: unconfined}
	if err := s.out.JSON(decode.KindHello, hello); err != nil {
		_ = conn.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var all sync.WaitGroup
	all.Go(s.beat)
	all.Go(s.paint)
	err := s.read(conn)
	_ = conn.Close()
	close(s.done)
	all.Wait()
	s.loading.Wait()
	if show := s.takeShow(); show != nil {
		_, stopping := show.close(report.Hidden, report.Hidden) // nobody listens any more
		err = errors.Join(err, stopping)
	}
	if s.screen != nil {
		err = errors.Join(err, s.screen.close())
	}
	if ctx.Err() != nil && !errors.Is(err, errFrozen) {
		return ctx.Err()
	}
	return err
}

// server is one connection.
type server struct {
	out  *decode.Writer
	done chan struct{} // closed when reading is over

	reworded chan struct{} // one place; filled when the slate has another text

	telling sync.Mutex // statuses are sent in the order in which they came about
	loading sync.WaitGroup
	taking  sync.Mutex   // one snapshot is made at a time: it costs a core
	busy    atomic.Bool  // a pipeline that is to be opened waits for something else; see decode.Status
	hung    atomic.Int32 // displays that are still being opened, given up

	// Set by the reader, which alone opens and closes; used by others with mu held.
	mu     sync.Mutex
	show   *show   // nil without a pipeline
	screen *screen // nil without a display
	slates slates
}

// beat sends the status at intervals, which is the heartbeat as well.
func (s *server) beat() {
	ticker := time.NewTicker(decode.StatusInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
			s.tell()
		}
	}
}

// paint sees to the slate: at intervals, and at once when its text changes. It may take a slow box long, for which
// neither the heartbeat nor frames are to wait.
func (s *server) paint() {
	ticker := time.NewTicker(decode.StatusInterval)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
		case <-s.reworded:
		}
		s.drawSlate(time.Now())
	}
}

// tell sends the status.
func (s *server) tell() {
	s.telling.Lock()
	defer s.telling.Unlock()
	status := decode.Status{}
	s.mu.Lock() // also while it is asked: a show is only closed after it was taken from here
	if s.show != nil {
		s.show.adjust()
		status = s.show.status()
		s.slates.frames(s.show.rarity(status.Wall))
	}
	s.slates.picture(status.Wall)
	s.mu.Unlock()
	status.Busy = s.busy.Load()
	_ = s.out.JSON(decode.KindStatus, status) // a broken connection ends the reader
}

// drawSlate puts the slate on the screen when it is to be there and to look different.
func (s *server) drawSlate(now time.Time) {
	s.mu.Lock()
	screen, text := s.screen, s.slates.text
	pictures, due := s.slateDue(now)
	s.mu.Unlock()
	if !due {
		return
	}
	img := drawSlate(text, slateSize(screen.asked.Display), now)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.screen == screen && s.slates.due(now) && screen.slate(img, pictures) { // there may be a picture by now
		s.slates.drew(text, now)
	}
}

// slateDue says whether a slate is due after so many pictures. s.mu is held.
func (s *server) slateDue(now time.Time) (pictures uint64, due bool) {
	if s.screen == nil {
		return 0, false
	}
	pictures, newest := s.screen.pictures()
	if s.show != nil {
		s.slates.picture(newest)
	}
	return pictures, s.slates.due(now)
}

// read does what the messages say, one after the other.
func (s *server) read(conn io.Reader) error {
	r := decode.NewReader(conn, decode.FromAgent)
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
			return nil // the agent is gone; with words of ours unread, the connection is reset
		}
		if err != nil {
			return err
		}
		switch m.Kind {
		case decode.KindFrame:
			if s.show != nil {
				s.show.frame(m)
			}
		case decode.KindOpen:
			var open decode.Open
			if err := m.Decode(&open); err != nil {
				return err
			}
			if err := s.open(open); err != nil {
				return err
			}
		case decode.KindDrain:
			if err := s.drain(drainTimeout); err != nil {
				return err
			}
		case decode.KindCut:
			if err := s.cut(); err != nil {
				return err
			}
		case decode.KindScreen:
			var screen decode.Screen
			if err := m.Decode(&screen); err != nil {
				return err
			}
			if err := s.openScreen(screen); err != nil {
				return err
			}
		case decode.KindSlate:
			var slate decode.Slate
			if err := m.Decode(&slate); err != nil {
				return err
			}
			s.setSlate(slate)
		case decode.KindLoad:
			var l decode.Load
			if err := m.Decode(&l); err != nil {
				return err
			}
			s.loading.Go(func() { load(l.Elements) })
		case decode.KindSnapshot:
			var wanted decode.Snapshot
			if err := m.Decode(&wanted); err != nil {
				return err
			}
			s.snapshot(m.Time, wanted)
		case decode.KindDescribe:
			var d decode.Describe
			if err := m.Decode(&d); err != nil {
				return err
			}
			if err := s.out.JSON(decode.KindDevices, devices(d)); err != nil {
				return err
			}
		default:
			return fmt.Errorf("message of unknown kind %d", m.Kind)
		}
	}
}

// How long pictures that are left may take to be shown.
const (
	drainTimeout  = 30 * time.Second // at the end
	changeTimeout = 3 * time.Second  // before another pipeline
)

// open builds and starts a pipeline, in place of the one there is.
func (s *server) open(open decode.Open) error {
	s.busy.Store(true)
	defer s.busy.Store(false)
	if err := s.drain(changeTimeout); err != nil {
		return err
	}
	if s.screen == nil {
		if err := s.openScreen(decode.Screen{Display: open.Plan.Display, Unpaced: open.Plan.Unpaced}); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.slates.opening(time.Now())
	s.mu.Unlock()
	s.busy.Store(false)
	show, err := newShow(open, s.screen, s.out, s.tell)
	if errors.Is(err, errFrozen) || err != nil && show == nil {
		return errors.Join(err, s.out.JSON(decode.KindFailure, failureOf(open.Number, err)))
	}
	s.mu.Lock()
	s.show = show
	s.mu.Unlock()
	if err != nil {
		return s.out.JSON(decode.KindFailure, failureOf(open.Number, err))
	}
	return s.out.JSON(decode.KindOpened, decode.Opened{Number: open.Number})
}

// openScreen opens a display, in place of the one there is. The pipeline goes on and shows there.
func (s *server) openScreen(asked decode.Screen) error {
	if err := s.closeScreen(); err != nil {
		return errors.Join(err, s.out.JSON(decode.KindFailure, displayFailure(err)))
	}
	screen, err := s.newScreen(asked)
	if errors.Is(err, errFrozen) {
		return errors.Join(err, s.out.JSON(decode.KindFailure, displayFailure(err)))
	}
	if err != nil {
		s.screened(decode.Screened{Number: asked.Number}, err)
		return nil // the agent will ask for another
	}
	s.screened(decode.Screened{Number: asked.Number, Mode: screen.asked.Display.Mode, Path: screen.path.Path, Passed: screen.path.Passed}, nil)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.screen = screen
	s.slates.cleared()
	if s.show != nil {
		s.show.showOn(screen)
	}
	return nil
}

// A display server may accept a connection and never answer, and a driver may hold whoever opens a card.
const (
	screenTimeout = 4 * time.Second // less than what a change of state may take: this process can go on after it
	mostHung      = 3               // displays that are given up before the process is: each costs a thread
)

// errNoAnswer says that a display was not opened in time.
var errNoAnswer = fmt.Errorf("the display did not answer within %v", screenTimeout)

// newScreen opens a display on a goroutine that is given up when it takes too long. What it opens later is closed
// again.
func (s *server) newScreen(asked decode.Screen) (*screen, error) {
	type result struct {
		screen *screen
		err    error
	}
	done, over := make(chan result), make(chan struct{})
	go func() {
		var r result
		r.screen, r.err = newScreen(asked, s.tell, func(err error) { s.screened(decode.Screened{Number: asked.Number}, err) })
		select {
		case done <- r:
		case <-over:
			if r.screen != nil {
				_ = r.screen.close()
			}
			s.hung.Add(-1)
		}
	}()
	timer := time.NewTimer(screenTimeout)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.screen, r.err
	case <-timer.C:
		hung := s.hung.Add(1)
		close(over)
		if hung > mostHung {
			return nil, errFrozen
		}
		return nil, errNoAnswer
	}
}

// screened tells the agent what became of a display.
func (s *server) screened(answer decode.Screened, err error) {
	if err != nil {
		f := displayFailure(err)
		answer.Failure = &f
	}
	_ = s.out.JSON(decode.KindScreened, answer)
}

func (s *server) closeScreen() error {
	s.mu.Lock()
	screen := s.screen
	s.screen = nil
	if s.show != nil {
		s.show.showOn(nil)
	}
	s.mu.Unlock()
	if screen == nil {
		return nil
	}
	return screen.close()
}

// displayFailure is failureOf for what has to do with the display.
func displayFailure(err error) decode.Failure {
	f := failureOf(0, err)
	switch {
	case errors.Is(err, errPath):
		f.Code, f.Message = report.CodePath, err.Error()
	case errors.Is(err, errBusy):
		f.Code = report.CodeBusy
	case errors.Is(err, errNoAnswer):
		f.Code = report.CodeHang
	case errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist):
		f.Code = report.CodeNoDisplay
	default:
		f.Code = report.CodeDisplayLost
	}
	return f
}

// drain shows what is left and takes the pipeline down, if there is one.
func (s *server) drain(timeout time.Duration) error {
	if s.show == nil {
		return nil
	}
	unmade := report.DropDecoderFailed
	if s.show.drain(timeout) {
		unmade = report.DropNoPicture
	}
	return s.close(report.DropLate, unmade)
}

// cut takes the pipeline down whatever it still has. What comes next is something else,
// so the picture does not stay for long.
func (s *server) cut() error {
	now := time.Now()
	var err error
	if s.show != nil {
		err = s.close(report.Hidden, report.Hidden)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slates.cut(now) // after the last news of a picture
	return err
}

// close takes the pipeline down and says how far it came; see show.close.
func (s *server) close(made, unmade report.Reason) error {
	last, err := s.takeShow().close(made, unmade)
	if err != nil {
		return err
	}
	return s.out.JSON(decode.KindDrained, last)
}

// takeShow takes the pipeline away from those who tell of it, the screen's listener among them, which outlives it. What they tell
// comes before.
func (s *server) takeShow() *show {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	show := s.show
	s.show = nil
	return show
}

func (s *server) setSlate(text decode.Slate) {
	s.mu.Lock()
	s.slates.set(text, time.Now())
	s.mu.Unlock()
	select {
	case s.reworded <- struct{}{}:
	default: // it will be drawn with the newest text
	}
}

// snapshot answers a numbered request with what is on the screen.
func (s *server) snapshot(number int64, wanted decode.Snapshot) {
	refuse := func(why string) { _ = s.out.Raw(decode.KindPicture, decode.FlagFailed, number, []byte(why)) }
	switch {
	case s.screen == nil:
		refuse("there is no display and nothing was opened yet")
	case !s.taking.TryLock():
		refuse("another snapshot is being made")
	default:
		screen := s.screen
		screen.work.Go(func() {
			defer s.taking.Unlock()
			picture, err := screen.snapshot(wanted)
			if err = errors.Join(err, sendable(len(picture))); err != nil {
				refuse(err.Error())
				return
			}
			_ = s.out.Raw(decode.KindPicture, 0, number, picture)
		})
	}
}
