package ingest_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/edge-agent/edge-agent/ingest"
)

// Answers of status 200 that are not a stream are reported as what they are.
func TestAnswerThatIsNotAStream(t *testing.T) {
	html := "<!DOCTYPE html><html><body>Please log in</body></html>"
	for name, row := range map[string]struct {
		header, body string
		says         []string
	}{
		"HTML":                      {"text/html; charset=utf-8", html, []string{`"text/html; charset=utf-8"`, `<!DOCTYPE html>`}},
		"JSON":                      {"application/json", `{"a":1}`, []string{`"application/json"`, `{\"a\":1}`}},
		"HTML, called a stream":     {"video/webm", html, []string{"not Matroska", `<!DOCTYPE html>`}},
		"HTML, without a type":      {"", html, []string{`first bytes "<!DOCTYPE html>`}},
		"short":                     {"video/webm", "\x1A\x45", []string{"not Matroska", `\x1aE`}},
		"gzip":                      {"video/webm", "\x1F\x8B\x08\x00", []string{`content encoding "gzip"`, `\x1f\x8b`}},
		"a control character flood": {"text/plain", strings.Repeat("\r\n\x00", 1000), []string{"text/plain"}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, _ *http.Request, _ request) {
				w.Header()["Content-Type"] = nil
				if row.header != "" {
					w.Header().Set("Content-Type", row.header)
				}
				if name == "gzip" {
					w.Header().Set("Content-Encoding", "gzip")
				}
				send(w, []byte(row.body))
			}, func(t *testing.T, o *odd) {
				var r recorder
				o.run(time.Minute, ingest.Now, nil, &r)
				p := r.find(ingest.CodeNotStream)
				if p == nil {
					t.Fatalf("reports %q", r.codes())
				}
				for _, s := range row.says {
					if !strings.Contains(p.Message, s) {
						t.Errorf("%q does not say %q", p.Message, s)
					}
				}
				if len(p.Message) > 500 {
					t.Errorf("a message of %d bytes", len(p.Message))
				}
				if n := len(o.calls); n > 12 {
					t.Errorf("%d calls in a minute", n)
				}
			})
		})
	}
}

// Types that a stream may have, and none at all.
func TestTypesOfStreams(t *testing.T) {
	for _, kind := range []string{"", "video/webm", "video/x-matroska", "application/octet-stream", "binary/octet-stream", "video/h264", "h264", "audio/webm"} {
		t.Run(kind, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				w.Header()["Content-Type"] = nil
				if kind != "" {
					w.Header().Set("Content-Type", kind)
				}
				send(w, numbered(1).bytes())
				pause(r, time.Minute)
			}, func(t *testing.T, o *odd) {
				var r recorder
				o.run(time.Second, ingest.Now, nil, &r)
				if len(r.frames) != 1 {
					t.Errorf("%d frames, reports %q", len(r.frames), r.codes())
				}
			})
		})
	}
}

// A signed request is not sent where a redirect points to, neither to another host nor to the same one, and
// redirects do not make calls more frequent.
func TestRedirectsAreNotFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, to := range []string{"http://elsewhere.test/login", oddURL + "/getMedia", "/getMedia"} {
			t.Run(fmt.Sprint(status, " ", to), func(t *testing.T) {
				redirect := func(w http.ResponseWriter) {
					w.Header().Set("Location", to)
					w.Header().Set("Content-Type", "text/html")
					w.WriteHeader(status)
					send(w, []byte("<html>moved"))
				}
				for _, of := range []string{"GetMedia", "GetDataEndpoint"} {
					inBubble(t, func(w http.ResponseWriter, _ *http.Request, _ request) { redirect(w) }, func(t *testing.T, o *odd) {
						if of == "GetDataEndpoint" {
							o.control = func(w http.ResponseWriter, _ *http.Request) { redirect(w) }
						}
						var r recorder
						o.run(20*time.Second, ingest.Now, nil, &r)
						p := r.find(ingest.CodeNotStream)
						if p == nil || !strings.Contains(p.Message, "redirect") {
							t.Errorf("%s: %+v, reports %q", of, p, r.codes())
						}
						for _, host := range o.hosts {
							if host != "kvs.test" {
								t.Errorf("%s: a request went to %s", of, host)
							}
						}
						if len(o.others) > 0 || len(o.hosts) > 20 {
							t.Errorf("%s: %d requests, others %q", of, len(o.hosts), o.others)
						}
						o.checkRate(t)
					})
				}
			})
		}
	}
}

