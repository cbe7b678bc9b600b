//go:build hardware

// Package stateful tests the stateful decoders of Video4Linux, the way of the Raspberry Pi 4, Qualcomm and Amlogic,
// with a driver of our own: see README.md. It decodes for real, and does whatever a test's rules say, from that moment
// on.
package stateful

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

const (
	driver     = "/sys/bus/platform/drivers/virtual-decoder"
	devices    = "/sys/module/virtual_decoder/parameters/devices"
	faultFile  = "/sys/kernel/debug/virtual-decoder/faults"
	firstName  = "virtual-decoder.0"
	secondName = "virtual-decoder.1"
)

func TestMain(m *testing.M) {
	if err := startHelper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// helperInput is kept open as long as the helper is needed.
var helperInput io.WriteCloser

// startHelper builds and starts what decodes, and makes the first device. The helper ends with its standard input, and
// so with this process.
func startHelper() error {
	folder := filepath.Join(os.Getenv("VIRTUAL_HARDWARE_OUT"), "stateful")
	if out, err := exec.Command("make", "-s", "-C", "helper", "BUILD="+folder).CombinedOutput(); err != nil {
		return fmt.Errorf("the helper cannot be built: %w\n%s", err, out)
	}
	helper := exec.Command(filepath.Join(folder, "virtual-decoder-helper"))
	helper.Stderr = os.Stderr
	var err error
	if helperInput, err = helper.StdinPipe(); err != nil {
		return err
	}
	out, err := helper.StdoutPipe()
	if err != nil {
		return err
	}
	if err := helper.Start(); err != nil {
		return err
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		return fmt.Errorf("the helper says %q: %w", line, err)
	}
	return os.WriteFile(devices, []byte("1"), 0)
}

// settings show nowhere, and decode with a stateful decoder or the processor.
const settings = `
[display]
sink = "none"
[decode]
order = ["v4l2-stateful", "software"]
`

// breakDriver has the driver do what the rules say, from now on until the end of the test or mend.
func breakDriver(t *testing.T, rules ...string) {
	t.Helper()
	t.Cleanup(func() { mend(t) })
	write(t, faultFile, strings.Join(rules, "\n")+"\n")
}

// mend has the driver work again.
func mend(t *testing.T) {
	t.Helper()
	write(t, faultFile, "\n")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// struck is when the first fault happened.
func struck(t *testing.T) time.Time {
	t.Helper()
	log, err := os.ReadFile(faultFile)
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(log), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		t.Fatalf("no fault happened: %q", log)
	}
	return time.Unix(0, ns)
}

// unplug takes a device away from its driver; it is back at the end of the test.
func unplug(t *testing.T, device string) {
	t.Helper()
	write(t, filepath.Join(driver, "unbind"), device)
	t.Cleanup(func() { plug(t, device) })
}

// plug gives a device to the driver, if it does not have it.
func plug(t *testing.T, device string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(driver, device)); errors.Is(err, fs.ErrNotExist) {
		write(t, filepath.Join(driver, "bind"), device)
	}
}

// node is the device node of a device, such as /dev/video4.
func node(t *testing.T, device string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(driver, device, "video4linux", "video*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s has the nodes %q: %v", device, found, err)
	}
	return filepath.Join("/dev", filepath.Base(found[0]))
}

var clips = map[string][]byte{}

// small makes a clip that leaves most of the machine's time to others: the hardware is virtual, and decodes on the
// processor.
func small(t *testing.T, encoder string) []byte {
	t.Helper()
	if clips[encoder] == nil {
		clips[encoder] = box.Clip(t, "320x180", "180", "-c:v", encoder, "-preset", "ultrafast", "-bf", "2",
			"-x265-params", "log-level=error:frame-threads=1:pools=2:no-wpp=1")
	}
	return clips[encoder]
}

// probe runs edge-agent probe and gives its state, to begin with, and what it says.
func probe(t *testing.T) (state map[string][]byte, said string) {
	t.Helper()
	folder := t.TempDir()
	config := filepath.Join(folder, "config.toml")
	text := fmt.Sprintf("[agent]\nstate_dir = %q\n%s", folder, box.AsRoot(settings))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(box.Program(t), "probe", "--config", config, "--json").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	known, err := os.ReadFile(filepath.Join(folder, "decoders.json"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"decoders.json": known}, string(out)
}

var known map[string][]byte

// probed is what a box knows that has tried out its decoders.
func probed(t *testing.T) map[string][]byte {
	t.Helper()
	if known == nil {
		known, _ = probe(t)
	}
	return known
}

// start runs a gateway that has tried out its decoders already, and waits for pictures.
func start(t *testing.T, clip []byte, element string) *box.Box {
	t.Helper()
	b := box.Start(t, box.Config{Clip: clip, Settings: settings, State: probed(t)})
	b.Decoding(element)
	return b
}

// detail wants an event to say something.
func detail(t *testing.T, e contract.Event, key, want string) {
	t.Helper()
	if got := fmt.Sprint(e.Detail[key]); got != want {
		t.Errorf("%s: %s is %q, want %q; it says %q", e.Code, key, got, want, e.Message)
	}
}
