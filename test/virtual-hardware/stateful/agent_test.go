//go:build hardware

package stateful

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

// The probe finds the decoders, and that their pictures are those of the processor. The agent takes them.
func TestIsChosen(t *testing.T) {
	_, said := probe(t)
	for _, codec := range []string{"264", "265"} {
		found := false
		for line := range strings.Lines(said) {
			found = found || containsAll(line, `"element":"v4l2h`+codec+`dec"`, `"result":"passed"`,
				`"driver":"virtual-decoder"`, `"device":"`+node(t, firstName)+`"`)
		}
		if !found {
			t.Errorf("v4l2h%sdec is not among those that passed:\n%s", codec, said)
		}
		t.Run("H."+codec, func(t *testing.T) {
			b := start(t, small(t, "libx"+codec), "v4l2h"+codec+"dec")
			b.Telemetry("another second", func(m contract.Telemetry) bool { return m.ShownFrames > 0 })
			allIsWell(t, b)
		})
	}
}

func containsAll(text string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(text, part) })
}

// allIsWell wants no event of a decoder.
func allIsWell(t *testing.T, b *box.Box) {
	t.Helper()
	for _, e := range b.Events() {
		if strings.HasPrefix(e.Code, "decode.") {
			t.Errorf("%s: %s", e.Code, e.Message)
		}
	}
}

// The driver flags pictures that are damaged, as by frames that were lost. They are shown: half a picture is better
// than none.
func TestDamagedPicturesAreShown(t *testing.T) {
	b := start(t, small(t, "libx264"), "v4l2h264dec")
	breakDriver(t, "picture 1 forever error")
	for range 3 {
		b.Decoding("v4l2h264dec")
	}
	struck(t)
	allIsWell(t, b)
}

// A stream that leaves its colorimetry partly open is not negotiated. With one that is set it is, by the same decoder.
func TestColorimetryIsSet(t *testing.T) {
	open := box.Clip(t, "320x180", "180", "-c:v", "libx264", "-preset", "ultrafast",
		"-x264-params", "colorprim=undef:transfer=undef:colormatrix=bt709")
	b := box.Start(t, box.Config{Clip: open, Settings: settings, State: probed(t)})
	failure := b.Event("decode.error")
	detail(t, failure, "element", "v4l2h264dec")
	if !strings.Contains(failure.Message, "v4l2h264dec is passed over") {
		t.Errorf("%s", failure.Message)
	}
	e := b.Event("decode.recovered")
	detail(t, e, "element", "v4l2h264dec")
	b.Decoding("v4l2h264dec")
}

