// Package kvstest is Kinesis Video Streams for tests, for the demo and for people without AWS: an HTTP server with
// GetDataEndpoint and GetMedia that checks signatures, keeps the limits and lets things go wrong on demand.
//
// In goes a clip (any Matroska file with H.264 or H.265) or a capture of GetMedia, see [ReadSource]. Out comes, to every
// session, an endless live stream made of the clip: one Matroska document for each fragment, element by element as the
// service lays it out, every frame when its time has come. A capture is served as it is.
//
//	server.go      HTTP: the two operations, and who may call them (signature.go, exception.go)
//	session.go     one GetMedia call: waits, limits, faults (faults.go)
//	stream.go      one stream and its sessions
//	live.go        a clip as a stream of chunks (source.go, timeline.go, document.go)
//	recorded.go    a capture as chunks
//	calls.go       what was called, for tests to look at
//
// Time is the server's own: it can run faster, and it stands still in a testing/synctest bubble, for which [Pipe] is a
// network.
//
// A Server owns one goroutine, from Start to Close, and those that net/http starts for connections; Close waits for all
// of its sessions.
package kvstest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"golang.org/x/time/rate"
)

// Config is what a Server is made with. The zero value serves.
type Config struct {
	Region      string          // of signatures and ARNs; "us-east-1"
	Credentials aws.Credentials // that calls must be signed with; those of Credentials()
	Limits      Limits
	// Speed is how fast the time of streams and sessions runs, against the wall clock; 1. Signatures and call rates are
	// always held against the wall clock.
	Speed float64
	// Now is the wall clock; time.Now. Another one makes the server's clock wrong, as signatures see it.
	Now func() time.Time
	// AmzHeaders names the headers as the API reference does, x-amz-ErrorType and x-amz-RequestId, not as the service.
	AmzHeaders bool
	Log        *slog.Logger // a line for each call that is over; none
}

// Limits are the service's. Zero stands for the value that AWS documents.
type Limits struct {
	Calls       int           // a second, for each operation and stream; 5
	Connections int           // GetMedia sessions of a stream at a time; 3
	Bandwidth   int           // bytes a second and session; 25e6
	Session     time.Duration // that a session lasts, to the end of the fragment; 45 minutes
	Idle        time.Duration // without a fragment that a session lasts; 3 seconds
}

// Credentials are what a Server accepts if nothing else was configured.
func Credentials() aws.Credentials {
	return aws.Credentials{AccessKeyID: "KVSTEST", SecretAccessKey: "kvstest-secret", Source: "kvstest"}
}

// Server is the service. It is an http.Handler, for those who want to serve it themselves.
type Server struct {
	config    Config
	clock     *clock
	authority *authority
	headers   headerNames
	records   records

	ctx    context.Context // of all sessions
	cancel context.CancelFunc

	mu       sync.Mutex
	streams  map[string]*Stream // by name
	closed   bool
	handlers sync.WaitGroup

	listener net.Listener
	http     http.Server
	served   chan struct{} // closed when http is done
}

type headerNames struct{ errorType, requestID string }