// An endpoint that is nonsense is reported and asked for again at the next attempt.
func TestInvalidDataEndpoint(t *testing.T) {
	for _, bad := range []string{"", "nonsense", "http://a b/%zz", "ftp://kvs.test", "http://", "http://user:pw@kvs.test", "http://kvs.test?x=1", "//kvs.test", "http://kvs.test:99999", "http://kvs.test:0"} {
		t.Run(bad, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				send(w, numbered(1).bytes())
				pause(r, time.Minute)
			}, func(t *testing.T, o *odd) {
				asked := 0
				o.control = func(w http.ResponseWriter, _ *http.Request) {
					if asked++; asked == 1 {
						endpointAnswer(w, bad)
						return
					}
					endpointAnswer(w, oddURL)
				}
				var r recorder
				o.run(2*time.Second, ingest.Now, nil, &r)
				if p := r.find(ingest.CodeEndpoint); p == nil || p.State != ingest.Backoff || asked != 2 || len(r.frames) != 1 {
					t.Errorf("%+v, asked %d times, %d frames, reports %q", p, asked, len(r.frames), r.codes())
				}
			})
		})
	}
}

// An answer to GetDataEndpoint that cannot be read, or has no end, is an error of its own and takes a bounded time.
func TestUnreadableDataEndpoint(t *testing.T) {
	for name, answer := range map[string]func(w http.ResponseWriter, r *http.Request){
		"HTML": func(w http.ResponseWriter, _ *http.Request) { send(w, []byte("<html>")) },
		"without end": func(w http.ResponseWriter, r *http.Request) {
			for send(w, []byte(strings.Repeat(" ", 1<<10))) && pause(r, time.Millisecond) {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, o *odd) {
				o.control = answer
				var r recorder
				o.run(10*time.Second, ingest.Now, nil, &r)
				if p := r.find(ingest.CodeEndpoint); p == nil {
					t.Errorf("reports %q", r.codes())
				}
			})
		})
	}
}

// Whatever a refusal calls itself, its code is short, plain, and known to explain.
func TestEveryRefusalHasAKnownCode(t *testing.T) {
	for name, row := range map[string]struct {
		status           int
		kind, body, code string
	}{
		"503 without a type":    {503, "", "", "kvs.http.503"},
		"HTML":                  {502, "", "<html>Bad Gateway</html>", "kvs.http.502"},
		"odd characters":        {400, "Bad Thing!/<script>", "", "kvs.http.400"},
		"500 characters":        {500, strings.Repeat("A", 500), "", "kvs.http.500"},
		"a prefix and a suffix": {404, "", `{"__type":"com.amazonaws.kvs#ResourceNotFoundException:http://x/"}`, "kvs.http.ResourceNotFoundException"},
		"spaces around":         {403, " UnrecognizedClientException ", "", "kvs.http.UnrecognizedClientException"},
		"a signature":           {403, "InvalidSignatureException", `{"message":"The request signature we calculated does not match"}`, "kvs.http.InvalidSignatureException"},
		"internal":              {500, "InternalFailure", "", "kvs.http.InternalFailure"},
		"unavailable":           {503, "ServiceUnavailable", "", "kvs.http.ServiceUnavailable"},
		"a teapot":              {418, "", "", "kvs.http.418"},
		"control characters":    {400, "SomeException", `{"message":"a\u0000b\r\n` + strings.Repeat("x", 5000) + `"}`, "kvs.http.SomeException"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, of := range []string{"GetMedia", "GetDataEndpoint"} {
				refuse := func(w http.ResponseWriter) {
					w.Header()["X-Amzn-Errortype"] = []string{row.kind}
					w.Header().Set("X-Amzn-RequestId", strings.Repeat("r", 100))
					w.WriteHeader(row.status)
					_, _ = w.Write([]byte(row.body))
				}
				inBubble(t, func(w http.ResponseWriter, _ *http.Request, _ request) { refuse(w) }, func(t *testing.T, o *odd) {
					if of == "GetDataEndpoint" {
						o.control = func(w http.ResponseWriter, _ *http.Request) { refuse(w) }
					}
					var r recorder
					o.run(3*time.Second, ingest.Now, nil, &r)
					if len(r.codes()) == 0 || r.codes()[0] != row.code {
						t.Fatalf("%s: reports %q: %+v", of, r.codes(), r.reports[1])
					}
					if !knownCode.MatchString(row.code) {
						t.Errorf("%s is unknown to explain", row.code)
					}
					p := r.find(row.code)
					if strings.ContainsAny(p.Message, "\r\n\x00") || len(p.Message) > 500 || len(fmt.Sprint(p.Detail)) > 1000 {
						t.Errorf("%s: message %q, detail of %d bytes", of, p.Message, len(fmt.Sprint(p.Detail)))
					}
				})
			}
		})
	}
}

