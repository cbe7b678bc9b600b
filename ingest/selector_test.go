package ingest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
)

// The texts of a start, what they mean, and that a selector is written as it is read.
func TestParseSelector(t *testing.T) {
	morning := time.Date(2026, 1, 31, 8, 15, 0, 250_000_000, time.UTC)
	for text, want := range map[string]ingest.Selector{
		"now":                               {Kind: ingest.Now},
		"earliest":                          {Kind: ingest.Earliest},
		"resume":                            {Kind: ingest.Resume},
		"fragment:0":                        {Kind: ingest.AfterFragment, Value: "0"},
		"fragment:" + digits(128):           {Kind: ingest.AfterFragment, Value: digits(128)},
		"server:2026-01-31T08:15:00.25Z":    {Kind: ingest.ServerTime, Time: morning},
		"producer:2026-01-31T08:15:00.25Z":  {Kind: ingest.ProducerTime, Time: morning},
		"server:2026-01-31T08:15:00Z":       {Kind: ingest.ServerTime, Time: morning.Truncate(time.Second)},
		"producer:1970-01-01T00:00:00.001Z": {Kind: ingest.ProducerTime, Time: time.UnixMilli(1).UTC()},
	} {
		got, err := ingest.ParseSelector(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s: %+v, %v, written as %s", text, got, err, got)
		}
	}
	if s, err := ingest.ParseSelector("server:2026-01-31T09:15:00.25+01:00"); err != nil || !s.Time.Equal(morning) {
		t.Errorf("a time of another zone: %+v, %v", s, err)
	}
	if s := (ingest.Selector{Kind: ingest.ContinuationToken, Value: "abc"}).String(); s != "token:abc" {
		t.Errorf("a token is written as %s", s)
	}
}

// What is not a start is refused with what is wrong with it, and what would be right.
func TestParseSelectorRefuses(t *testing.T) {
	for text, says := range map[string]string{
		"":                              "a start is now, earliest, resume, fragment:<number>, server:<time> or producer:<time>",
		"later":                         `"later": a start is now, earliest`,
		"Now":                           `"Now": a start is`,
		"token:abc":                     `"token:abc": a start is`,
		"now:":                          `"now:": now stands alone`,
		"earliest:5":                    `"earliest:5": earliest stands alone`,
		"resume:x":                      `"resume:x": resume stands alone`,
		"fragment":                      `"fragment": a fragment number is 1 to 128 digits`,
		"fragment:":                     "1 to 128 digits",
		"fragment:12a":                  "1 to 128 digits",
		"fragment:-1":                   "1 to 128 digits",
		"fragment: 1":                   "1 to 128 digits",
		"fragment:1\n":                  "1 to 128 digits",
		"fragment:" + digits(129):       "1 to 128 digits",
		"server":                        "as in server:2026-01-31T08:15:00Z",
		"server:yesterday":              `"server:yesterday": a time is written as in server:2026-01-31T08:15:00Z`,
		"producer:2026-01-31":           `"producer:2026-01-31": a time is written as in producer:2026-01-31T08:15:00Z`,
		"producer:2026-01-31T08:15:00":  "as in producer:2026-01-31T08:15:00Z",
		"producer:2026-02-30T08:15:00Z": "as in producer:2026-01-31T08:15:00Z",
	} {
		if s, err := ingest.ParseSelector(text); err == nil || !strings.Contains(err.Error(), says) ||
			s != (ingest.Selector{}) {
			t.Errorf("%q: %+v, %v, want %q", text, s, err, says)
		}
	}
}

// digits are n digits.
func digits(n int) string { return strings.Repeat("0123456789", n/10+1)[:n] }

// The example that the errors give can be read.
func TestParseSelectorTakesItsOwnExample(t *testing.T) {
	for _, kind := range []string{"server", "producer"} {
		_, err := ingest.ParseSelector(kind + ":x")
		_, example, _ := strings.Cut(err.Error(), "as in ")
		if s, err := ingest.ParseSelector(example); err != nil || s.String() != example {
			t.Errorf("%s: %+v, %v", example, s, err)
		}
	}
}

