package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

const (
	screenWidth  = 1280
	screenHeight = 720
)

// lookEvery is how often a screen is looked at.
const lookEvery = 2 * time.Millisecond

// screen is a virtual X server, whose pixels are in a file.
type screen struct {
	display string
	cmd     *exec.Cmd
	dir     string
	pixels  pixels
	late    func(now time.Time) // is told when the screen was not looked at for longer than blindFor; may be nil
}

func startScreen(ctx context.Context, dir string) (*screen, error) {
	s := &screen{}
	var err error
	if s.dir, err = os.MkdirTemp(dir, "screen-"); err != nil {
		return nil, err
	}
	told, tell, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer told.Close()
	s.cmd = command(ctx, "Xvfb", "-displayfd", "3", "-fbdir", s.dir, "-nolisten", "tcp",
		"-screen", "0", fmt.Sprintf("%dx%dx24", screenWidth, screenHeight))
	s.cmd.ExtraFiles = []*os.File{tell}
	err = s.cmd.Start()
	_ = tell.Close()
	if err != nil {
		return nil, err
	}
	var number int
	if _, err := fmt.Fscan(told, &number); err != nil {
		return nil, errors.Join(fmt.Errorf("the X server Xvfb does not start: %w", err), s.close())
	}
	s.display = ":" + strconv.Itoa(number)
	if s.pixels, err = readPixels(filepath.Join(s.dir, "Xvfb_screen0")); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *screen) close() error {
	if s.pixels.mapped != nil {
		_ = syscall.Munmap(s.pixels.mapped)
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	return os.RemoveAll(s.dir)
}

// follow tells of every picture that comes, by its number, until it is told true or ctx ends. It has a thread of its
// own meanwhile, which goes before all others where this user may have that: what is measured must not keep it from
// looking.
func (s *screen) follow(ctx context.Context, picture func(number int, now time.Time) (enough bool)) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
		defer unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0)
		ended <- s.look(ctx, picture)
	}()
	return <-ended
}

func (s *screen) look(ctx context.Context, picture func(number int, now time.Time) (enough bool)) error {
	last, looked := -1, time.Now()
	var lines sample
	for ctx.Err() == nil {
		// Not by the runtime's timers, which would wait for a thread that has to wait for its turn.
		every := unix.NsecToTimespec(lookEvery.Nanoseconds())
		_ = unix.Nanosleep(&every, nil)
		now := time.Now()
		if s.late != nil && now.Sub(looked) > blindFor {
			s.late(now)
		}
		looked = now
		if lines.same(s.pixels) {
			continue
		}
		n, err := clip.ReadFrameNumber(&lines)
		if err != nil || n == last { // nothing yet, or half drawn
			continue
		}
		last = n
		if picture(n, now) {
			return nil
		}
	}
	return ctx.Err()
}

// sample is a line of pixels from the middle of each of the two rows of blocks that are the frame number, as they were
// when the screen was looked at last. It is the picture that the number is read from: to read it from the screen itself
// would take a millisecond, in which the next picture may come and go.
type sample struct{ upper, lower []byte }

// same says that the lines are still the same; else it notes them.
func (s *sample) same(p pixels) bool {
	upper, lower := p.line(screenHeight*33/36), p.line(screenHeight*35/36)
	if bytes.Equal(s.upper, upper) && bytes.Equal(s.lower, lower) {
		return true
	}
	s.upper, s.lower = append(s.upper[:0], upper...), append(s.lower[:0], lower...)
	return false
}

// sampleEvery is how many pixels of a line are one in the sample: an eighth of a block.
const sampleEvery = 8

func (s *sample) ColorModel() color.Model { return color.RGBAModel }

// Bounds are those of the bar with the number, made smaller.
func (s *sample) Bounds() image.Rectangle {
	return image.Rect(0, 0, screenWidth/sampleEvery, screenHeight/9/sampleEvery)
}

func (s *sample) At(x, y int) color.Color {
	line := s.upper
	if y >= s.Bounds().Dy()/2 {
		line = s.lower
	}
	return (*colour)(line[4*(x*sampleEvery+sampleEvery/2):])
}

// pixels are those of an X window dump (XWD) that changes: four bytes each, blue first.
type pixels struct {
	mapped []byte // the whole file
	first  int    // offset of the first pixel
	stride int
	rect   image.Rectangle
}

// The places of numbers in the head of an XWD, all of them 32 bits, big endian.
const (
	xwdHeadSize   = 0
	xwdWidth      = 16
	xwdHeight     = 20
	xwdLineBytes  = 48
	xwdColours    = 76
	xwdColourSize = 12
)

func readPixels(file string) (pixels, error) {
	f, err := os.Open(file)
	if err != nil {
		return pixels{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return pixels{}, err
	}
	mapped, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return pixels{}, err
	}
	number := func(at int) int { return int(binary.BigEndian.Uint32(mapped[at:])) }
	return pixels{
		mapped: mapped, stride: number(xwdLineBytes),
		first: number(xwdHeadSize) + number(xwdColours)*xwdColourSize,
		rect:  image.Rect(0, 0, number(xwdWidth), number(xwdHeight)),
	}, nil
}

// line is a row of pixels.
func (p pixels) line(row int) []byte {
	return p.mapped[p.first+row*p.stride:][:4*p.rect.Max.X]
}

// colour is a pixel where it lies, four bytes, blue first: to look at one takes no memory.
type colour [4]byte

func (c *colour) RGBA() (r, g, b, a uint32) {
	return uint32(c[2]) * 0x101, uint32(c[1]) * 0x101, uint32(c[0]) * 0x101, 0xffff
}
