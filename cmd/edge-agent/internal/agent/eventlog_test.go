package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A fault that is tried again and again is a line, not a thousand; what comes between is never left out.
func TestEventsThatRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		log := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		var l eventLog
		for range 90 { // 15 minutes
			l.write(log, "decode.renderer", "gate", "no program; again in 10s", nil)
			time.Sleep(10 * time.Second)
		}
		l.write(log, "ingest.playing", "yard", "frames are coming", nil)
		l.write(log, "decode.renderer", "gate", "no program; again in 1m10s", nil)
		l.write(log, "decode.renderer", "gate", "no library; again in 1m10s", nil)
		for range 2 {
			l.write(log, "ingest.cut", "gate", "the connection ended", nil)
			l.write(log, "ingest.resumed", "gate", "frames are coming again", nil)
		}
		want := `level=ERROR msg="no program; again in 10s" code=decode.renderer stream=gate
level=ERROR msg="no program; again in 10s" code=decode.renderer stream=gate repeats=59
level=INFO msg="frames are coming" code=ingest.playing stream=yard
level=ERROR msg="no library; again in 1m10s" code=decode.renderer stream=gate
level=WARN msg="the connection ended" code=ingest.cut stream=gate
level=INFO msg="frames are coming again" code=ingest.resumed stream=gate
level=WARN msg="the connection ended" code=ingest.cut stream=gate
level=INFO msg="frames are coming again" code=ingest.resumed stream=gate
`
		if got := text.String(); got != want {
			t.Errorf("got\n%swant\n%s", got, strings.TrimSpace(want))
		}
	})
}
