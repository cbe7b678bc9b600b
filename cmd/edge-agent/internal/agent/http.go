package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/web"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/secret"
)

const (
	codeHTTP   = "agent.http"   // the address of [http] listen cannot be used
	CodeSocket = "agent.socket" // the socket of edge-agent status cannot be used
)

// socketName is the name of the socket there.
const socketName = "status.sock"

// defaultSocket is where the socket of the installed service is.
const defaultSocket = "/run/edge-agent/" + socketName

// listenAgain is how long it takes until an address is tried again, such as that of a network that comes later.
const listenAgain = 10 * time.Second

// serveHTTP answers those who ask how the agent stands, on the socket and on the address of the configuration, until
// ctx ends.
func (a *Agent) serveHTTP(ctx context.Context) {
	cfg := a.started.HTTP
	var all sync.WaitGroup
	defer all.Wait()
	if path := socketPath(cfg.Socket, os.Getenv); path != "" {
		handler := web.New(web.Options{Source: a, Snapshots: cfg.Snapshots})
		all.Go(func() {
			a.serveAlways(ctx, CodeSocket, path, handler, func() (net.Listener, error) { return web.ListenSocket(path) })
		})
	}
	if cfg.Listen == "" {
		return
	}
	a.serveAlways(ctx, codeHTTP, cfg.Listen, nil, func() (net.Listener, error) { return net.Listen("tcp", cfg.Listen) })
}

// socketPath is where the socket is to be, "" for nowhere.
func socketPath(configured string, getenv func(string) string) string {
	if configured != config.SocketAuto {
		return configured
	}
	if dir, _, _ := strings.Cut(getenv("RUNTIME_DIRECTORY"), ":"); dir != "" { // a drop-in may add others
		return filepath.Join(dir, socketName)
	}
	return ""
}

// serveAlways listens and serves until ctx ends. When that fails it is reported and tried again. A handler that is nil
// is made anew each time, for the token may change.
func (a *Agent) serveAlways(ctx context.Context, code, address string, handler http.Handler, listen func() (net.Listener, error)) {
	for {
		err := a.serveOnce(ctx, address, handler, listen)
		if ctx.Err() != nil {
			return
		}
		a.event(code, "", listenFault(address, err), nil)
		select {
		case <-ctx.Done():
			return
		case <-time.After(listenAgain):
		}
	}
}

func (a *Agent) serveOnce(ctx context.Context, address string, handler http.Handler, listen func() (net.Listener, error)) error {
	if handler == nil {
		guard, err := guardOf(a.started.HTTP)
		if err != nil {
			return err
		}
		handler = web.New(web.Options{Source: a, Snapshots: a.started.HTTP.Snapshots, Guard: guard})
	}
	l, err := listen()
	if err != nil {
		return err
	}
	a.log.Info("the status can be asked for", "at", address)
	return web.Serve(ctx, l, handler)
}

// guardOf says who may ask at the address.
func guardOf(cfg config.HTTP) (g web.Guard, err error) {
	if cfg.TokenFile != "" {
		if g.Token, err = secret.Read(cfg.TokenFile); err != nil {
			return g, err
		}
	}
	host, _, _ := net.SplitHostPort(cfg.Listen)
	g.LoopbackNames = mqtt.IsLoopback(host)
	return g, nil
}

// listenFault says why nobody can ask at an address, and what to do.
func listenFault(address string, err error) string {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Sprintf("cannot listen on %s: another program uses the port; `ss -ltnp` shows which", address)
	}
	return fmt.Sprintf("cannot listen on %s: %v", address, config.RootCause(err))
}

// Status is how the agent stands, for package web.
func (a *Agent) Status() web.Status {
	s := web.Status{Agent: a.started.Agent.ID, Status: a.statusData(), Info: a.inform(), Restart: a.renderer.Stats().Restarts}
	for _, stream := range a.all() {
		status := stream.status()
		s.Status.Streams = append(s.Status.Streams, status.data(stream.name, s.Status.Clock))
		s.Totals = append(s.Totals, status.totals(stream.name))
	}
	s.Events, s.EventCounts = a.recent.all()
	if a.mqtt != nil {
		link := a.mqtt.Status()
		s.Broker = web.Broker{URL: a.started.MQTT.Broker, Connected: link.Connected, Published: link.Published}
		if link.Err != nil {
			s.Broker.Error = link.Err.Error()
		}
	}
	return s
}

func (s StreamStatus) totals(name string) web.Totals {
	t := web.Totals{
		Stream: name, Fragments: s.received.fragments, Bytes: s.received.bytes,
		Received: s.Frames.Received, Shown: s.Frames.Shown, Hidden: s.Frames.Hidden, Queued: s.Frames.Queued,
		Dropped: make(map[string]uint64), Reconnects: s.retries, History: s.history,
	}
	for why, n := range s.Frames.Dropped {
		t.Dropped[string(why)] = n
	}
	return t
}

// Picture gives what is on the display, if that is the stream, for package web.
func (a *Agent) Picture(ctx context.Context, stream string) ([]byte, error) {
	if a.shown() != stream {
		return nil, fmt.Errorf("%s is not on the display", stream)
	}
	return a.Snapshot(ctx)
}

// aliveWithin is how long ago the main loop must have come round, which it does every second.
const aliveWithin = 15 * time.Second

// heartbeat is when the main loop came round last. Neither network nor renderer can hold it up.
type heartbeat struct {
	began time.Time    // of the agent
	last  atomic.Int64 // since then, in ns: whoever sets the clock does not change that
}

func (h *heartbeat) strike(now time.Time) { h.last.Store(int64(now.Sub(h.began))) }

func (h *heartbeat) age(now time.Time) time.Duration {
	return now.Sub(h.began) - time.Duration(h.last.Load())
}

// Alive says whether the main loop still comes round, for package web.
func (a *Agent) Alive() error {
	if age := a.beat.age(time.Now()); age > aliveWithin {
		return fmt.Errorf("the main loop has stood still for %v", age.Round(time.Second))
	}
	return nil
}
