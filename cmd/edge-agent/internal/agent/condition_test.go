package agent

import (
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// The state names the cause, not what follows from it.
func TestWorstCondition(t *testing.T) {
	session, lag := condition{"ingest.unreachable", "no route"}, condition{"lag.high", "12 s behind"}
	blocked, display, picture := condition{"decode.no_video", "sound only"}, condition{"display.lost", "unplugged"}, condition{"decode.crash", "SIGSEGV"}
	slow := condition{"decode.dropped", "29 of 30"}
	for name, c := range map[string]struct {
		of   conditions
		want condition
	}{
		"all is well":                   {conditions{state: contract.Playing}, condition{}},
		"no session, nothing else":      {conditions{state: contract.Backoff, session: session}, session},
		"no session before all else":    {conditions{state: contract.Backoff, session: session, blocked: blocked, display: display, picture: picture}, session},
		"connecting, no display":        {conditions{state: contract.Starting, display: display}, display},
		"nothing new, and unusable":     {conditions{state: contract.Stalled, session: condition{"ingest.idle", "nothing new"}, blocked: blocked, display: display}, blocked},
		"nothing new":                   {conditions{state: contract.Stalled, session: condition{"ingest.idle", "nothing new"}, display: display}, condition{"ingest.idle", "nothing new"}},
		"stopped on request":            {conditions{state: contract.Stopped}, condition{}},
		"cannot be shown":               {conditions{state: contract.Playing, session: lag, blocked: blocked, display: display, picture: picture}, blocked},
		"no display before the decoder": {conditions{state: contract.Playing, session: lag, display: display, picture: picture}, display},
		"decoder before the lag":        {conditions{state: contract.Playing, session: lag, picture: picture}, picture},
		"too slow before the lag":       {conditions{state: contract.Playing, session: lag, slow: slow}, slow},
		"a failure before too slow":     {conditions{state: contract.Playing, picture: picture, slow: slow}, picture},
		"a lag":                         {conditions{state: contract.Playing, session: lag}, lag},
	} {
		if got := c.of.worst(); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// A failure lasts until there is a picture again, whatever else is reported meanwhile.
func TestPictureFault(t *testing.T) {
	t0 := time.Now()
	var f pictureFault
	f.note(report.Report{Code: report.CodeCrash, Message: "SIGSEGV"}, "gate", t0)
	want := condition{report.CodeCrash, "SIGSEGV"}
	for _, code := range []string{
		report.CodeDisplayBack, report.CodeRecovered, report.CodeFallback, report.CodeDropped, report.CodeDiffers, report.CodeAccess, report.CodeDisplayLost,
	} {
		f.note(report.Report{Code: code}, "gate", t0.Add(time.Second))
		if got := f.of("gate", t0.Add(-time.Second)); got != want {
			t.Errorf("after %s: %+v", code, got)
		}
	}
	if got := f.of("gate", time.Time{}); got != want {
		t.Errorf("without any picture: %+v", got)
	}
	if got := f.of("gate", t0.Add(time.Millisecond)); got != (condition{}) {
		t.Errorf("with a picture: %+v", got)
	}
	if got := f.of("yard", time.Time{}); got != want {
		t.Errorf("a renderer that crashed has no picture of another stream either: %+v", got)
	}
	f.note(report.Report{Code: report.CodeStream}, "gate", t0.Add(time.Second))
	if got := f.of("gate", t0); got.code != report.CodeStream {
		t.Errorf("no decoder makes a picture: %+v", got)
	}
	if got := f.of("yard", time.Time{}); got != (condition{}) {
		t.Errorf("of another stream: %+v", got)
	}
	f.note(report.Report{Code: report.CodeStart, Message: "no memory"}, "gate", t0)
	if got := f.of("yard", time.Time{}); got.code != report.CodeStart {
		t.Errorf("a renderer that cannot be started: %+v", got)
	}
}

// Every code after which there is no picture is one of warnings or errors, and of the decoder.
func TestPicturelessCodes(t *testing.T) {
	for code := range pictureless {
		if c, ok := contract.Lookup(code); !ok || c.Severity == contract.SeverityInfo {
			t.Errorf("%s: %+v, %v", code, c, ok)
		}
	}
}
