package kvstest

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSignatures signs GetDataEndpoint in right and wrong ways, with the SDK's signer.
func TestSignatures(t *testing.T) {
	own := Credentials()
	session := aws.Credentials{AccessKeyID: own.AccessKeyID, SecretAccessKey: own.SecretAccessKey, SessionToken: "session"}
	tests := []struct {
		name        string
		credentials aws.Credentials
		region      string
		off         time.Duration // of the client's clock
		change      func(*http.Request)
		want        string
	}{
		{name: "right", want: "200"},
		{name: "clock off but not too far", off: -5 * time.Minute, want: "200"},
		{name: "clock slow", off: -5*time.Minute - time.Second, want: "403 InvalidSignatureException"},
		{name: "clock fast", off: 5*time.Minute + time.Second, want: "403 InvalidSignatureException"},
		{
			name: "unsigned header added on the way", want: "200",
			change: func(r *http.Request) { r.Header.Set("Via", "1.1 proxy") },
		},
		{
			name: "wrong secret", want: "403 InvalidSignatureException",
			credentials: aws.Credentials{AccessKeyID: own.AccessKeyID, SecretAccessKey: "wrong"},
		},
		{
			name: "unknown key", want: "403 UnrecognizedClientException",
			credentials: aws.Credentials{AccessKeyID: "SOMEONE", SecretAccessKey: own.SecretAccessKey},
		},
		{name: "session token that does not belong to it", want: "403 UnrecognizedClientException", credentials: session},
		{name: "other region", region: "eu-west-1", want: "403 InvalidSignatureException"},
		{
			name: "no signature", want: "403 MissingAuthenticationTokenException",
			change: func(r *http.Request) { r.Header.Del("Authorization") },
		},
		{
			name: "half a signature", want: "400 IncompleteSignatureException",
			change: func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=KVSTEST") },
		},
		{
			name: "body changed on the way", want: "403 InvalidSignatureException",
			change: func(r *http.Request) {
				r.Body = io.NopCloser(strings.NewReader(`{"StreamName":"clocK","APIName":"GET_MEDIA"}`))
			},
		},
		{
			name: "path changed on the way", want: "403 InvalidSignatureException",
			change: func(r *http.Request) { r.URL.Path = "/getMedia" },
		},
		{
			name: "date changed on the way", want: "403 InvalidSignatureException",
			change: func(r *http.Request) { r.Header.Set("X-Amz-Date", time.Now().UTC().Add(time.Second).Format(amzTime)) },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				h.add("clock", StreamConfig{})
				or(&tt.credentials.AccessKeyID, own.AccessKeyID)
				or(&tt.credentials.SecretAccessKey, own.SecretAccessKey)
				or(&tt.region, "us-east-1")
				r := signed(t, t.Context(), h.server.URL()+"/getDataEndpoint", []byte(`{"StreamName":"clock","APIName":"GET_MEDIA"}`),
					tt.credentials, tt.region, time.Now().Add(tt.off))
				if tt.change != nil {
					tt.change(r)
				}
				response := h.do(r)
				got := "200"
				if response.StatusCode != http.StatusOK {
					got = refusal(t, response)
				}
				if got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestCredentials signs with several credentials, of which one needs a session token and expires, and replaces them.
func TestCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lasting := aws.Credentials{AccessKeyID: "LASTING", SecretAccessKey: "secret/1+"}
		temporary := aws.Credentials{
			AccessKeyID: "TEMPORARY", SecretAccessKey: "secret", SessionToken: "a/session+token==",
			CanExpire: true, Expires: time.Now().Add(time.Minute),
		}
		next := temporary
		next.SessionToken, next.CanExpire = "another", false
		h := newHarness(t, Config{Credentials: []aws.Credentials{lasting, temporary, next}, Region: "eu-central-1"})
		h.add("clock", StreamConfig{})
		try := func(c aws.Credentials, want string) {
			t.Helper()
			for path, body := range map[string]string{
				"/getDataEndpoint": `{"StreamName":"clock","APIName":"GET_MEDIA"}`, "/describeStream": `{"StreamName":"clock"}`,
				"/listStreams": `{}`, "/getMedia": `{"StreamName":"clock","StartSelector":{"StartSelectorType":"NOW"}}`,
			} {
				ctx, cancel := context.WithCancel(t.Context())
				response := h.do(signed(t, ctx, h.server.URL()+path, []byte(body), c, "eu-central-1", time.Now()))
				got := "200"
				if response.StatusCode != http.StatusOK {
					got = refusal(t, response)
				}
				if got != want {
					t.Errorf("%s with %s: %s, want %s", path, c.AccessKeyID, got, want)
				}
				cancel()
			}
			time.Sleep(time.Second) // for the limit of calls
		}
		try(lasting, "200")
		try(temporary, "200")
		try(next, "200")
		try(Credentials(), "403 UnrecognizedClientException")
		time.Sleep(time.Minute)
		try(temporary, "403 ExpiredTokenException")
		try(next, "200")
		wrong := next
		wrong.SecretAccessKey = "not it"
		try(wrong, "403 InvalidSignatureException")
		wrong.SessionToken = ""
		try(wrong, "403 UnrecognizedClientException")
		h.server.SetCredentials(Credentials())
		try(lasting, "403 UnrecognizedClientException")
		try(Credentials(), "200")
	})
}

