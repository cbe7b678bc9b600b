package gst

import (
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
)

// compositor is a Wayland compositor without a screen, of 1280x720.
type compositor struct {
	t   *testing.T
	env []string // of its clients
}

const waylandSocket = "edge-agent-test"

func startCompositor(t *testing.T) *compositor {
	t.Helper()
	if _, err := exec.LookPath("weston"); err != nil {
		t.Skip("weston is not installed: there is no Wayland compositor")
	}
	folder, err := os.MkdirTemp("", "wayland") // paths of sockets are short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	c := &compositor{t, []string{"XDG_RUNTIME_DIR=" + folder, "WAYLAND_DISPLAY=" + waylandSocket}}
	args := []string{
		"--backend=headless-backend.so", "--width=1280", "--height=720", "--socket=" + waylandSocket,
		"--idle-time=0", "--config=" + filepath.Join(folder, "config"), "--debug", "--log=" + filepath.Join(folder, "log"),
	}
	// The panel comes up late, and on some versions above a full-screen window.
	shell := "[shell]\npanel-position=none\nstartup-animation=none\nanimation=none\nlocking=false\n"
	if err := os.WriteFile(filepath.Join(folder, "config"), []byte(shell), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("weston", append(args, pixman())...)
	cmd.Env = append(os.Environ(), c.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it has clients of its own
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		if log, err := os.ReadFile(filepath.Join(folder, "log")); t.Failed() && err == nil {
			t.Logf("weston said:\n%s", log)
		}
	})
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !c.answers() {
		select {
		case <-ended:
			t.Fatal("weston does not come up")
		case <-deadline:
			t.Fatal("weston does not answer")
		case <-tick.C:
		}
	}
	return c
}

// pixman is the option to draw with the processor, which versions name differently.
func pixman() string {
	help, _ := exec.Command("weston", "--help").Output()
	if strings.Contains(string(help), "--use-pixman") {
		return "--use-pixman"
	}
	return "--renderer=pixman"
}

// answers says that a screenshot can be taken, the last thing to work.
func (c *compositor) answers() bool {
	_, err := c.shoot()
	return err == nil
}

// shoot takes what is on the screen.
func (c *compositor) shoot() (image.Image, error) {
	folder := c.t.TempDir()
	cmd := exec.Command("weston-screenshooter")
	cmd.Env, cmd.Dir = append(os.Environ(), c.env...), folder
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	files, _ := filepath.Glob(filepath.Join(folder, "*.png"))
	if len(files) != 1 {
		return nil, os.ErrNotExist
	}
	f, err := os.Open(files[0])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return png.Decode(f)
}

// awaitScreen takes screenshots until one is as it should be.
func (c *compositor) awaitScreen(what string, ok func(image.Image) bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	seen := "no screenshot"
	for time.Now().Before(deadline) {
		img, err := c.shoot()
		if err != nil {
			continue
		}
		if ok(img) {
			return
		}
		b := img.Bounds().Inset(5)
		seen = fmt.Sprint(img.Bounds(), img.At(b.Min.X, b.Min.Y), img.At(b.Max.X, b.Min.Y), img.At(b.Min.X, b.Max.Y), img.At(b.Max.X, b.Max.Y))
	}
	c.t.Fatalf("the screen never shows %s: the corners of the last screenshot are %s", what, seen)
}

// Slate and picture fill a Wayland screen.
func TestWayland(t *testing.T) {
	c := startCompositor(t)
	for _, setting := range c.env {
		name, value, _ := strings.Cut(setting, "=")
		t.Setenv(name, value)
	}
	frames := clip(t, "640x360", "60", append([]string{"-vf", "drawbox=x=0:y=0:w=320:h=ih:color=red:t=fill,drawbox=x=320:y=0:w=320:h=ih:color=blue:t=fill"}, x264...)...)
	r, reports := run(t, decode.Config{Sink: plan.Wayland})
	defer func() {
		if t.Failed() {
			t.Logf("%+v", r.Stats())
		}
	}()
	slate := testSlate
	slate.After = time.Hour // the last picture stays until somebody has looked
	r.SetSlate(slate)
	at := func(img image.Image, x, y int) color.RGBA { return color.RGBAModel.Convert(img.At(x, y)).(color.RGBA) }
	c.awaitScreen("the slate", func(img image.Image) bool {
		return near(at(img, 1270, 5), slateGround) && near(at(img, 5, 715), slateWrong) && near(at(img, 1270, 715), slateGround)
	})
	stream(t, r, frames)
	await(t, r, reports, "the picture", func() bool { return r.Stats().Shown > 0 })
	c.awaitScreen("the picture", func(img image.Image) bool {
		return near(at(img, 5, 5), color.RGBA{254, 0, 0, 255}) && near(at(img, 1270, 715), color.RGBA{0, 0, 254, 255})
	})
}
