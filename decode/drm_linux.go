package decode

import (
	"os"
	"syscall"
	"unsafe"
)

// getConnector is struct drm_mode_get_connector of the kernel's drm_mode.h. To ask for no modes means to have it look.
type getConnector struct {
	_  [4]uint64
	_  [4]uint32
	id uint32
	_  [7]uint32
}

// requestConnector is DRM_IOCTL_MODE_GETCONNECTOR: read and write, size, 'd', number.
const requestConnector = 3<<30 | unsafe.Sizeof(getConnector{})<<16 | 'd'<<8 | 0xa7

// ask has the kernel look at an output of a card.
func ask(card string, connector int) error {
	file, err := os.OpenFile(card, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	request := getConnector{id: uint32(connector)}
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, file.Fd(), requestConnector, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return errno
	}
	return nil
}
