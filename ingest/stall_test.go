package ingest_test

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
)

// A session that brings bytes and no frames is a stall ten seconds after the last frame, whatever the bytes are.
func TestBytesWithoutFramesAreAStall(t *testing.T) {
	void := []byte{0xEC, 0x01, 0, 0, 0, 0, 0, 0, 64}
	block := numbered(2).head()
	for name, row := range map[string]struct {
		data  []byte // again and again
		first []byte
		every time.Duration
	}{
		"silence":              {nil, nil, time.Hour},
		"a byte a second":      {[]byte{0x42}, nil, time.Second},
		"zeros":                {make([]byte, 100), nil, 100 * time.Millisecond},
		"zeros, fast":          {make([]byte, 10_000), nil, 10 * time.Millisecond},
		"garbage":              {bytes.Repeat([]byte{1}, 1000), nil, 100 * time.Millisecond},
		"Void elements":        {append(void, make([]byte, 64)...), documentHead(), 100 * time.Millisecond},
		"an endless Void":      {make([]byte, 1000), append(documentHead(), 0xEC, 0x01, 0, 0, 0, 3, 0, 0, 0), 50 * time.Millisecond},
		"documents, no frames": {documentHead(), nil, 100 * time.Millisecond},
		"a frame, too slowly":  {[]byte{7}, append(block, 0xA3, 0x01, 0, 0, 0, 0, 0xF0, 0, 0), 20 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				send(w, numbered(1).bytes())
				send(w, row.first)
				for send(w, row.data) && pause(r, row.every) {
				}
			}, func(t *testing.T, o *odd) {
				began := time.Now()
				var at []time.Duration
				r := &recorder{}
				o.run(32*time.Second, ingest.Now, nil, &noted{r, func(p ingest.Report) {
					if p.Code == ingest.CodeStall {
						at = append(at, time.Since(began))
					}
				}})
				if len(at) == 0 || at[0] < 9*time.Second || at[0] > 12*time.Second || len(o.calls) < 3 {
					t.Errorf("stalls at %v, %d calls, reports %q", at, len(o.calls), r.codes())
				}
			})
		})
	}
}

// Streams that are slow and legal are not stalls: rare frames, and a large frame over a slow connection.
func TestSlowStreamsAreNotStalls(t *testing.T) {
	large := numbered(2)
	large.frames = []string{strings.Repeat("x", 400_000)}
	for name, row := range map[string]struct {
		every  time.Duration
		play   func(w http.ResponseWriter, r *http.Request)
		frames int
	}{
		"a frame in 5 s": {5 * time.Second, nil, 24},
		"a frame in 9 s": {9 * time.Second, nil, 13},
		"400 kB at 16 kB/s": {0, func(w http.ResponseWriter, r *http.Request) {
			data := slices.Concat(numbered(1).bytes(), large.bytes())
			for ; len(data) > 0 && pause(r, 100*time.Millisecond); data = data[min(len(data), 1600):] {
				send(w, data[:min(len(data), 1600)])
			}
			pause(r, 3*time.Second)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				if row.play != nil {
					row.play(w, r)
					return
				}
				for i := 1; send(w, numbered(i).bytes()) && pause(r, row.every); i++ {
				}
			}, func(t *testing.T, o *odd) {
				var r recorder
				o.run(2*time.Minute, ingest.Now, nil, &r)
				if r.find(ingest.CodeStall) != nil || len(r.frames) < row.frames {
					t.Errorf("%d frames, reports %q", len(r.frames), r.codes())
				}
			})
			_ = began
		})
	}
}

// A stream with a frame every 14 s is a stall at first, as nobody can know; once its pace is known it is not.
func TestPaceOfTheStreamIsLearned(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, o *odd) {
		began := time.Now()
		frame := func(n int) chunk { // is made n times 14 s after the beginning
			c := numbered(n)
			c.producer = fmt.Sprintf("%d.000", 1_700_000_000+14*n)
			return c
		}
		o.media = func(w http.ResponseWriter, r *http.Request, in request) {
			n := 1
			if _, err := fmt.Sscanf(in.StartSelector.ContinuationToken, "token-%d", &n); err == nil {
				n++
			}
			for pause(r, time.Until(began.Add(time.Duration(n)*14*time.Second))) && send(w, frame(n).bytes()) {
				n++
			}
		}
		var r recorder
		o.run(5*time.Minute, ingest.Now, nil, &r)
		stalls := 0
		for _, code := range r.codes() {
			if code == ingest.CodeStall {
				stalls++
			}
		}
		if len(r.frames) != 21 || stalls > 2 {
			t.Errorf("%d frames, %d stalls, reports %q", len(r.frames), stalls, r.codes())
		}
	})
}

// A sink that takes its time is not a stall.
func TestSlowSinkIsNotAStall(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
		for i := 1; i < 5 && send(w, numbered(i).bytes()); i++ {
		}
		pause(r, time.Hour)
	}, func(t *testing.T, o *odd) {
		var r recorder
		r.onFrame = func() { time.Sleep(15 * time.Second) }
		o.run(65*time.Second, ingest.Now, nil, &r)
		if r.find(ingest.CodeStall) != nil || len(r.frames) != 4 {
			t.Errorf("%d frames, reports %q", len(r.frames), r.codes())
		}
	})
}

// An error in the body ends the session at once, although the connection stays open and silent: with both tags, in any
// order, in one element or in two; with one of them after a short wait for the other.
func TestErrorInTheBodyIsActedOnAtOnce(t *testing.T) {
	id, code := tagsElement("ERROR_ID", "4501"), tagsElement("ERROR_CODE", "KMS_KEY_DISABLED")
	for name, row := range map[string]struct {
		tags   []byte
		code   string
		within time.Duration
	}{
		"one element":           {tagsElement("ERROR_ID", "4501", "ERROR_CODE", "KMS_KEY_DISABLED"), "kvs.media.4501", 10 * time.Millisecond},
		"the other order":       {tagsElement("ERROR_CODE", "KMS_KEY_DISABLED", "ERROR_ID", "4501"), "kvs.media.4501", 10 * time.Millisecond},
		"two elements":          {slices.Concat(id, code), "kvs.media.4501", 10 * time.Millisecond},
		"two, the other order":  {slices.Concat(code, id), "kvs.media.4501", 10 * time.Millisecond},
		"only the number":       {id, "kvs.media.4501", 300 * time.Millisecond},
		"only the name":         {code, "kvs.media.0", 300 * time.Millisecond},
		"a negative number":     {tagsElement("ERROR_ID", "-5", "ERROR_CODE", "NEW"), "kvs.media.0", 10 * time.Millisecond},
		"a number and a length": {tagsElement("ERROR_ID", "3000", "ERROR_CODE", strings.Repeat("X", 10_000)), "kvs.media.3000", 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				send(w, numbered(1).bytes())
				send(w, documentHead())
				send(w, row.tags)
				pause(r, time.Hour)
			}, func(t *testing.T, o *odd) {
				began := time.Now()
				took := time.Duration(-1)
				r := &recorder{}
				o.run(5*time.Second, ingest.Now, nil, &noted{r, func(p ingest.Report) {
					if p.Code == row.code && took < 0 {
						took = time.Since(began)
					}
				}})
				if took < 0 || took > row.within {
					t.Errorf("after %v, reports %q", took, r.codes())
				}
				if p := r.find(row.code); p != nil && len(fmt.Sprint(p)) > 1000 {
					t.Errorf("a report of %d bytes", len(fmt.Sprint(p)))
				}
			})
		})
	}
}
