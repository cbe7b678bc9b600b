package clip

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"io"
	"os/exec"
	"testing"
)

// TestReadDecoded reads the pictures of both clips, decoded, scaled and framed as players and screens do.
func TestReadDecoded(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip("ffmpeg is not installed: no decoded pictures to read")
	}
	tests := []struct {
		name, filter  string
		clip          []byte
		width, height int
		frames, step  int // frames of the clip; from one picture to the next
	}{
		{"as it is", "null", H264(), 1280, 720, 300, 1},
		{"full HD", "framestep=10,scale=1920:1080", H264(), 1920, 1080, 300, 10},
		{"small, borders all around", "framestep=10,scale=426:240,pad=640:480:107:120:black", H264(), 640, 480, 300, 10},
		{"odd size, borders at the sides", "framestep=10,scale=1065:599,pad=1280:599:100:0:black", H264(), 1280, 599, 300, 10},
		{"H.265", "null", H265(), 640, 360, 90, 1},
		{"H.265 enlarged, borders above and below", "framestep=10,scale=1024:576,pad=1024:768:0:96:black", H265(), 1024, 768, 90, 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := 0
			for img := range decoded(t, tt.clip, tt.filter, tt.width, tt.height) {
				if got, err := ReadFrameNumber(img); err != nil || got != n*tt.step {
					t.Errorf("picture %d reads as %d, %v", n, got, err)
				}
				n++
			}
			if n != tt.frames/tt.step {
				t.Errorf("%d pictures, want %d", n, tt.frames/tt.step)
			}
		})
	}
}

// decoded gives the pictures of a clip after a filter that leaves them at the given size. A picture is valid until the next.
func decoded(t *testing.T, clip []byte, filter string, width, height int) func(yield func(image.Image) bool) {
	return func(yield func(image.Image) bool) {
		cmd := exec.CommandContext(t.Context(), "ffmpeg", "-loglevel", "error", "-i", "pipe:0",
			"-vf", filter, "-f", "rawvideo", "-pix_fmt", "rgba", "pipe:1")
		cmd.Stdin = bytes.NewReader(clip)
		var said bytes.Buffer
		cmd.Stderr = &said
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		img := image.NewRGBA(image.Rect(0, 0, width, height))
		for {
			if _, err := io.ReadFull(out, img.Pix); err != nil {
				break
			}
			if !yield(img) {
				break
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("ffmpeg: %v\n%s", err, said.Bytes())
		}
	}
}

func TestReadDrawn(t *testing.T) {
	for _, n := range []int{0, 1, 299, 0x5555, 0xAAAA, 1<<16 - 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			if got, err := ReadFrameNumber(drawn(n)); err != nil || got != n {
				t.Errorf("reads as %d, %v", got, err)
			}
		})
	}
}

// TestReadNothing gives pictures that must not be read as some number.
func TestReadNothing(t *testing.T) {
	fill := func(img *image.RGBA, r image.Rectangle, c color.Color) *image.RGBA {
		draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src)
		return img
	}
	whole := image.Rect(0, 0, 1280, 720)
	noise := image.NewRGBA(whole)
	for i := range noise.Pix {
		noise.Pix[i] = byte(uint32(i) * 2654435761 >> 24)
	}
	tests := []struct {
		name string
		img  image.Image
	}{
		{"no pixels", image.NewRGBA(image.Rectangle{})},
		{"one pixel", image.NewRGBA(image.Rect(0, 0, 1, 1))},
		{"black", fill(image.NewRGBA(whole), whole, color.Black)},
		{"red", fill(image.NewRGBA(whole), whole, color.RGBA{R: 255, A: 255})},
		{"noise", noise},
		{"one block grey", fill(drawn(5), image.Rect(640, 640, 704, 720), color.Gray{Y: 128})},
		{"one block the same in both rows", fill(drawn(5), image.Rect(640, 640, 704, 720), color.White)},
		{"first column inverted", fill(drawn(5), image.Rect(64, 640, 128, 680), color.Black)},
		{"no red", fill(drawn(5), image.Rect(0, 640, 64, 720), color.Black)},
		{"no blue", fill(drawn(5), image.Rect(1216, 640, 1280, 720), color.Black)},
		{"lower half missing", drawn(5).SubImage(image.Rect(0, 0, 1280, 660))},
		{"right half missing", drawn(5).SubImage(image.Rect(0, 0, 640, 720))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if n, err := ReadFrameNumber(tt.img); err == nil {
				t.Errorf("reads as %d", n)
			}
		})
	}
}

// drawn is a grey picture of 1280 by 720 with a clean bar.
func drawn(n int) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, 1280, 720))
	draw.Draw(img, img.Rect, image.NewUniform(color.Gray{Y: 90}), image.Point{}, draw.Src)
	block := func(column, row int, c color.Color) {
		draw.Draw(img, image.Rect(64*column, 640+40*row, 64*column+64, 680+40*row), image.NewUniform(c), image.Point{}, draw.Src)
	}
	word := 1<<17 | n<<1
	for row := range 2 {
		block(0, row, color.RGBA{R: 255, A: 255})
		block(19, row, color.RGBA{B: 255, A: 255})
		for column := 1; column <= 18; column++ {
			block(column, row, color.Gray{Y: byte(255 * (word >> (18 - column) & 1))})
		}
		word = ^word
	}
	return img
}
