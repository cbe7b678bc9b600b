package scanout

import (
	"encoding/binary"
	"fmt"
	"image"
	"os"
	"syscall"
)

// Screen is what the monitor gets: all planes, scaled and one above the other.
type Screen struct {
	*image.RGBA
	CRC uint32 // as the card's own, in debugfs
}

// Screen has the card compose its planes once more, by the same code as for its CRC. Card.Read gives one plane's buffer,
// which is the screen only where that plane covers it, unscaled. It is for vkms with the project's patch.
func (c *Card) Screen() (Screen, error) {
	var card syscall.Stat_t
	if err := syscall.Fstat(int(c.file.Fd()), &card); err != nil {
		return Screen{}, fmt.Errorf("scanout: %w", err)
	}
	raw, err := os.ReadFile(fmt.Sprintf("/sys/kernel/debug/dri/%d/picture", card.Rdev&0xff))
	if err != nil {
		return Screen{}, fmt.Errorf("scanout: %w", err)
	}
	const header, pixel = 8, 8
	if len(raw) < header {
		return Screen{}, ErrDark
	}
	width, height := int(binary.LittleEndian.Uint32(raw)), int(binary.LittleEndian.Uint32(raw[4:]))
	raw = raw[header:]
	if len(raw) != width*height*pixel {
		return Screen{}, fmt.Errorf("scanout: %d bytes for %dx%d pixels", len(raw), width, height)
	}
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for i := range width * height {
		argb := raw[i*pixel:]
		for channel := range 3 {
			img.Pix[4*i+channel] = eightBits(binary.LittleEndian.Uint16(argb[2+2*channel:]))
		}
		img.Pix[4*i+3] = 0xff
	}
	return Screen{img, crc(raw)}, nil
}

// eightBits rounds a channel of 16 bits to one of 8.
func eightBits(v uint16) byte { return byte((uint32(v) + 128) / 257) }
