package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Time limits of a call. The body has none of its own: a session watches over it.
const (
	dialTimeout   = 5 * time.Second
	headerTimeout = 10 * time.Second
	callTimeout   = 15 * time.Second // of GetDataEndpoint as a whole
	endpointLife  = 45 * time.Minute // then AWS suggests to ask again
)

// frameMemory is what all sessions together take for frames beyond 64 KiB each, in bytes: four frames of the largest
// size that is accepted, or some hundred key frames of usual sizes.
const frameMemory = 64 << 20

// Service is the way to Kinesis Video Streams that all sessions of a process share:
// credentials, connections, and the data endpoints found so far. It may be used
// from any goroutine.
type Service struct {
	cfg     aws.Config
	control *kinesisvideo.Client
	http    *http.Client
	signer  *v4.Signer
	log     *slog.Logger // of calls, at level debug; all else is told to the sinks
	frames  *mkv.Budget  // memory for large frames of all sessions
	sdk     *sdkLog      // what the SDK says; nil for one that was not loaded here
	clock   serviceClock // to sign GetMedia with; the SDK's client keeps its own

	mu        sync.Mutex
	endpoints map[string]endpoint   // by stream name or ARN
	limits    map[string]*callLimit // by stream name or ARN
}

type endpoint struct {
	url   string
	until time.Time
}

// LoadService makes a Service with the SDK's default chain of settings and credentials.
// region and controlEndpoint may be empty and device nil: the chain's own stand then.
func LoadService(ctx context.Context, region, controlEndpoint string, device *IoTCredentials) (*Service, error) {
	sdk := &sdkLog{}
	options := []func(*config.LoadOptions) error{config.WithRegion(region), config.WithLogger(sdk)}
	if device != nil {
		options = append(options, config.WithCredentialsProvider(device.Cached()))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Message: "the AWS configuration of this machine cannot be read", Err: err}
	}
	s := NewService(cfg, controlEndpoint)
	s.sdk = sdk
	return s, nil
}

// NewService makes a Service of an SDK configuration. controlEndpoint overrides
// where GetDataEndpoint is asked; empty for AWS.
func NewService(cfg aws.Config, controlEndpoint string) *Service {
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{
			Timeout:         dialTimeout,
			KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3},
		}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
		ReadBufferSize:        32 << 10, // a frame of 4 Mbit/s; a box may pull 64 streams

		MaxResponseHeaderBytes: maxHeaderBytes,
	}}
	if c, ok := cfg.HTTPClient.(*http.Client); ok {
		own := *c
		client = &own
	}
	// A redirect of a signed request would take the session token to another host.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	transport := client.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	cfg.HTTPClient = &http.Client{Transport: boundedTransport{transport}, CheckRedirect: client.CheckRedirect}
	// The session's loop is the only one that retries.
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} }
	return &Service{
		cfg: cfg,
		control: kinesisvideo.NewFromConfig(cfg, func(o *kinesisvideo.Options) {
			if controlEndpoint != "" {
				o.BaseEndpoint = aws.String(controlEndpoint)
			}
		}),
		http:      client,
		signer:    v4.NewSigner(),
		log:       slog.New(slog.DiscardHandler),
		frames:    mkv.NewBudget(frameMemory),
		endpoints: make(map[string]endpoint),
		limits:    make(map[string]*callLimit),
	}
}

// SetLog says where calls are logged, at level debug, and what the SDK has to say; nowhere before. It is called before
// the first session runs.
func (s *Service) SetLog(log *slog.Logger) {
	s.log = log
	if s.sdk != nil {
		s.sdk.begin(log)
	}
}

// Close closes connections that are not in use.
func (s *Service) Close() { s.http.CloseIdleConnections() }

// limit gives what bounds the GetMedia calls for a stream.
func (s *Service) limit(stream Stream) *callLimit {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := stream.key()
	if s.limits[key] == nil {
		s.limits[key] = &callLimit{}
	}
	return s.limits[key]
}

// key names a stream of the service.
func (s Stream) key() string { return s.StreamName + s.StreamARN }

// getMedia opens a body. The caller closes it, and ends ctx.
func (s *Service) getMedia(ctx context.Context, cancel context.CancelCauseFunc, stream Stream, sel Selector) (body io.ReadCloser, requestID string, err error) {
	base, err := s.endpoint(ctx, stream)
	if err != nil {
		return nil, "", err
	}
	signed := s.clock.now()
	req, err := s.signed(ctx, base, stream, sel, signed)
	if err != nil {
		return nil, "", err
	}
	s.log.Debug("asking for a session", "stream", stream.Name, "host", req.URL.Host, "start", sel.String())
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, "", noAnswer(err)
	}
	requestID = anyHeader(resp.Header, "x-amzn-RequestId", "x-amz-RequestId")
	s.log.Debug("the service answered", "stream", stream.Name, "status", resp.StatusCode, "request_id", requestID)
	if err := s.refusal(resp, requestID, signed, cancel); err != nil {
		_ = resp.Body.Close() // it is of no use any more
		return nil, requestID, err
	}
	return media{&opening{body: resp.Body, resp: resp}, resp.Body}, requestID, nil
}

