package kvstest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// harness is a server on a Pipe and a client of it.
type harness struct {
	t      *testing.T
	server *Server
	http   *http.Client
}

// newHarness starts a server that ends with the test. Inside a synctest bubble its time is the bubble's.
func newHarness(t *testing.T, config Config) *harness {
	t.Helper()
	pipe := NewPipe()
	server := NewServer(config)
	server.Serve(pipe)
	transport := &http.Transport{DialContext: pipe.DialContext}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &harness{t, server, &http.Client{Transport: transport}}
}

// newTCPHarness is newHarness on a real network.
func newTCPHarness(t *testing.T, config Config) *harness {
	t.Helper()
	server := NewServer(config)
	if err := server.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return &harness{t, server, &http.Client{Transport: transport}}
}

// add makes a stream of the H.264 clip.
func (h *harness) add(name string, config StreamConfig) *Stream {
	h.t.Helper()
	return h.addSource(name, clip.H264(), config)
}

func (h *harness) addSource(name string, file []byte, config StreamConfig) *Stream {
	h.t.Helper()
	source, err := ReadSource(file)
	if err != nil {
		h.t.Fatal(err)
	}
	stream, err := h.server.Add(name, source, config)
	if err != nil {
		h.t.Fatal(err)
	}
	return stream
}

// post signs a call with the server's credentials and makes it. What goes in is JSON already or can be made so.
func (h *harness) post(ctx context.Context, path string, in any) *http.Response {
	h.t.Helper()
	body, raw := in.([]byte)
	if !raw {
		var err error
		if body, err = json.Marshal(in); err != nil {
			h.t.Fatal(err)
		}
	}
	return h.do(signed(h.t, ctx, h.server.URL()+path, body, Credentials(), "us-east-1", time.Now()))
}

func (h *harness) do(r *http.Request) *http.Response {
	h.t.Helper()
	response, err := h.http.Do(r)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { response.Body.Close() })
	return response
}

// signed is a request signed by the SDK's signer.
func signed(t *testing.T, ctx context.Context, url string, body []byte, c aws.Credentials, region string, at time.Time) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, c, r, hex.EncodeToString(hash[:]), "kinesisvideo", region, at); err != nil {
		t.Fatal(err)
	}
	return r
}

// media opens a session, which must be accepted. The context of the test ends it at the latest.
func (h *harness) media(name string, s Selector) *mediaBody {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	h.t.Cleanup(cancel)
	response := h.post(ctx, "/getMedia", map[string]any{"StreamName": name, "StartSelector": s})
	if response.StatusCode != http.StatusOK {
		h.t.Fatalf("GetMedia: %s", refusal(h.t, response))
	}
	return &mediaBody{h.t, response, mkv.NewReader(response.Body), cancel}
}

// refusal reads an error answer as "status type: message".
func refusal(t *testing.T, r *http.Response) string {
	t.Helper()
	var body struct{ Message string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Message == "" {
		t.Errorf("a refusal without a message: %v", err)
	}
	if r.Header.Get("x-amzn-RequestId") == "" {
		t.Error("a refusal without a request id")
	}
	return r.Status[:3] + " " + r.Header.Get("x-amzn-ErrorType")
}

// mediaBody reads the body of a GetMedia call.
type mediaBody struct {
	t        *testing.T
	response *http.Response
	reader   *mkv.Reader
	leave    context.CancelFunc
}

// received is a document that was read, with copies of its frames' times.
type received struct {
	mkv.Fragment
	tracks []*mkv.Track
	times  []time.Duration
	heads  [][]byte // first bytes of each frame
	sizes  []int
	err    error
}

// next reads a document; an error is the body's end.
func (b *mediaBody) next() (received, error) {
	var d received
	for {
		event, err := b.reader.Next()
		if err != nil {
			return d, err
		}
		switch event := event.(type) {
		case *mkv.Track:
			d.tracks = append(d.tracks, event)
		case *mkv.Frame:
			d.times = append(d.times, event.Time)
			d.heads = append(d.heads, bytes.Clone(event.Data[:min(64, len(event.Data))]))
			d.sizes = append(d.sizes, len(event.Data))
		case *mkv.End:
			d.Fragment, d.err = event.Fragment, event.Err
			return d, nil
		}
	}
}

// complete reads up to the tag that completes the fragment. The reader says that a document is over no sooner than the next
// one begins, which is too late where none follows.
func (b *mediaBody) complete() {
	b.t.Helper()
	for {
		event, err := b.reader.Next()
		if err != nil {
			b.t.Fatal(err)
		}
		if tags, ok := event.(*mkv.Tags); ok && tags.Fragment.Complete() {
			return
		}
	}
}

// fragment reads a document, which must be whole.
func (b *mediaBody) fragment() received {
	b.t.Helper()
	d, err := b.next()
	if err != nil || d.err != nil || !d.Complete() {
		b.t.Fatalf("no whole fragment: %+v, %v", d, err)
	}
	return d
}

// end expects a clean end of the body.
func (b *mediaBody) end() {
	b.t.Helper()
	if d, err := b.next(); !errors.Is(err, io.EOF) {
		b.t.Fatalf("not the end of the body: %+v, %v", d.Fragment, err)
	}
}
