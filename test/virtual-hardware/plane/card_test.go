//go:build hardware

package plane

import (
	"bytes"
	"image"
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"github.com/edge-agent/edge-agent/test/virtual-hardware/scanout"
)

const node = "/dev/dri/card1"

// The kernel's structures, as in its include/uapi/drm/drm_mode.h.
type (
	modeInfo struct {
		Clock         uint32
		Width         uint16
		_             [4]uint16
		Height        uint16
		_             [4]uint16
		Refresh, _, _ uint32
		_             [32]byte
	}
	resources struct {
		FBs, CRTCs, Connectors, Encoders     uint64
		NFBs, NCRTCs, NConnectors, NEncoders uint32
		_                                    [4]uint32
	}
	connector struct {
		Encoders, Modes, Props, Values uint64
		NModes, NProps, NEncoders      uint32
		Encoder, ID, Type, TypeID      uint32
		_                              [5]uint32
	}
	crtc struct {
		Connectors            uint64
		NConnectors, ID, FB   uint32
		X, Y, Gamma, HaveMode uint32
		Mode                  modeInfo
	}
	setPlane struct {
		ID, CRTC, FB, Flags        uint32
		X, Y                       int32
		W, H                       uint32
		FromX, FromY, FromH, FromW uint32 // in 65536ths
	}
	planeList struct {
		IDs  uint64
		N, _ uint32
	}
	planeInfo struct {
		ID, CRTC, FB, CRTCs, Gamma, NFormats uint32
		Formats                              uint64
	}
	dumb struct {
		Height, Width, BPP, Flags, Handle, Pitch uint32
		Size                                     uint64
	}
	mapDumb struct {
		Handle, _ uint32
		Offset    uint64
	}
	framebuffer struct {
		ID, Width, Height, Format, Flags uint32
		Handles, Pitches, Offsets        [4]uint32
		Modifiers                        [4]uint64
	}
	properties struct {
		IDs, Values uint64
		N, ID, Type uint32
	}
	property struct {
		Values, Enums   uint64
		ID, Flags       uint32
		Name            [32]byte
		NValues, NEnums uint32
	}
	setProperty struct {
		Value             uint64
		Property, ID, Typ uint32
	}
	prime  struct{ Handle, Flags, FD uint32 }
	capSet struct{ Cap, Value uint64 }
)

const (
	overlayType = 0
	planeObject = 0xeeeeeeee
	xrgb        = 'X' | 'R'<<8 | '2'<<16 | '4'<<24
	nv12        = 'N' | 'V'<<8 | '1'<<16 | '2'<<24
)

// screen is the mode that vkms prefers.
var screen = image.Rect(0, 0, 1024, 768)

// card is the test's own: it is the master, has set the mode, and there is a grey ground on the primary plane.
type card struct {
	t               *testing.T
	file            *os.File
	camera          *scanout.Card
	crtc, connector uint32
	overlays        []uint32
}

// request does one ioctl on something, and fails the test when the kernel refuses.
func request[T any](c *card, number uintptr, about *T) {
	c.t.Helper()
	if err := try(c, number, about); err != nil {
		c.t.Fatalf("DRM request %#x: %v", number, err)
	}
}

func try[T any](c *card, number uintptr, about *T) error {
	request := 3<<30 | unsafe.Sizeof(*about)<<16 | 'd'<<8 | number
	if number == 0x0d { // the only one that is not answered
		request &^= 2 << 30
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, c.file.Fd(), request, uintptr(unsafe.Pointer(about))); errno != 0 {
		return errno
	}
	return nil
}

// open opens the card and lights the screen. After the test it is dark and free again.
func open(t *testing.T) *card {
	t.Helper()
	file, err := os.OpenFile(node, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := &card{t: t, file: file}
	t.Cleanup(func() { file.Close() })
	request(c, 0x0d, &capSet{2, 1}) // all planes
	if c.camera, err = scanout.Open(node); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.camera.Close() })
	mode := c.outputs()
	c.findOverlays()
	ground := c.rgb(filled(screen.Dx(), screen.Dy(), 0x40))
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&c.connector)
	request(c, 0xa2, &crtc{
		Connectors: address(&c.connector), NConnectors: 1, ID: c.crtc, FB: ground, HaveMode: 1, Mode: mode,
	})
	return c
}

func address[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

// outputs finds the CRTC and the connector, and gives the mode.
func (c *card) outputs() modeInfo {
	var crtcs, connectors [8]uint32
	var modes [64]modeInfo
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&crtcs)
	pin.Pin(&connectors)
	pin.Pin(&modes)
	request(c, 0xa0, &resources{CRTCs: address(&crtcs), NCRTCs: 8, Connectors: address(&connectors), NConnectors: 8})
	c.crtc, c.connector = crtcs[0], connectors[0]
	request(c, 0xa7, &connector{ID: c.connector}) // looks at the cable
	request(c, 0xa7, &connector{ID: c.connector, Modes: address(&modes), NModes: uint32(len(modes))})
	for _, m := range modes {
		if int(m.Width) == screen.Dx() && int(m.Height) == screen.Dy() {
			return m
		}
	}
	c.t.Fatalf("no mode of %v", screen)
	return modeInfo{}
}

