package gst

// #include "player.h"
import "C"

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/go-gst/go-gst/gst"

	"github.com/edge-agent/edge-agent/decode"

	"github.com/edge-agent/edge-agent/decode/drm"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/timeline"
)

// screen is the pipeline at whose end pictures are seen. It stays while those that
// decode come and go.
type screen struct {
	asked    decode.Screen
	pipeline *gst.Pipeline
	c        *C.Screen
	card     *drm.Card // of the sink
	output   *output   // nil where the sink sets the screen's mode
	path     plan.PathChoice

	work sync.WaitGroup // listen, and those who look at the picture
	quit chan struct{}
}

// errBusy says that another program holds the display.
var errBusy = errors.New("another program holds the display; stop it (often a desktop), or choose [display] sink to show in its windows")

// newScreen opens a display. first is told of the first picture of each pipeline, failed at most once of why
// the display does not work any more. errFrozen says that the process is of no more use.
func newScreen(asked decode.Screen, first func(), failed func(error)) (*screen, error) {
	initOnce()
	if d := &asked.Display; d.Sink == plan.X11 && d.Mode == (plan.Mode{}) {
		mode, err := xScreen()
		if err != nil {
			return nil, err
		}
		d.Mode = mode
	}
	s := &screen{asked: asked, quit: make(chan struct{})}
	fd := C.int(-1)
	if err := s.openOutput(); err != nil {
		return nil, err
	}
	if s.card != nil {
		fd = C.int(s.card.File.Fd()) // the very card, where the sink's list of drivers has gaps
	}
	pipeline, err := gst.NewPipelineFromString(s.asked.Display.Pipeline(asked.Unpaced))
	if err != nil {
		s.closeCard()
		return nil, err
	}
	s.pipeline = pipeline
	s.c = C.screen_new(element(pipeline), fd)
	runtime.KeepAlive(pipeline)
	if s.c == nil {
		s.closeCard()
		return nil, errors.New("the display's pipeline lacks source or sink")
	}
	if s.output != nil {
		C.screen_use_plane(s.c, fd, s.output.colours())
	}
	if err := setState(pipeline, gst.StatePlaying, startTimeout); err != nil {
		if n := waitNews(pipeline, 0); n.kind == C.NEWS_ERROR {
			err = &startError{n}
		}
		return nil, s.pathError(errors.Join(err, s.close()))
	}
	s.work.Go(func() { s.listen(first, failed) })
	return s, nil
}

// An X server that has just started, or whose last client has gone, may refuse a connection for a moment.
const (
	xPatience = 2 * time.Second // less than screenTimeout
	xPause    = 100 * time.Millisecond
)

// xScreen is the size of the X server's screen, which a window fills; without a window manager nothing else does that.
// A window of another size would stay in a corner.
func xScreen() (plan.Mode, error) {
	for end := time.Now().Add(xPatience); ; time.Sleep(xPause) {
		var width, height C.int
		if C.x_screen_size(&width, &height) != 0 {
			return plan.Mode{Width: int(width), Height: int(height)}, nil
		}
		if time.Now().After(end) {
			return plan.Mode{}, errors.New("the X server could not be asked for the size of its screen")
		}
	}
}

// openCard opens a graphics card and takes the right to set its modes, which only one program has.
func openCard(path string) (*drm.Card, error) {
	card, err := drm.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the graphics card cannot be opened, is the user in the groups video and render? %w", err)
	}
	if err := masterError(card.BecomeMaster()); err != nil {
		_ = card.Close()
		return nil, err
	}
	return card, nil
}

// masterError is errBusy when the kernel's answer says that another program may set the modes. Other
// answers are left for the sink to find out about: not all drivers know the question.
func masterError(err error) error {
	if errors.Is(err, syscall.EBUSY) || errors.Is(err, syscall.EACCES) {
		return errBusy
	}
	return nil
}

// listen hands on what the bus says, until quit.
func (s *screen) listen(first func(), failed func(error)) {
	told := false
	for {
		select {
		case <-s.quit:
			return
		default:
		}
		switch n := waitNews(s.pipeline, busWait); {
		case n.kind == C.NEWS_FIRST_PICTURE:
			first()
		case n.kind == C.NEWS_ERROR && !told:
			told = true
			C.screen_close(s.c) // nobody is to wait for it
			failed(s.pathError(&startError{n}))
		}
	}
}

// turn makes the screen take the pictures of a pipeline, by its number.
func (s *screen) turn(number uint32) { C.screen_turn(s.c, C.guint32(number)) }

