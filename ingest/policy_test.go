package ingest_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/edge-agent/edge-agent/ingest"
)

// Pauses between attempts, each in the middle of its jitter: what a box does in the first minutes of an outage.
const (
	afterCut      = "50ms 250ms 500ms 1s 2s 4s 8s 16s 30s 30s 30s"
	afterFailure  = "50ms 500ms 1s 2s 4s 8s 16s 30s 30s 30s"
	afterRefusal  = "1s 2s 4s 8s 16s 32s 64s 128s 256s 5m 5m"
	afterKey      = "50ms 1s 2s 4s 8s 16s 32s 64s 128s 256s 5m 5m"
	atOnce        = "0s 1s 2s 4s 8s 16s 32s 64s 128s 256s 5m 5m"
	upToAMinute   = "1s 2s 4s 8s 16s 32s 1m 1m"
	forProducer   = "1s 2s 4s 5s 5s 5s"
	forConnection = "5s 10s 20s 40s 1m 1m"
	forPerson     = "1m 2m 4m 5m 5m"
)

// policy is what is done about one fault that does not go away.
type policy struct {
	fault  func(o *odd) // makes it
	code   string
	state  ingest.State
	pauses string
	takes  time.Duration // an attempt
	does   string        // as reported, but for the time

	located  bool   // GetDataEndpoint is called for each attempt, not only for the first
	renewed  bool   // so are credentials fetched
	once     bool   // it is reported once, not at each attempt
	position string // that the service does not take: the number of a fragment
	asks     string // types of the first selectors, where they are not all the same
}

// media makes each GetMedia call end in the same way.
func media(answer func(w http.ResponseWriter, r *http.Request)) func(*odd) {
	return func(o *odd) { o.media = func(w http.ResponseWriter, r *http.Request, _ request) { answer(w, r) } }
}

// refused makes each GetMedia call end with a status and the name of an exception; "" for none.
func refused(status int, name string) func(*odd) {
	return media(func(w http.ResponseWriter, _ *http.Request) { turnDown(w, status, name) })
}

func turnDown(w http.ResponseWriter, status int, name string) {
	if name != "" {
		w.Header().Set("X-Amzn-ErrorType", name)
	}
	w.WriteHeader(status)
}

// unlocated makes each GetDataEndpoint call end with the name of an exception.
func unlocated(status int, name string) func(*odd) {
	return func(o *odd) { o.control = func(w http.ResponseWriter, _ *http.Request) { turnDown(w, status, name) } }
}

// failed makes each body an error of the service.
func failed(id string) func(*odd) {
	return media(func(w http.ResponseWriter, _ *http.Request) {
		send(w, append(documentHead(), tagsElement("ERROR_ID", id, "ERROR_CODE", "X")...))
	})
}

// dialling makes each connection to the data endpoint fail.
func dialling(err error) func(*odd) {
	return func(o *odd) {
		o.control = func(w http.ResponseWriter, _ *http.Request) { endpointAnswer(w, "http://media.test") }
		dial := o.transport.DialContext
		o.transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "media.test:") {
				return nil, err
			}
			return dial(ctx, network, address)
		}
	}
}