// TestDate gives answers and refusals the time of a clock that is 10 minutes ahead, with which a client can be
// accepted.
func TestDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Now: func() time.Time { return time.Now().Add(10 * time.Minute) }})
		h.add("clock", StreamConfig{})
		body := []byte(`{"StreamName":"clock","APIName":"GET_MEDIA"}`)
		at := time.Now()
		for _, want := range []string{"403", "200"} {
			r := h.do(signed(t, t.Context(), h.server.URL()+"/getDataEndpoint", body, Credentials(), "us-east-1", at))
			if r.Status[:3] != want {
				t.Errorf("signed at %v: %s, want %s", at, r.Status, want)
			}
			if want == "403" {
				if got := refusal(t, r); got != "403 InvalidSignatureException" {
					t.Errorf("refused with %s", got)
				}
			}
			var err error
			if at, err = http.ParseTime(r.Header.Get("Date")); err != nil || !at.Equal(time.Now().Add(10*time.Minute)) {
				t.Errorf("date %v, %v", at, err)
			}
		}
	})
}

// TestRefusals asks for what there is not, in ways that are not allowed.
func TestRefusals(t *testing.T) {
	media := func(selector string) string { return `{"StreamName":"clock","StartSelector":` + selector + `}` }
	const invalid, serial = "400 InvalidArgumentException", "400 SerializationException"
	tests := []struct{ name, path, body, want string }{
		{"no such operation", "/putMedia", `{}`, "404 UnknownOperationException"},
		{"no JSON", "/getMedia", `now`, serial},
		{"wrong type", "/getMedia", `{"StreamName":1}`, serial},
		{"too long", "/getMedia", `{"StreamName":"` + strings.Repeat("a", maxRequest) + `"}`, serial},
		{"no stream", "/getMedia", `{"StartSelector":{"StartSelectorType":"NOW"}}`, invalid},
		{"name and ARN", "/getMedia", `{"StreamName":"clock","StreamARN":"arn:aws:kinesisvideo:us-east-1:1:stream/clock/1"}`, invalid},
		{"bad name", "/getMedia", `{"StreamName":"clock/1"}`, invalid},
		{"bad ARN", "/getMedia", `{"StreamARN":"arn:aws:s3:::clock"}`, invalid},
		{"unknown name", "/getMedia", `{"StreamName":"clocks"}`, "404 ResourceNotFoundException"},
		{"unknown ARN", "/getMedia", `{"StreamARN":"arn:aws:kinesisvideo:us-east-1:1:stream/clock/1"}`, "404 ResourceNotFoundException"},
		{"endpoint for something else", "/getDataEndpoint", `{"StreamName":"clock","APIName":"STEAL_MEDIA"}`, invalid},
		{"no body", "/describeStream", ``, invalid},
		{"bad page", "/listStreams", `{"NextToken":"*"}`, invalid},
		{"empty page", "/listStreams", `{"MaxResults":0}`, invalid},
		{"unknown condition", "/listStreams", `{"StreamNameCondition":{"ComparisonOperator":"ENDS_WITH","ComparisonValue":"a"}}`, invalid},
		{"no selector", "/getMedia", `{"StreamName":"clock"}`, invalid},
		{"unknown selector", "/getMedia", media(`{"StartSelectorType":"LATEST"}`), invalid},
		{"fragment missing", "/getMedia", media(`{"StartSelectorType":"FRAGMENT_NUMBER"}`), invalid},
		{"fragment not a number", "/getMedia", media(`{"StartSelectorType":"FRAGMENT_NUMBER","AfterFragmentNumber":"9a"}`), invalid},
		{"time missing", "/getMedia", media(`{"StartSelectorType":"SERVER_TIMESTAMP"}`), invalid},
		{"time with NOW", "/getMedia", media(`{"StartSelectorType":"NOW","StartTimestamp":1.5}`), invalid},
		{"token missing", "/getMedia", media(`{"StartSelectorType":"CONTINUATION_TOKEN"}`), invalid},
		{"token malformed", "/getMedia", media(`{"StartSelectorType":"CONTINUATION_TOKEN","ContinuationToken":"a b"}`), invalid},
		{"token stale", "/getMedia", media(`{"StartSelectorType":"CONTINUATION_TOKEN","ContinuationToken":"91343852333181432392682062607743920146159169392"}`), invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				h.add("clock", StreamConfig{})
				response := h.post(t.Context(), tt.path, []byte(tt.body))
				if got := refusal(t, response); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
				calls := h.server.Calls()
				if len(calls) != 1 || calls[0].Status != response.StatusCode || calls[0].RequestID != response.Header.Get("x-amzn-RequestId") {
					t.Errorf("recorded %+v", calls)
				}
			})
		})
	}
}

