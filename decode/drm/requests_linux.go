package drm

import (
	"syscall"
	"unsafe"
)

// request is the number of an ioctl: direction, size of what is passed, 'd', number.
type request uintptr

const (
	write     = 1 << 30
	readWrite = 3 << 30

	setClientCap  request = write | request(unsafe.Sizeof(clientCap{}))<<16 | 'd'<<8 | 0x0d
	setMaster     request = 'd'<<8 | 0x1e
	dropMaster    request = 'd'<<8 | 0x1f
	getResources  request = readWrite | request(unsafe.Sizeof(resources{}))<<16 | 'd'<<8 | 0xa0
	setCRTC       request = readWrite | request(unsafe.Sizeof(crtc{}))<<16 | 'd'<<8 | 0xa2
	getEncoder    request = readWrite | request(unsafe.Sizeof(encoder{}))<<16 | 'd'<<8 | 0xa6
	getConnector  request = readWrite | request(unsafe.Sizeof(connector{}))<<16 | 'd'<<8 | 0xa7
	getProperty   request = readWrite | request(unsafe.Sizeof(property{}))<<16 | 'd'<<8 | 0xaa
	removeFB      request = readWrite | 4<<16 | 'd'<<8 | 0xaf
	createDumb    request = readWrite | request(unsafe.Sizeof(dumb{}))<<16 | 'd'<<8 | 0xb2
	mapDumb       request = readWrite | request(unsafe.Sizeof(mapping{}))<<16 | 'd'<<8 | 0xb3
	destroyDumb   request = readWrite | 4<<16 | 'd'<<8 | 0xb4
	getPlanes     request = readWrite | request(unsafe.Sizeof(planes{}))<<16 | 'd'<<8 | 0xb5
	getPlane      request = readWrite | request(unsafe.Sizeof(plane{}))<<16 | 'd'<<8 | 0xb6
	setPlane      request = readWrite | request(unsafe.Sizeof(planeUpdate{}))<<16 | 'd'<<8 | 0xb7
	addFB         request = readWrite | request(unsafe.Sizeof(framebuffer{}))<<16 | 'd'<<8 | 0xb8
	getProperties request = readWrite | request(unsafe.Sizeof(properties{}))<<16 | 'd'<<8 | 0xb9
	setProperty   request = readWrite | request(unsafe.Sizeof(assignment{}))<<16 | 'd'<<8 | 0xba
	commit        request = readWrite | request(unsafe.Sizeof(atomic{}))<<16 | 'd'<<8 | 0xbc
)

// Capabilities of a client, flags and types of objects.
const (
	universalPlanes = 2 // to be shown the planes that carry whole screens
	atomicCommits   = 3
	testOnly        = 0x100
	objectPlane     = 0xeeeeeeee
	immutable       = 1 << 2
	isEnum          = 1<<3 | 1<<5 // an enumeration or a bit mask
)

type clientCap struct{ Capability, Value uint64 }

type resources struct {
	FBs, CRTCs, Connectors, Encoders                 uint64 // addresses of arrays
	FBCount, CRTCCount, ConnectorCount, EncoderCount uint32
	_                                                [4]uint32
}

type crtc struct {
	Connectors     uint64 // address of an array
	ConnectorCount uint32
	ID, Buffer     uint32
	X, Y           uint32
	_              uint32
	Valid          uint32
	Mode           timing
}

type encoder struct{ ID, Type, CRTC, CRTCs, _ uint32 }

// connector: to ask for no modes means to have the kernel look.
type connector struct {
	Encoders, Modes, Props, Values               uint64 // addresses of arrays
	ModeCount, PropCount, EncoderCount           uint32
	Encoder, ID, Type, Number, State             uint32
	WidthMillimetres, HeightMillimetres, _, Ends uint32
}

type property struct {
	Values, Enums         uint64 // addresses of arrays
	ID, Flags             uint32
	Name                  [32]byte
	ValueCount, EnumCount uint32
}

type enum struct {
	Value uint64
	Name  [32]byte
}

type dumb struct {
	Height, Width, BitsPerPixel, Flags uint32
	Handle, Pitch                      uint32
	Size                               uint64
}

type mapping struct {
	Handle, _ uint32
	Offset    uint64
}

type planes struct {
	IDs   uint64 // address of an array
	Count uint32
	_     uint32
}

type plane struct {
	ID, CRTC, Buffer, CRTCs, _, FormatCount uint32
	Formats                                 uint64 // address of an array
}

// planeUpdate has its source in 1/65536 of a pixel.
type planeUpdate struct {
	ID, CRTC, Buffer, Flags                        uint32
	X, Y                                           int32
	Width, Height                                  uint32
	SourceX, SourceY, SourceHeight, SourceWidth, _ uint32
}

type framebuffer struct {
	ID, Width, Height, Format, Flags uint32
	Handles, Pitches, Offsets        [4]uint32
	Modifiers                        [4]uint64
}

type properties struct {
	IDs, Values     uint64 // addresses of arrays
	Count, ID, Type uint32
	_               uint32
}

type assignment struct {
	Value              uint64
	Property, ID, Type uint32
	_                  uint32
}

type atomic struct {
	Flags, ObjectCount          uint32
	Objects, Counts, IDs, Value uint64 // addresses of arrays
	_, _                        uint64
}

// ask does one request, again when a signal came in between.
func (c *Card) ask(what request, about unsafe.Pointer) error {
	for {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, c.File.Fd(), uintptr(what), uintptr(about))
		switch errno {
		case 0:
			return nil
		case syscall.EINTR, syscall.EAGAIN:
		default:
			return errno
		}
	}
}
