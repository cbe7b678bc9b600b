package kvstest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestAnswers gives calls of both operations answers that are not the service's, one each.
func TestAnswers(t *testing.T) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write([]byte("zipped"))
	_ = z.Close()
	answers := map[string]Answer{
		"HTML":          {Header: http.Header{"Content-Type": {"text/html"}}, Body: []byte("<html>blocked</html>")},
		"JSON":          {Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"ok":true}`)},
		"gzip":          {Header: http.Header{"Content-Encoding": {"gzip"}}, Body: zipped.Bytes()},
		"bad gateway":   {Status: 502, Body: []byte("bad gateway")},
		"login page":    {Status: 302, Header: http.Header{"Location": {loginPath}}},
		"elsewhere":     {Status: 307, Header: http.Header{"Location": {"http://other.test/getMedia"}}},
		"to where I am": {Status: 307},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				h.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				h.http.Transport.(*http.Transport).DisableCompression = true
				stream := h.add("clock", StreamConfig{})
				stream.AnswerMedia(2, answer)
				stream.AnswerEndpoint(1, answer)
				body := map[string]any{"StreamName": "clock", "APIName": "GET_MEDIA", "StartSelector": Selector{Type: Now}}
				for _, path := range []string{"/getMedia", "/getMedia", "/getDataEndpoint"} {
					r := h.post(t.Context(), path, body)
					got, err := io.ReadAll(r.Body)
					if want := max(answer.Status, 200); r.StatusCode != want || err != nil || !bytes.Equal(got, answer.Body) {
						t.Errorf("%s: status %d, %q, %v", path, r.StatusCode, got, err)
					}
					for key := range answer.Header {
						if r.Header.Get(key) != answer.Header.Get(key) {
							t.Errorf("%s: headers %v", path, r.Header)
						}
					}
					if r.Header.Get("x-amzn-RequestId") != "" {
						t.Errorf("%s: the answer has a request id of the service", path)
					}
					if name == "to where I am" && r.Header.Get("Location") != h.server.URL()+path {
						t.Errorf("%s leads to %q", path, r.Header.Get("Location"))
					}
				}
				h.media("clock", Selector{Type: Now}).fragment()
				calls := h.server.Calls()
				if c := calls[0]; c.Status != max(answer.Status, 200) || c.Path != "/getMedia" || c.Host != "kvs.test" || c.ErrorType != "" {
					t.Errorf("recorded %+v", c)
				}
			})
		})
	}
}

// TestLoginPage follows a redirect to a login page, as a client should not, and finds it.
func TestLoginPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{}).AnswerMedia(1, Answer{Status: 302, Header: http.Header{"Location": {loginPath}}})
		r := h.post(t.Context(), "/getMedia", map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}})
		page, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") || !bytes.Contains(page, []byte("<form")) {
			t.Errorf("%s, %v, %q", r.Status, err, page)
		}
		if calls := h.server.Calls(); len(calls) != 2 || calls[1].Path != loginPath || calls[1].Operation != "" {
			t.Errorf("recorded %+v", calls)
		}
	})
}

// TestMisdirectTo answers nonsense for an endpoint, once each.
func TestMisdirectTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		for _, want := range []string{"", "nonsense", "http://a b/%zz", "ftp://host/", wrongEndpoint, h.server.URL()} {
			if want != h.server.URL() {
				stream.MisdirectTo(1, want)
			}
			r := h.post(t.Context(), "/getDataEndpoint", map[string]any{"StreamName": "clock", "APIName": "GET_MEDIA"})
			var out struct{ DataEndpoint *string }
			if err := json.NewDecoder(r.Body).Decode(&out); err != nil || out.DataEndpoint == nil || *out.DataEndpoint != want {
				t.Errorf("endpoint %v, %v, want %q", out.DataEndpoint, err, want)
			}
			time.Sleep(time.Second) // for the limit of calls
		}
	})
}

// TestIgnoreSelector sends the same fragments again to a client that asks for those after them.
func TestIgnoreSelector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Limits: Limits{Connections: 10}})
		stream := h.add("clock", StreamConfig{History: time.Minute})
		first := h.media("clock", Selector{Type: Earliest}).fragment()
		stream.IgnoreSelector(2)
		for _, want := range []bool{true, true, false} {
			d := h.media("clock", Selector{Type: Continuation, ContinuationToken: first.Token}).fragment()
			if (d.Number == first.Number) != want {
				t.Errorf("fragment %s after %s", d.Number, first.Number)
			}
		}
		stream.IgnoreSelector(1)
		r := h.post(t.Context(), "/getMedia", map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: "LATER"}})
		if got := refusal(t, r); got != "400 InvalidArgumentException" {
			t.Errorf("a selector that is not valid: %s", got)
		}
	})
}

// TestOddExceptions refuses calls without an error type, and with ones that no service should send.
func TestOddExceptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		for _, name := range []string{"", "Odd name/with: <characters>", strings.Repeat("Long", 200)} {
			stream.RefuseMedia(1, &Exception{Status: 503, Type: name, Message: "busy"})
			r := h.post(t.Context(), "/getMedia", map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}})
			_, has := r.Header[http.CanonicalHeaderKey("x-amzn-ErrorType")]
			if got := refusal(t, r); got != "503 "+name || has != (name != "") {
				t.Errorf("got %q, want %q", got, name)
			}
		}
	})
}