// media is the body of a GetMedia call.
type media struct {
	io.Reader
	io.Closer
}

// refusal reads an answer that is not a stream; nil if it is one.
func (s *Service) refusal(resp *http.Response, requestID string, signed time.Time, cancel context.CancelCauseFunc) error {
	slow := time.AfterFunc(errorBodyTime, func() { cancel(nil) })
	defer slow.Stop()
	if err := checkStream(resp); err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	e := exception(resp, requestID)
	if wrong := s.checkClock(e, resp.Header, signed); wrong != nil {
		return wrong
	}
	return e
}

// signed builds the GetMedia request.
func (s *Service) signed(ctx context.Context, base string, stream Stream, sel Selector, at time.Time) (*http.Request, error) {
	payload, err := sel.request(stream)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+"/getMedia", bytes.NewReader(payload))
	if err != nil {
		return nil, &Error{Code: CodeEndpoint, Message: "invalid data endpoint " + quoted(base, maxMessage), Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	creds, err := s.credentials(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(payload)
	err = s.signer.SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), "kinesisvideo", s.cfg.Region, at)
	if err != nil {
		return nil, &Error{Code: CodeCredentials, Message: "signing failed", Err: err}
	}
	return req, nil
}

// credentials gives what to sign with. The SDK keeps it and fetches it anew when it expires.
func (s *Service) credentials(ctx context.Context) (aws.Credentials, error) {
	if err := s.CheckRegion(); err != nil {
		return aws.Credentials{}, err
	}
	if s.cfg.Credentials == nil {
		return aws.Credentials{}, &Error{Code: CodeCredentials, Message: "no credentials are configured"}
	}
	creds, err := s.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &Error{Code: CodeCredentials, Message: withoutCredentials(err), Err: err}
	}
	return creds, checkCredentials(creds)
}

