package gst

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
)

// The slate's colours. They are far from black, so that nobody takes it for a screen that is off.
var (
	slateGround = color.RGBA{0x16, 0x2b, 0x45, 0xff}
	slateText   = color.RGBA{0xff, 0xff, 0xff, 0xff}
	slateDim    = color.RGBA{0xb4, 0xc3, 0xd6, 0xff}
	slateWrong  = color.RGBA{0xff, 0xb0, 0x30, 0xff} // the bar at the left when there is an error
	slateWell   = color.RGBA{0x4a, 0xa3, 0xdf, 0xff} // and when there is none
)

// The slate's letters, in parts of the shorter side of the screen. Capitals of slateBody are 20 mm high on a 43-inch
// screen, which is read from three metres and more. Where the text needs more room than there is, all of it is smaller.
const (
	slateTitle = 0.12
	slateBody  = 0.062
	slateSmall = 0.044
)

// What is tried to make room for the text: smaller letters first, then less text.
const (
	slateShrink   = 0.94 // in one step
	slateSmallest = 0.55 // of the usual size
)

const slateClock = "2006-01-02 15:04:05 MST"

// paragraph is some text of the slate in one size and colour, which is broken between words.
type paragraph struct {
	text   string
	bold   bool
	size   float64 // part of the shorter side of the screen
	colour color.RGBA
	gap    float64 // above it, in the same measure
	foot   bool    // stands at the lower edge
	name   bool    // is written smaller rather than broken, as far as that goes
	cut    bool    // is cut off when there is not enough room
}

// slateParagraphs is what a slate says at a time, from the top down.
func slateParagraphs(s decode.Slate, now time.Time) []paragraph {
	title := s.Stream
	if title == "" {
		title = s.Device
	}
	list := []paragraph{
		{text: title, bold: true, size: slateTitle, colour: slateText, name: true},
		{text: s.State, bold: true, size: slateBody, colour: slateText},
	}
	for _, line := range slateTimes(s, now) {
		list = append(list, paragraph{text: line, size: slateSmall, colour: slateDim, name: true})
	}
	if s.Code != "" {
		list = append(list, paragraph{text: s.Code, bold: true, size: slateBody, colour: slateWrong, gap: 0.04, name: true})
	}
	list = append(
		list,
		paragraph{text: s.Message, size: slateBody, colour: slateText, cut: true},
		paragraph{text: s.Action, size: slateSmall, colour: slateText, gap: 0.025, cut: true},
	)
	device := s.Device
	if device == title {
		device = ""
	}
	foot := join(device, s.Address, s.Version, s.Broker, now.Local().Format(slateClock))
	list = append(list, paragraph{text: foot, size: slateSmall, colour: slateDim, foot: true})
	kept := list[:0]
	for _, p := range list {
		if p.text != "" {
			kept = append(kept, p)
		}
	}
	return kept
}

// slateTimes says since when it is so, and how old the picture is.
func slateTimes(s decode.Slate, now time.Time) (lines []string) {
	if !s.Since.IsZero() {
		lines = append(lines, "since "+moment(s.Since, now))
	}
	if !s.Picture.IsZero() {
		lines = append(lines, "newest picture: "+moment(s.Picture, now))
	}
	return lines
}

// moment is a time and how long ago it was.
func moment(t, now time.Time) string {
	return fmt.Sprintf("%s (%s ago)", t.Local().Format(slateClock), span(now.Sub(t)))
}

