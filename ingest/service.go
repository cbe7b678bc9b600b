package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo"
	"github.com/aws/aws-sdk-go-v2/service/kinesisvideo/types"
	"github.com/aws/smithy-go"

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

	mu        sync.Mutex
	endpoints map[string]endpoint // by stream name or ARN
}

type endpoint struct {
	url   string
	until time.Time
}

// LoadService makes a Service with the SDK's default chain of settings and credentials.
// region and controlEndpoint may be empty and device nil: the chain's own stand then.
func LoadService(ctx context.Context, region, controlEndpoint string, device *IoTCredentials) (*Service, error) {
	options := []func(*config.LoadOptions) error{config.WithRegion(region)}
	if device != nil {
		options = append(options, config.WithCredentialsProvider(device.Cached()))
	}
	cfg, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Message: "the AWS configuration of this machine cannot be read", Err: err}
	}
	return NewService(cfg, controlEndpoint), nil
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
		ReadBufferSize:        64 << 10,
	}}
	if cfg.HTTPClient != nil {
		if c, ok := cfg.HTTPClient.(*http.Client); ok {
			client = c
		}
	}
	cfg.HTTPClient = client
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
	}
}

// SetLog says where calls are logged, at level debug; nowhere before. It is called before the first session runs.
func (s *Service) SetLog(log *slog.Logger) { s.log = log }

// Close closes connections that are not in use.
func (s *Service) Close() { s.http.CloseIdleConnections() }

// getMedia opens a body. The caller closes it.
func (s *Service) getMedia(ctx context.Context, stream Stream, sel Selector) (body io.ReadCloser, requestID string, err error) {
	base, err := s.endpoint(ctx, stream)
	if err != nil {
		return nil, "", err
	}
	req, err := s.signed(ctx, base, stream, sel)
	if err != nil {
		return nil, "", err
	}
	s.log.Debug("asking for a session", "stream", stream.Name, "host", req.URL.Host, "start", sel.String())
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, "", &Error{Code: CodeUnreachable, Message: "no answer from " + req.URL.Host, Err: err}
	}
	requestID = anyHeader(resp.Header, "x-amzn-RequestId", "x-amz-RequestId")
	s.log.Debug("the service answered", "stream", stream.Name, "status", resp.StatusCode, "request_id", requestID)
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, requestID, exception(resp, requestID)
	}
	return resp.Body, requestID, nil
}

// signed builds the GetMedia request.
func (s *Service) signed(ctx context.Context, base string, stream Stream, sel Selector) (*http.Request, error) {
	payload, err := sel.request(stream)
	if err != nil {
		return nil, &Error{Code: CodeConfig, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(base, "/")+"/getMedia", bytes.NewReader(payload))
	if err != nil {
		return nil, &Error{Code: CodeConfig, Message: "the data endpoint is no URL", Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	creds, err := s.credentials(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(payload)
	err = s.signer.SignHTTP(ctx, creds, req, hex.EncodeToString(sum[:]), "kinesisvideo", s.cfg.Region, time.Now())
	if err != nil {
		return nil, &Error{Code: CodeCredentials, Message: "signing failed", Err: err}
	}
	return req, nil
}

// credentials gives what to sign with. The SDK keeps it and fetches it anew when it expires.
func (s *Service) credentials(ctx context.Context) (aws.Credentials, error) {
	if s.cfg.Region == "" {
		return aws.Credentials{}, &Error{Code: CodeConfig, Message: "no AWS region is set, neither in [aws] region nor in AWS_REGION"}
	}
	if s.cfg.Credentials == nil {
		return aws.Credentials{}, &Error{Code: CodeCredentials, Message: "no credentials are configured"}
	}
	creds, err := s.cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return aws.Credentials{}, &Error{Code: CodeCredentials, Message: "no credentials to be had", Err: err}
	}
	return creds, nil
}

// endpoint gives the stream's data endpoint, from memory or from GetDataEndpoint.
func (s *Service) endpoint(ctx context.Context, stream Stream) (string, error) {
	key := stream.StreamName + stream.StreamARN
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
		return "", controlError(err)
	}
	url := aws.ToString(out.DataEndpoint)
	s.log.Debug("a data endpoint was found", "stream", stream.Name, "url", url)
	s.mu.Lock()
	s.endpoints[key] = endpoint{url: url, until: time.Now().Add(endpointLife)}
	s.mu.Unlock()
	return url, nil
}

// forgetEndpoint makes the next call ask for the data endpoint anew.
func (s *Service) forgetEndpoint(stream Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.endpoints, stream.StreamName+stream.StreamARN)
}

// forgetCredentials makes the next call fetch credentials anew.
func (s *Service) forgetCredentials() {
	if c, ok := s.cfg.Credentials.(*aws.CredentialsCache); ok {
		c.Invalidate()
	}
}

// maxErrorBody bounds what is read of a refusal.
const maxErrorBody = 16 << 10

// exception reads a refusal of GetMedia: the name from the header or the body, the rest
// from the body.
func exception(resp *http.Response, requestID string) error {
	raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var body struct {
		Message string // matches "message" too
		Type    string `json:"__type"`
	}
	_ = json.Unmarshal(raw, &body) // a body that is no JSON leaves the status to tell
	name := anyHeader(resp.Header, "x-amzn-ErrorType", "x-amz-ErrorType")
	if name == "" {
		name = body.Type
	}
	// "…Exception:http://…" and "com.amazonaws…#…Exception" both occur.
	name, _, _ = strings.Cut(name, ":")
	name = name[strings.LastIndex(name, "#")+1:]
	if name == "" {
		name = strconv.Itoa(resp.StatusCode)
	}
	return &Error{Code: prefixHTTP + name, Status: resp.StatusCode, RequestID: requestID, Message: body.Message}
}

// controlError reads what the SDK says of a failed GetDataEndpoint.
func controlError(err error) error {
	e := &Error{Code: CodeUnreachable, Message: "GetDataEndpoint failed"}
	var response *awshttp.ResponseError
	if errors.As(err, &response) {
		e.Status, e.RequestID = response.HTTPStatusCode(), response.ServiceRequestID()
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Code, e.Message = prefixHTTP+api.ErrorCode(), "GetDataEndpoint: "+api.ErrorMessage()
		return e
	}
	e.Err = err
	return e
}

func anyHeader(h http.Header, names ...string) string {
	for _, n := range names {
		if v := h.Get(n); v != "" {
			return v
		}
	}
	return ""
}