// CredentialsUntil fetches the credentials, unless they are there, and says where they are from and until when they are
// valid; a zero time is for ever. The error is an *Error.
func (s *Service) CredentialsUntil(ctx context.Context) (source string, until time.Time, err error) {
	creds, err := s.credentials(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	if creds.CanExpire {
		until = creds.Expires
	}
	return creds.Source, until, nil
}

// withoutCredentials says why there are no credentials. The SDK asks the machine for its role last; when that has none,
// the words of its error do not tell that everything before had none either.
func withoutCredentials(err error) string {
	if strings.Contains(err.Error(), "no EC2 IMDS role found") {
		return "no AWS credentials were found, neither in the environment nor in ~/.aws nor as a role of this machine"
	}
	return "could not retrieve AWS credentials: " + readable(err.Error(), maxMessage)
}

// CheckRegion says what is wrong with the region that requests are signed for, as an *Error: that none is set, or that
// none can have such a name.
func (s *Service) CheckRegion() error {
	if s.cfg.Region == "" {
		return &Error{Code: CodeConfig, Message: "no AWS region is set, neither in [aws] region nor in AWS_REGION nor in the AWS profile"}
	}
	if len(s.cfg.Region) > 64 || !regionPattern.MatchString(s.cfg.Region) {
		return &Error{Code: CodeConfig, Message: "invalid AWS region " + quoted(s.cfg.Region, maxMessage) +
			": use a-z, 0-9 and '-', as in eu-west-1"}
	}
	return nil
}

var regionPattern = regexp.MustCompile(`^[a-zA-Z0-9-]+$`)

// checkCredentials finds characters that no credentials have and no request can carry, such as the carriage return that
// a file written on Windows leaves in an environment variable.
func checkCredentials(c aws.Credentials) error {
	for _, part := range []struct{ name, value string }{
		{"access key id (AWS_ACCESS_KEY_ID)", c.AccessKeyID},
		{"secret access key (AWS_SECRET_ACCESS_KEY)", c.SecretAccessKey},
		{"session token (AWS_SESSION_TOKEN)", c.SessionToken},
	} {
		for i, r := range part.value {
			if r > ' ' && r < 0x7F {
				continue
			}
			return &Error{Code: CodeCredentials, Message: fmt.Sprintf("the %s has %s at character %d of %d (source: %s); remove it",
				part.name, characterName(r), i+1, len(part.value), readable(c.Source, maxOpening))}
		}
	}
	return nil
}

func characterName(r rune) string {
	switch r {
	case '\r':
		return "a carriage return"
	case '\n':
		return "a line feed"
	case ' ':
		return "a space"
	case '\t':
		return "a tab"
	}
	return fmt.Sprintf("the character %U", r)
}

// endpoint gives the stream's data endpoint, from memory or from GetDataEndpoint.
func (s *Service) endpoint(ctx context.Context, stream Stream) (string, error) {
	key := stream.key()
	s.mu.Lock()
	known, ok := s.endpoints[key]
	s.mu.Unlock()
	if ok && time.Now().Before(known.until) {
		return known.url, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := s.credentials(ctx); err != nil {
		return "", err
	}
	in := &kinesisvideo.GetDataEndpointInput{APIName: types.APINameGetMedia}
	if stream.StreamARN != "" {
		in.StreamARN = aws.String(stream.StreamARN)
	} else {
		in.StreamName = aws.String(stream.StreamName)
	}
	out, err := s.control.GetDataEndpoint(ctx, in)
	if err != nil {
		return "", s.controlError(err)
	}
	url := aws.ToString(out.DataEndpoint)
	if err := checkEndpoint(url, secureAnswer(out)); err != nil {
		return "", err
	}
	s.log.Debug("a data endpoint was found", "stream", stream.Name, "url", url)
	s.mu.Lock()
	s.endpoints[key] = endpoint{url: url, until: time.Now().Add(endpointLife)}
	s.mu.Unlock()
	return url, nil
}

// validPort says that a port of a URL can be dialled; "" stands for the scheme's own.
func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// secureAnswer says that GetDataEndpoint was answered over TLS.
func secureAnswer(out *kinesisvideo.GetDataEndpointOutput) bool {
	resp, ok := awsmiddleware.GetRawResponse(out.ResultMetadata).(*smithyhttp.Response)
	return !ok || resp.Request == nil || resp.Request.URL.Scheme == "https"
}

var hostPattern = regexp.MustCompile(`^[a-zA-Z0-9._-]+$`)

// checkEndpoint holds a data endpoint to be a URL that GetMedia can be sent to. If GetDataEndpoint was answered over
// TLS, so must GetMedia be.
func checkEndpoint(raw string, secure bool) error {
	u, err := url.Parse(raw)
	wrong := ""
	switch {
	case raw == "":
		wrong = "it is empty"
	case err != nil:
		wrong = "it is not a valid URL"
	case u.Scheme != "https" && u.Scheme != "http":
		wrong = "it must begin with https://"
	case u.Scheme == "http" && secure:
		wrong = "it is not encrypted, and GetDataEndpoint was; it must begin with https://"
	case !hostPattern.MatchString(u.Hostname()) && net.ParseIP(u.Hostname()) == nil:
		wrong = "it has no valid host name"
	case !validPort(u.Port()):
		wrong = "its port is not between 1 and 65535"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		wrong = "it must not have a user, a query or a fragment"
	}
	if wrong == "" {
		return nil
	}
	return &Error{Code: CodeEndpoint, Message: "GetDataEndpoint answered with an invalid endpoint " + quoted(raw, maxMessage) + ": " + wrong, Err: err}
}

// forgetEndpoint makes the next call ask for the data endpoint anew.
func (s *Service) forgetEndpoint(stream Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.endpoints, stream.key())
}

// forgetCredentials makes the next call fetch credentials anew.
func (s *Service) forgetCredentials() {
	if c, ok := s.cfg.Credentials.(*aws.CredentialsCache); ok {
		c.Invalidate()
	}
}

// controlError reads what the SDK says of a failed GetDataEndpoint.
func (s *Service) controlError(err error) error {
	var response *awshttp.ResponseError
	if !errors.As(err, &response) || response.HTTPStatusCode() == 0 { // the SDK makes a response of its own where there is none
		return noAnswer(err)
	}
	resp, status := response.HTTPResponse(), response.HTTPStatusCode()
	e := &Error{Status: status, RequestID: readable(response.ServiceRequestID(), maxRequestID), Err: err}
	if status/100 == 3 {
		e.Code, e.Message = CodeNotStream, "GetDataEndpoint is redirected to "+
			quoted(resp.Header.Get("Location"), maxOpening*2)+", which is not followed with a signed request"
		return e
	}
	var api smithy.APIError
	var name, text string
	switch {
	case errors.As(err, &api):
		name, text, e.Err = api.ErrorCode(), readable(api.ErrorMessage(), maxMessage), nil
	case status != http.StatusOK: // the SDK cannot read the body
		name = exceptionOf(resp.Header)
	default:
		e.Code, e.Message = CodeEndpoint, fmt.Sprintf("the answer to GetDataEndpoint cannot be read (status %d, content type %s)",
			status, quoted(resp.Header.Get("Content-Type"), maxOpening))
		return e
	}
	if name == "UnknownError" { // the SDK's word for an answer without a type
		name = ""
	}
	e.Code, e.Message = prefixHTTP+exceptionName(name, status), "GetDataEndpoint: "+text
	if text == "" {
		e.Message = fmt.Sprintf("GetDataEndpoint is answered with status %d", status)
	}
	if wrong := s.checkClock(e, resp.Header, time.Now()); wrong != nil {
		return wrong
	}
	return e
}
