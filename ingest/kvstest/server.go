// Package kvstest is Kinesis Video Streams for tests, for the demo and for people without AWS: an HTTP server with
// GetDataEndpoint, DescribeStream, ListStreams and GetMedia that checks signatures, keeps the limits and injects faults
// on demand.
//
// In goes a clip (any Matroska file with H.264 or H.265) or a capture of GetMedia, see [ReadSource]. Out comes, to
// every session, an endless live stream made of the clip: one Matroska document for each fragment, element by element
// as the service lays it out and as the producer of a [Layout] writes it, every frame when its time has come. A capture
// is served as it is.
//
//	operations.go  the operations, and who may call them (signature.go, exception.go, mishap.go)
//	describe.go    DescribeStream and ListStreams
//	session.go     one GetMedia call: waits, limits, faults (faults.go)
//	stream.go      one stream and its sessions; its creation (lifecycle.go) and its producer (producer.go)
//	live.go        a clip as a stream of chunks (source.go, timeline.go, numbering.go, reel.go)
//	film.go        a clip as bytes, in a layout (layout.go, document.go, block.go, tags.go, annexb.go, ebml.go)
//	recorded.go    a capture as chunks
//	script.go      a whole simulation as data: what happens to which stream when
//	calls.go       what was called, for tests to look at
//	server.go      all of it behind a listener
//
// Time is the server's own: it can run faster, and it stands still in a testing/synctest bubble, for which [Pipe] is a
// network.
//
// A Server owns one goroutine, from Start to Close, and those that net/http starts for connections; Close waits for all
// of its sessions.
package kvstest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// Config is what a Server is made with. The zero value serves.
type Config struct {
	Region string // of signatures and ARNs; "us-east-1"
	// Credentials are those that calls may be signed with; one that can expire is refused from then on. Without any
	// they are those of Credentials(). SetCredentials replaces them.
	Credentials []aws.Credentials
	Limits      Limits
	// IdleReset resets the connection of a session that has waited for a fragment too long, instead of ending its body.
	IdleReset bool
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
		authority: &authority{known: slices.Clone(config.Credentials), region: config.Region, now: config.Now},
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
	if len(c.Credentials) == 0 {
		c.Credentials = []aws.Credentials{Credentials()}
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

var namePattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,256}$`) })

// Add adds a stream and, unless it is to be absent at first, creates it. A name can be used once; Delete and Create of
// the Stream are what happens to it later.
func (s *Server) Add(name string, source *Source, config StreamConfig) (*Stream, error) {
	if !namePattern().MatchString(name) {
		return nil, fmt.Errorf("kvstest: %q is no stream name: 1 to 256 letters, digits, '_', '.' and '-'", name)
	}
	if err := config.check(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streams[name] != nil {
		return nil, fmt.Errorf("kvstest: there is a stream %q already", name)
	}
	stream := &Stream{
		name:     name,
		source:   source,
		service:  &s.config,
		clock:    s.clock,
		config:   config,
		left:     make(chan struct{}),
		media:    newGate(s.config.Limits),
		location: newGate(s.config.Limits),
	}
	first, err := stream.incarnate(source, config.History)
	if err != nil {
		return nil, err
	}
	if !config.Absent {
		stream.current = first
	}
	s.streams[name] = stream
	return stream, nil
}

// Stream is the stream that was added with a name, whether it exists or was deleted; nil if there is none.
func (s *Server) Stream(name string) *Stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams[name]
}

// SetCredentials replaces the credentials that calls may be signed with: calls that are signed with others are refused
// from now on.
func (s *Server) SetCredentials(known ...aws.Credentials) { s.authority.set(known) }

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
