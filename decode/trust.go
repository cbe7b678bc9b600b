package decode

import (
	"slices"
	"strings"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// A renderer process parses what a camera sends, so it may have been taken over by a stream. What it says is brought
// within bounds before it is used: it must not make this process fail, wait without end, fill its memory or what it
// publishes, or report in the name of others.

// Bounds of what a child says.
const (
	mostElements = 1000    // there are some hundred
	mostPassed   = 10      // paths to a screen that were not taken
	mostMissing  = 10      // parts of a sandbox that are missing
	mostName     = 100     // bytes of a name or version
	mostText     = 1 << 10 // bytes of a message
	mostDebug    = 4 << 10
	mostSize     = 1 << 15        // pixels, of a screen's side
	mostSkew     = 24 * time.Hour // between its wall clock and this one's, while the clock is set
)

// childCodes are what a Failure of a child may be.
var childCodes = []string{report.CodeError, report.CodeHang, report.CodeStream, report.CodeDisplayLost, report.CodeBusy, report.CodeNoDisplay, report.CodePath}

// reasons are what may become of a frame in a child.
var reasons = []report.Reason{report.Shown, report.Hidden, report.DropOverload, report.DropLate, report.DropCatchUp, report.DropNoPicture, report.DropDecoderFailed}

// shortened is a text as far as it fits, in valid UTF-8.
func shortened(text string, most int) string {
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

func (h *Hello) bound() {
	h.GStreamer = shortened(h.GStreamer, mostName)
	h.Elements = slices.DeleteFunc(h.Elements, func(name string) bool { return len(name) > mostName })
	h.Elements = h.Elements[:min(len(h.Elements), mostElements)]
	h.Unconfined = h.Unconfined[:min(len(h.Unconfined), mostMissing)]
	for i, text := range h.Unconfined {
		h.Unconfined[i] = shortened(text, mostText)
	}
}

func (s *Status) bound(now time.Time) {
	if s.Wall.Sub(now).Abs() > mostSkew {
		s.Wall = time.Time{}
	}
	for i := range s.Settled {
		if !slices.Contains(reasons, s.Settled[i].Reason) {
			s.Settled[i].Reason = report.DropNoPicture
		}
	}
}

func (f *Failure) bound() {
	if !slices.Contains(childCodes, f.Code) {
		f.Code = report.CodeError
	}
	f.Element, f.Domain = shortened(f.Element, mostName), shortened(f.Domain, mostName)
	f.Message, f.Debug = shortened(f.Message, mostText), shortened(f.Debug, mostDebug)
}

func (s *Screened) bound() {
	if s.Mode.Width < 0 || s.Mode.Height < 0 || s.Mode.Width > mostSize || s.Mode.Height > mostSize {
		s.Mode = plan.Mode{}
	}
	if !slices.Contains(plan.Paths, s.Path) {
		s.Path = ""
	}
	s.Passed = s.Passed[:min(len(s.Passed), mostPassed)]
	for i, text := range s.Passed {
		s.Passed[i] = shortened(text, mostText)
	}
	if s.Failure != nil {
		s.Failure.bound()
	}
}

func (d *Devices) bound() {
	for element, node := range d.Nodes {
		if len(element) > mostName || len(node) > mostName {
			delete(d.Nodes, element)
		}
	}
}

// decodeBounded is Decode for what a child says: the result is within bounds.
func (m Message) decodeBounded(v any) error {
	if err := m.Decode(v); err != nil {
		return failed(report.CodeCrash, "the renderer process sent an invalid message: %v", shortened(err.Error(), mostText))
	}
	switch v := v.(type) {
	case *Hello:
		v.bound()
	case *Status:
		v.bound(time.Now())
	case *Failure:
		v.bound()
	case *Screened:
		v.bound()
	case *Devices:
		v.bound()
	}
	return nil
}

// grown is by how much a count of a child has grown: it does not shrink.
func grown(before, now uint64) uint64 { return now - min(now, before) }

// failure is what the child reported, in words.
func (f Failure) failure() *failure {
	e := failed(f.Code, "%s: %s", f.Element, f.Message)
	if f.Element == "" {
		e.Message = f.Message
	}
	e.Detail = map[string]any{
		"gst_element": f.Element, "gst_domain": f.Domain, "gst_code": f.GstCode, "gst_debug": f.Debug,
	}
	if strings.HasSuffix(f.Element, "parse") { // it works on the stream alone
		e.Code = report.CodeStream
	}
	e.unnegotiated = strings.Contains(f.Debug, "not-negotiated")
	return e
}

// check says whether a renderer is of this build.
func (h Hello) check() error {
	if h.Build == Build {
		return nil
	}
	return failed(report.CodeRenderer, "the renderer program is of build %q, the agent of build %q", h.Build, Build)
}
