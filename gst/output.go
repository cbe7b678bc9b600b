package gst

// #include "screen.h"
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"sync"

	"golang.org/x/image/draw"

	"github.com/edge-agent/edge-agent/decode/drm"
	"github.com/edge-agent/edge-agent/decode/plan"
)

// output is a screen whose mode this process has set, with a background that covers it: the slate, or black around a picture
// that has another shape. Pictures go to a plane above it. So the screen is black neither between slate and picture nor when a
// stream changes its size: only the plane changes.
type output struct {
	card      *drm.Card
	connector drm.Connector
	mode      drm.Mode
	plane     drm.Plane
	buffers   [2]*drm.Buffer
	front     int  // of buffers, that is on the screen
	turned    bool // the screen hangs upside down

	mu    sync.Mutex
	slate *image.RGBA // that is on the screen, for snapshots; nil: none was yet
}

// errPath says that not the display failed, but the path to it over a plane.
var errPath = errors.New("the path over a plane of the display hardware")

// pathError makes a failure of the display one of its path, where that is another one than the last resort.
func (s *screen) pathError(err error) error {
	if s.output == nil || errors.Is(err, errFrozen) {
		return err
	}
	return fmt.Errorf("%w failed; pictures are copied by the processor: %w", errPath, err)
}

// openOutput opens the card of a display, where it has one, chooses the path to the screen, and sets its mode if that
// path wants it.
func (s *screen) openOutput() error {
	d := &s.asked.Display
	if d.Card == "" {
		s.path = plan.ChoosePath(d.Path, d.Rotate, plan.Output{Sink: d.Sink})
		return nil
	}
	card, err := openCard(d.Card)
	if err != nil {
		return err
	}
	s.card = card
	if d.Path == plan.PathCopy {
		s.path = plan.PathChoice{Path: plan.PathCopy}
		return nil
	}
	o, facts := newOutput(card, *d)
	s.path = plan.ChoosePath(d.Path, d.Rotate, facts)
	if s.path.Path == plan.PathPlane {
		if err := o.light(s.path.Plane, d.Rotate); err != nil {
			o.close()
			s.path = plan.PathChoice{Path: plan.PathCopy, Passed: []string{"plane: " + err.Error()}}
			return nil
		}
		s.output = o
		d.Plane, d.Atomic, d.Mode = o.plane.ID, card.Atomic(), facts.Mode
	}
	return nil
}

// Pictures as a plane has to take them: larger and smaller than they are.
const (
	testWidth, testHeight = 1280, 720
	smallest              = 3 // a smaller picture has this part of the screen's sides
)

// newOutput finds out what a screen's card can do, without changing what it shows.
func newOutput(card *drm.Card, d plan.Display) (*output, plan.Output) {
	o, facts := &output{card: card}, plan.Output{Sink: d.Sink, Driver: d.Driver}
	if d.ConnectorID == 0 {
		facts.Fault = "the kernel does not tell the number of the output"
		return o, facts
	}
	var err error
	if o.connector, err = card.Connector(uint32(d.ConnectorID)); err != nil {
		facts.Fault = err.Error()
		return o, facts
	}
	if o.mode = (drm.Mode{}); len(o.connector.Modes) > 0 {
		o.mode = o.connector.Modes[0]
	}
	facts.Mode = plan.Mode{Width: o.mode.Width, Height: o.mode.Height}
	planes, err := card.Planes()
	if err != nil {
		facts.Fault = err.Error()
		return o, facts
	}
	for _, p := range planes {
		if p.Reaches(o.connector) {
			facts.Planes = append(facts.Planes, o.describe(p))
		}
	}
	return o, facts
}

// describe says what a plane can do.
func (o *output) describe(p drm.Plane) plan.Plane {
	out := plan.Plane{ID: p.ID, Kind: string(p.Kind), Formats: p.Formats, Scales: plan.Unknown}
	if _, ok := p.Properties["rotation"].Names["rotate-180"]; ok {
		out.Turns = append(out.Turns, 180)
	}
	format := plan.VideoFormat(p.Formats)
	if p.Kind != drm.Overlay || format == "" || o.mode.Width == 0 {
		return out
	}
	whole := drm.Rectangle{Width: o.mode.Width, Height: o.mode.Height}
	part := drm.Rectangle{X: whole.Width / smallest, Y: whole.Height / smallest, Width: testWidth / smallest, Height: testHeight / smallest}
	out.Scales = plan.Yes
	for _, there := range []drm.Rectangle{whole, part} {
		switch err := o.card.Tests(p, o.connector, format, testWidth, testHeight, there); {
		case errors.Is(err, drm.ErrNotAsked):
			out.Scales = plan.Unknown
		case err != nil:
			out.Scales = plan.No
		}
	}
	return out
}

// light sets the mode, with a black background, and makes the plane ready. What another program has left on other planes goes.
func (o *output) light(on plan.Plane, rotate int) error {
	planes, err := o.card.Planes()
	if err != nil {
		return err
	}
	modes := o.connector.Modes
	if len(modes) == 0 { // the screen did not say
		modes = drm.Fallbacks()
	}
	if err := o.setMode(modes); err != nil {
		return err
	}
	for _, p := range planes {
		if p.Kind == drm.Overlay && p.Shows && p.CRTC == o.connector.CRTC {
			_ = o.card.Hide(p) // it may be one that hides nothing
		}
		if p.ID == on.ID {
			o.plane = p
		}
	}
	o.turned = rotate == 180
	return errors.Join(o.raise(planes), o.rotate(rotate))
}