func (c *card) findOverlays() {
	var ids [16]uint32
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids)
	list := planeList{IDs: address(&ids), N: uint32(len(ids))}
	request(c, 0xb5, &list)
	for _, id := range ids[:list.N] {
		if _, kind, _ := c.property(id, "type"); kind == overlayType {
			c.overlays = append(c.overlays, id)
		}
	}
}

// property finds a property of a plane and its value.
func (c *card) property(plane uint32, name string) (id uint32, value uint64, ok bool) {
	c.t.Helper()
	var ids [32]uint32
	var values [32]uint64
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&ids)
	pin.Pin(&values)
	all := properties{IDs: address(&ids), Values: address(&values), N: 32, ID: plane, Type: planeObject}
	request(c, 0xb9, &all)
	for i := range all.N {
		p := property{ID: ids[i]}
		request(c, 0xaa, &p)
		if string(bytes.TrimRight(p.Name[:], "\x00")) == name {
			return p.ID, values[i], true
		}
	}
	return 0, 0, false
}

func (c *card) set(plane uint32, name string, value uint64) {
	c.t.Helper()
	id, _, ok := c.property(plane, name)
	if !ok {
		c.t.Fatalf("the plane has no property %s", name)
	}
	request(c, 0xba, &setProperty{Value: value, Property: id, ID: plane, Typ: planeObject})
}

// memory is a buffer of the card.
func (c *card) memory(width, height, bits int) (dumb, []byte) {
	c.t.Helper()
	d := dumb{Width: uint32(width), Height: uint32(height), BPP: uint32(bits)}
	request(c, 0xb2, &d)
	where := mapDumb{Handle: d.Handle}
	request(c, 0xb3, &where)
	memory, err := syscall.Mmap(int(c.file.Fd()), int64(where.Offset), int(d.Size), 3, syscall.MAP_SHARED)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = syscall.Munmap(memory) })
	return d, memory
}

// rgb makes a framebuffer of a picture.
func (c *card) rgb(img *image.RGBA) uint32 {
	c.t.Helper()
	size := img.Rect.Size()
	d, memory := c.memory(size.X, size.Y, 32)
	for y := range size.Y {
		for x := range size.X {
			p := img.RGBAAt(x, y)
			copy(memory[y*int(d.Pitch)+4*x:], []byte{p.B, p.G, p.R, 0})
		}
	}
	fb := framebuffer{Width: uint32(size.X), Height: uint32(size.Y), Format: xrgb}
	fb.Handles[0], fb.Pitches[0] = d.Handle, d.Pitch
	request(c, 0xb8, &fb)
	return fb.ID
}

// yuv makes a framebuffer of NV12.
func (c *card) yuv(p picture) (uint32, error) {
	c.t.Helper()
	d, memory := c.memory(p.pitch, p.height+(p.height+1)/2, 8)
	fb := framebuffer{Width: uint32(p.width), Height: uint32(p.height), Format: nv12}
	fb.Handles, fb.Pitches = [4]uint32{d.Handle, d.Handle}, [4]uint32{d.Pitch, d.Pitch}
	fb.Offsets[1] = d.Pitch * uint32(p.height)
	for y := range p.height {
		copy(memory[y*int(d.Pitch):], p.luma[y*p.pitch:][:p.pitch])
	}
	for y := range (p.height + 1) / 2 {
		copy(memory[int(fb.Offsets[1])+y*int(d.Pitch):], p.chroma[y*p.pitch:][:p.pitch])
	}
	err := try(c, 0xb8, &fb)
	return fb.ID, err
}

// place shows a part of a framebuffer in a part of the screen.
func (c *card) place(plane, fb uint32, from, to image.Rectangle) error {
	return try(c, 0xb7, &setPlane{
		ID: plane, CRTC: c.crtc, FB: fb, X: int32(to.Min.X), Y: int32(to.Min.Y), W: uint32(to.Dx()), H: uint32(to.Dy()),
		FromX: uint32(from.Min.X) << 16, FromY: uint32(from.Min.Y) << 16, FromW: uint32(from.Dx()) << 16, FromH: uint32(from.Dy()) << 16,
	})
}

// look is what the monitor gets.
func (c *card) look() scanout.Screen {
	c.t.Helper()
	s, err := c.camera.Screen()
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// parameter writes one of vkms's parameters. After the test it is as it was.
func parameter(t *testing.T, name, value string) {
	t.Helper()
	path := "/sys/module/vkms/parameters/" + name
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { write(t, path, string(before)) })
	write(t, path, value)
}

func write(t *testing.T, path, value string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		t.Fatal(err)
	}
}

// reload has vkms make its card anew, with its parameters as they are now.
func reload(t *testing.T) { write(t, "/sys/module/vkms/parameters/reload", "1") }
