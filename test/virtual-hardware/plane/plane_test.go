//go:build hardware

// Package plane tests the display itself: that vkms, with the project's patches and the parameters in kernel.args, shows NV12,
// scales and rotates to the last bit as said here a second time; and pictures on their way from a decoder to it.
package plane

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
)

// picture is one of NV12.
type picture struct {
	width, height, pitch int
	luma, chroma         []byte
}

// noise has no two pixels alike in a row, so that one in the wrong place is seen.
func noise(width, height int) picture {
	p := picture{width: width, height: height, pitch: (width + 1) / 2 * 2}
	random := rand.New(rand.NewPCG(1, 2))
	p.luma, p.chroma = make([]byte, p.pitch*height), make([]byte, p.pitch*((height+1)/2))
	for _, plane := range [][]byte{p.luma, p.chroma} {
		for i := range plane {
			plane[i] = byte(random.Uint32())
		}
	}
	return p
}

func filled(width, height int, grey byte) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	draw.Draw(img, img.Rect, image.NewUniform(color.RGBA{grey, grey, grey, 0xff}), image.Point{}, draw.Src)
	return img
}

// colours is a plane's COLOR_ENCODING and COLOR_RANGE, by the kernel's numbers.
type colours struct{ bt709, full int }

// convert makes RGB of a picture, with integers whose coefficients come from the standards' own constants.
func convert(p picture, how colours) *image.RGBA {
	red, blue := 0.299, 0.114
	if how.bt709 == 1 {
		red, blue = 0.2126, 0.0722
	}
	green := 1 - red - blue
	black, steps, chromaSteps := 16, 219.0, 224.0
	if how.full == 1 {
		black, steps, chromaSteps = 0, 255, 255
	}
	coefficient := func(k, steps float64) int { return int(math.Round(k * 65535 / steps * 65536)) }
	y, crR, cbB := coefficient(1, steps), coefficient(2*(1-red), chromaSteps), coefficient(2*(1-blue), chromaSteps)
	cbG, crG := coefficient(-2*(1-blue)*blue/green, chromaSteps), coefficient(-2*(1-red)*red/green, chromaSteps)
	img := image.NewRGBA(image.Rect(0, 0, p.width, p.height))
	for row := range p.height {
		for x := range p.width {
			grey := (int(p.luma[row*p.pitch+x]) - black) * y
			at := row/2*p.pitch + x/2*2
			cb, cr := int(p.chroma[at])-128, int(p.chroma[at+1])-128
			img.SetRGBA(x, row, color.RGBA{channel(grey + cr*crR), channel(grey + cb*cbG + cr*crG), channel(grey + cb*cbB), 0xff})
		}
	}
	return img
}

// channel rounds 16.16 to 16 bits, as the screen has them, and these to 8.
func channel(v int) byte { return byte((min(max((v+0x8000)>>16, 0), 0xffff) + 128) / 257) }

// scale takes the pixel that is nearest to the middle of each.
func scale(img *image.RGBA, from image.Rectangle, width, height int) *image.RGBA {
	out := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			out.SetRGBA(x, y, img.RGBAAt(from.Min.X+(2*x+1)*from.Dx()/(2*width), from.Min.Y+(2*y+1)*from.Dy()/(2*height)))
		}
	}
	return out
}

// Values of the rotation property. The picture is mirrored first and then turned to the left.
const (
	rotate90, rotate180, rotate270, reflectX, reflectY = 2, 4, 8, 16, 32
)

func turnLeft(img *image.RGBA) *image.RGBA {
	size := img.Rect.Size()
	out := image.NewRGBA(image.Rect(0, 0, size.Y, size.X))
	for y := range size.Y {
		for x := range size.X {
			out.SetRGBA(y, size.X-1-x, img.RGBAAt(x, y))
		}
	}
	return out
}

func mirror(img *image.RGBA, rotation int) *image.RGBA {
	size := img.Rect.Size()
	out := image.NewRGBA(img.Rect)
	for y := range size.Y {
		for x := range size.X {
			toX, toY := x, y
			if rotation&reflectX != 0 {
				toX = size.X - 1 - x
			}
			if rotation&reflectY != 0 {
				toY = size.Y - 1 - y
			}
			out.SetRGBA(toX, toY, img.RGBAAt(x, y))
		}
	}
	return out
}

// composed is the screen with a picture at a place.
func composed(img *image.RGBA, from, to image.Rectangle, rotation int) *image.RGBA {
	width, height := to.Dx(), to.Dy()
	if rotation&(rotate90|rotate270) != 0 {
		width, height = height, width
	}
	turned := mirror(scale(img, from, width, height), rotation)
	for range map[int]int{rotate90: 1, rotate180: 2, rotate270: 3}[rotation&15] {
		turned = turnLeft(turned)
	}
	out := filled(screen.Dx(), screen.Dy(), 0x40)
	draw.Draw(out, to, turned, image.Point{}, draw.Src)
	return out
}

// same fails at the first pixel that is another.
func same(t *testing.T, got, want *image.RGBA) {
	t.Helper()
	for i := 0; i < len(want.Pix); i += 4 {
		if !bytes.Equal(got.Pix[i:i+4], want.Pix[i:i+4]) {
			t.Fatalf("the pixel %d,%d is %x and should be %x", i/4%screen.Dx(), i/4/screen.Dx(), got.Pix[i:i+4], want.Pix[i:i+4])
		}
	}
}

