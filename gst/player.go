package gst

// #include "player.h"
import "C"

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"github.com/go-gst/go-gst/gst"

	"github.com/edge-agent/edge-agent/decode"
)

// lead is the running time at which a pipeline begins: replayed pictures that
// are older than the pipeline have their time before it.
const lead = time.Hour

// The bounds of what may hang in a driver.
const (
	startTimeout    = 5 * time.Second
	stopTimeout     = time.Second
	snapshotTimeout = 3 * time.Second
)

// errFrozen says that a change of state did not come back. The process is of no
// more use then.
var errFrozen = errors.New("the pipeline is frozen: a change of state did not come back; the driver hangs")

func itoa(n C.guint) string { return strconv.FormatUint(uint64(n), 10) }

// player is one pipeline. Its methods may be called from any goroutine until close.
type player struct {
	pipeline *gst.Pipeline
	c        *C.Player
	card     *os.File // DRM device of the sink
}

// newPlayer builds the pipeline of a plan; nothing runs yet.
func newPlayer(p decode.Plan) (*player, error) {
	initOnce()
	pipeline, err := gst.NewPipelineFromString(p.Pipeline())
	if err != nil {
		return nil, err
	}
	pl := &player{pipeline: pipeline}
	fd := C.int(-1)
	if p.Display.Card != "" {
		if pl.card, err = os.OpenFile(p.Display.Card, os.O_RDWR, 0); err != nil {
			return nil, fmt.Errorf("the graphics card cannot be opened, is the user in the groups video and render? %w", err)
		}
		fd = C.int(pl.card.Fd()) // the very card, where the sink's list of drivers has gaps
	}
	element := (*C.GstElement)(pipeline.Unsafe())
	pl.c = C.player_new(element, fd, C.guint64(lead))
	runtime.KeepAlive(pipeline)
	if pl.c == nil {
		pl.closeCard()
		return nil, errors.New("the pipeline lacks source, decoder or sink")
	}
	return pl, nil
}

// start begins playing.
func (p *player) start() error {
	C.player_start(p.c)
	return p.setState(gst.StatePlaying, startTimeout)
}

// setState changes the state on a goroutine that can be given up.
func (p *player) setState(state gst.State, timeout time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- p.pipeline.SetState(state) }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errFrozen
	}
}

// close takes the pipeline down. After errFrozen nothing is freed: something
// still works with it.
func (p *player) close() error {
	if err := p.setState(gst.StateNull, stopTimeout); errors.Is(err, errFrozen) {
		return err
	}
	C.player_free(p.c)
	p.closeCard()
	return nil
}

func (p *player) closeCard() {
	if p.card != nil {
		_ = p.card.Close()
	}
}

// now is the pipeline's running time.
func (p *player) now() time.Duration { return time.Duration(C.player_now(p.c)) }

// push hands in one access unit that is due at a running time.
func (p *player) push(prefix, data []byte, due time.Duration, key, discont bool) error {
	var flags C.int
	if key {
		flags |= C.PUSH_KEY
	}
	if discont {
		flags |= C.PUSH_DISCONT
	}
	ret := C.player_push(p.c, unsafe.Pointer(unsafe.SliceData(prefix)), C.gsize(len(prefix)),
		unsafe.Pointer(unsafe.SliceData(data)), C.gsize(len(data)), C.guint64(due), flags)
	if ret != 0 {
		return fmt.Errorf("the pipeline takes no more frames (%s)", C.GoString(C.gst_flow_get_name(C.GstFlowReturn(ret))))
	}
	return nil
}

func (p *player) endOfStream() { C.player_end_of_stream(p.c) }

// counts fills in the figures of a status.
func (p *player) counts(s *decode.Status, line *decode.Timeline) {
	c := C.player_counts(p.c)
	s.Queued, s.Decoded, s.Shown, s.Late = uint64(c.queued), uint64(c.decoded), uint64(c.shown), uint64(c.late)
	if c.shown_wall != 0 {
		s.Wall = time.UnixMicro(int64(c.shown_wall))
		s.FrameTime, _ = line.FrameTime(time.Duration(c.shown_pts))
	}
}

// news is one message of the bus.
type news struct {
	kind                           C.NewsKind
	name, factory, domain, message string
	debug                          string
	code                           int
}

// wait waits for news, at most that long.
func (p *player) wait(timeout time.Duration) news {
	n := C.player_wait(p.c, C.guint64(timeout))
	defer C.news_clear(&n)
	return news{
		kind: n.kind, name: C.GoString(n.name), factory: C.GoString(n.factory), domain: C.GoString(n.domain),
		message: C.GoString(n.message), debug: C.GoString(n.debug), code: int(n.code),
	}
}

// wake makes a wait return.
func (p *player) wake() { C.player_wake(p.c) }

// snapshot gives the newest picture as an image.
func (p *player) snapshot(mediaType string) ([]byte, error) {
	cType := C.CString(mediaType)
	defer C.free(unsafe.Pointer(cType))
	var size C.gsize
	var text *C.char
	data := C.player_snapshot(p.c, cType, C.guint64(snapshotTimeout), &size, &text)
	if data == nil {
		defer C.g_free(C.gpointer(text))
		return nil, errors.New(C.GoString(text))
	}
	defer C.g_free(C.gpointer(data))
	return C.GoBytes(data, C.int(size)), nil
}