// setMode lights the screen in the first mode that it takes.
func (o *output) setMode(modes []drm.Mode) error {
	var err error
	for _, o.mode = range modes {
		for i := range o.buffers {
			if o.buffers[i], err = o.card.NewBuffer(o.mode.Width, o.mode.Height); err != nil {
				return err
			}
		}
		if err = o.card.SetMode(o.connector, o.mode, o.buffers[0]); err == nil {
			return nil
		}
		o.free()
	}
	return fmt.Errorf("the mode %d×%d cannot be set: %w", o.mode.Width, o.mode.Height, err)
}

// raise puts the plane above the background, where that is not so by itself.
func (o *output) raise(planes []drm.Plane) error {
	place, ok := o.plane.Properties["zpos"]
	if !ok || place.Fixed {
		return nil
	}
	for _, p := range planes {
		below, has := p.Properties["zpos"]
		if p.Kind == drm.Primary && p.Reaches(o.connector) && has && below.Value >= place.Value {
			if err := o.card.Set(o.plane, "zpos", below.Value+1); err != nil {
				return fmt.Errorf("the plane cannot be put above the background: %w", err)
			}
		}
	}
	return nil
}

// rotate tells the plane to rotate. One that another program has left rotated is turned back.
func (o *output) rotate(degrees int) error {
	p, ok := o.plane.Properties["rotation"]
	if !ok || p.Fixed {
		return nil
	}
	bit, ok := p.Names[fmt.Sprintf("rotate-%d", degrees)]
	if !ok {
		return fmt.Errorf("the plane cannot rotate by %d degrees", degrees)
	}
	return o.card.Set(o.plane, "rotation", 1<<bit)
}

// colours are the properties by which the plane is told how to make RGB of YUV.
func (o *output) colours() C.PlaneColours {
	encoding, scope := o.plane.Properties["COLOR_ENCODING"], o.plane.Properties["COLOR_RANGE"]
	return C.PlaneColours{
		plane: C.guint32(o.plane.ID), encoding: C.guint32(encoding.ID), _range: C.guint32(scope.ID),
		bt601:   C.guint64(encoding.Names["ITU-R BT.601 YCbCr"]),
		bt709:   C.guint64(encoding.Names["ITU-R BT.709 YCbCr"]),
		bt2020:  C.guint64(encoding.Names["ITU-R BT.2020 YCbCr"]),
		limited: C.guint64(scope.Names["YCbCr limited range"]),
		full:    C.guint64(scope.Names["YCbCr full range"]),
	}
}

// paint puts a slate on the background, and takes the picture from above it.
func (o *output) paint(img *image.RGBA) {
	back := o.buffers[1-o.front]
	o.fill(back, img)
	// The same mode: the screen takes another buffer and does not go black.
	if err := o.card.SetMode(o.connector, o.mode, back); err != nil {
		return // the next one may do
	}
	o.front = 1 - o.front
	o.mu.Lock()
	o.slate = img
	o.mu.Unlock()
	_ = o.card.Hide(o.plane) // without a picture on it there is nothing to hide
}

// fill writes a picture of the screen's size into a buffer.
func (o *output) fill(b *drm.Buffer, img *image.RGBA) {
	width, height := min(b.Width, img.Rect.Dx()), min(b.Height, img.Rect.Dy())
	for y := range height {
		from := img.Pix[y*img.Stride:][:4*width]
		to := b.Pixels[y*b.Stride:][:4*width]
		if o.turned {
			to = b.Pixels[(height-1-y)*b.Stride:][:4*width]
		}
		for x := 0; x < len(from); x += 4 {
			at := x
			if o.turned {
				at = len(from) - 4 - x
			}
			to[at], to[at+1], to[at+2], to[at+3] = from[x+2], from[x+1], from[x], 0xff
		}
	}
}

// picture is the background, no wider than most: the slate as it is read, not as it hangs.
func (o *output) picture(most int) (*image.RGBA, error) {
	o.mu.Lock()
	slate := o.slate
	o.mu.Unlock()
	if slate == nil {
		return nil, errors.New("there was no picture yet")
	}
	size := slate.Rect.Size()
	if size.X <= most {
		return &image.RGBA{Pix: bytes.Clone(slate.Pix), Stride: slate.Stride, Rect: slate.Rect}, nil
	}
	img := image.NewRGBA(image.Rect(0, 0, most, max(1, size.Y*most/size.X)))
	draw.ApproxBiLinear.Scale(img, img.Rect, slate, slate.Rect, draw.Src, nil)
	return img, nil
}

func (o *output) free() {
	for i, b := range o.buffers {
		if b != nil {
			o.card.Free(b)
			o.buffers[i] = nil
		}
	}
}

// close takes the background from the screen, which goes dark.
func (o *output) close() { o.free() }
