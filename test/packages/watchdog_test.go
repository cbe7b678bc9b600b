//go:build packages

package packages

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// watchdog is how long the service may be silent in these tests. The unit's own minute would take too long.
const watchdog = 6 * time.Second

// stuck has systemd notice that the main loop stands still, and start the service again.
func (l lifecycle) stuck(t *testing.T) {
	l.shortenWatchdog()
	l.plays(t)
	pid := l.run("systemctl show -P MainPID edge-agent")
	l.run("kill -STOP " + pid)
	await(t, "the restart", func() (bool, string) {
		out := l.run("systemctl show -P NRestarts edge-agent; systemctl show -P MainPID edge-agent; systemctl is-active edge-agent || true")
		is := strings.Fields(out)
		return is[0] == "1" && is[1] != "0" && is[1] != pid && is[2] == "active", out
	})
	if journal := l.run("journalctl -o cat -u edge-agent"); !strings.Contains(journal, fmt.Sprintf("Watchdog timeout (limit %v)", watchdog)) {
		t.Errorf("the journal does not say why the service was restarted:\n%s", journal)
	}
	l.plays(t)
}

// outage has broker and video service out of reach for longer than the watchdog waits: it does not bite.
func (l lifecycle) outage(t *testing.T) {
	l.run("systemctl restart edge-agent")
	l.plays(t)
	pid := l.run("systemctl show -P MainPID edge-agent")
	l.run("systemctl kill --signal=STOP simulate mosquitto") // connections stay open, and nobody answers
	l.staysFed(t)
	l.run("systemctl stop simulate mosquitto") // connections are refused
	await(t, "word of the outage", func() (bool, string) {
		out := l.run("edge-agent status")
		return strings.Contains(out, "not connected to mqtt://127.0.0.1") && !strings.Contains(out, "stream clock: playing"), out
	})
	l.staysFed(t)
	l.says("systemctl show -P NRestarts edge-agent; systemctl show -P MainPID edge-agent; systemctl is-active edge-agent", "0\n"+pid+"\nactive")
	l.run("systemctl start mosquitto")
	l.simulate()
	l.plays(t)
}

// shortenWatchdog holds until the power is cut.
func (l lifecycle) shortenWatchdog() {
	l.t.Helper()
	l.run(fmt.Sprintf(`mkdir -p /run/systemd/system/edge-agent.service.d
printf '[Service]\nWatchdogSec=%d\n' >/run/systemd/system/edge-agent.service.d/watchdog.conf
systemctl daemon-reload
systemctl restart edge-agent`, int(watchdog.Seconds())))
	l.says("systemctl show -P WatchdogUSec edge-agent", watchdog.String())
}

// staysFed waits until the watchdog was fed for three times as long as it waits.
func (l lifecycle) staysFed(t *testing.T) {
	t.Helper()
	const lastFed = "systemctl show -P WatchdogTimestampMonotonic edge-agent"
	microseconds := func() int64 {
		n, _ := strconv.ParseInt(l.run(lastFed), 10, 64)
		return n
	}
	began := microseconds()
	await(t, "the watchdog to be fed", func() (bool, string) {
		fed := time.Duration(microseconds()-began) * time.Microsecond
		return fed > 3*watchdog, fed.String() + "\n" + l.run("journalctl -o cat -n 20 -u edge-agent")
	})
}
