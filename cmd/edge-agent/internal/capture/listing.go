package capture

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Table lists for people.
func Table(out *bufio.Writer) listing { return &tableListing{out: out} }

// JSONLines lists for programs, one object a line.
func JSONLines(out *bufio.Writer) listing { return &jsonListing{json.NewEncoder(out)} }

// jsonListing writes one object a line.
type jsonListing struct{ enc *json.Encoder }

func (l *jsonListing) track(t *trackLine)        { l.enc.Encode(t) }
func (l *jsonListing) tags(t *tagsLine)          { l.enc.Encode(t) }
func (l *jsonListing) fragment(f *fragmentLine)  { l.enc.Encode(f) }
func (l *jsonListing) serviceError(e *errorLine) { l.enc.Encode(e) }
func (l *jsonListing) summary(s *summaryLine)    { l.enc.Encode(s) }

// tableListing writes a table of fragments, with tracks, tags and errors between its rows.
type tableListing struct {
	out    io.Writer
	headed bool // the head of the table stands right above
}

func (l *tableListing) track(t *trackLine) {
	l.headed = false
	fmt.Fprintf(l.out, "track %d  %s", t.Number, t.Kind)
	if t.Name != nil {
		fmt.Fprintf(l.out, "  %q", *t.Name)
	}
	fmt.Fprintf(l.out, "  %s", printable(t.CodecID))
	if t.Codec != t.CodecID {
		fmt.Fprintf(l.out, " (%s)", t.Codec)
	}
	if t.Width > 0 && t.Height > 0 {
		fmt.Fprintf(l.out, "  %dx%d", t.Width, t.Height)
	}
	if t.FrameRate != nil {
		fmt.Fprintf(l.out, "  %v fps", *t.FrameRate)
	}
	if t.SampleRate != nil {
		fmt.Fprintf(l.out, "  %v Hz", *t.SampleRate)
	}
	if t.Channels != nil {
		fmt.Fprintf(l.out, "  channels %d", *t.Channels)
	}
	if t.BitDepth != nil {
		fmt.Fprintf(l.out, "  %d bits", *t.BitDepth)
	}
	if t.Encoded {
		fmt.Fprint(l.out, "  compressed or encrypted")
	}
	fmt.Fprintf(l.out, "  codec private %d bytes\n", len(t.CodecPrivate))
}

func (l *tableListing) tags(t *tagsLine) {
	l.headed = false
	for _, tag := range t.Tags {
		fmt.Fprintf(l.out, "tag  %s = %s\n", printable(tag.Name), printable(tag.Value))
	}
}

// printable quotes what a producer sent if a terminal could not show it as it is.
func printable(s string) string {
	if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
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
	for _, t := range s.Tracks {
		fmt.Fprintf(l.out, "track %d  %s  frames %d", t.Number, t.Kind, t.Frames)
		if t.KeyFrames != nil {
			fmt.Fprintf(l.out, ", key frames %d", *t.KeyFrames)
		}
		fmt.Fprintln(l.out)
	}
}

// text writes a value that may be missing.
func text[T any](v *T) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprint(*v)
}
