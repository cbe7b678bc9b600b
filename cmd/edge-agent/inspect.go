package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Codes of a capture that cannot be read to its end.
const (
	codeCaptureUnreadable = "capture.unreadable"
	codeCaptureMalformed  = "capture.malformed"
	codeCaptureTruncated  = "capture.truncated"
)

// Run lists the capture. What stands before and after a fault is listed all the
// same; the error tells of the first fault.
func (c inspectCommand) Run(_ context.Context, std stdio) error {
	in := std.In
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return unreadableCapture(err)
		}
		defer f.Close()
		in = f
	}
	out := bufio.NewWriterSize(std.Out, 64<<10)
	var l listing = &tableListing{out: out}
	if c.JSON {
		l = &jsonListing{json.NewEncoder(out)}
	}
	fault := inspect(in, l)
	if err := out.Flush(); err != nil {
		return err
	}
	return fault
}

// listing is one way to write down a capture. What a line cannot hold is null
// in JSON and - in the table. Write errors stay in the buffered writer below
// and come out of its Flush.
type listing interface {
	track(*trackLine)
	fragment(*fragmentLine)
	serviceError(*errorLine)
	summary(*summaryLine)
}

type trackLine struct {
	Type         string `json:"type"`
	Number       uint64 `json:"number"`
	CodecID      string `json:"codec_id"`
	Width        int    `json:"width"`
	Height       int    `json:"height"`
	CodecPrivate []byte `json:"codec_private"` // base64 in JSON
}

type fragmentLine struct {
	Type      string  `json:"type"`
	Number    *string `json:"fragment_number"`
	Server    *string `json:"server_timestamp"` // RFC 3339, UTC, milliseconds
	Producer  *string `json:"producer_timestamp"`
	Behind    *int64  `json:"millis_behind_now"`
	Token     *string `json:"continuation_token"`
	Frames    int     `json:"frames"`
	KeyFrames int     `json:"key_frames"`
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
	Type      string `json:"type"`
	Documents int    `json:"documents"`
	Fragments int    `json:"fragments"`
	Frames    int    `json:"frames"`
	KeyFrames int    `json:"key_frames"`
	Bytes     int64  `json:"bytes"`
	Errors    int    `json:"errors"`
	Truncated bool   `json:"truncated"`
}

// inspector adds up what it lists.
type inspector struct {
	list   listing
	sum    summaryLine
	faults []*mkv.Error
}

// inspect lists all of in and returns its first fault.
func inspect(in io.Reader, l listing) error {
	body := &countingReader{src: in}
	r := mkv.NewReader(body)
	i := inspector{list: l, sum: summaryLine{Type: "summary"}}
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
	return i.failure()
}

// countingReader counts what was there, also of an element that was cut.
type countingReader struct {
	src io.Reader
	n   int64
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.src.Read(p)
	r.n += int64(n)
	return n, err
}

func (i *inspector) event(ev mkv.Event) {
	switch ev := ev.(type) {
	case *mkv.Start:
		i.sum.Documents++
	case *mkv.Track:
		i.list.track(&trackLine{
			Type: "track", Number: ev.Number, CodecID: ev.CodecID,
			Width: ev.Width, Height: ev.Height, CodecPrivate: ev.CodecPrivate,
		})
	case *mkv.End:
		i.end(ev)
	}
}

// end lists a document that is over. One that only carries an error of the
// service is no fragment, and neither is one that was cut before its first frame.
func (i *inspector) end(ev *mkv.End) {
	f := &ev.Fragment
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

func (i *inspector) failure() error {
	if len(i.faults) == 0 {
		return nil
	}
	first := i.faults[0]
	if first.Err != nil && !errors.Is(first.Err, io.ErrUnexpectedEOF) {
		return unreadableCapture(first)
	}
	f := &failure{Code: codeCaptureMalformed, Message: "the capture is " + first.Error(), Err: first}
	if first.Kind == mkv.Truncated {
		f.Code = codeCaptureTruncated
	}
	if more := len(i.faults) - 1; more > 0 {
		f.Message += fmt.Sprintf(" (and %d more after it)", more)
	}
	return f
}

func unreadableCapture(err error) error {
	return &failure{Code: codeCaptureUnreadable, Message: err.Error(), Err: err}
}

// jsonListing writes one object a line.
type jsonListing struct{ enc *json.Encoder }

func (l *jsonListing) track(t *trackLine)        { l.enc.Encode(t) }
func (l *jsonListing) fragment(f *fragmentLine)  { l.enc.Encode(f) }
func (l *jsonListing) serviceError(e *errorLine) { l.enc.Encode(e) }
func (l *jsonListing) summary(s *summaryLine)    { l.enc.Encode(s) }

// tableListing writes a table of fragments, tracks and errors between its rows.
type tableListing struct {
	out    io.Writer
	headed bool // the head of the table stands right above
}

func (l *tableListing) track(t *trackLine) {
	l.headed = false
	fmt.Fprintf(l.out, "track %d  %s", t.Number, t.CodecID)
	if t.Width > 0 && t.Height > 0 {
		fmt.Fprintf(l.out, "  %dx%d", t.Width, t.Height)
	}
	fmt.Fprintf(l.out, "  codec private %d bytes\n", len(t.CodecPrivate))
}

func (l *tableListing) fragment(f *fragmentLine) {
	if !l.headed {
		fmt.Fprintf(l.out, "%-47s  %-24s  %-24s  %9s  %6s  %4s  %9s\n",
			"fragment", "server time", "producer time", "behind ms", "frames", "keys", "bytes")
		l.headed = true
	}
	fmt.Fprintf(l.out, "%-47s  %-24s  %-24s  %9s  %6d  %4d  %9d",
		text(f.Number), text(f.Server), text(f.Producer), text(f.Behind), f.Frames, f.KeyFrames, f.Bytes)
	if !f.Complete {
		fmt.Fprint(l.out, "  incomplete")
	}
	fmt.Fprintln(l.out)
}

func (l *tableListing) serviceError(e *errorLine) {
	fmt.Fprintf(l.out, "error of the service: id %s, code %s, fragment %s\n", text(e.ID), text(e.Code), text(e.Fragment))
}

func (l *tableListing) summary(s *summaryLine) {
	fmt.Fprintf(l.out, "documents %d, fragments %d, frames %d (key %d), bytes %d, errors of the service %d",
		s.Documents, s.Fragments, s.Frames, s.KeyFrames, s.Bytes, s.Errors)
	if s.Truncated {
		fmt.Fprint(l.out, ", cut short")
	}
	fmt.Fprintln(l.out)
}

// text writes a value that may be missing.
func text[T any](v *T) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprint(*v)
}