// Exactly one of name and ARN is given, as the API reference writes them.
func TestCheckStream(t *testing.T) {
	arn := "arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam/1500000000000"
	for _, tc := range []struct{ name, arn, says string }{
		{"cam", "", ""},
		{"azAZ09_.-", "", ""},
		{digits(256), "", ""},
		{"", arn, ""},
		{"", strings.Replace(arn, "aws", "aws-us-gov", 1), ""},
		{"", strings.Replace(arn, "cam", digits(1024-len(arn)+len("cam")), 1), ""},
		{"", "", "neither stream_name nor stream_arn is given"},
		{"cam", arn, "both stream_name and stream_arn are given; give one"},
		{digits(257), "", "1 to 256 of a-z A-Z 0-9 _ . - are allowed"},
		{"a b", "", `stream_name "a b": 1 to 256`},
		{"cam/1", "", "1 to 256"},
		{"cam\n", "", "1 to 256"},
		{"", "cam", `stream_arn "cam" is not of the form arn:aws:kinesisvideo:<region>:<account>:stream/<name>/<number>`},
		{"", arn + "\n", "is not of the form"},
		{"", strings.TrimSuffix(arn, "/1500000000000"), "is not of the form"},
		{"", strings.Replace(arn, "kinesisvideo", "s3", 1), "is not of the form"},
		{"", strings.Replace(arn, "cam", digits(1025-len(arn)+len("cam")), 1), "is not of the form"},
	} {
		err := ingest.CheckStream(tc.name, tc.arn)
		if (err == nil) != (tc.says == "") || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%q, %q: %v, want %q", tc.name, tc.arn, err, tc.says)
		}
	}
}

// Requests as the API reference of GetMedia has them: nothing in them that does not belong to the type of selector.
// The places are those of three sessions: a start, after a fragment, and after a fragment whose token is refused.
func TestRequests(t *testing.T) {
	at := time.Date(2026, 1, 31, 8, 15, 0, 250_000_000, time.UTC)
	const arn = "arn:aws:kinesisvideo:eu-west-1:123456789012:stream/cam/1500000000000"
	byName := func(selector string) string { return `{"StreamName":"gate","StartSelector":{` + selector + `}}` }
	for name, row := range map[string]struct {
		stream ingest.Stream
		want   string
	}{
		"now": {ingest.Stream{StreamName: "gate"}, byName(`"StartSelectorType":"NOW"`)},
		"resume": {
			ingest.Stream{StreamName: "gate", Start: ingest.Selector{Kind: ingest.Resume}}, byName(`"StartSelectorType":"NOW"`),
		},
		"earliest": {
			ingest.Stream{StreamName: "gate", Start: ingest.Selector{Kind: ingest.Earliest}},
			byName(`"StartSelectorType":"EARLIEST"`),
		},
		"fragment": {
			ingest.Stream{StreamName: "gate", Start: ingest.Selector{Kind: ingest.AfterFragment, Value: "007"}},
			byName(`"StartSelectorType":"FRAGMENT_NUMBER","AfterFragmentNumber":"007"`),
		},
		"token": {
			ingest.Stream{StreamName: "gate", Start: ingest.Selector{Kind: ingest.ContinuationToken, Value: "abc"}},
			byName(`"StartSelectorType":"CONTINUATION_TOKEN","ContinuationToken":"abc"`),
		},
		"server time": {
			ingest.Stream{StreamName: "gate", Start: ingest.Selector{Kind: ingest.ServerTime, Time: at}},
			byName(`"StartSelectorType":"SERVER_TIMESTAMP","StartTimestamp":1769847300.25`),
		},
		"producer time": {
			ingest.Stream{StreamName: "gate", Start: ingest.Selector{Kind: ingest.ProducerTime, Time: at}},
			byName(`"StartSelectorType":"PRODUCER_TIMESTAMP","StartTimestamp":1769847300.25`),
		},
		"by ARN": {ingest.Stream{StreamARN: arn}, `{"StreamARN":"` + arn + `","StartSelector":{"StartSelectorType":"NOW"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, r *http.Request, in request) {
				switch in.StartSelector.ContinuationToken {
				case "token-5":
					turnDown(w, 400, "InvalidArgumentException")
				default:
					send(w, numbered(5).bytes())
				}
			}, func(t *testing.T, o *odd) {
				ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
				defer stop()
				ingest.NewSession(row.stream, o.service, nil, &recorder{}).Run(ctx)
				stream, _, _ := strings.Cut(row.want, `"StartSelector"`)
				want := []string{
					row.want,
					stream + `"StartSelector":{"StartSelectorType":"CONTINUATION_TOKEN","ContinuationToken":"token-5"}}`,
					stream + `"StartSelector":{"StartSelectorType":"FRAGMENT_NUMBER","AfterFragmentNumber":"` +
						numbered(5).number + `"}}`,
				}
				for i, body := range want {
					if i >= len(o.bodies) || o.bodies[i] != body {
						t.Errorf("request %d of %q, want %s", i+1, o.bodies, body)
					}
				}
			})
		})
	}
}
