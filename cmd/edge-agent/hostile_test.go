package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/web"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// hostileStatus lacks what every agent gives, and its texts steer a terminal.
const hostileStatus = `{"agent": "b\u001b]0;title\u0007ox", "status": {"started_at": "2026-01-01T00:00:00Z", "shown": "gate", "streams": [
	{"name": "gate", "state": {"state": "playing", "code": "kvs.http.403", "message": "\u001b[2J\r\nok       service        all is well\u202e"}}]},
	"broker": {"url": "mqtt://\u009b", "error": "\u001b[31m"}, "events": [{"code": "a\u001b", "message": "one\ntwo"}]}`

// Whatever answers at the socket: status and check end in order, and print one line for a text, without control
// characters.
func TestHostileAnswersAtTheSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := web.ListenSocket(socket)
	if err != nil {
		t.Fatal(err)
	}
	answer := hostileStatus
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) }))
	s.Listener = l
	s.Start()
	defer s.Close()
	config := filepath.Join("..", "..", "config.toml")
	for _, args := range [][]string{{"status", "--socket", socket}, {"check", "--socket", socket, "--config", config}} {
		status, out, errs := run(args...)
		if status > exitFailed || !strings.Contains(out, "kvs.http.403: ?[2J  ok       service        all is well?\n") {
			t.Errorf("%v: %d\n%s%s", args, status, out, errs)
		}
		if i := strings.IndexFunc(out, func(r rune) bool { return unicode.IsControl(r) && r != '\n' }); i >= 0 {
			t.Errorf("%v prints a control character: %q", args, out[i:])
		}
	}
	for _, answer = range []string{"", "null", "[]", `{"status": 1}`, `{"status": {"streams": [{}, {}]}, "totals": [{}]}`, strings.Repeat("[", 1<<20)} {
		for _, args := range [][]string{{"status", "--socket", socket}, {"status", "--json", "--socket", socket}} {
			if status, _, errs := run(args...); status != exitOK && !strings.HasPrefix(errs, "edge-agent: agent.socket: ") {
				t.Errorf("%v with the answer %.40q: %d %s", args, answer, status, errs)
			}
		}
	}
}

// What agents say cannot steer the terminal of the one who watches them.
func TestHostileFleet(t *testing.T) {
	state := contract.State{State: "play\x1b[2Jing", Code: "a\nb", Decoder: "\u009b"}
	rows := fleetRows([]mqtt.AgentView{{
		ID: "bo\x1bx", Online: true, Streams: []mqtt.StreamView{{Name: "gate", State: state}},
		LastEvent: contract.Event{Code: "\x07", Stream: "\x1b"},
	}})
	for _, line := range fleetTable(rows, nil) {
		if strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("%q", line)
		}
	}
}