// policies is the whole table. Names of exceptions are those of the API references of GetMedia and GetDataEndpoint, of
// their common errors, and those that other AWS services have for the same.
func policies() map[string]policy {
	const (
		again      = "trying again"
		authorised = "fetching credentials again"
	)
	rows := map[string]policy{
		"cut": {
			fault: media(func(w http.ResponseWriter, _ *http.Request) { send(w, documentHead()); panic(http.ErrAbortHandler) }),
			code:  "ingest.cut", pauses: afterCut, does: "resuming after the last complete fragment",
		},
		"stall": {
			fault: media(func(w http.ResponseWriter, r *http.Request) { send(w, documentHead()); pause(r, time.Hour) }),
			code:  "ingest.stall", pauses: afterCut, does: "resuming after the last complete fragment", takes: 10 * time.Second,
		},
		"no answer": {
			fault: media(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
			code:  "ingest.unreachable", pauses: afterFailure, does: again, located: true,
		},
		"no connection": {
			fault: dialling(errors.New("no")), code: "ingest.unreachable", pauses: afterFailure, does: again, located: true,
		},
		"a certificate": {
			fault: dialling(x509.UnknownAuthorityError{}), code: "ingest.tls", pauses: afterFailure, does: again, located: true,
		},
		"an endpoint that is none": {
			fault: func(o *odd) {
				o.control = func(w http.ResponseWriter, _ *http.Request) { endpointAnswer(w, "nonsense") }
			},
			code: "ingest.endpoint", pauses: afterFailure, does: again, located: true,
		},
		"a login page": {
			fault: media(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				send(w, []byte("<html>"))
			}),
			code: "ingest.not_stream", pauses: upToAMinute, does: again, located: true,
		},
		"no producer": {
			fault: media(func(w http.ResponseWriter, _ *http.Request) { send(w, documentHead()) }),
			code:  "ingest.idle", state: ingest.Stalled, pauses: forProducer, does: "waiting for the producer", once: true,
		},
		"the same again and again": {
			fault: media(func(w http.ResponseWriter, _ *http.Request) { send(w, numbered(1).bytes()) }),
			code:  "ingest.repeated", pauses: "0s " + upToAMinute, does: again, // the first time it is new
		},
		"the clock": {
			fault: refused(403, "RequestExpired"), code: "ingest.clock", pauses: atOnce, does: again,
		},
		"no region": {
			fault: func(o *odd) {
				c := o.config()
				c.Region = ""
				o.service = ingest.NewService(c, oddURL)
			},
			code: "ingest.config", state: ingest.Failed, pauses: forPerson,
			does: "the configuration has to be changed; trying again",
		},
		"credentials that cannot be": {
			fault: func(o *odd) { o.secret = "odd\r" },
			code:  "ingest.credentials", pauses: atOnce, does: again, renewed: true,
		},
		"connections": {
			fault: refused(400, "ConnectionLimitExceededException"), code: "kvs.http.ConnectionLimitExceededException",
			pauses: forConnection, does: "waiting for other connections to this stream to end",
		},
		"another endpoint": {
			fault: refused(400, "InvalidEndpointException"), code: "kvs.http.InvalidEndpointException",
			pauses: afterFailure, does: "asking for the endpoint again", located: true,
		},
		"no such stream": {
			fault: refused(404, "ResourceNotFoundException"), code: "kvs.http.ResourceNotFoundException", state: ingest.Failed,
			pauses: afterRefusal, does: again, located: true,
		},
		"a start that is refused": {
			fault: refused(400, "InvalidArgumentException"), code: "kvs.http.InvalidArgumentException", state: ingest.Failed,
			pauses: afterRefusal, does: "trying the next best place to start at", asks: "NOW NOW NOW",
		},
		"a position that is refused": {
			fault: refused(400, "InvalidArgumentException"), code: "kvs.http.InvalidArgumentException", position: "7",
			pauses: "0s 0s 1s 2s 4s 8s 16s 30s 30s", does: "starting at now",
			asks: "CONTINUATION_TOKEN FRAGMENT_NUMBER NOW NOW NOW",
		},
		"a start that is gone": {
			fault: failed("4000"), code: "kvs.media.4000", pauses: upToAMinute, does: "trying the next best place to start at",
		},
		"a position that is gone": {
			fault: failed("4000"), code: "kvs.media.4000", position: "7",
			pauses: "0s 0s 1s 2s 4s 8s 16s 30s 30s", does: "starting at now",
			asks: "CONTINUATION_TOKEN FRAGMENT_NUMBER NOW NOW NOW",
		},
		"no endpoint, throttled": {
			fault: unlocated(400, "ThrottlingException"), code: "kvs.http.ThrottlingException", pauses: upToAMinute,
			does: "calling less often", located: true,
		},
		"no endpoint, denied": {
			fault: unlocated(403, "AccessDeniedException"), code: "kvs.http.AccessDeniedException", pauses: atOnce,
			does: authorised, located: true, renewed: true,
		},
		"status 404": {
			fault: refused(404, ""), code: "kvs.http.404", state: ingest.Failed, pauses: afterRefusal, does: again, located: true,
		},
		"status 429": {fault: refused(429, ""), code: "kvs.http.429", pauses: upToAMinute, does: "calling less often"},
	}
	for _, name := range []string{"ClientLimitExceededException", "ThrottlingException", "TooManyRequestsException"} {
		rows[name] = policy{fault: refused(400, name), code: "kvs.http." + name, pauses: upToAMinute, does: "calling less often"}
	}
	for _, name := range []string{
		"NotAuthorizedException", "AccessDeniedException", "AccessDenied", "ExpiredTokenException", "ExpiredToken",
		"UnrecognizedClientException", "UnrecognizedClient", "InvalidClientTokenId", "InvalidSignatureException", "InvalidSignature",
		"SignatureDoesNotMatch", "SignatureDoesNotMatchException", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "InvalidAccessKeyId", "AuthFailure",
	} {
		rows[name] = policy{
			fault: refused(400, name), code: "kvs.http." + name, pauses: atOnce, does: authorised, located: true, renewed: true,
		}
	}
	for _, status := range []int{401, 403} {
		rows[fmt.Sprint("status ", status)] = policy{
			fault: refused(status, ""), code: fmt.Sprint("kvs.http.", status), pauses: atOnce, does: authorised,
			located: true, renewed: true,
		}
	}
	for _, status := range []int{400, 405, 500, 502, 503} {
		rows[fmt.Sprint("status ", status)] = policy{
			fault: refused(status, ""), code: fmt.Sprint("kvs.http.", status), pauses: afterFailure, does: again,
		}
	}
	for _, name := range []string{"InternalFailure", "ServiceUnavailableException", "NewException"} {
		rows[name] = policy{fault: refused(500, name), code: "kvs.http." + name, pauses: afterFailure, does: again}
	}
	for _, id := range []string{"4500", "4501", "4502", "4503", "4504", "4505", "4506"} {
		rows["media "+id] = policy{fault: failed(id), code: "kvs.media." + id, pauses: afterKey, does: again}
	}
	for _, id := range []string{"3002", "5000", "4001", "7"} {
		rows["media "+id] = policy{fault: failed(id), code: "kvs.media." + id, pauses: afterFailure, does: again}
	}
	return rows
}

