package simulator

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

const simulatorPage = "../../../../docs/simulator.md"

// simulatorExample is the worked example of the page about the simulator.
func simulatorExample(t *testing.T) (page, example string) {
	t.Helper()
	text, err := os.ReadFile(simulatorPage)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```toml\n")
	example, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("the page has no example")
	}
	return string(text), example
}

// TestSimulatorPageIsComplete wants every key, verb and exception to be described.
func TestSimulatorPageIsComplete(t *testing.T) {
	page, _ := simulatorExample(t)
	words := slices.Collect(maps.Keys(verbs))
	for _, table := range []reflect.Type{
		reflect.TypeFor[serviceScript](), reflect.TypeFor[credentialsScript](), reflect.TypeFor[streamScript](), reflect.TypeFor[changeScript](),
		reflect.TypeFor[layoutScript](), reflect.TypeFor[numbersScript](), reflect.TypeFor[eventScript](),
	} {
		words = append(words, config.KeysOf(table)...)
	}
	for _, word := range words {
		table := strings.Contains(page, "streams."+word+"]") || strings.Contains(page, "service."+word+"]")
		if !table && !strings.Contains(page, "`"+word+"`") {
			t.Errorf("the page does not describe %s", word)
		}
	}
	for _, e := range kvstest.Exceptions() {
		if !strings.Contains(page, e.Type) {
			t.Errorf("the page does not name %s", e.Type)
		}
	}
}

// TestSimulatorPageEvents accepts every event that stands in the text of the page.
func TestSimulatorPageEvents(t *testing.T) {
	page, _ := simulatorExample(t)
	events := regexp.MustCompile("`(\\{ do = [^`]*\\})`").FindAllStringSubmatch(page, -1)
	for _, m := range events {
		if _, err := Parse("s.toml", "events = ["+m[1]+"]\n[[streams]]\nname = \"a\"\nclip = \"h265\"\n"); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	if len(events) < 15 {
		t.Errorf("the page has %d events", len(events))
	}
}

// tally is a Sink that counts.
type tally struct {
	reports  []string
	codecs   []string
	fragment int
}

func (w *tally) Frame(_ context.Context, f *ingest.Frame) {
	if n := len(w.codecs); f.Track.Type == mkv.Video && (n == 0 || w.codecs[n-1] != f.Track.CodecID) {
		w.codecs = append(w.codecs, f.Track.CodecID)
	}
}
func (w *tally) Tracks([]*mkv.Track)   {}
func (w *tally) Fragment(mkv.Fragment) { w.fragment++ }
func (w *tally) Report(r ingest.Report) {
	if r.Code != "" {
		w.reports = append(w.reports, r.Code)
	}
}

// TestSimulatorExample plays the page's example for five minutes to two sessions, which meet what it says.
func TestSimulatorExample(t *testing.T) {
	_, example := simulatorExample(t)
	synctest.Test(t, func(t *testing.T) {
		script, err := Parse("storm.toml", example)
		if err != nil {
			t.Fatal(err)
		}
		server, err := script.Server()
		if err != nil {
			t.Fatal(err)
		}
		pipe := kvstest.NewPipe()
		server.Serve(pipe)
		defer server.Close()
		service := ingest.NewService(aws.Config{
			Region:      "us-east-1",
			Credentials: aws.NewCredentialsCache(credentials.StaticCredentialsProvider{Value: kvstest.Credentials()}),
			HTTPClient:  &http.Client{Transport: &http.Transport{DialContext: pipe.DialContext}},
		}, server.URL())
		defer service.Close()

		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		seen := map[string]*tally{"gate": {}, "yard": {}}
		var all sync.WaitGroup
		all.Go(func() { server.Play(ctx, script.Events) })
		synctest.Wait() // what happens at the start happens before the first call
		for name, w := range seen {
			all.Go(func() {
				ingest.NewSession(ingest.Stream{Name: name, StreamName: name}, service, nil, w).Run(ctx)
			})
		}
		all.Wait()
		for name, want := range map[string][]string{
			"gate": {ingest.CodeCut, ingest.CodeIdle},
			"yard": {ingest.CodeCut, "kvs.media.4501", "kvs.http.NotAuthorizedException"},
		} {
			for _, code := range want {
				if !slices.Contains(seen[name].reports, code) {
					t.Errorf("%s: reports %q, none of them %s", name, seen[name].reports, code)
				}
			}
			if seen[name].fragment < 150 {
				t.Errorf("%s: %d fragments in five minutes", name, seen[name].fragment)
			}
		}
		if want := []string{mkv.CodecH265, mkv.CodecH264}; !slices.Equal(seen["yard"].codecs, want) {
			t.Errorf("yard: codecs %q, want %q", seen["yard"].codecs, want)
		}
	})
}

// TestBadScripts finds every fault of a script, with its line.
func TestBadScripts(t *testing.T) {
	const good = "[[streams]]\nname = \"a\"\nclip = \"h264\"\n"
	for name, tt := range map[string]struct{ script, want string }{
		"no streams":       {"", `s.toml: has no streams. Begin each with a line [[streams]].`},
		"nested":           {"a = " + strings.Repeat("[", 4000), `s.toml:1: `},
		"syntax":           {"[[streams]\n", `s.toml:2: not valid TOML`},
		"unknown table":    {good + "[servce]\n", `s.toml:4: servce is no known key. Did you mean "service"?`},
		"unknown key":      {good + "[streams.layout]\nanex_b = true\n", `s.toml:5: streams[0].layout.anex_b is no known key. Did you mean "annex_b"?`},
		"second of two":    {good + "[[streams]]\nname = \"b\"\nclip = \"h265\"\nlayout = { Noise = true }\n", `s.toml:7: streams[1].layout.Noise is no known key. Did you mean "noise"?`},
		"wrong type":       {good + "history = 10\n", `s.toml:4: a value of the wrong type`},
		"bad duration":     {good + "history = \"10\"\n", `s.toml:4: a value of the wrong type`},
		"same name":        {good + good, `s.toml:5: streams[1].name = "a" is the name of another stream too`},
		"no file":          {"[[streams]]\nname = \"a\"\n", `s.toml:1: streams[0].file and clip: exactly one of them is needed`},
		"unknown clip":     {"[[streams]]\nname = \"a\"\nclip = \"h266\"\n", `s.toml:3: streams[0].clip = "h266" is not known. Did you mean "h26`},
		"unknown word":     {good + "[streams.layout]\ntime = \"walls\"\n", `s.toml:5: streams[0].layout.time = "walls" is not known. Did you mean "wall"?`},
		"nothing to do":    {good + "[[events]]\nat = \"1s\"\n", `s.toml:4: events[0].do is missing`},
		"unknown verb":     {good + "[[events]]\ndo = \"cat\"\n", `s.toml:5: events[0].do = "cat" is not known. Did you mean "cut"?`},
		"idle key":         {good + "[[events]]\ndo = \"cut\"\nrate = 5\n", `s.toml:6: events[0].rate means nothing to "cut"`},
		"bad key id":       {good + "[[service.credentials]]\naccess_key_id = \"A/B\"\nsecret_access_key = \"c\"\n", `s.toml:5: service.credentials[0].access_key_id = "A/B" is not valid`},
		"no secret":        {good + "[[service.credentials]]\naccess_key_id = \"A\"\n", `s.toml:4: service.credentials[0].secret_access_key is missing`},
		"unknown order":    {good + "[streams.numbers]\norder = \"up\"\n", `s.toml:5: streams[0].numbers.order = "up" is not known`},
		"other stream":     {good + "[[events]]\ndo = \"cut\"\nstream = \"b\"\n", `s.toml:6: events[0].stream = "b" is not among the streams`},
		"times alone":      {good + "[[events]]\ndo = \"cut\"\ntimes = 2\n", `s.toml:6: events[0].times is set but every is not`},
		"negative":         {good + "[[events]]\ndo = \"cut\"\nbyte = -2\n", `s.toml:6: events[0].byte is negative`},
		"empty failure":    {good + "[[events]]\ndo = \"fail\"\n", `s.toml:4: events[0].id and code are missing`},
		"no rate":          {good + "[[events]]\ndo = \"slow\"\n", `s.toml:4: events[0].rate is missing`},
		"unknown sessions": {good + "[[events]]\ndo = \"cut\"\non = \"all\"\n", `s.toml:6: events[0].on = "all" is not known`},
		"any status":       {good + "[[events]]\ndo = \"refuse\"\nexception = \"Odd\"\nstatus = 200\n", `s.toml:7: events[0].status = 200 is not valid here. Use 400 to 599.`},
		"no redirect":      {good + "[[events]]\ndo = \"redirect\"\nstatus = 200\n", `s.toml:6: events[0].status = 200 is not valid here. Use 300 to 399.`},
		"unknown flood":    {good + "[[events]]\ndo = \"flood\"\nwhat = \"zeroes\"\n", `s.toml:6: events[0].what = "zeroes" is not known. Did you mean "zeros"?`},
		"no exception":     {good + "[[events]]\ndo = \"refuse\"\n", `s.toml:4: events[0].exception = "" is not known`},
		"no operation":     {good + "[[events]]\ndo = \"hang\"\noperation = \"PutMedia\"\n", `s.toml:6: events[0].operation = "PutMedia" is not known`},
	} {
		_, err := Parse("s.toml", tt.script)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: %v\nwant %s", name, err, tt.want)
		}
	}
}

// TestEvents has one event of every kind accepted, also inline.
func TestEvents(t *testing.T) {
	more := map[string]string{
		"fail": "id = 5000, bare = true, reversed = true", "slow": "rate = 100, for = \"1s\"", "garbage": "bytes = 5",
		"refuse": "exception = \"InternalFailure\", operation = \"GetDataEndpoint\"", "hang": "for = \"1s\", count = 2",
		"answer": "body = \"{}\", content_type = \"application/json\", gzip = true, status = 502", "redirect": "location = \"/login\", status = 302",
		"misdirect": "endpoint = \"\"", "ignore_selector": "count = 5", "flood": "what = \"zeros\", rate = 1000",
		"create": "clip = \"h265\"", "change": "clip = \"h265\"", "stall": "on = \"every\", fragment = 3, byte = 7",
	}
	var events []string
	for do := range verbs {
		events = append(events, fmt.Sprintf("{ %s }", strings.Trim("do = \""+do+"\", "+more[do], ", ")))
	}
	text := "events = [" + strings.Join(events, ", ") + "]\n[[streams]]\nname = \"a\"\nclip = \"h264\"\n"
	script, err := Parse("s.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	server, err := script.Server()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if err := server.Play(t.Context(), script.Events); err != nil {
		t.Error(err)
	}
}

// TestCreatedAgain plays a script that deletes a stream and creates it again from another clip.
func TestCreatedAgain(t *testing.T) {
	const text = `
[[streams]]
name = "a"
clip = "h264"
[streams.numbers]
first = 24001

[[streams]]
name = "later"
clip = "h264"
absent = true
opaque_tokens = true

[[events]]
do = "delete"
stream = "a"
at = "5s"

[[events]]
do = "create"
clip = "h265"
at = "10s"
`
	synctest.Test(t, func(t *testing.T) {
		script, err := Parse("s.toml", text)
		if err != nil {
			t.Fatal(err)
		}
		server, err := script.Server()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		arn := func() [2]string { return [2]string{server.Stream("a").ARN(), server.Stream("later").ARN()} }
		before := arn()
		go server.Play(t.Context(), script.Events)
		time.Sleep(7 * time.Second)
		if got := arn(); before[0] == "" || before[1] != "" || got != [2]string{} {
			t.Errorf("at first %q, after 7 seconds %q", before, got)
		}
		time.Sleep(7 * time.Second)
		if got := arn(); got[0] == "" || got[1] == "" || got[0] == before[0] {
			t.Errorf("after 14 seconds %q", got)
		}
	})
}

// TestCallFaults reads what happens to calls, and sees a client get it.
func TestCallFaults(t *testing.T) {
	const clientScript = "[[streams]]\nname = \"a\"\nclip = \"h265\"\n[[events]]\n"
	for _, tt := range []struct{ event, status, header, body string }{
		{`do = "answer"`, "200", "Content-Type: text/html", "<!DOCTYPE html>"},
		{"do = \"answer\"\nbody = \"{}\"\ncontent_type = \"application/json\"\nstatus = 500", "500", "Content-Type: application/json", "{}"},
		{"do = \"answer\"\ngzip = true", "200", "Content-Encoding: gzip", "\x1f\x8b"},
		{`do = "redirect"`, "307", "Location: http://kvs.test/getMedia", ""},
		{"do = \"redirect\"\nlocation = \"/login\"\nstatus = 302", "302", "Location: /login", ""},
		{"do = \"refuse\"\nexception = \"\"\nstatus = 503\nmessage = \"busy\"", "503", "X-Amzn-Errortype: ", `{"Message":"busy"}`},
		{"do = \"refuse\"\nexception = \"Odd name\"\nstatus = 418", "418", "X-Amzn-Errortype: Odd name", "{"},
		{"do = \"refuse\"\nexception = \"InternalFailure\"", "500", "X-Amzn-Errortype: InternalFailure", "{"},
		{"do = \"misdirect\"\nendpoint = \"ftp://host\"", "200", "Content-Type: application/json", `{"DataEndpoint":"ftp://host"}`},
		{"do = \"misdirect\"\nendpoint = \"\"", "200", "Content-Type: application/json", `{"DataEndpoint":""}`},
		{`do = "misdirect"`, "200", "Content-Type: application/json", `{"DataEndpoint":"http://kvs.test/elsewhere"}`},
		{"do = \"refuse\"\nexception = \"InvalidSignatureException\"\noperation = \"GetDataEndpoint\"", "403", "X-Amzn-Errortype: InvalidSignatureException", "{"},
		{"do = \"redirect\"\noperation = \"GetDataEndpoint\"", "307", "Location: http://kvs.test/getDataEndpoint", ""},
	} {
		t.Run(tt.event, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				script, err := Parse("s.toml", clientScript+tt.event)
				if err != nil {
					t.Fatal(err)
				}
				server, err := script.Server()
				if err != nil {
					t.Fatal(err)
				}
				defer server.Close()
				if err := server.Play(t.Context(), script.Events); err != nil {
					t.Fatal(err)
				}
				path := "/getMedia"
				if strings.Contains(tt.event, "misdirect") || strings.Contains(tt.event, "GetDataEndpoint") {
					path = "/getDataEndpoint"
				}
				body := []byte(`{"StreamName":"a","APIName":"GET_MEDIA","StartSelector":{"StartSelectorType":"NOW"}}`)
				r := httptest.NewRequest(http.MethodPost, "http://kvs.test"+path, bytes.NewReader(body))
				hash := sha256.Sum256(body)
				err = v4.NewSigner().SignHTTP(t.Context(), kvstest.Credentials(), r, hex.EncodeToString(hash[:]), "kinesisvideo", "us-east-1", time.Now())
				if err != nil {
					t.Fatal(err)
				}
				answer := httptest.NewRecorder()
				server.ServeHTTP(answer, r)
				key, value, _ := strings.Cut(tt.header, ": ")
				if got := answer.Result(); got.Status[:3] != tt.status || !strings.HasPrefix(got.Header.Get(key), value) ||
					(value == "") != (got.Header.Get(key) == "") || !strings.HasPrefix(answer.Body.String(), tt.body) {
					t.Errorf("%s, %v, %q", got.Status, got.Header, answer.Body)
				}
			})
		})
	}
}

// TestSimulatedCredentials takes credentials from a script, and from flags in their place.
func TestSimulatedCredentials(t *testing.T) {
	const text = `
[service]
clock_ahead = "10m"
[[service.credentials]]
access_key_id = "FIRST"
secret_access_key = "one"
session_token = "token"
expires = "15m"
[[service.credentials]]
access_key_id = "SECOND"
secret_access_key = "two"
[[streams]]
name = "a"
clip = "h265"
`
	synctest.Test(t, func(t *testing.T) {
		script, err := Parse("s.toml", text)
		if err != nil {
			t.Fatal(err)
		}
		want := []aws.Credentials{
			{AccessKeyID: "FIRST", SecretAccessKey: "one", SessionToken: "token", CanExpire: true, Expires: time.Now().Add(25 * time.Minute)},
			{AccessKeyID: "SECOND", SecretAccessKey: "two", Expires: time.Now().Add(10 * time.Minute)},
		}
		if !reflect.DeepEqual(script.Config.Credentials, want) {
			t.Errorf("credentials %+v, want %+v", script.Config.Credentials, want)
		}
	})
}
