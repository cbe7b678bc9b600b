package gst

// #include "player.h"
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"time"
	"unsafe"

	"github.com/go-gst/go-gst/gst"

	"github.com/edge-agent/edge-agent/decode"

	"github.com/edge-agent/edge-agent/decode/plan"
)

// The bounds of what may hang in a driver.
const (
	startTimeout    = 5 * time.Second
	stopTimeout     = time.Second
	snapshotTimeout = time.Second
)

// errFrozen says that a change of state did not come back. The process is of no
// more use then.
var errFrozen = errors.New("the pipeline is frozen: a change of state did not come back; the driver hangs")

func itoa(n C.guint) string { return strconv.FormatUint(uint64(n), 10) }

func element(p *gst.Pipeline) *C.GstElement { return (*C.GstElement)(p.Unsafe()) }

// setState changes a pipeline's state on a goroutine that can be given up.
func setState(p *gst.Pipeline, state gst.State, timeout time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- p.SetState(state) }()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errFrozen
	}
}

// runningTime is where the time line of all pipelines is now.
func runningTime() time.Duration { return time.Duration(C.running_time()) }

// player is one pipeline that decodes. Its methods may be called from any goroutine until close.
type player struct {
	pipeline *gst.Pipeline
	c        *C.Player
}

// newPlayer builds the pipeline of a plan, whose pictures have a number; nothing runs yet.
func newPlayer(p plan.Plan, number uint32) (*player, error) {
	initOnce()
	pipeline, err := gst.NewPipelineFromString(p.Pipeline())
	if err != nil {
		return nil, fmt.Errorf("the pipeline cannot be built; an element of which GStreamer knows may not find its driver: %w", err)
	}
	unpaced := C.gboolean(0)
	if p.Unpaced {
		unpaced = 1
	}
	pl := &player{pipeline: pipeline, c: C.player_new(element(pipeline), C.guint32(number), unpaced, mostErrors(p))}
	runtime.KeepAlive(pipeline)
	if pl.c == nil {
		return nil, errors.New("the pipeline lacks source, decoder or sink")
	}
	return pl, nil
}

// mostErrors is after how many errors a decoder is to give up. Behind software there is nothing better, and its errors
// are mostly those of the stream: it continues.
func mostErrors(p plan.Plan) C.int {
	if p.Family == plan.Software {
		return -1
	}
	return 10
}

// start begins playing.
func (p *player) start() error { return setState(p.pipeline, gst.StatePlaying, startTimeout) }

// show makes a screen the one that gets the pictures; nil for none.
func (p *player) show(s *screen) {
	if s == nil {
		C.player_show(p.c, nil)
		return
	}
	C.player_show(p.c, s.c)
}

// stop takes the pipeline down. After errFrozen nothing may be freed: something
// still works with it.
func (p *player) stop() error {
	if err := setState(p.pipeline, gst.StateNull, stopTimeout); errors.Is(err, errFrozen) {
		return err
	}
	return nil
}

// free frees what stop has left.
func (p *player) free() { C.player_free(p.c) }

// fates is what happens to the frames.
func (p *player) fates() *C.Fates { return C.player_fates(p.c) }

// push hands in one access unit under its name.
func (p *player) push(prefix []byte, m decode.Message, name time.Duration) error {
	var flags C.int
	for flag, push := range pushFlags {
		if m.Flags&flag != 0 {
			flags |= push
		}
	}
	ret := C.player_push(p.c, unsafe.Pointer(unsafe.SliceData(prefix)), C.gsize(len(prefix)),
		unsafe.Pointer(unsafe.SliceData(m.Payload)), C.gsize(len(m.Payload)), C.guint64(name), flags)
	if ret != 0 {
		return fmt.Errorf("the pipeline takes no more frames (%s)", C.GoString(C.gst_flow_get_name(C.GstFlowReturn(ret))))
	}
	return nil
}

// pushFlags are a message's flags as player_push has them.
var pushFlags = map[uint8]C.int{
	decode.FlagKey: C.PUSH_KEY, decode.FlagDiscont: C.PUSH_DISCONT,
	decode.FlagDisposable: C.PUSH_DISPOSABLE, decode.FlagStored: C.PUSH_STORED,
}

// hold says how long after their names pictures are due.
func (p *player) hold(d time.Duration) { C.player_hold(p.c, C.gint64(d)) }

// showFrom says with which name the pictures begin that are to be seen.
func (p *player) showFrom(name time.Duration) { C.player_show_from(p.c, C.guint64(name)) }

// depth is how many frames after it the decoder needs to deliver a picture.
func (p *player) depth() int { return int(C.player_depth(p.c)) }

func (p *player) endOfStream() { C.player_end_of_stream(p.c) }

// counts fills in the figures of a status.
func (p *player) counts(s *decode.Status) {
	c := C.player_counts(p.c)
	s.Queued, s.Decoded, s.Skipped, s.Held = uint64(c.queued), uint64(c.decoded), uint64(c.skipped), c.held != 0
	s.Late += uint64(c.late)
}

// queued is how many frames wait for the decoder.
func (p *player) queued() int { return int(C.player_counts(p.c).queued) }

// margin is how long before their time pictures leave the decoder: the longest of the last few
// dozen. It is given once for these.
func (p *player) margin() (time.Duration, bool) {
	var margin C.gint64
	ok := C.player_margin(p.c, marginPictures, &margin) != 0
	return time.Duration(margin), ok
}

// marginPictures is enough to tell a decoder that always takes that long from one that was held up.
const marginPictures = 30

// news is one message of a bus.
type news struct {
	kind                           C.NewsKind
	name, factory, domain, message string
	debug                          string
	code                           int
}

// waitNews waits for news of a pipeline, at most that long.
func waitNews(p *gst.Pipeline, timeout time.Duration) news {
	n := C.bus_wait(element(p), C.guint64(timeout))
	defer C.news_clear(&n)
	runtime.KeepAlive(p)
	return news{
		kind: n.kind, name: C.GoString(n.name), factory: C.GoString(n.factory), domain: C.GoString(n.domain),
		message: C.GoString(n.message), debug: C.GoString(n.debug), code: int(n.code),
	}
}
