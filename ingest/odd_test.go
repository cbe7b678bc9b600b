package ingest_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// element writes one EBML element with a size of 8 bytes.
func element(id uint32, parts ...[]byte) []byte {
	data := slices.Concat(parts...)
	out := binary.BigEndian.AppendUint32(nil, id)
	for len(out) > 1 && out[0] == 0 {
		out = out[1:]
	}
	return append(binary.BigEndian.AppendUint64(out, 1<<56|uint64(len(data))), data...)
}

func uintElement(id uint32, v uint64) []byte {
	return element(id, binary.BigEndian.AppendUint64(nil, v))
}

// tagsElement writes one Tags element with pairs of names and values.
func tagsElement(pairs ...string) []byte {
	var tags []byte
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, element(0x67C8, element(0x45A3, []byte("AWS_KINESISVIDEO_"+pairs[i])), element(0x4487, []byte(pairs[i+1])))...)
	}
	return element(0x1254C367, element(0x7373, tags))
}

// documentHead is what a document begins with: EBML header, Segment of unknown size, Info, one video track.
func documentHead() []byte {
	return slices.Concat(
		element(0x1A45DFA3, element(0x4282, []byte("matroska"))),
		[]byte{0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF},
		element(0x1549A966, uintElement(0x2AD7B1, 1_000_000)),
		element(0x1654AE6B, element(0xAE, uintElement(0xD7, 1), uintElement(0x83, 1), element(0x86, []byte("V_TEST")))),
	)
}

// chunk is a fragment as an odd service sends it.
type chunk struct {
	number, token    string
	server, producer string // seconds; "" for none
	frames           []string
}

// head is the fragment without the tags that complete it.
func (c chunk) head() []byte {
	tags := []string{"FRAGMENT_NUMBER", c.number}
	if c.server != "" {
		tags = append(tags, "SERVER_TIMESTAMP", c.server)
	}
	if c.producer != "" {
		tags = append(tags, "PRODUCER_TIMESTAMP", c.producer)
	}
	cluster := uintElement(0xE7, 0)
	for i, f := range c.frames {
		cluster = append(cluster, element(0xA3, []byte{0x81, 0, byte(i), 0x80}, []byte(f))...)
	}
	return slices.Concat(documentHead(), tagsElement(tags...), element(0x1F43B675, cluster))
}

func (c chunk) bytes() []byte {
	return append(c.head(), tagsElement("MILLIS_BEHIND_NOW", "0", "CONTINUATION_TOKEN", c.token)...)
}

// numbered is a fragment with one frame whose number is n.
func numbered(n int) chunk {
	at := fmt.Sprintf("%d.000", 1_700_000_000+n)
	return chunk{fmt.Sprintf("%047d", n), fmt.Sprint("token-", n), at, at, []string{fmt.Sprint("frame ", n)}}
}

// request is what an odd service is asked for.
type request struct {
	StartSelector struct{ StartSelectorType, AfterFragmentNumber, ContinuationToken string }
}

// odd is a service that answers as a test wants it, on a network in memory.
type odd struct {
	t         testing.TB
	control   http.HandlerFunc // GetDataEndpoint; nil answers with this service
	media     func(w http.ResponseWriter, r *http.Request, in request)
	service   *ingest.Service
	transport *http.Transport
	server    *http.Server
	served    chan struct{}
	secret    string // the secret access key, see count

	mu     sync.Mutex
	calls  []time.Time // of GetMedia
	asked  []string    // types of selectors
	bodies []string    // of GetMedia's requests
	found  []time.Time // calls of GetDataEndpoint
	hosts  []string    // that were dialled
	others []string    // paths of all other requests
}

const oddURL = "http://kvs.test"

func newOdd(t testing.TB, media func(w http.ResponseWriter, r *http.Request, in request)) *odd {
	o := &odd{t: t, media: media, served: make(chan struct{})}
	pipe := kvstest.NewPipe()
	o.server = &http.Server{Handler: o}
	go func() {
		defer close(o.served)
		_ = o.server.Serve(pipe)
	}()
	o.transport = &http.Transport{ResponseHeaderTimeout: 10 * time.Second, DisableCompression: true}
	o.transport.DialContext = pipe.DialContext
	o.service = ingest.NewService(o.config(), oddURL)
	return o
}

func (o *odd) config() aws.Config {
	return aws.Config{
		Region:      "us-east-1",
		Credentials: aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider("KEY", "secret", "session-token")),
		HTTPClient:  &http.Client{Transport: o.transport},
	}
}

func (o *odd) close() {
	o.service.Close()
	_ = o.server.Close()
	<-o.served
}

func (o *odd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.hosts = append(o.hosts, r.Host)
	o.mu.Unlock()
	switch {
	case r.URL.Path == "/getMedia":
		var in request
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &in)
		o.mu.Lock()
		o.calls, o.asked = append(o.calls, time.Now()), append(o.asked, in.StartSelector.StartSelectorType)
		o.bodies = append(o.bodies, string(body))
		o.mu.Unlock()
		o.media(w, r, in)
	case r.URL.Path == "/getDataEndpoint":
		_, _ = io.Copy(io.Discard, r.Body) // an answer before the request is written may cost the connection
		o.mu.Lock()
		o.found = append(o.found, time.Now())
		o.mu.Unlock()
		if o.control != nil {
			o.control(w, r)
			return
		}
		endpointAnswer(w, oddURL)
	default:
		o.mu.Lock()
		o.others = append(o.others, r.Host+r.URL.Path)
		o.mu.Unlock()
		http.NotFound(w, r)
	}
}

func endpointAnswer(w http.ResponseWriter, url string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"DataEndpoint": url})
}

// run runs a session for a time.
func (o *odd) run(d time.Duration, start ingest.SelectorKind, positions ingest.Positions, sink ingest.Sink) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam", Start: ingest.Selector{Kind: start}}, o.service, positions, sink).Run(ctx)
}

// checkRate holds that no second had more than five GetMedia calls.
func (o *odd) checkRate(t interface{ Errorf(string, ...any) }) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := 5; i < len(o.calls); i++ {
		if d := o.calls[i].Sub(o.calls[i-5]); d < time.Second {
			t.Errorf("six calls within %v", d)
			return
		}
	}
}

// send writes and flushes; false when the client has gone.
func send(w http.ResponseWriter, b []byte) bool {
	_, err := w.Write(b)
	return err == nil && http.NewResponseController(w).Flush() == nil
}

// pause waits in a handler; false when the client has gone.
func pause(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// shown is a recorder that also keeps what the frames hold.
type shown struct {
	recorder
	data  []string
	times []time.Time
	last  ingest.Frame
}

func (s *shown) Frame(ctx context.Context, f *ingest.Frame) {
	s.data, s.times, s.last = append(s.data, string(f.Data)), append(s.times, time.Now()), *f
	s.recorder.Frame(ctx, f)
}

func (s *shown) Tracks([]*mkv.Track) {}

// inBubble runs a test of an odd service in a synctest bubble.
func inBubble(t *testing.T, media func(w http.ResponseWriter, r *http.Request, in request), test func(t *testing.T, o *odd)) {
	synctest.Test(t, func(t *testing.T) {
		o := newOdd(t, media)
		defer o.close()
		test(t, o)
	})
}
