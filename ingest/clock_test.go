package ingest_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
)

// signedAt is the time in a request's signature.
func signedAt(t *testing.T, r *http.Request) time.Time {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		t.Error(err)
	}
	return at
}

// A box whose clock is wrong is told so, once, and plays: requests are signed with the service's time.
func TestClockOfTheBoxIsWrong(t *testing.T) {
	for name, row := range map[string]struct {
		off              time.Duration // of the service's clock from the box's
		refusal, message string
		says             string
	}{
		"10 minutes behind": {10 * time.Minute, "InvalidSignatureException", "Signature expired: 20260101T000000Z is now earlier than", "10m0s behind"},
		"a day ahead":       {-24 * time.Hour, "InvalidSignatureException", "Signature not yet current", "24h0m0s ahead of"},
		"expired":           {time.Hour, "RequestExpired", "", "1h0m0s behind"},
		"skewed":            {20 * time.Minute, "RequestTimeTooSkewed", "", "20m0s behind"},
		"no reason given":   {20 * time.Minute, "SignatureDoesNotMatch", "", "20m0s behind"},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(w http.ResponseWriter, r *http.Request) bool {
				now := time.Now().Add(row.off)
				w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
				if signedAt(t, r).Sub(now).Abs() < 5*time.Minute {
					return true
				}
				w.Header().Set("X-Amzn-ErrorType", row.refusal)
				w.WriteHeader(http.StatusForbidden)
				send(w, []byte(`{"message":"`+row.message+`"}`))
				return false
			}
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				if check(w, r) {
					send(w, numbered(len(r.Header)).bytes())
					pause(r, 3*time.Second)
				}
			}, func(t *testing.T, o *odd) {
				o.control = func(w http.ResponseWriter, r *http.Request) {
					if check(w, r) {
						endpointAnswer(w, oddURL)
					}
				}
				var r recorder
				o.run(20*time.Second, ingest.Now, nil, &r)
				if len(r.frames) == 0 || len(r.codes()) < 2 || r.codes()[0] != ingest.CodeClock {
					t.Fatalf("%d frames, reports %q", len(r.frames), r.codes())
				}
				told := 0
				for _, code := range r.codes() {
					if code == ingest.CodeClock {
						told++
					}
				}
				p := r.find(ingest.CodeClock)
				if told != 1 || !strings.Contains(p.Message, row.says) || p.Detail["clock_offset_ms"] == nil {
					t.Errorf("told %d times: %+v", told, p)
				}
				if len(o.calls) > 10 {
					t.Errorf("%d calls", len(o.calls))
				}
			})
		})
	}
}

// Where the clock is wrong and the service does not tell the time, it says so and calls slowly. A signature that is refused
// although the clock is right is no matter of the clock.
func TestClockCannotBeCorrected(t *testing.T) {
	for name, row := range map[string]struct {
		refusal, message, code string
		date                   bool
	}{
		"no Date":      {"InvalidSignatureException", "Signature expired: ", ingest.CodeClock, false},
		"a wrong key":  {"InvalidSignatureException", "The request signature we calculated does not match", "kvs.http.InvalidSignatureException", true},
		"no such user": {"UnrecognizedClientException", "The security token is invalid", "kvs.http.UnrecognizedClientException", true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, _ *http.Request, _ request) {
				if !row.date {
					w.Header()["Date"] = nil
				}
				w.Header().Set("X-Amzn-ErrorType", row.refusal)
				w.WriteHeader(http.StatusForbidden)
				send(w, []byte(`{"message":"`+row.message+`"}`))
			}, func(t *testing.T, o *odd) {
				var r recorder
				o.run(time.Minute, ingest.Now, nil, &r)
				for _, code := range r.codes() {
					if code != row.code {
						t.Errorf("reports %q", r.codes())
						break
					}
				}
				if n := len(o.calls); n < 3 || n > 12 {
					t.Errorf("%d calls in a minute", n)
				}
			})
		})
	}
}

// A clock that is set right later does no harm.
func TestClockIsSetRight(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, o *odd) {
		var off atomic.Int64 // of the service's clock from the box's
		off.Store(int64(10 * time.Minute))
		o.media = func(w http.ResponseWriter, r *http.Request, _ request) {
			now := time.Now().Add(time.Duration(off.Load()))
			w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
			if signedAt(t, r).Sub(now).Abs() >= 5*time.Minute {
				w.Header().Set("X-Amzn-ErrorType", "RequestExpired")
				w.WriteHeader(http.StatusForbidden)
				return
			}
			send(w, numbered(len(o.calls)).bytes())
			pause(r, 2*time.Second)
		}
		var r recorder
		time.AfterFunc(30*time.Second, func() { off.Store(0) })
		o.run(time.Minute, ingest.Now, nil, &r)
		if n := len(r.frames); n < 15 {
			t.Errorf("%d frames in a minute, reports %q", n, r.codes())
		}
	})
}