// drain waits until all pictures that it has are shown. A time-out that is over already is none to wait for.
func (s *screen) drain(timeout time.Duration) { C.screen_drain(s.c, C.guint64(max(0, timeout))) }

// slate shows a slate at once. It is false when pictures wait, or when there have been more on the screen than so many.
func (s *screen) slate(img *image.RGBA, pictures uint64) bool {
	if s.output != nil {
		if C.screen_begin_slate(s.c, C.guint64(pictures)) == 0 {
			return false
		}
		defer C.screen_end_slate(s.c)
		s.output.paint(img)
		return true
	}
	return C.screen_slate(s.c, unsafe.Pointer(unsafe.SliceData(img.Pix)), C.int(img.Rect.Dx()), C.int(img.Rect.Dy()), C.guint64(pictures)) != 0
}

// pictures is how many have been on the screen, and when the newest of the present pipeline was; zero for none.
func (s *screen) pictures() (n uint64, newest time.Time) {
	c := C.screen_counts(s.c)
	if c.shown_wall != 0 {
		newest = time.UnixMicro(int64(c.shown_wall))
	}
	return uint64(c.pictures), newest
}

// counts adds the figures to a status.
func (s *screen) counts(status *decode.Status, line *timeline.Timeline) {
	c := C.screen_counts(s.c)
	status.Shown += uint64(c.shown)
	status.Late += uint64(c.late)
	if c.shown_wall != 0 {
		status.Wall = time.UnixMicro(int64(c.shown_wall))
		status.FrameTime, _ = line.FrameTime(time.Duration(c.shown_pts))
	}
}

// picture is what is on the screen, no wider than most.
func (s *screen) picture(most int) (*image.RGBA, error) {
	return s.pictureWithin(snapshotTimeout, most)
}

// pictureWithin is picture; its conversion may take so long.
func (s *screen) pictureWithin(limit time.Duration, most int) (*image.RGBA, error) {
	if s.output != nil && C.screen_blank(s.c) != 0 {
		return s.output.picture(most)
	}
	var width, height C.int
	var text *C.char
	data := C.screen_pixels(s.c, C.int(most), C.guint64(limit), &width, &height, &text)
	if data == nil {
		defer C.g_free(C.gpointer(text))
		return nil, errors.New(C.GoString(text))
	}
	defer C.g_free(C.gpointer(data))
	size, err := pixelBytes(int64(width), int64(height))
	if err != nil {
		return nil, err
	}
	img := &image.RGBA{
		Pix: bytes.Clone(unsafe.Slice((*byte)(data), size)), Stride: int(width) * 4,
		Rect: image.Rect(0, 0, int(width), int(height)),
	}
	for i := 3; i < len(img.Pix); i += 4 {
		img.Pix[i] = 0xff // GStreamer leaves it open
	}
	return img, nil
}

// mostPixelBytes is more than a screen of 8K takes.
const mostPixelBytes = 256 << 20

// pixelBytes is the size of a picture of four bytes for a pixel.
func pixelBytes(width, height int64) (int64, error) {
	if width <= 0 || height <= 0 || width > mostPixelBytes/4/height {
		return 0, fmt.Errorf("a picture of %d×%d pixels cannot be taken", width, height)
	}
	return width * height * 4, nil
}

// close takes the pipeline down. After errFrozen nothing is freed: something
// still works with it.
func (s *screen) close() error {
	C.screen_close(s.c)
	close(s.quit)
	C.bus_wake(element(s.pipeline))
	s.work.Wait()
	if err := setState(s.pipeline, gst.StateNull, stopTimeout); errors.Is(err, errFrozen) {
		if s.card != nil {
			keepOpen(s.card.File)
		}
		return err
	}
	C.screen_forget(s.c)
	C.screen_unref(s.c)
	s.closeCard()
	return nil
}

// openCards are those of sinks that are frozen. A file that nothing refers to is closed by the collector, and its
// descriptor would be another file under the sink.
var openCards struct {
	mu    sync.Mutex
	files []*os.File
}

// keepOpen keeps a card open for as long as the process lives.
func keepOpen(card *os.File) {
	openCards.mu.Lock()
	defer openCards.mu.Unlock()
	openCards.files = append(openCards.files, card)
}

// closeCard gives the right to set modes back before it closes: the sink may leave a picture mapped when it fails,
// which keeps the file open, and then this very process would be the other program that holds the display.
func (s *screen) closeCard() {
	if s.card == nil {
		return
	}
	if s.output != nil {
		s.output.close()
	}
	s.card.DropMaster()
	_ = s.card.Close()
}
