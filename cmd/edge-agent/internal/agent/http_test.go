package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/config"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

func TestSocketPath(t *testing.T) {
	for _, c := range []struct{ configured, dir, want string }{
		{"auto", "/run/edge-agent", "/run/edge-agent/status.sock"},
		{"auto", "", ""},
		{"", "/run/edge-agent", ""},
		{"/s", "/run/edge-agent", "/s"},
		{"auto", "/run/edge-agent:/run/more", "/run/edge-agent/status.sock"}, // a drop-in has added a folder
	} {
		if got := socketPath(c.configured, func(string) string { return c.dir }); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if defaultSocket != "/run/edge-agent/status.sock" {
		t.Error("edge-agent status looks elsewhere")
	}
}

func TestHTTPConfig(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		`listen = "127.0.0.1:9464"`: "",
		`listen = "[::1]:9464"`:     "",
		`listen = "localhost:1"`:    "",
		`listen = "0.0.0.0:9464"`:   "http.listen",
		`listen = ":9464"`:          "http.listen",
		"listen = \":9464\"\nallow_remote = true":          "",
		"listen = \"192.0.2.1:9464\"\ntoken_file = \"/t\"": "",
		`listen = "127.0.0.1"`:                             "http.listen",
		`listen = "127.0.0.1:0"`:                           "http.listen",
		`listen = "127.0.0.1:99999"`:                       "http.listen",
		`token_file = "/t"`:                                "http.listen",
		`allow_remote = true`:                              "http.listen",
		`socket = "s.sock"`:                                "http.socket",
		`socket = ""`:                                      "",
	} {
		_, err := config.Parse("c.toml", "[http]\n"+text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want a fault of %s", text, err, want)
		}
	}
}

func TestRecentEvents(t *testing.T) {
	var r recentEvents
	at := time.Unix(1000, 0)
	add := func(code, stream, message string) {
		at = at.Add(time.Second)
		r.add(contract.Event{Code: code, Stream: stream, Message: message}, at)
	}
	for i := range 5 {
		add("ingest.cut", "a", fmt.Sprintf("again in %dms", i))
		add("ingest.playing", "b", "frames are coming")
	}
	add("ingest.cut", "a", "for another reason")
	events, counts := r.all()
	if len(events) != 3 || events[0].Count != 5 || events[0].Message != "again in 4ms" || events[0].LastTS.Sub(events[0].FirstTS.Time) != 8*time.Second ||
		events[0].Severity != contract.SeverityWarning || events[2].Count != 1 {
		t.Errorf("%+v", events)
	}
	if counts["ingest.cut"] != 6 || counts["ingest.playing"] != 5 {
		t.Errorf("%v", counts)
	}
	for i := range 2 * mostRecent {
		add("agent.started", fmt.Sprint(i), "")
	}
	if events, _ := r.all(); len(events) != mostRecent || events[mostRecent-1].Stream != fmt.Sprint(2*mostRecent-1) {
		t.Errorf("%d events, the last of %s", len(events), events[len(events)-1].Stream)
	}
}

func TestHistory(t *testing.T) {
	var h history
	at := time.Unix(0, 0)
	for i := range 2 * 3600 { // two hours, a second each
		h.add(at.Add(time.Duration(i)*time.Second), contract.Lag{Service: &contract.Distribution{P95: contract.Millis(i)}})
	}
	points := h.points()
	last := points[len(points)-1]
	if len(points) != 360 || last.Service != 7199*time.Millisecond || last.Producer >= 0 || last.At.Sub(points[0].At) != 3590*time.Second {
		t.Errorf("%d points, the last %+v", len(points), last)
	}
}

// The figures since the start go on when a stream is configured anew.
func TestTotalsGoOnOverAReload(t *testing.T) {
	before := &stream{earlier: counts{fragments: 3, bytes: 30}, window: window{counts: counts{fragments: 2, bytes: 20}}, retries: map[string]int64{"ingest.cut": 4}}
	before.history.add(time.Unix(1, 0), contract.Lag{})
	next := &stream{window: window{counts: counts{fragments: 1, bytes: 10}}}
	next.takeOver(before)
	if got := next.earlier.plus(next.window.counts); got.fragments != 6 || got.bytes != 60 || next.retries["ingest.cut"] != 4 || len(next.history.points()) != 1 {
		t.Errorf("%+v %v %v", got, next.retries, next.history)
	}
}
