package decode

import (
	"errors"
	"fmt"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// stillness finds decoders that deliver the same picture again and again although the stream
// moves, or the same few in turn, as drivers do whose surfaces went stale. It is pure: the clock is an argument.
type stillness struct {
	fresh    uint64 // pictures that differed, at the last change
	decoded  uint64 // pictures, at the last change
	since    time.Time
	restless uint64 // frames that should have changed the picture since then
}

func (s *stillness) sent(u Unit) {
	if u.restless() {
		s.restless++
	}
}

// advance takes in how far the pipeline is.
func (s *stillness) advance(now Status, at time.Time) {
	if now.Fresh != s.fresh || s.since.IsZero() {
		*s = stillness{fresh: now.Fresh, decoded: now.Decoded, since: at}
	}
}

// check returns the failure of a decoder whose pictures stand still for longer than patience,
// and for at least so many frames; patience 0 is endless.
func (s *stillness) check(now Status, patience time.Duration, frames uint64, at time.Time) error {
	same := now.Decoded - min(now.Decoded, s.decoded)
	if patience == 0 || s.since.IsZero() || at.Sub(s.since) < patience || s.restless < frames || same < frames {
		return nil
	}
	return failed(report.CodeStale, "the decoder delivered %d pictures that had been there before, although the stream moves", same)
}

// stillFormats remembers of a stream which decoders failed with which format: their pictures were frozen, or they made
// none. When the software decoder fails as well, it is the stream: then hardware was blamed for nothing, and it is no
// fault of a decoder any more.
type stillFormats struct {
	caps   string   // of the format
	blamed []string // plans that failed with it, by what they are denied by
	stream bool     // it is the stream
}

// of makes it remember another format, if it is another.
func (s *stillFormats) of(caps string) *stillFormats {
	if s.caps != caps {
		*s = stillFormats{caps: caps}
	}
	return s
}

// blame takes in that a plan failed.
func (s *stillFormats) blame(p *plan.Plan) {
	s = s.of(p.Caps)
	s.blamed = append(s.blamed, p.DeniedBy())
}

// acquit takes in that it is the stream of a format, and takes back what others were blamed for.
func (s *stillFormats) acquit(caps string, deny *denyList) {
	s = s.of(caps)
	for _, name := range s.blamed {
		deny.forget(name)
	}
	s.stream, s.blamed = true, nil
}

// standsStill says that the stream that is shown is known to stand still, in the format of a plan.
func (r *Renderer) standsStill(p plan.Plan) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown.still.stream && r.shown.still.caps == p.Caps
}

// excuses says that a failure is that of the stream: the software decoder makes no other pictures of it, or none at
// all. Nothing that comes after it would, so it continues.
func (a *attempt) excuses(err error) bool {
	a.mu.Lock()
	p, in := a.plan, a.feeding
	a.mu.Unlock()
	var f *failure
	if !errors.As(err, &f) || p == nil || in == nil || p.Family != plan.Software {
		return false
	}
	switch f.Code {
	case report.CodeStale:
		a.acquit(&in.still, p)
		a.progress.suspect(false)
		a.r.log.Info("software decoder output is also frozen; the source is static", "element", p.Element)
	case report.CodeSilent:
		a.progress.excuse()
		if reported := a.acquit(&in.silent, p); reported {
			break
		}
		in.report(report.Report{Code: report.CodeStream, Message: fmt.Sprintf(
			"%s (software) makes no picture of the frames either, so the stream is damaged or incomplete: %s; check the producer's encoder",
			p.Element, f.Message), Detail: map[string]any{"element": p.Element}})
	default:
		return false
	}
	return true
}

// acquit takes back what decoders were blamed for, because it is the stream, and says whether that was known.
func (a *attempt) acquit(failed *stillFormats, p *plan.Plan) (known bool) {
	a.r.mu.Lock()
	defer a.r.mu.Unlock()
	known = failed.caps == p.Caps && failed.stream
	failed.acquit(p.Caps, &a.r.deny)
	return known
}
