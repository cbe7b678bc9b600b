//go:build hardware

package plane

import (
	"bytes"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

const pictureMaps = "/sys/kernel/debug/picture_maps"

// play runs GStreamer from visl, the decoder, to an overlay plane, with what is given in between.
func (c *card) play(clip []byte, between string) *exec.Cmd {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "clip.mkv")
	if err := os.WriteFile(file, clip, 0o600); err != nil {
		c.t.Fatal(err)
	}
	pipeline := fmt.Sprintf("filesrc location=%s ! matroskademux ! h264parse ! v4l2slh264dec %s ! kmssink name=sink fd=3"+
		" connector-id=%d plane-id=%d render-rectangle=<0,96,960,528>", file, between, c.connector, c.overlays[0])
	cmd := exec.Command("gst-launch-1.0", strings.Fields(pipeline)...)
	cmd.ExtraFiles = []*os.File{c.file}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if c.t.Failed() {
			c.t.Logf("%s", &said)
		}
	})
	return cmd
}

// shown is the framebuffer on the overlay plane.
func (c *card) shown() uint32 {
	c.t.Helper()
	p := planeInfo{ID: c.overlays[0]}
	request(c, 0xb6, &p)
	return p.FB
}

// read copies the memory of a framebuffer of NV12, which is the decoder's; false when there is another by now.
func (c *card) read(id uint32) (picture, bool) {
	c.t.Helper()
	fb := framebuffer{ID: id}
	if try(c, 0xce, &fb) != nil {
		return picture{}, false
	}
	if fb.Format != nv12 {
		c.t.Fatalf("the plane's format is %#x", fb.Format)
	}
	export := prime{Handle: fb.Handles[0]}
	request(c, 0x2d, &export)
	defer syscall.Close(int(export.FD))
	height, pitch := int(fb.Height), int(fb.Pitches[0])
	size := int(fb.Offsets[1]) + pitch*((height+1)/2)
	memory, err := syscall.Mmap(int(export.FD), 0, size, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		c.t.Fatal(err)
	}
	defer syscall.Munmap(memory)
	return picture{
		width: int(fb.Width), height: height, pitch: pitch,
		luma: bytes.Clone(memory[fb.Offsets[0]:]), chroma: bytes.Clone(memory[fb.Offsets[1]:]),
	}, true
}

// clip is of a picture each two seconds: time to look at it.
func clip(t *testing.T, rate string) []byte {
	return box.ClipOf(t, "testsrc2=rate="+rate+":size=640x352", "30", "-c:v", "libx264", "-preset", "ultrafast", "-bf", "0")
}

// What the decoder made is on the screen, scaled by the plane, and the program between them has not touched it.
func TestDecoderToPlane(t *testing.T) {
	c := open(t)
	c.set(c.overlays[0], "COLOR_ENCODING", 1)
	c.set(c.overlays[0], "COLOR_RANGE", 0)
	write(t, pictureMaps, "0")
	cmd := c.play(clip(t, "1/2"), "")
	seen := map[uint32]bool{}
	for deadline := time.Now().Add(box.Patience); len(seen) < 3; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d pictures were seen", len(seen))
		}
		id := c.shown()
		if id == 0 || seen[id] {
			continue
		}
		p, ok := c.read(id)
		now := c.look()
		if !ok || c.shown() != id {
			continue
		}
		seen[id] = true
		to := image.Rect(0, 96, 960, 96+528)
		same(t, now.RGBA, composed(convert(p, colours{1, 0}), image.Rect(0, 0, p.width, p.height), to, 1))
	}
	if n := touched(t, cmd.Process.Pid); n != 0 {
		t.Errorf("pictures were mapped or made coherent %d times", n)
	}
}

// A converter touches each picture, and is found out.
func TestConverterIsCounted(t *testing.T) {
	c := open(t)
	write(t, pictureMaps, "0")
	cmd := c.play(clip(t, "30"), "! videoconvert ! video/x-raw,format=BGRx")
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := touched(t, cmd.Process.Pid); n < 30 {
		t.Errorf("30 pictures were converted, and memory of pictures was touched %d times", n)
	}
}

// touched counts what a process did to the memory of pictures.
func touched(t *testing.T, process int) int {
	t.Helper()
	text, err := os.ReadFile(pictureMaps)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSpace(line), "\t") // process, name, what, of, times
		if len(fields) != 5 {
			t.Fatalf("%q", line)
		}
		n, err := strconv.Atoi(fields[4])
		if err != nil {
			t.Fatal(err)
		}
		if fields[0] == strconv.Itoa(process) {
			t.Log(fields[1:])
			if fields[3] != "stream" {
				sum += n
			}
		}
	}
	return sum
}
