package clip

import (
	"errors"
	"image"
	"image/color"
)

// The bar fills the width of the picture and the lowest ninth of its height, in two rows of blocks:
//
//	column   0    1      2..17         18     19
//	row 0    red  white  bits 15..0    black  blue
//	row 1    red  black  the inverse   white  blue
//
// A bit is white for one. As the second row is the inverse of the first, a block is judged against its neighbour below
// and no level need be known, and a picture that only looks like a bar is found out.
const (
	columns = 20
	bits    = 16
	// aspect is the width of the bar over its height: 1280 by 80.
	aspect = 16
	// contrast is the least difference in brightness, of 255, between a white block and a black one.
	contrast = 64
)

// ErrNoBar is returned where a picture shows no bar, or one too damaged to be read.
var ErrNoBar = errors.New("clip: no frame number bar found in the picture")

// ReadFrameNumber finds the bar in a picture of one of the clips and returns the number of the frame, counted from 0.
// The picture may be scaled with its aspect kept, and have black borders.
func ReadFrameNumber(img image.Image) (int, error) {
	for _, bar := range findBars(img) {
		if n, ok := readBar(img, bar); ok {
			return n, nil
		}
	}
	return 0, ErrNoBar
}

// findBars returns the places that have red at the left and blue at the right, each a twentieth of the width, and are
// as high as a bar.
func findBars(img image.Image) []image.Rectangle {
	var found []image.Rectangle
	var run image.Rectangle // the rows so far that look the same
	b := img.Bounds()
	for y := b.Min.Y; y <= b.Max.Y; y++ {
		left, right, ok := barRow(img, y)
		if ok && !run.Empty() && near(left, run.Min.X, run.Dx()) && near(right, run.Max.X, run.Dx()) {
			run.Max.Y = y + 1
			continue
		}
		if height := run.Dx() / aspect; run.Dy()*3 > height*2 && run.Dy()*2 < height*3 {
			found = append(found, run)
		}
		run = image.Rectangle{}
		if ok {
			run = image.Rect(left, y, right, y+1)
		}
	}
	return found
}

// near says that two edges are the same but for half a block: colours bleed in lossy pictures.
func near(a, b, width int) bool {
	return max(a-b, b-a) <= width/columns/2
}

// barRow returns where row y begins to be red and ends to be blue, if it does both for about one block. The row below
// the picture is no bar.
func barRow(img image.Image, y int) (left, right int, ok bool) {
	b := img.Bounds()
	if y == b.Max.Y {
		return 0, 0, false
	}
	left, right = b.Min.X, b.Max.X
	for left < right && !isRed(img.At(left, y)) {
		left++
	}
	for right > left && !isBlue(img.At(right-1, y)) {
		right--
	}
	block := (right - left) / columns
	if block < 2 {
		return 0, 0, false
	}
	reds, blues := 0, 0
	for i := range 2 * block {
		if isRed(img.At(left+i, y)) {
			reds++
		}
		if isBlue(img.At(right-1-i, y)) {
			blues++
		}
	}
	return left, right, near(reds, block, right-left) && near(blues, block, right-left)
}

// readBar reads the number in a bar.
func readBar(img image.Image, bar image.Rectangle) (int, bool) {
	word := 0
	for column := 1; column < columns-1; column++ {
		difference := blockLuma(img, bar, column, 0) - blockLuma(img, bar, column, 1)
		if max(difference, -difference) < contrast {
			return 0, false
		}
		word <<= 1
		if difference > 0 {
			word |= 1
		}
	}
	// The first column is always one and the last zero.
	if word&1 != 0 || word>>(bits+1) != 1 {
		return 0, false
	}
	return word >> 1 & (1<<bits - 1), true
}

// blockLuma is the mean brightness, 0 to 255, of the middle of a block.
func blockLuma(img image.Image, bar image.Rectangle, column, row int) int {
	at := func(from, size, quarter, blocks int) int { return from + size*quarter/(4*blocks) }
	sum, n := 0, 0
	for y := at(bar.Min.Y, bar.Dy(), 4*row+1, 2); y <= at(bar.Min.Y, bar.Dy(), 4*row+3, 2); y++ {
		for x := at(bar.Min.X, bar.Dx(), 4*column+1, columns); x <= at(bar.Min.X, bar.Dx(), 4*column+3, columns); x++ {
			sum += int(color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y)
			n++
		}
	}
	return sum / n
}

func isRed(c color.Color) bool {
	r, g, b, _ := c.RGBA()
	return r > 0x6000 && r > 2*g && r > 2*b
}

func isBlue(c color.Color) bool {
	r, g, b, _ := c.RGBA()
	return b > 0x6000 && b > 2*r && b > 2*g
}
