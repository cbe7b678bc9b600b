// Package gst is the renderer: the child process that decodes and shows, and the
// only place with cgo.
//
// In come messages of package decode over a socket: a plan, then encoded frames.
// Out go what was shown, failures and snapshots. The child does as it is told: which
// decoder and which display was decided by the agent, and what to do about a failure will be.
// Trials of decoders (decode.Probe) are ordinary pipelines that show nothing; what their pictures look
// like, and in all pipelines whether they differ, is seen in probe.c.
//
// Two kinds of pipeline, both on one time line: a player decodes, and is replaced whenever there is something
// else to decode; the screen has the display at its end and stays, with the last picture or with
// the slate, which says what is the matter:
//
//	frames ──▶ player: source ▸ parser ▸ decoder ──▶ screen: source ▸ scaler ▸ sink ──▶ display
//	                                         slate ──┘
//
// Threads. [Serve] runs on its caller's goroutine, which reads the socket and pushes frames; one more goroutine sends
// the status at intervals, another draws the slate. For each pipeline one goroutine waits for the bus, in C. Each
// change of state runs on a goroutine of its own that is given up when it does not come back, because drivers hang
// there; Serve then returns an error and the process is to end. GStreamer's streaming threads never enter Go: what they
// have to say they count in C, and what became of each frame they put into a bounded queue there (fates.c), which the
// status takes and the ledger (fates.go) puts together. The locks they take are never held while a driver works.
//
// A frame's presentation time in a pipeline is its name, given by decode.Timeline: unique, and rising in display order.
// Its picture is due a little later (player_hold). Package decode decides when; player.c decides what a decoder that is
// behind has to do without.
package gst

// #cgo pkg-config: gstreamer-1.0 gstreamer-base-1.0 gstreamer-app-1.0 gstreamer-video-1.0
// #include <stdlib.h>
// #include "player.h"
import "C"

import (
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"github.com/go-gst/go-gst/gst"

	"github.com/edge-agent/edge-agent/decode"
)

var initOnce = sync.OnceFunc(func() {
	setRegistry(decode.ClosedDevices())
	gst.Init(nil)
})

// setRegistry gives GStreamer another registry while the user may not open some devices. It keeps there which elements
// exist, and asks drivers again when their nodes have changed. That the user came into a group changes no node: with
// one registry the decoders would stay away until somebody removes it.
func setRegistry(closed []string) {
	if len(closed) == 0 {
		return
	}
	registry := os.Getenv("GST_REGISTRY")
	if registry == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return // then GStreamer keeps nothing
		}
		registry = filepath.Join(cache, "gstreamer-1.0", "registry")
	}
	h := fnv.New32a()
	fmt.Fprintln(h, closed)
	_ = os.Setenv("GST_REGISTRY", fmt.Sprintf("%s.without-%08x", registry, h.Sum32()))
}

// Version is the version of the GStreamer that is loaded, such as "1.22.0".
func Version() string {
	initOnce()
	var major, minor, micro, nano C.guint
	C.gst_version(&major, &minor, &micro, &nano)
	return itoa(major) + "." + itoa(minor) + "." + itoa(micro)
}

// load loads the plugins that elements are in. Those that are not there are no matter.
func load(elements []string) {
	for _, element := range elements {
		name := C.CString(element)
		C.load_element(name)
		C.free(unsafe.Pointer(name))
	}
}

// Elements lists the names of the video decoders and sinks that are installed.
// That an element exists proves nothing about the hardware behind it.
func Elements() []string {
	initOnce()
	list := C.video_elements()
	defer C.g_strfreev(list)
	var names []string
	for p := list; *p != nil; p = (**C.char)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
		names = append(names, C.GoString(*p))
	}
	return names
}
