// Package report has what is said of decoding and showing: codes, errors and reports (report.go), and what became of
// each frame (frames.go).
package report

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
	CodePath        = "display.path"      // the way to the screen that was wanted does not work
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

// Errorf makes an Error without a cause.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Report is something that happened to the picture.
type Report struct {
	Code    string
	Stream  string // that it is about; "" for whichever is shown
	Message string
	Detail  map[string]any // for machines: element, family, signal, …
}