// TestRateLimit makes six calls in a second, of which five are allowed, and again a second later.
func TestRateLimit(t *testing.T) {
	for path, in := range map[string]string{
		"/getDataEndpoint": `{"StreamName":"clock","APIName":"GET_MEDIA"}`,
		"/getMedia":        `{"StreamName":"clock","StartSelector":{"StartSelectorType":"NOW"}}`,
	} {
		t.Run(path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				h.add("clock", StreamConfig{})
				for range 2 {
					for range 5 {
						ctx, cancel := context.WithCancel(t.Context())
						if r := h.post(ctx, path, []byte(in)); r.StatusCode != http.StatusOK {
							t.Error(refusal(t, r))
						}
						cancel()
						synctest.Wait()
					}
					if got := refusal(t, h.post(t.Context(), path, []byte(in))); got != "400 ClientLimitExceededException" {
						t.Errorf("the sixth: %s", got)
					}
					time.Sleep(time.Second)
				}
			})
		})
	}
}

// TestConnectionLimit refuses the newest of four sessions, until one of the others is over.
func TestConnectionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		oldest := h.media("clock", Selector{Type: Now})
		h.media("clock", Selector{Type: Now})
		h.media("clock", Selector{Type: Now})
		fourth := h.post(t.Context(), "/getMedia", map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}})
		if got := refusal(t, fourth); got != "400 ConnectionLimitExceededException" {
			t.Errorf("the fourth: %s", got)
		}
		oldest.leave()
		synctest.Wait()
		if n := stream.Sessions(); n != 2 {
			t.Errorf("%d sessions, want 2", n)
		}
		h.media("clock", Selector{Type: Now}).fragment()
		if c := h.server.Calls()[0]; c.Ending != EndClient {
			t.Errorf("the first call ended by %q", c.Ending)
		}
	})
}

