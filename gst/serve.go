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
	"sync"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/decode"
)

// Main is the whole life of a renderer process: it serves the socket that the
// agent left at descriptor decode.ChildFD until the agent closes it. Signals that end the agent are not for
// this process: the agent decides when it ends.
func Main(ctx context.Context) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM)
	C.die_of_faults()
	file := os.NewFile(decode.ChildFD, "agent")
	conn, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("there is no agent at descriptor %d; this command is started by the agent itself: %w", decode.ChildFD, err)
	}
	_ = file.Close() // conn has a descriptor of its own
	return Serve(ctx, conn)
}

// Serve does what the agent at the other end of conn says, until it closes its
// end (nil), the context ends or the pipeline is frozen. It closes conn.
func Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	s := &server{out: decode.NewWriter(conn), done: make(chan struct{})}
	hello := decode.Hello{GStreamer: Version(), Elements: Elements()}
	if err := s.out.JSON(decode.KindHello, hello); err != nil {
		_ = conn.Close()
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	var all sync.WaitGroup
	all.Go(s.beat)
	err := s.read(conn)
	_ = conn.Close()
	close(s.done)
	all.Wait()
	if s.show != nil {
		err = errors.Join(err, s.show.close())
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

	mu   sync.Mutex
	show *show // nil without a pipeline; set and used by the reader, read by beat
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
			status := decode.Status{}
			s.mu.Lock() // also while it is asked: a show is only closed after it was taken from here
			if s.show != nil {
				status = s.show.status()
			}
			s.mu.Unlock()
			_ = s.out.JSON(decode.KindStatus, status) // a broken connection ends the reader
		}
	}
}

// read does what the messages say, one after the other.
func (s *server) read(conn io.Reader) error {
	r := decode.NewReader(conn)
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
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
		case decode.KindSnapshot:
			s.snapshot(m.Time)
		case decode.KindDescribe:
			var d decode.Describe
			if err := m.Decode(&d); err != nil {
				return err
			}
			if err := s.out.JSON(decode.KindDevices, devices(d.Elements)); err != nil {
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
	if err := s.drain(changeTimeout); err != nil {
		return err
	}
	show, err := newShow(open, s.out)
	if errors.Is(err, errFrozen) || err != nil && show == nil {
		return errors.Join(err, s.out.JSON(decode.KindFailure, failureOf(open, err)))
	}
	s.mu.Lock()
	s.show = show
	s.mu.Unlock()
	if err != nil {
		return s.out.JSON(decode.KindFailure, failureOf(open, err))
	}
	return s.out.JSON(decode.KindOpened, decode.Opened{Number: open.Number})
}

// drain shows what is left and takes the pipeline down, if there is one.
func (s *server) drain(timeout time.Duration) error {
	show := s.show
	if show == nil {
		return nil
	}
	show.drain(timeout)
	last := show.status()
	s.mu.Lock()
	s.show = nil
	s.mu.Unlock()
	if err := show.close(); err != nil {
		return err
	}
	return s.out.JSON(decode.KindDrained, last)
}

// snapshot answers a numbered request with the newest picture.
func (s *server) snapshot(number int64) {
	if s.show == nil {
		_ = s.out.Raw(decode.KindPicture, decode.FlagFailed, number, []byte("nothing was opened yet"))
		return
	}
	s.show.snapshot(number)
}
