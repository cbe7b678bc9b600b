// Package capture lists what is in a GetMedia capture: capture.go reads it, listing.go writes it.
package capture

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Codes of a capture that cannot be read to its end.
const (
	codeCaptureUnreadable = "capture.unreadable"
	codeCaptureMalformed  = "capture.malformed"
	codeCaptureTruncated  = "capture.truncated"
)

// Open opens a capture. The error is a *failure.Failure.
func Open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadableCapture(err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close()
		return nil, &failure.Failure{
			Code: codeCaptureUnreadable, Message: path + " is a directory", Action: "Name a file, or - for standard input.",
		}
	}
	return f, nil
}

// listing is one way to write down a capture. What a line cannot hold is null
// in JSON and - in the table. Write errors stay in the buffered writer below
// and come out of its Flush.
type listing interface {
	track(*trackLine)
	tags(*tagsLine)
	fragment(*fragmentLine)
	serviceError(*errorLine)
	summary(*summaryLine)
}

type trackLine struct {
	Type         string   `json:"type"`
	Number       uint64   `json:"number"`
	Kind         string   `json:"kind"` // video, audio, subtitle, or Matroska's number for others
	Name         *string  `json:"name"`
	CodecID      string   `json:"codec_id"`
	Codec        string   `json:"codec"`      // what codec_id, for V_MS/VFW with codec_private, stands for
	FrameRate    *float64 `json:"frame_rate"` // frames per second, from DefaultDuration
	Width        int      `json:"width"`
	Height       int      `json:"height"`
	SampleRate   *float64 `json:"sample_rate"` // hertz
	Channels     *int     `json:"channels"`
	BitDepth     *int     `json:"bit_depth"`
	Encoded      bool     `json:"encoded"`       // compressed or encrypted by the container
	CodecPrivate []byte   `json:"codec_private"` // base64 in JSON
}

// tagsLine is what the producer says of a fragment. It is listed when it differs from what was listed before.
type tagsLine struct {
	Type     string    `json:"type"`
	Fragment *string   `json:"fragment_number"`
	Tags     []tagLine `json:"tags"`
}

type tagLine struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type fragmentLine struct {
	Type      string  `json:"type"`
	Number    *string `json:"fragment_number"`
	Server    *string `json:"server_timestamp"` // RFC 3339, UTC, milliseconds
	Producer  *string `json:"producer_timestamp"`
	Behind    *int64  `json:"millis_behind_now"`
	Token     *string `json:"continuation_token"`
	Frames    int     `json:"frames"`     // of all tracks
	KeyFrames int     `json:"key_frames"` // of the video
	Bytes     int64   `json:"bytes"`
	Complete  bool    `json:"complete"`
}

type errorLine struct {
	Type     string  `json:"type"`
	ID       *int    `json:"error_id"`
	Code     *string `json:"error_code"`
	Fragment *string `json:"fragment_number"`
}

type summaryLine struct {
	Type      string        `json:"type"`
	Documents int           `json:"documents"`
	Fragments int           `json:"fragments"`
	Frames    int           `json:"frames"`     // of all tracks
	KeyFrames int           `json:"key_frames"` // of the video
	Tracks    []*trackCount `json:"tracks"`
	Bytes     int64         `json:"bytes"`
	Errors    int           `json:"errors"`
	Truncated bool          `json:"truncated"`
}

// trackCount is what came of one track.
type trackCount struct {
	Number    uint64 `json:"number"`
	Kind      string `json:"kind"`
	Frames    int    `json:"frames"`
	KeyFrames *int   `json:"key_frames"` // of video
}

// inspector adds up what it lists.
type inspector struct {
	list   listing
	sum    summaryLine
	tags   []tagLine // the producer's, of the open document
	listed []tagLine // the producer's, as listed last
	faults []*mkv.Error
}

// Inspect lists all of in and returns its first fault.
func Inspect(in io.Reader, l listing) error {
	body := &countingReader{src: in}
	r := mkv.NewReader(body)
	i := inspector{list: l, sum: summaryLine{Type: "summary", Tracks: []*trackCount{}}}
	for {
		ev, err := r.Next()
		if err != nil {
			i.fault(err)
			break
		}
		i.event(ev)
	}
	i.sum.Bytes = body.n
	l.summary(&i.sum)
	return i.failure(body)
}

// countingReader counts what was there, also of an element that was cut, and keeps how it begins.
type countingReader struct {
	src   io.Reader
	n     int64
	begin []byte // 16 bytes at most
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	r.n += int64(n)
	r.begin = append(r.begin, p[:min(n, 16-len(r.begin))]...)
	return n, err
}

func (i *inspector) event(ev mkv.Event) {
	switch ev := ev.(type) {
	case *mkv.Start:
		i.sum.Documents++
	case *mkv.Track:
		i.count(ev)
		i.list.track(trackOf(ev))
	case *mkv.Tags:
		for _, tag := range ev.List {
			if !strings.HasPrefix(tag.Name, mkv.ServicePrefix) {
				i.tags = append(i.tags, tagLine{tag.Name, tag.Value})
			}
		}
	case *mkv.Frame:
		c := i.count(ev.Track)
		c.Frames++
		if ev.Key && c.KeyFrames != nil {
			*c.KeyFrames++
		}
	case *mkv.End:
		i.end(ev)
	}
}

