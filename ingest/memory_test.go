package ingest_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// largeFragment is a fragment with one frame of so many bytes.
func largeFragment(size int) string {
	element := func(id string, payload ...string) string {
		p := strings.Join(payload, "")
		return id + string(binary.BigEndian.AppendUint32(nil, 0x10000000|uint32(len(p)))) + p
	}
	tag := func(name, value string) string {
		return element("\x12\x54\xC3\x67", element("\x73\x73", element("\x67\xC8", // Tags, Tag, SimpleTag
			element("\x45\xA3", name), element("\x44\x87", value)))) // TagName, TagString
	}
	return element("\x1A\x45\xDF\xA3", element("\x42\x82", "matroska")) + // EBML, DocType
		"\x18\x53\x80\x67\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF" + // Segment of unknown size
		element("\x16\x54\xAE\x6B", element("\xAE", element("\xD7", "\x01"), element("\x83", "\x01"), element("\x86", "V_TEST"))) +
		tag("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fmt.Sprintf("%047d", 1)) +
		element("\x1F\x43\xB6\x75", element("\xE7", "\x00"), element("\xA3", "\x81\x00\x00\x80", strings.Repeat("x", size))) +
		tag("AWS_KINESISVIDEO_CONTINUATION_TOKEN", "token")
}

// holder is a Sink that does not let go of a frame before it is released.
type holder struct {
	held     chan<- int
	released <-chan struct{}
	reports  chan<- ingest.Report
}

func (h *holder) Tracks([]*mkv.Track)                      {}
func (h *holder) Fragment(mkv.Fragment)                    {}
func (h *holder) Frame(_ context.Context, f *ingest.Frame) { h.held <- len(f.Data); <-h.released }
func (h *holder) Report(r ingest.Report) {
	if r.Code == ingest.CodeMalformed {
		h.reports <- r
	}
}

// Large frames of all sessions share one bound. The frame that has no room in it is reported and its fragment left out;
// the memory is there again when the other sessions have ended.
func TestLargeFramesShareOneBound(t *testing.T) {
	const size = 15 << 20 // four of them fit into 64 MiB
	body := largeFragment(size)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	mux.HandleFunc("/getDataEndpoint", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"DataEndpoint":%q}`, server.URL)
	})
	mux.HandleFunc("/getMedia", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "video/webm")
		io.WriteString(w, body)
		http.NewResponseController(w).Flush()
		io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	service := ingest.NewService(aws.Config{
		Region:      "us-east-1",
		Credentials: aws.NewCredentialsCache(credentials.StaticCredentialsProvider{Value: kvstest.Credentials()}),
	}, server.URL)
	defer service.Close()

	held, released, reports := make(chan int), make(chan struct{}), make(chan ingest.Report, 1)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var sessions sync.WaitGroup
	start := func(ctx context.Context, name string) {
		sessions.Go(func() {
			ingest.NewSession(ingest.Stream{Name: name, StreamName: name}, service, nil, &holder{held, released, reports}).Run(ctx)
		})
	}
	expect := func(what string) {
		t.Helper()
		select {
		case n := <-held:
			if n != size {
				t.Fatalf("%s: a frame of %d bytes", what, n)
			}
		case r := <-reports:
			t.Fatalf("%s: %v", what, r)
		case <-ctx.Done():
			t.Fatalf("%s: no frame came", what)
		}
	}
	first, cancelFirst := context.WithCancel(ctx)
	for i := range 4 {
		start(first, fmt.Sprint("held-", i))
		expect("the first four")
	}
	start(ctx, "too-much")
	select {
	case <-held:
		t.Fatal("the frame of a fifth session came as well")
	case r := <-reports:
		if cause := fmt.Sprint(r.Detail["cause"]); !strings.Contains(cause, "memory") {
			t.Errorf("the cause is %q", cause)
		}
	case <-ctx.Done():
		t.Fatal("the frame without memory was not reported")
	}
	cancelFirst()
	close(released)
	start(ctx, "afterwards")
	expectAfter(t, ctx, held, size)
	cancel()
	sessions.Wait()
}

// expectAfter waits for a frame of this size, whatever else comes.
func expectAfter(t *testing.T, ctx context.Context, held <-chan int, size int) {
	t.Helper()
	for {
		select {
		case n := <-held:
			if n == size {
				return
			}
		case <-ctx.Done():
			t.Fatal("no frame came after the memory was given back")
		}
	}
}
