// Package ingest keeps one Kinesis video stream coming.
//
// In goes the name of a stream and where to start. Out come, through a [Sink], its
// frames with their time, its fragments as they are completed, and reports of
// what happens: every end of a session, its cause, and what is done about it.
//
// A [Session] is one stream. Its Run holds the one retry loop; one straight attempt is in
// once: find the endpoint, sign and send GetMedia, read the body until it ends. After any end the
// session goes on behind the last fragment that came whole, so that no fragment
// is lost and none comes twice. Run works on its caller's goroutine and starts
// none; a [Service] is what all sessions of a process share.
package ingest

import (
	"context"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Stream is what a session is to pull, and how.
type Stream struct {
	Name       string // the agent's own name for it, as in topics and logs
	StreamName string // of the service; either this or StreamARN
	StreamARN  string

	Start Selector // of the first session, and after a seek

	// MaxLag is how far behind the newest fragment the session may fall before it is late;
	// 0 for no bound. With Stay it only says so, otherwise it goes on at the newest fragment.
	MaxLag time.Duration
	Stay   bool
}

// Sink takes what a session reads. Its methods are called from the session's
// goroutine, one at a time; while one runs, nothing is read.
type Sink interface {
	// Tracks takes the tracks of the frames that follow: at the start of every session, and when they change.
	Tracks([]*mkv.Track)
	// Frame takes one frame. It is valid during the call only, but for its Track. Frame may wait for room, until the
	// context ends: then the session is to stop or to continue elsewhere, and hands on no more of this body.
	Frame(context.Context, *Frame)
	// Fragment takes what is known of a fragment once all of it has arrived.
	Fragment(mkv.Fragment)
	// Report takes what happens.
	Report(Report)
}

// Frame is a frame and its place in time.
type Frame struct {
	*mkv.Frame
	Fragment string // its fragment's number

	// Made is when the frame was made: PRODUCER_TIMESTAMP of the fragment, plus the frame's
	// place within it. Where the producer sent no timestamp, the service's stands in
	// (Produced is false then); zero when there is neither.
	Made     time.Time
	Produced bool
	// WallClock says that Made is a time of day. It is not where the producer counts from its own start: such times lie
	// shortly after 1970. A lag can only be taken of a time of day.
	WallClock bool

	// Received is when its last byte had been read.
	Received time.Time

	// Recorded says that the stream was asked to begin in the past, or to stay behind, and
	// has not caught up: the frame comes as fast as it is taken, and may wait.
	Recorded bool

	// Discontinuity says that frames before this one are missing.
	Discontinuity bool
}

// State is where a session stands.
//
//	           200 OK, a frame
//	starting ──────────────────▶ playing ◀──────────────┐ a frame
//	    ▲                           │                    │
//	    │ next attempt              │ no new fragments ──▶ stalled
//	    │                           ▼ error, cut         │
//	 backoff ◀──────────────────────┴────────────────────┘
//	    │
//	    └── an error that will not go away by itself ──▶ failed, tried again slowly
//
// From every state, the end of Run leads to stopped.
type State string

// The states of a session.
const (
	Starting State = "starting"
	Playing  State = "playing"
	Stalled  State = "stalled"
	Backoff  State = "backoff"
	Failed   State = "failed"
	Stopped  State = "stopped"
)

// Report is a change of state, something worth an event, or both.
type Report struct {
	State   State  // after what is reported
	Code    string // of what happened; "" for nothing but the change of state
	Message string // what happened, and what is done about it

	Attempt  int            // how many attempts in a row have failed
	Fragment string         // the last fragment that came whole
	Detail   map[string]any // as the code's documentation says
}
