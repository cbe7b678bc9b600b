// Package scanout reads what is on a screen: the pixels that a graphics card fetches for it, to the
// last bit. It is a camera in front of a monitor that the virtual hardware does not have.
//
// In: a card, such as /dev/dri/card1. Out: pictures. Nobody is disturbed: it needs root's
// rights, not those of the program that shows.
package scanout

import (
	"errors"
	"fmt"
	"image"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// ErrDark means that no plane of the card has a picture.
var ErrDark = errors.New("scanout: the screen is dark")

// Card is an open graphics card.
type Card struct {
	file   *os.File
	mapped map[uint64][]byte // the memory of pictures, by its offset; the kernel gives it to no other while it is mapped
}

// Open opens a card. Close ends it.
func Open(path string) (*Card, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("scanout: %w", err)
	}
	c := &Card{file, map[uint64][]byte{}}
	// Who opens a card that nobody shows on becomes the one who may. Others say EINVAL.
	_ = c.ask(dropMaster, nil)
	all := clientCap{Capability: universalPlanes, Value: 1}
	if err := c.ask(setClientCap, unsafe.Pointer(&all)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return c, nil
}

func (c *Card) Close() error {
	for _, memory := range c.mapped {
		_ = syscall.Munmap(memory)
	}
	return c.file.Close()
}

// Picture is what a screen shows.
type Picture struct {
	*image.RGBA
	Mode image.Point // width and height of the screen
}

// attempts is how often a picture may be replaced while it is asked for.
const attempts = 5

// Read reads the first plane that has a picture. Without one it is ErrDark.
func (c *Card) Read() (Picture, error) {
	for i := 1; ; i++ {
		p, err := c.read()
		if i == attempts || !errors.Is(err, syscall.ENOENT) {
			return p, err
		}
	}
}

func (c *Card) read() (Picture, error) {
	p, err := c.lit()
	if err != nil {
		return Picture{}, err
	}
	screen := crtc{ID: p.CRTC}
	if err := c.ask(getCRTC, unsafe.Pointer(&screen)); err != nil {
		return Picture{}, err
	}
	buffer := framebuffer{ID: p.Framebuffer}
	if err := c.ask(getFramebuffer, unsafe.Pointer(&buffer)); err != nil {
		return Picture{}, err
	}
	img, err := c.pixels(buffer)
	return Picture{img, image.Pt(int(screen.Mode.Width), int(screen.Mode.Height))}, err
}

// lit finds a plane that has a picture.
func (c *Card) lit() (plane, error) {
	var ids [16]uint32 // more than any card of the virtual hardware has
	var pinned runtime.Pinner
	defer pinned.Unpin()
	pinned.Pin(&ids) // the kernel gets its address as a number
	list := planes{IDs: uint64(uintptr(unsafe.Pointer(&ids))), Count: uint32(len(ids))}
	if err := c.ask(getPlanes, unsafe.Pointer(&list)); err != nil {
		return plane{}, err
	}
	for _, id := range ids[:min(int(list.Count), len(ids))] {
		p := plane{ID: id}
		if err := c.ask(getPlane, unsafe.Pointer(&p)); err != nil {
			return plane{}, err
		}
		if p.Framebuffer != 0 {
			return p, nil
		}
	}
	return plane{}, ErrDark
}

// pixels copies what is in a buffer.
func (c *Card) pixels(b framebuffer) (*image.RGBA, error) {
	defer func() { // only for this process; the other keeps it
		_ = c.ask(closeBuffer, unsafe.Pointer(&bufferHandle{Handle: b.Handles[0]}))
	}()
	if b.Format != formatXRGB && b.Format != formatARGB {
		return nil, fmt.Errorf("scanout: pixels of the format %.4s cannot be read", (*[4]byte)(unsafe.Pointer(&b.Format))[:])
	}
	if b.Handles[0] == 0 {
		return nil, errors.New("scanout: the kernel hides the picture from who is not root")
	}
	memory, err := c.memory(b)
	if err != nil {
		return nil, err
	}
	img := image.NewRGBA(image.Rect(0, 0, int(b.Width), int(b.Height)))
	for y := range int(b.Height) {
		from := int(b.Offsets[0]) + y*int(b.Pitches[0])
		swapRedAndBlue(img.Pix[y*img.Stride:][:4*b.Width], memory[from:])
	}
	return img, nil
}

// memory maps a buffer. It stays mapped, because to touch it for the first time is what takes long in User-Mode Linux.
func (c *Card) memory(b framebuffer) ([]byte, error) {
	where := mapDumb{Handle: b.Handles[0]}
	if err := c.ask(mapDumbBuffer, unsafe.Pointer(&where)); err != nil {
		return nil, err
	}
	size := int(b.Offsets[0] + b.Pitches[0]*b.Height)
	if memory := c.mapped[where.Offset]; len(memory) >= size {
		return memory, nil
	}
	memory, err := syscall.Mmap(int(c.file.Fd()), int64(where.Offset), size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("scanout: the picture cannot be mapped: %w", err)
	}
	c.mapped[where.Offset] = memory
	return memory, nil
}

// swapRedAndBlue makes R, G, B, A of DRM's B, G, R, X.
func swapRedAndBlue(to, from []byte) {
	for i := 0; i < len(to); i += 4 {
		to[i], to[i+1], to[i+2], to[i+3] = from[i+2], from[i+1], from[i], 0xff
	}
}

// ask does one ioctl.
func (c *Card) ask(what request, about unsafe.Pointer) error {
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, c.file.Fd(), uintptr(what), uintptr(about))
	if errno != 0 {
		return fmt.Errorf("scanout: %v: %w", what, errno)
	}
	return nil
}
