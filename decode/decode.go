// Package decode turns the encoded frames of one stream into a picture, by way
// of a child process that does the decoding.
//
// In go frames with their place on the producer's time line ([Input.Push]).
// Out come reports and figures: what is decoded by which element, what was shown
// when, what was dropped. The picture itself never passes through this process:
//
//	Push ──▶ track ──▶ access units ──▶ gate ──▶ socket pair ──▶ renderer child (package gst) ──▶ display
//	                                     │ kept since the              │ opened, status, failure
//	                                     │ last key frame              ▼
//	                                     └── replay ◀── supervision: deny the plan, start the next child
//
// Every access unit has a number and is accounted for: [Input.Counts].
//
// A decoder that exists proves nothing. [Probe] tries out every one in a child of its own; one that fails while it
// is in use is denied for a growing time and then tried again beside the picture (reconsider.go). Five ways
// to fail are told apart: an error, the end of the process, a process that does not answer, frames that become
// no pictures, and pictures that stand still (watch.go, still.go); and how much memory a child takes is watched.
//
// What decides is pure and stands apart from what acts: [FormatOf] (what has to
// be decoded), [Choose] (by which elements), [ChooseDisplay] (to which
// screen), [Timeline] (when). The wire protocol ([Reader], [Writer]) is shared by both ends.
//
// [Renderer.Run] owns the child, the socket and every goroutine of this package:
// for each child one feeds, one reads what it says, one reads its log, one waits
// for its end, one watches that it is alive, one looks after its display and one tries better decoders again. When
// Run has returned, all of them are gone.
package decode

import "fmt"

// The stable codes of what this package reports.
const (
	CodeCodec     = "decode.codec"    // the track is nothing that can be decoded here
	CodeNoVideo   = "decode.no_video" // the stream has no video track
	CodeNoTrack   = "decode.no_track" // the stream has no video track of the configured number or name
	CodeTracks    = "decode.tracks"   // the stream has several video tracks, of which one is used
	CodeNoDecoder = "decode.none"     // no decoder for the codec is installed

	CodeNoParameterSets = "decode.no_parameter_sets" // the stream lacks the parameter sets that a decoder needs
	CodeNoKeyFrame      = "decode.no_key_frame"      // the stream has no frame that decoding can begin with

	CodeStart     = "decode.start"     // the renderer process cannot be started
	CodeRenderer  = "decode.renderer"  // the renderer program is missing, or cannot run on this box
	CodeError     = "decode.error"     // a pipeline element reported an error
	CodeCrash     = "decode.crash"     // the renderer process died
	CodeHang      = "decode.hang"      // the renderer process does not answer, or its decoder takes no more frames
	CodeSilent    = "decode.silent"    // frames go in and no picture comes out
	CodeStream    = "decode.stream"    // no decoder makes a picture of the stream's frames
	CodeStale     = "decode.stale"     // the decoder delivers the same pictures again and again
	CodeDiffers   = "decode.differs"   // a decoder makes other pictures than the processor
	CodeDown      = "decode.down"      // the box went down while a decoder was tried out
	CodeMemory    = "decode.memory"    // the renderer process took too much memory
	CodeAccess    = "decode.access"    // the user may not open the device nodes of decoders
	CodeSandbox   = "decode.sandbox"   // the renderer process is not confined as it should be
	CodeFallback  = "decode.fallback"  // another decoder took over
	CodeRecovered = "decode.recovered" // the picture is back after a failure
	CodeDropped   = "decode.dropped"   // frames were given up, because the queue was full

	CodeNoDisplay   = "display.none"      // the display that was asked for cannot be used
	CodeNoAccess    = "display.access"    // a desktop session refuses access
	CodeConnector   = "display.connector" // the connector that was asked for cannot be used
	CodeDisplayLost = "display.lost"      // the display failed while it was in use
	CodeDisplayBack = "display.back"      // a display is there again
	CodeBusy        = "display.busy"      // another program holds the display
	CodeNoPicture   = "display.snapshot"  // there is no picture to take
)

// Error is a failure with its stable code. Message says what happened and what
// to do about it.
type Error struct {
	Code    string
	Message string
	Err     error
}

func (e *Error) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Report is something that happened to the picture.
type Report struct {
	Code    string
	Stream  string // that it is about; "" for whichever is shown
	Message string
	Detail  map[string]any // for machines: element, family, signal, …
}
