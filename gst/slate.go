package gst

import (
	"image"
	"image/color"
	"image/draw"
	"strings"
	"sync"
	"time"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"github.com/edge-agent/edge-agent/decode"
)

// The slate's colours. They are far from black, so that nobody takes it for a screen that is off.
var (
	slateGround = color.RGBA{0x16, 0x2b, 0x45, 0xff}
	slateText   = color.RGBA{0xff, 0xff, 0xff, 0xff}
	slateDim    = color.RGBA{0xb4, 0xc3, 0xd6, 0xff}
	slateWrong  = color.RGBA{0xff, 0xb0, 0x30, 0xff} // the bar at the left when there is an error
	slateWell   = color.RGBA{0x4a, 0xa3, 0xdf, 0xff} // and when there is none
)

// The slate's letters, in parts of its height. Capitals of slateBody are 20 mm high on a 43-inch screen,
// which is read from three metres and more.
const (
	slateTitle = 0.13
	slateBody  = 0.062
	slateSmall = 0.045
)

const slateClock = "2006-01-02 15:04:05 MST"

// drawSlate draws a slate of a size in pixels, as it stands at a time.
func drawSlate(s decode.Slate, size decode.Mode, now time.Time) *image.RGBA {
	drawing.Lock()
	defer drawing.Unlock()
	img := image.NewRGBA(image.Rect(0, 0, size.Width, size.Height))
	draw.Draw(img, img.Rect, image.NewUniform(slateGround), image.Point{}, draw.Src)
	margin := size.Height / 12
	bar := slateWell
	if s.Code != "" {
		bar = slateWrong
	}
	draw.Draw(img, image.Rect(0, 0, margin/2, size.Height), image.NewUniform(bar), image.Point{}, draw.Src)
	p := pen{img: img, left: margin * 3 / 2, right: size.Width - margin, y: margin, height: size.Height}

	title := s.Stream
	if title == "" {
		title = s.Device
	}
	p.line(title, gobold.TTF, slateTitle, slateText)
	p.lines(s.State, gobold.TTF, slateBody, slateText, 2)
	p.gap()
	if s.Code != "" {
		p.line(s.Code, gobold.TTF, slateBody, slateWrong)
		p.lines(s.Message, goregular.TTF, slateBody, slateText, 3)
	}
	if !s.Since.IsZero() {
		p.line("since "+s.Since.Local().Format(slateClock), goregular.TTF, slateSmall, slateDim)
	}
	p.y = size.Height - margin - int(slateSmall*float64(size.Height))
	p.line(strings.TrimSpace(s.Device+"    "+now.Local().Format(slateClock)), goregular.TTF, slateSmall, slateDim)
	return img
}

// pen writes lines from the top down.
type pen struct {
	img         *image.RGBA
	left, right int
	y           int // top of the next line
	height      int // of the slate
}

// gap leaves room.
func (p *pen) gap() { p.y += p.height / 30 }

// line writes one line, in smaller letters when it does not fit otherwise.
func (p *pen) line(text string, ttf []byte, part float64, c color.Color) {
	face := p.face(ttf, part)
	if width := font.MeasureString(face, text).Ceil(); width > p.right-p.left {
		part *= float64(p.right-p.left) / float64(width)
		face = p.face(ttf, part)
	}
	p.write(text, face, part, c)
}

// lines writes text broken between words into at most so many lines.
func (p *pen) lines(text string, ttf []byte, part float64, c color.Color, most int) {
	face := p.face(ttf, part)
	for line := range wrap(text, most, func(s string) bool { return font.MeasureString(face, s).Ceil() <= p.right-p.left }) {
		p.write(line, face, part, c)
	}
}

func (p *pen) write(text string, face font.Face, part float64, c color.Color) {
	size := int(part * float64(p.height))
	d := font.Drawer{Dst: p.img, Src: image.NewUniform(c), Face: face, Dot: fixed.P(p.left, p.y+size)}
	d.DrawString(text)
	p.y += size * 13 / 10
}

// wrap breaks text between words into at most so many lines that fit; what is left over is cut off.
func wrap(text string, most int, fits func(string) bool) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		line, n := "", 0
		for _, word := range strings.Fields(text) {
			longer := strings.TrimSpace(line + " " + word)
			if line == "" || fits(longer) {
				line = longer
				continue
			}
			if n++; n == most {
				yield(line + " …")
				return
			}
			if !yield(line) {
				return
			}
			line = word
		}
		if line != "" {
			yield(line)
		}
	}
}

// faces are kept: a slate with a clock is drawn every second. A face can only be used by one goroutine at a time, the one that
// holds drawing.
var (
	drawing sync.Mutex
	faces   = map[faceKey]font.Face{}
)

type faceKey struct {
	bold bool
	size float64
}

// face is a font whose letters take a part of the slate's height.
func (p *pen) face(ttf []byte, part float64) font.Face {
	key := faceKey{&ttf[0] == &gobold.TTF[0], part * float64(p.height)}
	if f, ok := faces[key]; ok {
		return f
	}
	parsed, err := opentype.Parse(ttf)
	if err != nil {
		panic(err) // it is compiled in
	}
	face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: key.size, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		panic(err)
	}
	faces[key] = face
	return face
}