func TestPictureOnThePlane(t *testing.T) {
	c := open(t)
	plane := c.overlays[0]
	whole := func(w, h int) image.Rectangle { return image.Rect(0, 0, w, h) }
	tests := []struct {
		name     string
		w, h     int
		from, to image.Rectangle
		colours  colours
		rotation int
	}{
		{"as large", 64, 48, whole(64, 48), image.Rect(10, 20, 74, 68), colours{}, 1},
		{"larger", 64, 48, whole(64, 48), screen, colours{1, 0}, 1},
		{"a little larger", 640, 352, whole(640, 352), image.Rect(0, 96, 1024, 659), colours{1, 0}, 1},
		{"smaller", 1280, 720, whole(1280, 720), image.Rect(3, 5, 644, 366), colours{1, 0}, 1},
		{"one pixel", 640, 352, whole(640, 352), image.Rect(5, 5, 6, 6), colours{1, 0}, 1},
		{"odd", 321, 181, whole(321, 181), image.Rect(1, 1, 778, 440), colours{0, 1}, 1},
		{"a part", 320, 180, image.Rect(31, 17, 200, 133), image.Rect(100, 100, 777, 555), colours{0, 0}, 1},
		{"BT.601, limited", 64, 48, whole(64, 48), whole(640, 480), colours{0, 0}, 1},
		{"BT.601, full", 64, 48, whole(64, 48), whole(640, 480), colours{0, 1}, 1},
		{"BT.709, limited", 64, 48, whole(64, 48), whole(640, 480), colours{1, 0}, 1},
		{"BT.709, full", 64, 48, whole(64, 48), whole(640, 480), colours{1, 1}, 1},
		{"beyond the left and the top", 64, 48, whole(64, 48), image.Rect(-320, -240, 320, 240), colours{1, 0}, 1},
		{"beyond the right and the bottom", 64, 48, whole(64, 48), image.Rect(704, 528, 1344, 1008), colours{1, 0}, 1},
		{"to the left", 65, 47, whole(65, 47), image.Rect(9, 9, 333, 701), colours{1, 0}, rotate90},
		{"on its head", 65, 47, whole(65, 47), image.Rect(9, 9, 701, 333), colours{1, 0}, rotate180},
		{"to the right", 65, 47, whole(65, 47), image.Rect(9, 9, 333, 701), colours{1, 0}, rotate270},
		{"mirrored", 65, 47, whole(65, 47), image.Rect(9, 9, 701, 333), colours{1, 0}, 1 | reflectX},
		{"mirrored at the top", 65, 47, whole(65, 47), image.Rect(9, 9, 701, 333), colours{1, 0}, 1 | reflectY},
		{"mirrored, to the left", 65, 47, whole(65, 47), image.Rect(9, 9, 333, 701), colours{1, 0}, rotate90 | reflectX},
		{"to the left, beyond the top", 64, 48, whole(64, 48), image.Rect(0, -320, 480, 320), colours{1, 0}, rotate90},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c.t = t
			p := noise(tc.w, tc.h)
			c.set(plane, "COLOR_ENCODING", uint64(tc.colours.bt709))
			c.set(plane, "COLOR_RANGE", uint64(tc.colours.full))
			c.set(plane, "rotation", uint64(tc.rotation))
			fb, err := c.yuv(p)
			if err != nil {
				t.Fatal(err)
			}
			rgb := convert(p, tc.colours)
			for _, fb := range []uint32{fb, c.rgb(rgb)} {
				if err := c.place(plane, fb, tc.from, tc.to); err != nil {
					t.Fatal(err)
				}
				same(t, c.look().RGBA, composed(rgb, tc.from, tc.to, tc.rotation))
			}
		})
	}
	c.t = t
}

// The CRC is one of what is seen.
func TestCRC(t *testing.T) {
	c := open(t)
	const crc = "/sys/kernel/debug/dri/1/crtc-0/crc/"
	if err := c.place(c.overlays[0], c.rgb(filled(16, 16, 0xc0)), image.Rect(0, 0, 16, 16), image.Rect(0, 0, 100, 200)); err != nil {
		t.Fatal(err)
	}
	write(t, crc+"control", "auto")
	data, err := os.Open(crc + "data")
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	line := make([]byte, 64)
	n, err := data.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%#08x", c.look().CRC); !strings.HasSuffix(strings.TrimRight(string(line[:n]), "\n\x00"), want) {
		t.Errorf("the card's CRC is %q and should be %s", line[:n], want)
	}
}

// A display that cannot do something says so, in the way the kernel has for it.
func TestSwitches(t *testing.T) {
	whole := image.Rect(0, 0, 64, 48)
	t.Run("no scaling, from one picture to the next", func(t *testing.T) {
		c := open(t)
		c.set(c.overlays[0], "rotation", 1) // another test may have left it turned
		fb, err := c.yuv(noise(64, 48))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.place(c.overlays[0], fb, whole, screen); err != nil {
			t.Fatal(err)
		}
		parameter(t, "enable_scaling", "0")
		if err := c.place(c.overlays[0], fb, whole, screen); !errors.Is(err, syscall.ERANGE) {
			t.Errorf("to scale gave %v", err)
		}
		if err := c.place(c.overlays[0], fb, whole, whole); err != nil {
			t.Error(err)
		}
	})
	t.Run("no NV12", func(t *testing.T) {
		t.Cleanup(func() { reload(t) })
		parameter(t, "enable_nv12", "0")
		reload(t)
		c := open(t)
		if _, err := c.yuv(noise(64, 48)); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("a framebuffer of NV12 gave %v", err)
		}
		if _, _, ok := c.property(c.overlays[0], "COLOR_RANGE"); ok {
			t.Error("planes without YUV have a colour range")
		}
	})
	t.Run("no overlay planes", func(t *testing.T) {
		t.Cleanup(func() { reload(t) })
		parameter(t, "enable_overlay", "0")
		reload(t)
		if c := open(t); len(c.overlays) != 0 {
			t.Errorf("there are %d", len(c.overlays))
		}
	})
}