// TestBandwidth reads 10 MB of history at 1 MB a second.
func TestBandwidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Limits: Limits{Bandwidth: 1e6}})
		h.add("clock", StreamConfig{History: time.Hour})
		body := h.media("clock", Selector{Type: Earliest})
		began, n := time.Now(), int64(0)
		for n < 10e6 {
			n += body.fragment().Bytes
		}
		if took, want := time.Since(began), time.Duration(float64(n)*1000)*time.Nanosecond; took > want || took < want-100*time.Millisecond {
			t.Errorf("%d bytes in %v, want %v", n, took, want)
		}
	})
}

// TestSessionLimit sees a session end cleanly after 45 minutes and the next one go on without a gap.
func TestSessionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{})
		body := h.media("clock", Selector{Type: Now})
		var last received
		n := 0
		for {
			d, err := body.next()
			if err == io.EOF {
				break
			}
			if err != nil || d.err != nil {
				t.Fatal(err, d.err)
			}
			last = d
			n++
		}
		if n != 45*60 {
			t.Errorf("%d fragments, want one for each second of 45 minutes", n)
		}
		next := h.media("clock", Selector{Type: Continuation, ContinuationToken: last.Token}).fragment()
		if got := next.ProducerTime.Sub(last.ProducerTime); got != time.Second {
			t.Errorf("the next fragment is %v after the last", got)
		}
		if c := h.server.Calls()[0]; c.Ending != EndLimit || c.Fragments != n || c.Last != last.Number || c.Bytes < last.Offset {
			t.Errorf("recorded %+v", c)
		}
	})
}

// TestIdle stops production: the body ends after 3 seconds, and goes on where it was when there is more.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		body := h.media("clock", Selector{Type: Now})
		body.fragment()
		began := time.Now()
		stream.Stop()
		last := body.fragment() // was in production for another second
		body.end()
		if waited := time.Since(began); waited != 4*time.Second {
			t.Errorf("the body ended after %v", waited)
		}
		after := Selector{Type: Continuation, ContinuationToken: last.Token}
		h.media("clock", after).end()
		body = h.media("clock", after)
		time.Sleep(2 * time.Second)
		stream.Produce()
		if d := body.fragment(); d.ProducerTime.Sub(last.ProducerTime) != 9*time.Second {
			t.Errorf("the next fragment is %v after the last", d.ProducerTime.Sub(last.ProducerTime))
		}
		body.fragment()
	})
}

// TestAmzHeaders names the headers as the API reference does.
func TestAmzHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{AmzHeaders: true})
		r := h.post(t.Context(), "/getMedia", map[string]any{"StreamName": "none"})
		if r.Header.Get("x-amz-ErrorType") != "ResourceNotFoundException" || r.Header.Get("x-amz-RequestId") == "" {
			t.Errorf("headers %v", r.Header)
		}
	})
}

// TestClose closes a server that has a session, twice.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{})
		body := h.media("clock", Selector{Type: Now})
		body.fragment()
		for range 2 {
			if err := h.server.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := io.Copy(io.Discard, body.response.Body); err == nil {
			t.Error("the body ended cleanly")
		}
		if c := h.server.Calls()[0]; c.Ending != EndClient {
			t.Errorf("recorded %+v", c)
		}
	})
}

// TestAdd refuses streams that cannot be.
func TestAdd(t *testing.T) {
	h := newHarness(t, Config{})
	stream := h.add("clock", StreamConfig{})
	for _, name := range []string{"clock", "", "a/b", strings.Repeat("a", 257)} {
		if _, err := h.server.Add(name, &Source{capture: []byte{}}, StreamConfig{}); err == nil {
			t.Errorf("%q was added", name)
		}
	}
	if h.server.Stream("clock") != stream || h.server.Stream("none") != nil {
		t.Error("streams are not found by name")
	}
	if !bytes.Contains([]byte(stream.ARN()), []byte(":stream/clock/")) {
		t.Error(stream.ARN())
	}
}