// knownCode is what explain has a text for: see TestLookup in package mqtt.
var knownCode = regexp.MustCompile(`^kvs\.http\.([a-zA-Z][a-zA-Z0-9_.]{0,63}|[0-9]{3})$`)

// A refusal whose body never ends, or never comes, holds the session up for a bounded time only.
func TestRefusalWithoutEnd(t *testing.T) {
	for name, kind := range map[string]string{"refused": "", "not a stream": "text/html"} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				if kind == "" {
					w.WriteHeader(http.StatusServiceUnavailable)
				} else {
					w.Header().Set("Content-Type", kind)
				}
				for send(w, []byte("x")) && pause(r, time.Second) {
				}
			}, func(t *testing.T, o *odd) {
				var r recorder
				o.run(30*time.Second, ingest.Now, nil, &r)
				if len(r.codes()) < 3 {
					t.Errorf("reports %q", r.codes())
				}
			})
		})
	}
}

// Credentials with characters that none have are named, not sent.
func TestCredentialsWithOddCharacters(t *testing.T) {
	for name, row := range map[string]struct{ id, secret, token, says string }{
		"carriage return in the id": {"KEY\r", "secret", "", "access key id (AWS_ACCESS_KEY_ID) has a carriage return at character 4 of 4"},
		"space in the secret":       {"KEY", " secret", "", "secret access key (AWS_SECRET_ACCESS_KEY) has a space at character 1"},
		"line feed in the token":    {"KEY", "secret", "a\nb", "session token (AWS_SESSION_TOKEN) has a line feed"},
		"a byte order mark":         {"\ufeffKEY", "secret", "", "U+FEFF"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, o *odd) {
				c := o.config()
				c.Credentials = credentials.NewStaticCredentialsProvider(row.id, row.secret, row.token)
				o.service = ingest.NewService(c, oddURL)
				var r recorder
				o.run(time.Second, ingest.Now, nil, &r)
				p := r.find(ingest.CodeCredentials)
				if p == nil || !strings.Contains(p.Message, row.says) || strings.Contains(p.Message, "network") {
					t.Errorf("%+v, reports %q", p, r.codes())
				}
				if len(o.hosts) > 0 {
					t.Errorf("%d requests were sent", len(o.hosts))
				}
			})
		})
	}
}

// noCredentials is what a session reports that has credentials of the environment alone, by the SDK's chain.
func noCredentials(t *testing.T) *ingest.Report {
	t.Helper()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	c, err := config.LoadDefaultConfig(t.Context(), config.WithRegion("us-east-1"))
	if err != nil {
		t.Fatal(err)
	}
	var r recorder
	r.until(t, ingest.NewService(c, "http://127.0.0.1:1"), ingest.CodeCredentials)
	return r.find(ingest.CodeCredentials)
}

// The same by the SDK's chain, as the agent loads it.
func TestCredentialsOfTheEnvironment(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "KEY\r")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret\r")
	if p := noCredentials(t); !strings.Contains(p.Message, "carriage return") || !strings.Contains(p.Message, "EnvConfig") {
		t.Errorf("%+v", p)
	}
}

// A machine without credentials is told so in words, not with what the SDK tried last.
func TestNoCredentialsAnywhere(t *testing.T) {
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	if p := noCredentials(t); !strings.Contains(p.Message, "no AWS credentials were found, neither in") {
		t.Errorf("%+v", p)
	}
}

// A region that cannot be part of a host name is an error of the configuration.
func TestRegionWithOddCharacters(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, o *odd) {
		c := o.config()
		c.Region = "us-east-1\r"
		o.service = ingest.NewService(c, "")
		var r recorder
		o.run(time.Second, ingest.Now, nil, &r)
		if p := r.find(ingest.CodeConfig); p == nil || !strings.Contains(p.Message, `"us-east-1\r"`) {
			t.Errorf("reports %q", r.codes())
		}
	})
}
