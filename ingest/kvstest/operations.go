package kvstest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// maxRequest bounds the body of a request, in bytes.
const maxRequest = 64 << 10

// ServeHTTP answers one call. Served with TLS, data endpoints are https as well.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.handlers.Done()
	requestID := rand.Text()
	w.Header().Set(s.headers.requestID, requestID)
	w.Header().Set("Date", s.config.Now().UTC().Format(http.TimeFormat)) // a client may set its clock by it
	call := s.records.open(Call{
		Time: s.config.Now(), RequestID: requestID, Host: r.Host, Path: r.URL.Path, Operation: operations[r.URL.Path],
	})
	defer s.log(call)
	if r.URL.Path == loginPath {
		loginPage.write(w, r, call)
		return
	}

	in, e := s.accept(r)
	if e != nil {
		s.refuse(w, call, e)
		return
	}
	if operations[r.URL.Path] == listStreams {
		s.listStreams(w, in, call)
		return
	}
	stream, e := s.find(in)
	if e != nil {
		s.refuse(w, call, e)
		return
	}
	call.update(func(c *Call) { c.Stream, c.Selector = stream.name, in.StartSelector })
	switch operations[r.URL.Path] {
	case getMedia:
		s.getMedia(w, r, stream, in, call)
	case describeStream:
		s.describeStream(w, stream, call)
	default:
		s.getDataEndpoint(w, r, stream, in, call)
	}
}

// accept reads a call and checks it in the order the service does: who calls, and what for.
func (s *Server) accept(r *http.Request) (in request, e *Exception) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	if err == nil && len(body) > maxRequest {
		err = errors.New("it is too long")
	}
	if err != nil {
		return in, serialization("the request cannot be read: " + err.Error())
	}
	if e := s.authority.check(r, body); e != nil {
		return in, e
	}
	if r.URL.Path == wrongEndpoint+"/getMedia" {
		return in, InvalidEndpoint
	}
	if operations[r.URL.Path] == "" || r.Method != http.MethodPost {
		return in, unknownOperation
	}
	if len(body) == 0 { // of an operation whose parameters are all left out
		return in, nil
	}
	if err := json.Unmarshal(body, &in); err != nil {
		return in, serialization("the request is not valid JSON of this operation: " + err.Error())
	}
	return in, nil
}

const (
	getDataEndpoint = "GetDataEndpoint"
	describeStream  = "DescribeStream"
	listStreams     = "ListStreams"
	getMedia        = "GetMedia"
)

// wrongEndpoint is where no stream is to be had.
const wrongEndpoint = "/elsewhere"

var operations = map[string]string{
	"/getDataEndpoint": getDataEndpoint, "/describeStream": describeStream, "/listStreams": listStreams,
	"/getMedia": getMedia, wrongEndpoint + "/getMedia": getMedia,
}

// apiNames are the operations that GetDataEndpoint gives an endpoint for. GetMedia is the one that is served there.
var apiNames = []string{
	"PUT_MEDIA", "GET_MEDIA", "LIST_FRAGMENTS", "GET_MEDIA_FOR_FRAGMENT_LIST", "GET_HLS_STREAMING_SESSION_URL",
	"GET_DASH_STREAMING_SESSION_URL", "GET_CLIP", "GET_IMAGES",
}

// request is the body of any operation.
type request struct {
	APIName       string
	StreamName    string
	StreamARN     string
	StartSelector Selector

	// Of ListStreams:
	MaxResults          *int
	NextToken           string
	StreamNameCondition *nameCondition
}

var arnPattern = regexp.MustCompile(`^arn:[a-z\d-]+:kinesisvideo:[a-z0-9-]+:[0-9]+:[a-z]+/[a-zA-Z0-9_.-]+/[0-9]+$`)