// changing is a clip that changes its size every second.
func changing(t *testing.T) []byte {
	t.Helper()
	folder := t.TempDir()
	raw, clip := filepath.Join(folder, "raw"), filepath.Join(folder, "clip.mkv")
	if err := os.WriteFile(raw, twoSizes(t, "0"), 0o600); err != nil { // ffmpeg cannot tell the times of B-frames in it
		t.Fatal(err)
	}
	mux := exec.Command("ffmpeg", "-v", "error", "-r", "30", "-f", "h264", "-i", raw, "-c", "copy", clip)
	if out, err := mux.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	file, err := os.ReadFile(clip)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Pictures go on when the size of the stream changes.
func TestSizeChanges(t *testing.T) {
	b := start(t, changing(t), "v4l2h264dec")
	for range 6 {
		b.Decoding("v4l2h264dec")
	}
	allIsWell(t, b)
}

// A driver that stops after some openings in one process works in the next one.
func TestWearsOut(t *testing.T) {
	state := probed(t)
	breakDriver(t, "open 6 forever skip")
	b := box.Start(t, box.Config{Clip: changing(t), Settings: settings, State: state})
	b.Decoding("v4l2h264dec")
	fallsBack(t, b, "v4l2h264dec", "avdec_h264", "decode.silent")
}

// A driver that says the wrong size is found out by the probe: its pictures are not those of the processor.
func TestWrongSize(t *testing.T) {
	breakDriver(t, "source 1 forever size")
	b := box.Start(t, box.Config{Clip: small(t, "libx264"), Settings: settings})
	e := b.Event("decode.fallback")
	detail(t, e, "cause", "decode.differs")
	detail(t, e, "replaced_element", "v4l2h264dec")
	detail(t, e, "element", "avdec_h264")
	b.Decoding("avdec_h264")
}

// Unplugged in mid-stream: the picture goes on in software. Plugged in again: the hardware has it back when its time of
// denial, 30 s, is over.
func TestUnplugAndPlug(t *testing.T) {
	b := start(t, small(t, "libx264"), "v4l2h264dec")
	unplug(t, firstName)
	e := b.Event("decode.fallback")
	detail(t, e, "failed_element", "v4l2h264dec")
	detail(t, e, "element", "avdec_h264")
	detail(t, e, "cause", "decode.error")
	b.Decoding("avdec_h264")
	plug(t, firstName)
	e = b.Event("decode.recovered")
	detail(t, e, "element", "v4l2h264dec")
	detail(t, e, "replaced_element", "avdec_h264")
	b.Decoding("v4l2h264dec")
}

// With two devices the second decodes when the first is gone.
func TestTwoDevices(t *testing.T) {
	write(t, devices, "2")
	t.Cleanup(func() { write(t, devices, "1") })
	second := "v4l2" + filepath.Base(node(t, secondName)) + "h264dec"
	state, said := probe(t)
	if !strings.Contains(said, second) {
		t.Fatalf("there is no %s:\n%s", second, said)
	}
	b := box.Start(t, box.Config{Clip: small(t, "libx264"), Settings: settings, State: state})
	b.Decoding("v4l2h264dec")
	breakDriver(t, "dqbuf 1 1 error")
	e := b.Event("decode.fallback")
	detail(t, e, "failed_element", "v4l2h264dec")
	detail(t, e, "element", second)
	b.Decoding(second)
}

// fallsBack wants the agent to say what happened, which may be one of several codes, and software to go on.
func fallsBack(t *testing.T, b *box.Box, element, software, causes string) {
	t.Helper()
	fallback := b.Event("decode.fallback")
	detail(t, fallback, "failed_element", element)
	detail(t, fallback, "element", software)
	cause := fmt.Sprint(fallback.Detail["cause"])
	if !slices.Contains(strings.Fields(causes), cause) {
		t.Fatalf("the cause is %s, not %s", cause, causes)
	}
	failure := b.Event(cause)
	detail(t, failure, "element", element)
	detail(t, failure, "family", "v4l2-stateful")
	at := struck(t)
	t.Logf("%s after %v, picture in software after %v: %s", cause, failure.FirstTS.Sub(at).Round(time.Millisecond),
		fallback.FirstTS.Sub(at).Round(time.Millisecond), failure.Message)
	b.Decoding(software)
}

func TestFaultsWhileDecoding(t *testing.T) {
	for _, c := range []struct{ name, rules, cause string }{
		{"never a picture", "picture 1 forever skip", "decode.silent"},
		{"frames are swallowed", "decode 1 forever skip", "decode.silent"},
		{"no frame can be decoded", "decode 1 forever error", "decode.silent"},
		{"stops after 40 frames", "decode 40 forever hang", "decode.hang"},
		{"EIO from dequeueing", "dqbuf 1 forever error", "decode.error"},
		{"EIO from queueing", "qbuf 1 forever error", "decode.hang decode.error"},
		{"dequeueing hangs", "dqbuf 1 forever hang", "decode.hang"},
		{"EIO, and STREAMOFF hangs", "dqbuf 1 forever error\nstreamoff 1 forever hang", "decode.error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := start(t, small(t, "libx264"), "v4l2h264dec")
			breakDriver(t, c.rules)
			fallsBack(t, b, "v4l2h264dec", "avdec_h264", c.cause)
		})
	}
}

// A decoder that does not even begin. It passed its trial once, so it is asked for.
func TestFaultsAtTheStart(t *testing.T) {
	for _, c := range []struct{ name, rules, cause string }{
		{"cannot be opened", "open 1 forever error", "decode.error"},
		{"EIO from STREAMON", "streamon 1 forever error", "decode.error"},
		{"no format", "format 1 forever error", "decode.error"},
		{"never a picture", "picture 1 forever skip", "decode.silent"},
		{"worn out", "open 1 forever skip", "decode.silent"},
	} {
		t.Run(c.name, func(t *testing.T) {
			state := probed(t)
			breakDriver(t, c.rules)
			b := box.Start(t, box.Config{Clip: small(t, "libx264"), Settings: settings, State: state})
			fallsBack(t, b, "v4l2h264dec", "avdec_h264", c.cause)
		})
	}
}
