package gst

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"image/png"

	"github.com/edge-agent/edge-agent/decode"
)

// jpegSteps are tried one after the other until a picture is small enough: coarser before
// smaller, because people want to see what is on it.
var jpegSteps = []struct{ width, quality int }{
	{1920, 85}, {1920, 65}, {1280, 65}, {960, 60}, {640, 55}, {320, 40}, {160, 20},
}

// anyWidth leaves a picture as wide as it is.
const anyWidth = 1 << 15

// snapshot is what is on the screen, encoded.
func (s *screen) snapshot(wanted decode.Snapshot) ([]byte, error) {
	if !wanted.PNG {
		return encodeJPEG(s.picture, wanted.Most)
	}
	img, err := s.picture(anyWidth)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestSpeed}
	err = encoder.Encode(&out, img)
	return out.Bytes(), err
}

// encodeJPEG encodes a picture into at most so many bytes, if any step does; 0 means any number. picture gives it no
// wider than it is asked for.
func encodeJPEG(picture func(width int) (*image.RGBA, error), most int) ([]byte, error) {
	var img *image.RGBA
	var out bytes.Buffer
	for i, step := range jpegSteps {
		if i == 0 || step.width < img.Rect.Dx() {
			var err error
			if img, err = picture(step.width); err != nil {
				return nil, err
			}
		}
		out.Reset()
		if err := jpeg.Encode(&out, img, &jpeg.Options{Quality: step.quality}); err != nil {
			return nil, err
		}
		if most == 0 || out.Len() <= most {
			break
		}
	}
	return out.Bytes(), nil
}

// sendable says why a picture of so many bytes cannot be sent: whoever asked for it is to know, and not to wait.
func sendable(size int) error {
	if size > decode.MaxPicture {
		return fmt.Errorf("the picture has %d MiB, and %d can be sent; ask for a JPEG", size>>20, decode.MaxPicture>>20)
	}
	return nil
}