// NewServer makes a Server without streams.
func NewServer(config Config) *Server {
	config.fill()
	s := &Server{
		config:    config,
		clock:     &clock{wall: config.Now, base: config.Now(), speed: config.Speed},
		authority: &authority{credentials: config.Credentials, region: config.Region, now: config.Now},
		headers:   headerNames{"x-amzn-ErrorType", "x-amzn-RequestId"},
		records:   records{changed: make(chan struct{})},
		streams:   map[string]*Stream{},
	}
	if config.AmzHeaders {
		s.headers = headerNames{"x-amz-ErrorType", "x-amz-RequestId"}
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

func (c *Config) fill() {
	or(&c.Region, "us-east-1")
	or(&c.Speed, 1)
	or(&c.Limits.Calls, 5)
	or(&c.Limits.Connections, 3)
	or(&c.Limits.Bandwidth, 25e6)
	or(&c.Limits.Session, 45*time.Minute)
	or(&c.Limits.Idle, 3*time.Second)
	if c.Credentials.AccessKeyID == "" {
		c.Credentials = Credentials()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
}

func or[T comparable](v *T, fallback T) {
	var zero T
	if *v == zero {
		*v = fallback
	}
}

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,256}$`)

// Add makes a stream of a source. A name can be used once.
func (s *Server) Add(name string, source *Source, config StreamConfig) (*Stream, error) {
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("kvstest: %q is no stream name: 1 to 256 letters, digits, '_', '.' and '-'", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[name] != nil {
		return nil, fmt.Errorf("kvstest: there is a stream %q already", name)
	}
	now := s.clock.now()
	stream := &Stream{
		name: name,
		arn: fmt.Sprintf("arn:aws:kinesisvideo:%s:123456789012:stream/%s/%d",
			s.config.Region, name, now.Add(-config.History).UnixMilli()),
		limits:   s.config.Limits,
		clock:    s.clock,
		media:    rate.NewLimiter(rate.Limit(s.config.Limits.Calls), s.config.Limits.Calls),
		location: rate.NewLimiter(rate.Limit(s.config.Limits.Calls), s.config.Limits.Calls),
	}
	if source.capture != nil {
		stream.feed = &recorded{source.capture, source.documents}
	} else {
		stream.feed = newLive(name, source, config, now)
	}
	s.streams[name] = stream
	return stream, nil
}

// Stream is the stream of a name, or nil.
func (s *Server) Stream(name string) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[name]
}

// Start serves on a TCP address, such as "127.0.0.1:0".
func (s *Server) Start(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("kvstest: %w", err)
	}
	s.Serve(listener)
	return nil
}

// Serve serves on a listener, which it takes over, and returns at once. A Server serves once.
func (s *Server) Serve(listener net.Listener) {
	s.listener = listener
	s.http = http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(s.config.Log.Handler(), slog.LevelWarn)}
	s.served = make(chan struct{})
	go func() {
		defer close(s.served)
		if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.config.Log.Error("the service has stopped: clients get no connection any more", "err", err)
		}
	}()
}

// URL is the endpoint that a Server serves at, for clients' configuration.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// Close breaks all connections and waits until every session is over. It may be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	var err error
	if s.served != nil {
		err = s.http.Close()
		<-s.served
	}
	s.handlers.Wait()
	return err
}

// enter counts a call in, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.handlers.Add(1)
	return true
}

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 64 << 10

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.handlers.Done()
	requestID := rand.Text()
	w.Header().Set(s.headers.requestID, requestID)
	call := s.records.open(Call{Time: s.config.Now(), RequestID: requestID, Operation: operations[r.URL.Path]})
	defer s.log(call)

	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err == nil && len(body) > maxRequest {
		err = errors.New("it is too long")
	}
	if err != nil {
		s.refuse(w, call, &Exception{400, "SerializationException", "the request cannot be read: " + err.Error()})
		return
	}
	if e := s.authority.check(r, body); e != nil {
		s.refuse(w, call, e)
		return
	}
	var in request
	if operations[r.URL.Path] == "" || r.Method != http.MethodPost {
		s.refuse(w, call, &Exception{404, "UnknownOperationException", "POST /getDataEndpoint and POST /getMedia are what there is"})
		return
	}
	if err := json.Unmarshal(body, &in); err != nil {
		s.refuse(w, call, &Exception{400, "SerializationException", "the request is no JSON of this operation: " + err.Error()})
		return
	}
	stream, e := s.find(in)
	if e != nil {
		s.refuse(w, call, e)
		return
	}
	call.update(func(c *Call) { c.Stream, c.Selector = stream.name, in.StartSelector })
	if operations[r.URL.Path] == getMedia {
		s.getMedia(w, r, stream, in, call)
	} else {
		s.getDataEndpoint(w, r, stream, in, call)
	}
}

const (
	getDataEndpoint = "GetDataEndpoint"
	getMedia        = "GetMedia"
)

var operations = map[string]string{"/getDataEndpoint": getDataEndpoint, "/getMedia": getMedia}

// request is the body of either operation.
type request struct {
	APIName       string
	StreamName    string
	StreamARN     string
	StartSelector Selector
}

var arnPattern = regexp.MustCompile(`^arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+$`)

// find gives the stream that a request names, by name or by ARN.
func (s *Server) find(in request) (*Stream, *Exception) {
	switch {
	case (in.StreamName == "") == (in.StreamARN == ""):
		return nil, invalidArgument("Exactly one of StreamName and StreamARN must be given")
	case in.StreamName != "" && !namePattern.MatchString(in.StreamName):
		return nil, invalidArgument("StreamName must be 1 to 256 letters, digits, '_', '.' and '-'")
	case in.StreamARN != "" && (len(in.StreamARN) > 1024 || !arnPattern.MatchString(in.StreamARN)):
		return nil, invalidArgument("StreamARN is no ARN of a stream")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stream := range s.streams {
		if stream.name == in.StreamName || stream.arn == in.StreamARN {
			return stream, nil
		}
	}
	return nil, ResourceNotFound
}

func (s *Server) getDataEndpoint(w http.ResponseWriter, r *http.Request, stream *Stream, in request, call *record) {
	e := stream.refusal(&stream.unlocated)
	switch {
	case e != nil:
	case !stream.location.AllowN(s.config.Now(), 1):
		e = ClientLimitExceeded
	case in.APIName != "GET_MEDIA":
		e = invalidArgument("APIName must be GET_MEDIA here")
	}
	if e != nil {
		s.refuse(w, call, e)
		return
	}
	call.update(func(c *Call) { c.Status = http.StatusOK })
	w.Header().Set("Content-Type", "application/json")
	// A client that has gone needs no answer.
	_ = json.NewEncoder(w).Encode(struct{ DataEndpoint string }{"http://" + r.Host})
}

func (s *Server) getMedia(w http.ResponseWriter, r *http.Request, stream *Stream, in request, call *record) {
	first, err := s.admit(stream, in)
	var e *Exception
	if errors.As(err, &e) {
		s.refuse(w, call, e)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	session := newSession(ctx, s.clock, stream, call, w)
	if !stream.enter(session) {
		s.refuse(w, call, ConnectionLimitExceeded)
		return
	}
	call.update(func(c *Call) { c.Status = http.StatusOK })
	w.Header().Set("Content-Type", "video/webm")
	w.WriteHeader(http.StatusOK)
	err = session.begin(first, err)
	stream.leave(session)
	call.update(func(c *Call) { c.Ending = ending(err) })
	var fault *failing
	if errors.As(err, &fault) && (fault.fault.Kind == Cut || fault.fault.Kind == Drop) {
		breakConnection(w, fault.fault.Kind == Cut)
	}
}

// admit refuses a GetMedia call with an Exception, or finds the first chunk. An errNoFragment is for the body to tell.
func (s *Server) admit(stream *Stream, in request) (int64, error) {
	if e := stream.refusal(&stream.refused); e != nil {
		return 0, e
	}
	if !stream.media.AllowN(s.config.Now(), 1) {
		return 0, ClientLimitExceeded
	}
	if e := in.StartSelector.check(); e != nil {
		return 0, e
	}
	return stream.feed.first(in.StartSelector, s.clock.now())
}

func (s *Server) log(call *record) {
	c := call.get()
	s.config.Log.Info("call is over", "operation", c.Operation, "stream", c.Stream, "selector", c.Selector.Type,
		"request", c.RequestID, "status", c.Status, "error", c.ErrorType,
		"bytes", c.Bytes, "fragments", c.Fragments, "ending", string(c.Ending))
}