// find gives the stream that a request names, by name or by ARN.
func (s *Server) find(in request) (*Stream, *Exception) {
	switch {
	case (in.StreamName == "") == (in.StreamARN == ""):
		return nil, invalidArgument("Exactly one of StreamName and StreamARN must be given")
	case in.StreamName != "" && !namePattern().MatchString(in.StreamName):
		return nil, invalidArgument("StreamName must be 1 to 256 letters, digits, '_', '.' and '-'")
	case in.StreamARN != "" && (len(in.StreamARN) > 1024 || !arnPattern.MatchString(in.StreamARN)):
		return nil, invalidArgument("StreamARN is no ARN of a stream")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stream := range s.streams {
		i := stream.existing()
		if i != nil && (stream.name == in.StreamName || i.arn == in.StreamARN) {
			return stream, nil
		}
	}
	return nil, ResourceNotFound
}

func (s *Server) getDataEndpoint(w http.ResponseWriter, r *http.Request, stream *Stream, in request, call *record) {
	ctx, cancel := s.working(r)
	defer cancel()
	m, err := stream.location.pass(ctx, s.clock)
	if err == nil && !slices.Contains(apiNames, in.APIName) {
		err = invalidArgument("APIName must be one of " + strings.Join(apiNames, ", "))
	}
	if err != nil {
		s.turnAway(w, r, call, err)
		return
	}
	endpoint := origin(r)
	switch m.endpoint {
	case nil:
	case &misdirected:
		endpoint += misdirected
	default:
		endpoint = *m.endpoint
	}
	s.answer(w, call, struct{ DataEndpoint string }{endpoint})
}

// origin is the scheme and host that a request came to.
func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// answer answers a call with JSON.
func (s *Server) answer(w http.ResponseWriter, call *record, out any) {
	call.update(func(c *Call) { c.Status = http.StatusOK })
	w.Header().Set("Content-Type", "application/json")
	// A client that has gone needs no answer.
	_ = json.NewEncoder(w).Encode(out)
}

func (s *Server) getMedia(w http.ResponseWriter, r *http.Request, stream *Stream, in request, call *record) {
	ctx, cancel := s.working(r)
	defer cancel()
	var feed feed
	if i := stream.existing(); i != nil {
		feed = i.feed
	}
	first, err := s.admit(ctx, stream, feed, in)
	if err != nil && !errors.Is(err, errNoFragment) {
		s.turnAway(w, r, call, err)
		return
	}
	session := newSession(ctx, stream, feed, call, w)
	if e := stream.enter(session); e != nil {
		s.refuse(w, call, e)
		return
	}
	call.update(func(c *Call) { c.Status = http.StatusOK })
	w.Header().Set("Content-Type", "video/webm")
	w.WriteHeader(http.StatusOK)
	err = session.begin(first, err)
	stream.leave(session)
	call.update(func(c *Call) { c.Ending = ending(err) })
	var fault *failing
	switch {
	case errors.As(err, &fault) && fault.fault.Kind.breaks():
		breakConnection(w, fault.fault.Kind == Cut)
	case errors.Is(err, EndIdle) && s.config.IdleReset:
		breakConnection(w, true)
	}
}

// working is the context of a call: over when the client has gone or the server closes.
func (s *Server) working(r *http.Request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(r.Context())
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// admit refuses a GetMedia call with an Exception, or finds the first chunk. An errNoFragment is for the body to tell.
func (s *Server) admit(ctx context.Context, stream *Stream, feed feed, in request) (int64, error) {
	m, err := stream.media.pass(ctx, s.clock)
	if err != nil {
		return 0, err
	}
	if e := in.StartSelector.check(); e != nil {
		return 0, e
	}
	if feed == nil { // deleted since it was found
		return 0, ResourceNotFound
	}
	if m.earliest {
		in.StartSelector = Selector{Type: Earliest}
	}
	return feed.first(in.StartSelector, s.clock.now())
}

// turnAway answers a call that gets nothing: with an Exception, with an Answer, or not at all.
func (s *Server) turnAway(w http.ResponseWriter, r *http.Request, call *record, err error) {
	var e *Exception
	var other *answering
	switch {
	case errors.As(err, &e):
		s.refuse(w, call, e)
		return
	case errors.As(err, &other):
		w.Header().Del(s.headers.requestID) // it is the service's
		other.answer.write(w, r, call)
		return
	}
	call.update(func(c *Call) { c.Ending = ending(err) })
	panic(http.ErrAbortHandler)
}

// breakConnection ends an HTTP/1 connection in the middle of a body. Where that is not possible net/http is asked to.
func breakConnection(w http.ResponseWriter, reset bool) {
	control := http.NewResponseController(w)
	flushed := control.Flush()
	conn, _, err := control.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	// Linger of 0 makes a reset of what would be an ordinary end. So it does where a client holds up the bytes in
	// front.
	if tcp, ok := conn.(*net.TCPConn); ok && (reset || flushed != nil) {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

func (s *Server) log(call *record) {
	c := call.get()
	s.config.Log.Info("call is over", "operation", cmp.Or(c.Operation, c.Path), "stream", c.Stream,
		"selector", c.Selector.Type,
		"request", c.RequestID, "status", c.Status, "error", c.ErrorType,
		"bytes", c.Bytes, "fragments", c.Fragments, "ending", string(c.Ending))
}
