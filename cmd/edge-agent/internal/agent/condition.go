package agent

import (
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// condition is something that is wrong with a stream; its code is "" when nothing is.
type condition struct {
	code, message string
}

func conditionOf(r report.Report) condition { return condition{r.Code, r.Message} }

// conditions are the places where a stream can go wrong, in the order of the data.
type conditions struct {
	state   contract.StreamState
	session condition // of the session with the service
	blocked condition // frames arrive that cannot be shown

	// Of the stream that is on the display; empty for others.
	display condition // there is no display that works
	picture condition // the decoder failed, and no picture has come since
	slow    condition // many frames are not shown in time
}

// worst is the condition that explains what is seen on the display: the cause rather than what follows from it.
//
//  1. The session, unless the stream plays: without frames nothing else matters. That there are no new fragments is no fault
//     of the session: when the last ones could not be shown, that counts, and the state says that nothing arrives.
//  2. Frames that cannot be shown: no decoder and no display can help.
//  3. The display: a decoder that fails while there is none often fails because of it.
//  4. The decoder.
//  5. A box that is too slow.
//  6. The session of a stream that plays: a lag.
func (c conditions) worst() condition {
	order := []condition{c.session, c.blocked, c.display, c.picture}
	switch {
	case c.state == contract.Playing:
		order = []condition{c.blocked, c.display, c.picture, c.slow, c.session}
	case c.session.code == ingest.CodeIdle:
		order = []condition{c.blocked, c.session}
	}
	for _, each := range order {
		if each.code != "" {
			return each
		}
	}
	return condition{}
}

// pictureless are the codes after which there is no picture until a decoder has made one again. Other reports of the
// renderer come while the picture goes on, or are conditions of the input or the display.
var pictureless = map[string]bool{
	report.CodeStart: true, report.CodeRenderer: true, report.CodeError: true, report.CodeCrash: true, report.CodeHang: true, report.CodeSilent: true,
	report.CodeStale: true, report.CodeMemory: true, report.CodeNoDecoder: true, report.CodeStream: true,
}

// pictureFault is the newest failure of a decoder, or of the renderer process.
type pictureFault struct {
	condition
	stream string // that was on the display
	at     time.Time
}

// note takes in a report about the stream on the display.
func (f *pictureFault) note(r report.Report, stream string, now time.Time) {
	if pictureless[r.Code] {
		*f = pictureFault{conditionOf(r), stream, now}
	}
}

// OfTheProcess are faults of the renderer process, which has no picture of any stream then.
var OfTheProcess = map[string]bool{
	report.CodeStart: true, report.CodeRenderer: true, report.CodeCrash: true, report.CodeHang: true, report.CodeMemory: true,
}

// of is what the fault means for the stream on the display: nothing once a picture was shown after it. picture is when
// the newest picture was on the screen.
func (f *pictureFault) of(stream string, picture time.Time) condition {
	if f.code == "" || picture.After(f.at) || stream != f.stream && !OfTheProcess[f.code] {
		return condition{}
	}
	return f.condition
}
