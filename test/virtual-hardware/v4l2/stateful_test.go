//go:build hardware

package v4l2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// The elements of stateful decoders carry the number of their device, all but the first: the probe finds
// each with its device and driver. Unplugged, they are gone. What the probe is asked for is a vendor's
// element here, because no driver of the kernel's is stateful and takes H.264.
func TestStatefulNames(t *testing.T) {
	give(t, vislDevice, "visl", "vicodec")
	first, second := node(t, vicodecDevice, "stateful-decoder"), node(t, vislDevice, "stateful-decoder")
	other := fmt.Sprintf("v4l2%sfwhtdec", filepath.Base(second))
	vendors := strings.Replace(settings(fmt.Sprintf("vendor_elements = [\"v4l2fwhtdec\", %q]", other)), `"v4l2"`, `"vendor"`, 1)
	r := probe(t, nil, vendors)
	for element, device := range map[string]string{"v4l2fwhtdec": first, other: second} {
		c, _ := r.candidate(element, format.H264)
		if c.Device != device || c.Driver != "vicodec" {
			t.Errorf("%s: %+v, want device %s", element, c, device)
		}
		if c.Result != decode.Failed || c.Code != report.CodeError {
			t.Errorf("%s passed with H.264, which it cannot decode: %+v", element, c)
		}
	}
	writeSys(t, filepath.Join(drivers, "vicodec", "unbind"), vislDevice)
	t.Cleanup(func() { plug(t, "vicodec", vislDevice) })
	if got := probe(t, nil, vendors).elements(format.H264, plan.Vendor); !slices.Equal(got, []string{"v4l2fwhtdec"}) {
		t.Errorf("with one device unplugged: %q", got)
	}
}

// Another size than the one vicodec's decoder begins with. GStreamer 1.22 negotiates it and gets no pictures, and may wait
// for them for ever; with the other, pictures come, and now and then Linux 6.12 dies of them.
const width, height = 640, 360

// fwhtFrame is a grey picture as vicodec's decoder takes it, without compression: header and planes.
func fwhtFrame() []byte {
	const (
		uncompressed = 1<<4 | 1<<5 | 1<<6 // luma, Cb, Cr
		key          = 1 << 10
		components   = 2 << 16 // three
		yuv          = 1 << 19
	)
	const version, rec709 = 3, 3
	planes := bytes.Repeat([]byte{128}, width*height*3/2)
	b := []byte{0x4f, 0x4f, 0x4f, 0x4f, 0xff, 0xff, 0xff, 0xff}
	for _, field := range []uint32{version, width, height, uncompressed | key | components | yuv, rec709, 0, 0, 0, uint32(len(planes))} {
		b = binary.BigEndian.AppendUint32(b, field)
	}
	return append(b, planes...)
}

// GStreamer's stateful element takes no stream whose colorimetry is partly open, whatever the driver: the Raspberry
// Pi 4 is where it hurts. What the agent's plan then does, helps.
func TestStatefulColorimetry(t *testing.T) {
	frame := filepath.Join(t.TempDir(), "frame")
	if err := os.WriteFile(frame, fwhtFrame(), 0o600); err != nil {
		t.Fatal(err)
	}
	launch := func(decoder string) (string, error) {
		const caps = "video/x-fwht,width=%d,height=%d,framerate=30/1,colorimetry=0:3:0:1" // the transfer is not known
		pipeline := fmt.Sprintf("multifilesrc num-buffers=10 location=%s caps="+caps+" ! %s ! fakesink", frame, width, height, decoder)
		out, err := exec.Command("timeout", append([]string{"20", "gst-launch-1.0", "-q"}, strings.Fields(pipeline)...)...).CombinedOutput()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 124 && len(out) == 0 {
			return "", nil // it has negotiated, and waits for pictures
		}
		return string(out), err
	}
	if out, err := launch("v4l2fwhtdec"); err == nil || !strings.Contains(out, "not-negotiated") {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := launch("capssetter join=true replace=false caps=video/x-fwht,colorimetry=(string)bt709 ! v4l2fwhtdec"); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
