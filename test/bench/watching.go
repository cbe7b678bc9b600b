package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// The clip of this contest has its frame number in the picture. It has B-frames, which come before their turn.
const (
	numberedFrames = 300
	numberedGOP    = time.Second
	screenWidth    = 1280
	screenHeight   = 720
)

// latency is what the agent is given between a frame's arrival and its picture, budget what may
// become of it: one frame more.
const (
	latency = 200 * time.Millisecond
	budget  = latency + time.Second/clipFPS
)

// budgetName is the side that is no program: what lag is allowed to be.
const budgetName = "budget + frame"

// watchingContest looks at how old a frame is when it is on the screen.
func (b *bench) watchingContest() contest {
	w := &watching{bench: b}
	compared := "From the moment at which a frame was captured to that at which its number is on the screen of a virtual X server (read every " +
		"2 ms), of a live 1080p30 H.264 stream with B-frames, decoded in software and scaled to 1280x720; "
	return contest{
		name: "watching", rounds: b.extent.watching, check: w.check,
		ours: side{ours, w.agentRun},
		peers: []side{{budgetName, func(context.Context) (figures, error) {
			return figures{"p50": millis(budget), "p95": millis(budget)}, nil
		}}},
		rows: []row{
			{name: "glass lag, p50", figure: "p50", unit: "ms", peer: budgetName, aim: 1, compared: compared + "against [display] latency = " + latency.String() + " and one frame."},
			{name: "glass lag, p95", figure: "p95", unit: "ms", peer: budgetName, compared: "The same."},
		},
	}
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

type watching struct {
	*bench
	service *service
	began   time.Time // when frame 0 of the stream was captured
}

// check makes what is watched. The service ends with the bench.
func (w *watching) check(ctx context.Context) error {
	if _, err := exec.LookPath("Xvfb"); err != nil {
		return err
	}
	small, file := filepath.Join(w.dir, "clock.mkv"), filepath.Join(w.dir, "numbered.mkv")
	if err := os.WriteFile(small, clip.H264(), 0o600); err != nil {
		return err
	}
	gop := strconv.Itoa(int(numberedGOP.Seconds() * clipFPS))
	err := ffmpeg(ctx, "-i", small, "-frames:v", strconv.Itoa(numberedFrames), "-vf", "scale=1920:1080",
		"-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", gop, "-keyint_min", gop, "-sc_threshold", "0", "-b:v", "5M", file)
	if err != nil {
		return err
	}
	if w.service, err = startService(ctx, file); err != nil {
		return err
	}
	w.began, err = w.firstFrame(ctx)
	return err
}

// firstFrame is when the producer captured the first frame of the stream.
func (w *watching) firstFrame(ctx context.Context) (time.Time, error) {
	body, err := getMedia(ctx, w.service.url, "EARLIEST")
	if err != nil {
		return time.Time{}, err
	}
	defer body.Close()
	r := mkv.NewReader(body)
	for {
		event, err := r.Next()
		if err != nil {
			return time.Time{}, err
		}
		if tags, ok := event.(*mkv.Tags); ok && !tags.Fragment.ProducerTime.IsZero() {
			return tags.Fragment.ProducerTime, nil
		}
	}
}

func (w *watching) agentRun(ctx context.Context) (f figures, err error) {
	screen, err := startScreen(ctx, w.dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, screen.close()) }()
	live := &bench{extent: w.extent, agent: w.agent, dir: w.dir, service: w.service}
	cmd, err := live.agentCommand(ctx, "", "DISPLAY="+screen.display)
	if err != nil {
		return nil, err
	}
	if err := w.onX11(cmd); err != nil {
		return nil, err
	}
	stderr := newTranscript("")
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stderr.explain(end(cmd))) }()
	f, err = w.watch(ctx, screen)
	return f, stderr.explain(err)
}

// onX11 changes the configuration of an agent so that it shows the stream.
func (w *watching) onX11(cmd *exec.Cmd) error {
	file := cmd.Args[len(cmd.Args)-1]
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	shown := strings.Replace(string(text), `sink = "none"`, fmt.Sprintf("sink = \"x11\"\nlatency = %q", latency), 1)
	return os.WriteFile(file, []byte(shown), 0o600)
}

// watch gives the lag of the frames that come to a screen, once it has settled.
func (w *watching) watch(ctx context.Context, s *screen) (figures, error) {
	if _, err := w.lags(ctx, s, time.Now().Add(w.settle)); err != nil {
		return nil, err
	}
	lags, err := w.lags(ctx, s, time.Now().Add(w.window))
	if err != nil {
		return nil, err
	}
	if few := int(w.window.Seconds()*clipFPS) * 8 / 10; len(lags) < few && w.off < few {
		return nil, fmt.Errorf("%w: %d frames were seen", errBusy, len(lags))
	}
	if len(lags) == 0 {
		return nil, errors.New("no frame was seen on the screen")
	}
	slices.Sort(lags)
	return figures{"p50": millis(lags[len(lags)/2]), "p95": millis(lags[len(lags)*95/100])}, nil
}

// lags looks at a screen until a time and gives the lag of each frame that comes to it.
func (w *watching) lags(ctx context.Context, s *screen, until time.Time) (lags []time.Duration, err error) {
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	last := -1
	for time.Now().Before(until) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
		}
		n, err := clip.ReadFrameNumber(s.bar())
		now := time.Now()
		if err != nil || n == last { // nothing yet, or half drawn
			continue
		}
		if last >= 0 {
			lags = append(lags, w.age(n, now))
		}
		last = n
	}
	return lags, nil
}

// age is how long ago the newest frame with a number was captured.
func (w *watching) age(n int, now time.Time) time.Duration {
	const round = numberedFrames * time.Second / clipFPS
	return (now.Sub(w.began) - time.Duration(n)*time.Second/clipFPS + round) % round
}

// screen is a virtual X server, whose pixels are in a file.
type screen struct {
	display string
	cmd     *exec.Cmd
	dir     string
	pixels  pixels
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

// bar is the part of the screen that has the frame number.
func (s *screen) bar() image.Image {
	return s.pixels.below(screenHeight * 7 / 8)
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

// below is the part from a row on.
func (p pixels) below(row int) pixels {
	p.rect.Min.Y = row
	return p
}

func (p pixels) ColorModel() color.Model { return color.RGBAModel }
func (p pixels) Bounds() image.Rectangle { return p.rect }

func (p pixels) At(x, y int) color.Color {
	b := p.mapped[p.first+y*p.stride+x*4:]
	return color.RGBA{b[2], b[1], b[0], 0xff}
}