// span is a duration for people, in its two largest units.
func span(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h %d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d d %d h", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// firm is a space at which no line is broken, and dot stands between two parts of a line.
const (
	firm = "\u00a0"
	dot  = "·"
)

// join puts parts that are not empty into a line, which is only broken between them.
func join(parts ...string) string {
	var kept []string
	for _, p := range parts {
		if p != "" {
			kept = append(kept, strings.ReplaceAll(p, " ", firm))
		}
	}
	return strings.Join(kept, firm+dot+" ")
}

// slateLine is one line as it is drawn.
type slateLine struct {
	text   string
	face   font.Face
	colour color.RGBA
	x, y   int // of the beginning of its base line
}

// drawSlate draws a slate of a size in pixels, as it stands at a time.
func drawSlate(s decode.Slate, size plan.Mode, now time.Time) *image.RGBA {
	drawing.Lock()
	defer drawing.Unlock()
	img := image.NewRGBA(image.Rect(0, 0, size.Width, size.Height))
	draw.Draw(img, img.Rect, image.NewUniform(slateGround), image.Point{}, draw.Src)
	bar := slateWell
	if s.Code != "" {
		bar = slateWrong
	}
	draw.Draw(img, image.Rect(0, 0, slateMargin(size)/2, size.Height), image.NewUniform(bar), image.Point{}, draw.Src)
	for _, l := range layOut(slateParagraphs(s, now), size) {
		d := font.Drawer{Dst: img, Src: image.NewUniform(l.colour), Face: l.face, Dot: fixed.P(l.x, l.y)}
		d.DrawString(l.text)
	}
	return img
}

// slateMargin is the room around the text.
func slateMargin(size plan.Mode) int { return min(size.Width, size.Height) / 14 }

// layOut places paragraphs on a screen of a size, in the largest letters in which all of them have room. drawing is
// held.
func layOut(list []paragraph, size plan.Mode) []slateLine {
	for scale := 1.0; ; scale *= slateShrink {
		p := &page{size: size, margin: slateMargin(size), scale: scale, most: 1 << 10}
		if p.place(list) {
			return p.lines
		}
		if scale*slateShrink < slateSmallest {
			return shorten(p, list)
		}
	}
}

// shorten cuts off as much text as it takes.
func shorten(p *page, list []paragraph) []slateLine {
	for p.most = 6; p.most > 1; p.most-- {
		if p.place(list) {
			break
		}
	}
	return p.lines
}

// page is a slate whose lines are being placed.
type page struct {
	size   plan.Mode
	margin int
	scale  float64 // of all letters
	most   int     // lines of a paragraph that may be cut
	lines  []slateLine
}

// place places all paragraphs; false when they overlap or reach beyond the screen.
func (p *page) place(list []paragraph) bool {
	p.lines = p.lines[:0]
	top, bottom := p.margin, p.size.Height-p.margin*3/4
	for _, each := range slices.Backward(list) {
		if each.foot {
			each = p.fit(each)
			lines := p.wrap(each)
			bottom -= len(lines) * p.step(each)
			p.put(lines, each, bottom)
		}
	}
	for _, each := range list {
		if !each.foot {
			each = p.fit(each)
			lines := p.wrap(each)
			top += p.pixels(each.gap)
			p.put(lines, each, top)
			top += len(lines) * p.step(each)
		}
	}
	return top <= bottom-p.pixels(slateSmall)/2
}

// fit gives a name the size in which it fits a line, down to half its usual one.
func (p *page) fit(of paragraph) paragraph {
	if !of.name {
		return of
	}
	for least := of.size / 2; of.size*slateShrink > least; of.size *= slateShrink {
		if font.MeasureString(p.face(of), of.text).Ceil() <= p.room() {
			break
		}
	}
	return of
}

// room is how wide a line may be.
func (p *page) room() int { return p.size.Width - p.margin*5/2 }

func (p *page) put(lines []string, of paragraph, top int) {
	face := p.face(of)
	for i, text := range lines {
		y := top + i*p.step(of) + p.pixels(of.size)
		text = strings.ReplaceAll(strings.TrimSuffix(text, firm+dot), firm, " ")
		p.lines = append(p.lines, slateLine{text, face, of.colour, p.margin * 3 / 2, y})
	}
}

// pixels is a part of the screen's shorter side.
func (p *page) pixels(part float64) int {
	return int(part * p.scale * float64(min(p.size.Width, p.size.Height)))
}

// step is from one line of a paragraph to the next.
func (p *page) step(of paragraph) int { return p.pixels(of.size) * 13 / 10 }

func (p *page) face(of paragraph) font.Face {
	ttf := goregular.TTF
	if of.bold {
		ttf = gobold.TTF
	}
	return faceOf(ttf, p.pixels(of.size))
}

// wrap breaks a paragraph into the lines that fit the page.
func (p *page) wrap(of paragraph) []string {
	face, room := p.face(of), p.room()
	most := 1 << 10
	if of.cut {
		most = p.most
	}
	return wrap(of.text, most, func(s string) bool { return font.MeasureString(face, s).Ceil() <= room })
}

// wrap breaks text between words, and words that are too long anywhere, into at most so many lines that fit; what is
// left over is cut off.
func wrap(text string, most int, fits func(string) bool) (lines []string) {
	line := ""
	words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' })
	for len(words) > 0 {
		longer := strings.TrimSpace(line + " " + words[0])
		switch {
		case fits(longer):
			line, words = longer, words[1:]
			continue
		case line == "":
			line, words[0] = split(words[0], fits)
			if words[0] == "" {
				words = words[1:]
			}
		}
		lines, line = append(lines, line), ""
		if len(lines) == most && len(words) > 0 {
			return append(lines[:most-1], ellipsis(lines[most-1], fits))
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}

// split gives as much of a word as fits, at least one letter, and the rest. It breaks names where they have a joint.
func split(word string, fits func(string) bool) (head, rest string) {
	_, n := utf8.DecodeRuneInString(word)
	for n < len(word) {
		_, next := utf8.DecodeRuneInString(word[n:])
		if !fits(word[:n+next]) {
			break
		}
		n += next
	}
	if joint := strings.LastIndexAny(word[:n], "-_/.:=,") + 1; joint > n/2 && n < len(word) {
		n = joint
	}
	return word[:n], word[n:]
}

// ellipsis ends a line that more would follow.
func ellipsis(line string, fits func(string) bool) string {
	for line != "" && !fits(line+" …") {
		_, n := utf8.DecodeLastRuneInString(line)
		line = line[:len(line)-n]
	}
	return strings.TrimSpace(line) + " …"
}

// faces are kept: a slate with a clock is drawn every second. A face can only be used by one goroutine at a time, the
// one that holds drawing.
var (
	drawing sync.Mutex
	faces   = map[faceKey]font.Face{}
	parsed  = map[bool]*opentype.Font{} // by whether it is bold
)

type faceKey struct {
	bold bool
	size int
}

// mostFaces bounds what is kept: texts of other lengths want other sizes, and a box may run for years.
const mostFaces = 64

// faceOf is a font whose letters are so many pixels high.
func faceOf(ttf []byte, size int) font.Face {
	key := faceKey{&ttf[0] == &gobold.TTF[0], max(1, size)}
	if f, ok := faces[key]; ok {
		return f
	}
	if parsed[key.bold] == nil {
		f, err := opentype.Parse(ttf)
		if err != nil {
			panic(err) // it is compiled in
		}
		parsed[key.bold] = f
	}
	face, err := opentype.NewFace(parsed[key.bold], &opentype.FaceOptions{Size: float64(key.size), DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		panic(err)
	}
	if len(faces) >= mostFaces {
		clear(faces)
	}
	faces[key] = face
	return face
}