// The whole retry policy: when the attempts are made, what is fetched again for each of them, where they ask the
// service to begin, and what is reported.
func TestRetryPolicy(t *testing.T) {
	var spread []float64 // of all pauses, in parts of the middle
	for name, row := range policies() {
		t.Run(name, func(t *testing.T) {
			for range 8 { // a pause that is a fifth longer than it should be is within the jitter most of the time
				inBubble(t, nil, func(t *testing.T, o *odd) { spread = append(spread, row.check(t, o)...) })
			}
		})
	}
	// The jitter goes from half to one and a half; the table has thousands of pauses.
	if lowest, highest := slices.Min(spread), slices.Max(spread); len(spread) < 3000 || lowest > 0.51 || highest < 1.49 {
		t.Errorf("%d pauses are spread from %.2f to %.2f of the middle", len(spread), lowest, highest)
	}
}

func (p policy) check(t *testing.T, o *odd) (spread []float64) {
	fetched := 0
	o.count(&fetched)
	p.fault(o)
	var middles []time.Duration
	longest := p.takes
	for _, s := range strings.Fields(p.pauses) {
		d, err := time.ParseDuration(s)
		if err != nil {
			t.Fatal(err)
		}
		middles = append(middles, d)
		longest += d + d/2 + p.takes
	}
	if p.state == "" {
		p.state = ingest.Backoff
	}
	var r recorder
	var told []time.Time
	ctx, stop := context.WithTimeout(t.Context(), longest+time.Second)
	defer stop()
	sink := &noted{&r, func(report ingest.Report) {
		if report.Code == p.code {
			told = append(told, time.Now())
		}
		if p.takes > 0 && len(told) > len(middles) {
			stop() // or an attempt is under way at the end
		}
	}}
	stream, positions := ingest.Stream{Name: "cam", StreamName: "cam"}, memory{}
	if p.position != "" {
		stream.Start.Kind = ingest.Resume
		positions["cam"] = ingest.Position{Token: "token", Fragment: p.position}
	}
	ingest.NewSession(stream, o.service, positions, sink).Run(ctx)

	attempts := o.calls
	if len(attempts) == 0 { // it never gets so far
		attempts = told
	}
	if len(attempts) <= len(middles) {
		t.Fatalf("%d attempts in %v, want %d or more; reports %q", len(attempts), longest, len(middles)+1, r.codes())
	}
	for i, middle := range middles {
		switch got := attempts[i+1].Sub(attempts[i]) - p.takes; {
		case got < middle/2 || got > middle+middle/2:
			t.Errorf("pause %d is %v, want %v ± 50 %%", i+1, got, middle)
		case middle > 0:
			spread = append(spread, float64(got)/float64(middle))
		}
	}
	p.checkFetches(t, o, len(attempts), fetched)
	p.checkReports(t, &r, len(attempts))
	for i, report := range r.of(p.code) {
		if p.once || p.code == ingest.CodeRepeated {
			break
		}
		_, said := splitPause(report.Message)
		if i+1 < len(attempts) && said != (attempts[i+1].Sub(attempts[i])-p.takes).Round(10*time.Millisecond) {
			t.Errorf("attempt %d comes %v after the one before, report: %q",
				i+2, attempts[i+1].Sub(attempts[i]), report.Message)
		}
	}
	if want := strings.Fields(p.asks); !slices.Equal(o.asked[:len(want)], want) {
		t.Errorf("it asks for %q, want %q", o.asked, want)
	}
	return spread
}