// count gives the figures of a track. A track is known by its number; the kind is the one it had first.
func (i *inspector) count(t *mkv.Track) *trackCount {
	for _, c := range i.sum.Tracks {
		if c.Number == t.Number {
			return c
		}
	}
	c := &trackCount{Number: t.Number, Kind: kindOf(t.Type)}
	if t.Type == mkv.Video {
		c.KeyFrames = new(int)
	}
	i.sum.Tracks = append(i.sum.Tracks, c)
	return c
}

func kindOf(t mkv.TrackType) string {
	switch t {
	case mkv.Video:
		return "video"
	case mkv.Audio:
		return "audio"
	case 17: // Matroska's number for subtitles
		return "subtitle"
	}
	return strconv.Itoa(int(t))
}

func trackOf(t *mkv.Track) *trackLine {
	line := &trackLine{
		Type: "track", Number: t.Number, Kind: kindOf(t.Type), Name: known(t.Name), CodecID: t.CodecID, Codec: t.Codec(),
		Width: t.Width, Height: t.Height,
		SampleRate: known(t.SampleRate), Channels: known(t.Channels), BitDepth: known(t.BitDepth),
		Encoded: t.Encoded, CodecPrivate: t.CodecPrivate,
	}
	if math.IsNaN(t.SampleRate) || math.IsInf(t.SampleRate, 0) {
		line.SampleRate = nil // which JSON cannot hold
	}
	if t.DefaultDuration > 0 {
		line.FrameRate = new(math.Round(1e3/t.DefaultDuration.Seconds()) / 1e3)
	}
	return line
}

// end lists a document that is over. One that only carries an error of the
// service is no fragment, and neither is one that was cut before its first frame.
func (i *inspector) end(ev *mkv.End) {
	f := &ev.Fragment
	if len(i.tags) > 0 && !slices.Equal(i.tags, i.listed) {
		i.list.tags(&tagsLine{Type: "tags", Fragment: known(f.Number), Tags: i.tags})
		i.listed, i.tags = i.tags, i.listed
	}
	i.tags = i.tags[:0]
	i.sum.Frames += f.Frames
	i.sum.KeyFrames += f.KeyFrames
	if f.Frames > 0 || f.Number != "" && !f.Failed() {
		i.sum.Fragments++
		i.list.fragment(fragmentOf(ev))
	}
	if f.Failed() {
		i.sum.Errors++
		i.list.serviceError(&errorLine{
			Type: "error", ID: known(f.ErrorID), Code: known(f.ErrorCode), Fragment: known(f.Number),
		})
	}
	if ev.Err != nil {
		i.fault(ev.Err)
	}
}

// fragmentOf fills a line. A fragment is complete with its closing tags, whatever
// is wrong behind them; a file that never was at the service has none and is
// complete when nothing is wrong.
func fragmentOf(ev *mkv.End) *fragmentLine {
	f := &ev.Fragment
	line := &fragmentLine{
		Type: "fragment", Number: known(f.Number), Server: timestamp(f.ServerTime), Producer: timestamp(f.ProducerTime),
		Token: known(f.Token), Frames: f.Frames, KeyFrames: f.KeyFrames, Bytes: f.Bytes,
		Complete: f.Complete() || f.Number == "" && ev.Err == nil,
	}
	if f.HasBehind {
		line.Behind = new(f.Behind.Milliseconds())
	}
	return line
}

// known returns nil for a value that was not there.
func known[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

func timestamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	return new(t.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// fault notes a fault. The one that ends a document at the end of the body
// comes twice: with the document's end and as the end of the reading.
func (i *inspector) fault(err error) {
	fault, ok := errors.AsType[*mkv.Error](err)
	if !ok || len(i.faults) > 0 && *i.faults[len(i.faults)-1] == *fault {
		return
	}
	i.faults = append(i.faults, fault)
	i.sum.Truncated = i.sum.Truncated || fault.Kind == mkv.Truncated
}

// failure is what is wrong with the capture as a whole: its first fault.
func (i *inspector) failure(body *countingReader) error {
	var first *mkv.Error
	if len(i.faults) > 0 {
		first = i.faults[0]
	}
	switch {
	case first != nil && first.Err != nil && !errors.Is(first.Err, io.ErrUnexpectedEOF):
		return unreadableCapture(first)
	case body.n == 0:
		return notMatroska("the capture is empty")
	case i.sum.Documents == 0 && !bytes.HasPrefix(body.begin, ebmlMagic[:min(len(body.begin), len(ebmlMagic))]):
		return notMatroska(fmt.Sprintf("not a Matroska capture: it begins with %q", body.begin))
	case first == nil:
		return nil
	}
	f := &failure.Failure{Code: codeCaptureMalformed, Message: "the capture is " + first.Error(), Err: first}
	if first.Kind == mkv.Truncated {
		f.Code = codeCaptureTruncated
	}
	if more := len(i.faults) - 1; more > 0 {
		f.Message += fmt.Sprintf(" (and %d more after it)", more)
	}
	return f
}

// ebmlMagic begins every Matroska document: the id of the EBML element.
var ebmlMagic = []byte{0x1A, 0x45, 0xDF, 0xA3}

func notMatroska(message string) error {
	return &failure.Failure{
		Code: codeCaptureMalformed, Message: message,
		Action: "Record the body of GetMedia, or convert the file: ffmpeg -i clip.mp4 -c copy clip.mkv",
	}
}

func unreadableCapture(err error) error {
	return &failure.Failure{Code: codeCaptureUnreadable, Message: err.Error(), Err: err}
}
