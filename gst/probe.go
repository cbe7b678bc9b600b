package gst

// #include <stdlib.h>
// #include "probe.h"
import "C"

import (
	"runtime"
	"strconv"
	"unsafe"

	"github.com/edge-agent/edge-agent/decode"
)

// deviceProperties are where elements say which device node they use.
var deviceProperties = []string{"device-path", "video-device", "device"}

// devices finds the device nodes of decoder elements, which are opened for that or not. An element that
// does not say is left out.
func devices(asked decode.Describe) decode.Devices {
	initOnce()
	d := decode.Devices{Nodes: map[string]string{}}
	for _, element := range asked.Elements {
		for _, property := range deviceProperties {
			if node := elementText(element, property, asked.Opened); node != "" {
				d.Nodes[element] = node
				break
			}
		}
	}
	return d
}

func elementText(element, property string, opened bool) string {
	open := C.gboolean(0)
	if opened {
		open = 1
	}
	name, key := C.CString(element), C.CString(property)
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(key))
	text := C.element_text(name, key, open)
	defer C.g_free(C.gpointer(text))
	return C.GoString(text)
}

// pictures looks at what a player's decoder delivers.
type pictures struct{ c *C.Pictures }

// newPictures begins to look; the player must not run yet.
func newPictures(p *player, checksums bool) *pictures {
	var keep C.gboolean
	if checksums {
		keep = 1
	}
	c := C.pictures_new((*C.GstElement)(p.pipeline.Unsafe()), keep)
	runtime.KeepAlive(p.pipeline)
	if c == nil {
		return nil
	}
	return &pictures{c}
}

// counts fills in what was seen.
func (p *pictures) counts(s *decode.Status) {
	if p == nil {
		return
	}
	s.Fresh = uint64(C.pictures_fresh(p.c))
	s.Opaque = C.pictures_opaque(p.c) != 0
	n := C.pictures_checksums(p.c, nil, 0)
	if n == 0 {
		return
	}
	sums := make([]C.guint64, n)
	C.pictures_checksums(p.c, &sums[0], n)
	for _, sum := range sums {
		text := ""
		if sum != 0 {
			text = strconv.FormatUint(uint64(sum), 16)
		}
		s.Checksums = append(s.Checksums, text)
	}
}

// close frees; the player must not run any more.
func (p *pictures) close() {
	if p != nil {
		C.pictures_free(p.c)
	}
}
