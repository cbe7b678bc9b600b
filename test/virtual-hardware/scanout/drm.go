package scanout

import (
	"fmt"
	"unsafe"
)

// What is asked of the kernel, as in its include/uapi/drm/drm.h and drm_mode.h.

type request uintptr

// The requests: direction, size of what is passed, 'd', number.
const (
	write     = 1 << 30
	readWrite = 3 << 30

	dropMaster     request = 'd'<<8 | 0x1f
	closeBuffer    request = write | request(unsafe.Sizeof(bufferHandle{}))<<16 | 'd'<<8 | 0x09
	setClientCap   request = write | request(unsafe.Sizeof(clientCap{}))<<16 | 'd'<<8 | 0x0d
	getCRTC        request = readWrite | request(unsafe.Sizeof(crtc{}))<<16 | 'd'<<8 | 0xa1
	mapDumbBuffer  request = readWrite | request(unsafe.Sizeof(mapDumb{}))<<16 | 'd'<<8 | 0xb3
	getPlanes      request = readWrite | request(unsafe.Sizeof(planes{}))<<16 | 'd'<<8 | 0xb5
	getPlane       request = readWrite | request(unsafe.Sizeof(plane{}))<<16 | 'd'<<8 | 0xb6
	getFramebuffer request = readWrite | request(unsafe.Sizeof(framebuffer{}))<<16 | 'd'<<8 | 0xce
)

func (r request) String() string { return fmt.Sprintf("DRM request %#02x", uintptr(r)&0xff) }

const universalPlanes = 2 // the capability to be shown the planes that carry whole screens

// Pixel formats with 8 bits each of blue, green, red and nothing, in this order in memory.
const (
	formatXRGB = 'X' | 'R'<<8 | '2'<<16 | '4'<<24
	formatARGB = 'A' | 'R'<<8 | '2'<<16 | '4'<<24
)

type clientCap struct{ Capability, Value uint64 }

type bufferHandle struct{ Handle, _ uint32 }

type mapDumb struct {
	Handle, _ uint32
	Offset    uint64
}

type planes struct {
	IDs   uint64 // address of an array
	Count uint32
	_     uint32
}

type plane struct {
	ID, CRTC, Framebuffer uint32
	_                     [3]uint32
	_                     uint64
}

type crtc struct {
	_         uint64
	_, ID     uint32
	_         [4]uint32
	ModeValid uint32
	Mode      mode
}

type mode struct {
	_      uint32
	Width  uint16
	_      [4]uint16
	Height uint16
	_      [4]uint16
	_      [3]uint32
	_      [32]byte
}

type framebuffer struct {
	ID, Width, Height, Format, _ uint32
	Handles, Pitches, Offsets    [4]uint32
	_                            [4]uint64
}