// checkFetches holds how often endpoint and credentials were fetched against the number of attempts.
func (p policy) checkFetches(t *testing.T, o *odd, attempts, fetched int) {
	want := map[bool]int{true: attempts, false: 1}
	if located := len(o.found); located > 0 && located != want[p.located] {
		t.Errorf("GetDataEndpoint was called %d times for %d attempts", located, attempts)
	}
	if fetched > 0 && fetched != want[p.renewed] {
		t.Errorf("credentials were fetched %d times for %d attempts", fetched, attempts)
	}
}

// checkReports holds that every attempt was reported, with its number and what is done next.
func (p policy) checkReports(t *testing.T, r *recorder, attempts int) {
	reports, want := r.of(p.code), attempts
	switch {
	case p.once:
		want = 1
	case strings.HasPrefix(p.pauses, "0s") && p.code == ingest.CodeRepeated:
		want = attempts - 1
	}
	if len(reports) != want {
		t.Errorf("%d reports of %s for %d attempts: %q", len(reports), p.code, attempts, r.codes())
	}
	for i, report := range reports {
		if report.State != p.state || report.Attempt != i+1 {
			t.Errorf("report %d is of attempt %d in state %s", i+1, report.Attempt, report.State)
		}
	}
	last := reports[len(reports)-1].Message
	if what, _ := splitPause(last); !strings.HasSuffix(what, "; "+p.does) {
		t.Errorf("the report says %q, not what is done: %q", last, p.does)
	}
}

// splitPause takes the pause off the end of a message; 0 when it has none.
func splitPause(message string) (what string, pause time.Duration) {
	i := max(0, strings.LastIndex(message, " in "))
	if pause, err := time.ParseDuration(strings.TrimPrefix(message[i:], " in ")); err == nil {
		return message[:i], pause
	}
	return message, 0
}

// count counts how often credentials are fetched, and lets a test choose the secret access key.
func (o *odd) count(fetched *int) {
	o.secret = "secret"
	c := o.config()
	c.Credentials = aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		*fetched++
		return aws.Credentials{AccessKeyID: "KEY", SecretAccessKey: o.secret}, nil
	}))
	o.service = ingest.NewService(c, oddURL)
}
