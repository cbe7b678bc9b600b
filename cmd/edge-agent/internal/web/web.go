// Package web answers the questions of people at this machine and of its own monitoring: how the agent stands.
//
// The same handler serves the socket of `edge-agent status` and, if [http] listen is set, an address:
//
//	/               a page for people, without scripts            page.go, page.html, plot.go
//	/status.json    Status                                        status.go
//	/picture/NAME   what is on the display, as JPEG               picture.go
//	/metrics        for Prometheus                                metrics.go
//	/healthz        200 while the process works
//	/readyz         200 while every wanted stream plays
//
// All of it can only be read. Read in the order status.go, web.go, crowd.go, guard.go, then what answers.
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options say what the handler shows and to whom.
type Options struct {
	Source    Source
	Snapshots bool // serve pictures
	Guard     Guard
}

// New makes the handler.
func New(o Options) http.Handler {
	s := &site{source: o.Source}
	if o.Snapshots {
		s.pictures = &pictures{source: o.Source}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.ready)
	inner := http.NewServeMux()
	inner.HandleFunc("GET /{$}", s.page)
	inner.HandleFunc("GET /style.css", s.style)
	inner.HandleFunc("GET /status.json", s.status)
	inner.Handle("GET /metrics", promhttp.HandlerFor(newRegistry(o.Source), promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4}))
	if s.pictures != nil {
		inner.HandleFunc("GET /picture/{stream}", s.pictures.serve)
	}
	mux.Handle("/", o.Guard.token(inner))
	return o.Guard.host(headers(mux))
}

type site struct {
	source   Source
	pictures *pictures // nil for none
}

// headers tell the browser to keep nothing, to load nothing from elsewhere, and to show nothing of it there.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Cache-Control", "no-store")
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("Cross-Origin-Resource-Policy", "same-origin") // the picture is not for pages from elsewhere
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// health says no more than whether the process works: it may be asked without a token.
func (s *site) health(w http.ResponseWriter, _ *http.Request) {
	if err := s.source.Alive(); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// ready says whether every wanted stream plays. Which do not is in status.json, for those who may read it.
func (s *site) ready(w http.ResponseWriter, _ *http.Request) {
	status := s.source.Status()
	if len(status.unreadiness()) > 0 {
		http.Error(w, "not ready: see the page or /status.json", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

func (s *site) status(w http.ResponseWriter, _ *http.Request) {
	var out bytes.Buffer
	if err := json.NewEncoder(&out).Encode(s.source.Status()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out.Bytes())
}

// Bounds of a server: those who ask are few, and whoever does not read is not to hold anything.
const (
	headerTimeout = 5 * time.Second
	answerTimeout = 20 * time.Second
	idleTimeout   = time.Minute
	headerBytes   = 16 << 10
)

// Serve serves the listener until ctx ends. It closes the listener.
func Serve(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: serve(handler), ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: headerBytes, BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: withGuest, ConnState: noteState,
		ErrorLog: log.New(io.Discard, "", 0), // of clients that went away
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(newCrowd(l)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
