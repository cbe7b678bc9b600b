package kvstest

import (
	"cmp"
	"context"
	"maps"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// mishap is what becomes of a call instead of, or before, what it asks for.
type mishap struct {
	hang     bool          // it gets no answer, not even a status line,
	time     time.Duration // for so long; 0 is for good
	refusal  *Exception    // it is refused
	answer   *Answer       // it gets an answer that is not the service's
	endpoint *string       // GetDataEndpoint answers this; nil is the endpoint
	earliest bool          // GetMedia ignores its selector and begins with the earliest fragment
}

// Answer is an HTTP answer that is not the service's, as from a proxy or a captive portal.
type Answer struct {
	Status int // 0 is 200
	// Header has what matters, such as Content-Type. A redirect without Location leads to where the call came.
	Header http.Header
	Body   []byte
}

// answering is the end of a call with an Answer.
type answering struct{ answer *Answer }

func (a *answering) Error() string { return "kvstest: the call got another answer" }

// loginPath is where a redirect may lead: a page that wants a login.
const loginPath = "/login"

// loginPage is the page of a captive portal.
var loginPage = Answer{
	Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
	Body: []byte("<!DOCTYPE html>\n<html><head><title>Login</title></head><body>" +
		"<form method=\"post\">Log in to use this network.</form></body></html>\n"),
}

// write writes the answer to a request.
func (a *Answer) write(w http.ResponseWriter, r *http.Request, call *record) {
	status := cmp.Or(a.Status, http.StatusOK)
	maps.Copy(w.Header(), a.Header)
	if status/100 == 3 && a.Header.Get("Location") == "" {
		w.Header().Set("Location", origin(r)+r.URL.Path)
	}
	call.update(func(c *Call) { c.Status = status })
	w.WriteHeader(status)
	_, _ = w.Write(a.Body) // a client that has gone needs no answer
}

// gate is what calls of one operation have to pass.
type gate struct {
	rate *rate.Limiter

	mu      sync.Mutex
	waiting []mishap // for calls to come, one each
}

func newGate(limits Limits) *gate {
	return &gate{rate: rate.NewLimiter(rate.Limit(limits.Calls), limits.Calls)}
}

func (g *gate) add(n int, m mishap) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting = append(g.waiting, slices.Repeat([]mishap{m}, n)...)
}

func (g *gate) take() mishap {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		return mishap{}
	}
	m := g.waiting[0]
	g.waiting = g.waiting[1:]
	return m
}

// pass lets a call through or refuses it. An EndClient says that nobody waits for an answer any more.
func (g *gate) pass(ctx context.Context, clock *clock) (m mishap, err error) {
	m = g.take()
	if m.hang {
		if m.time == 0 {
			m.time = forGood
		}
		if clock.sleepUntil(ctx, clock.now().Add(m.time)) != nil {
			return m, EndClient
		}
	}
	switch {
	case m.refusal != nil:
		return m, m.refusal
	case m.answer != nil:
		return m, &answering{m.answer}
	case !g.rate.AllowN(clock.wall(), 1):
		return m, ClientLimitExceeded
	}
	return m, nil
}

// forGood is a time that is never over.
const forGood time.Duration = math.MaxInt64 / 4

// RefuseMedia refuses the next n GetMedia calls.
func (s *Stream) RefuseMedia(n int, e *Exception) { s.media.add(n, mishap{refusal: e}) }

// RefuseEndpoint refuses the next n GetDataEndpoint calls.
func (s *Stream) RefuseEndpoint(n int, e *Exception) { s.location.add(n, mishap{refusal: e}) }

// HangMedia keeps the next n GetMedia calls waiting for the status line, each for a time; 0 is for good.
func (s *Stream) HangMedia(n int, d time.Duration) { s.media.add(n, mishap{hang: true, time: d}) }

// HangEndpoint keeps the next n GetDataEndpoint calls waiting for an answer, each for a time; 0 is for good.
func (s *Stream) HangEndpoint(n int, d time.Duration) {
	s.location.add(n, mishap{hang: true, time: d})
}

// AnswerMedia gives the next n GetMedia calls an answer that is not the service's.
func (s *Stream) AnswerMedia(n int, a Answer) { s.media.add(n, mishap{answer: &a}) }

// AnswerEndpoint gives the next n GetDataEndpoint calls an answer that is not the service's.
func (s *Stream) AnswerEndpoint(n int, a Answer) { s.location.add(n, mishap{answer: &a}) }

// MisdirectTo answers the next n GetDataEndpoint calls with any text for an endpoint.
func (s *Stream) MisdirectTo(n int, endpoint string) { s.location.add(n, mishap{endpoint: &endpoint}) }

// IgnoreSelector begins the sessions of the next n GetMedia calls with the earliest fragment, whatever they ask for.
func (s *Stream) IgnoreSelector(n int) { s.media.add(n, mishap{earliest: true}) }

// Misdirect answers the next n GetDataEndpoint calls with an endpoint that knows no stream: GetMedia there is refused
// with InvalidEndpointException.
func (s *Stream) Misdirect(n int) { s.location.add(n, mishap{endpoint: &misdirected}) }

// misdirected stands for the endpoint of the server with the path at which no stream is found.
var misdirected = wrongEndpoint
