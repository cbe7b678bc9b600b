// Package mkv reads the body of a GetMedia response.
//
// In goes a stream of bytes: one Matroska document after another, each of
// them one fragment of a Kinesis video stream. Out come events in the order of
// the bytes: a document starts, tracks, tags, frames, the document ends. Every
// event is handed on as soon as its last byte has arrived, and nothing larger
// than one frame is ever held.
//
// The bytes are not trusted. Every size is checked before memory is taken for
// it, and a malformed document costs that document only: its [End] carries the
// fault, and reading continues at the next EBML header. A document that begins
// within an element means that the element was cut: the service sends an error,
// as a document of its own, right after the bytes at which it failed.
//
// A [Reader] belongs to one goroutine and starts none. It waits for bytes in its
// source only, so cancelling the source ends Next. Readers may share a [Budget]
// of memory.
package mkv

import (
	"strings"
	"time"
)

// Event is one of *Start, *Track, *Tags, *Frame and *End. But for *Track, an
// event and what it points to are valid until the next call of Reader.Next.
type Event interface{ event() }

// Start says that a document begins: an EBML header and a Segment follow each
// other at Offset.
type Start struct {
	Offset int64 // of the EBML header, in bytes from the start of the body
}

// TrackType tells pictures from sound (Matroska's TrackType).
type TrackType uint8

// The track types that Kinesis Video Streams carries; other values are passed on
// as they stand in the document.
const (
	Video TrackType = 1
	Audio TrackType = 2
)

// Track describes one track. It is sent when it is new or differs from the
// one of the same number before: producers repeat it in every fragment. A Track
// is never modified after it was sent, so the pointer may be kept, and equal
// pointers mean an equal configuration.
type Track struct {
	Number          uint64
	Type            TrackType
	Name            string
	CodecID         string        // such as "V_MPEG4/ISO/AVC"
	CodecPrivate    []byte        // as the producer sent it, which nobody has checked
	DefaultDuration time.Duration // of a frame; 0 when not given
	Width, Height   int           // pixels, as the container says
	SampleRate      float64       // hertz
	Channels        int
	BitDepth        int
	Encoded         bool // frames are compressed or encrypted by ContentEncodings, which nothing here undoes
}

// Codec ids of the tracks this project decodes.
const (
	CodecH264 = "V_MPEG4/ISO/AVC"
	CodecH265 = "V_MPEGH/ISO/HEVC"
)

// Tag is one SimpleTag. Trailing NULs, which some producers send, are gone.
type Tag struct {
	Name, Value string
}

// Tags is one Tags element.
type Tags struct {
	List     []Tag
	Fragment *Fragment // the fragment as known after these tags
	Offset   int64
}

// Frame is one frame (access unit) of a track.
type Frame struct {
	Track *Track
	Data  []byte // valid until the next call of Reader.Next

	// Time is the frame's presentation time on the document's own time line: cluster
	// timestamp plus block offset, times TimestampScale. It may be negative. The line may
	// begin anywhere and may begin again with every fragment.
	Time time.Duration

	// ClusterTime is the timestamp of the fragment's first cluster on the same line. It is
	// what AWS_KINESISVIDEO_PRODUCER_TIMESTAMP gives in wall-clock time.
	ClusterTime time.Duration

	// Key says that decoding can begin here. For H.264 and H.265 the NAL units decide,
	// for others the block's flag.
	Key    bool
	Offset int64 // of the block
}

// End says that a document is over.
type End struct {
	Fragment Fragment
	Err      error // nil, or why the document is not whole: an *Error
}

func (*Start) event() {}
func (*Track) event() {}
func (*Tags) event()  {}
func (*Frame) event() {}
func (*End) event()   {}

// Fragment is what a document's AWS_KINESISVIDEO_* tags say of it, and what was
// counted in it. Tags that did not come leave zero values.
type Fragment struct {
	Number       string        // FRAGMENT_NUMBER: 47 digits; compare as strings of equal length
	ServerTime   time.Time     // SERVER_TIMESTAMP
	ProducerTime time.Time     // PRODUCER_TIMESTAMP
	Behind       time.Duration // MILLIS_BEHIND_NOW; may be negative
	HasBehind    bool          // MILLIS_BEHIND_NOW came
	Token        string        // CONTINUATION_TOKEN: opaque
	ErrorID      int           // ERROR_ID; 0 when none came
	ErrorCode    string        // ERROR_CODE; "" when none came

	Offset, Bytes int64 // of the document
	Frames        int   // of all tracks
	VideoFrames   int   // of the video tracks
	KeyFrames     int   // of the video tracks: in audio, every frame has the flag
}

// Complete says that the tag which the service sends last has arrived.
func (f *Fragment) Complete() bool { return f.Token != "" }

// Failed says that the service ended the stream with an error.
func (f *Fragment) Failed() bool { return f.ErrorID != 0 || f.ErrorCode != "" }

// Error is what is wrong with the bytes, and where.
type Error struct {
	Kind    Kind
	Offset  int64  // of Element
	Element string // Matroska's name of the element that is at fault, or its id
	Detail  string
	Err     error // what the source of the bytes said, if that was it
}

// Kind tells what can be done about an Error.
type Kind uint8

const (
	// Malformed bytes break Matroska's rules or this package's bounds.
	Malformed Kind = iota + 1
	// Truncated bytes end in the middle of something.
	Truncated
)

func (e *Error) Error() string {
	var b strings.Builder
	if e.Kind == Truncated {
		b.WriteString("cut short in ")
	} else {
		b.WriteString("malformed in ")
	}
	b.WriteString(e.Element)
	b.WriteString(" at byte ")
	b.WriteString(itoa(e.Offset))
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the error of the reader the bytes came from.
func (e *Error) Unwrap() error { return e.Err }
