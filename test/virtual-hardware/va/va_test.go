//go:build hardware

// Package va tests VA-API on a graphics card that does nothing (vgem) with a driver of our own: see README.md.
// The driver decodes for real, and does whatever a test writes into a file of faults, from that moment on.
package va

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

const (
	node      = "/dev/dri/renderD128"
	faultFile = "/dev/shm/virtual-va-faults"
	logFile   = "/dev/shm/virtual-va-log"
)

func TestMain(m *testing.M) {
	driver := filepath.Join(os.Getenv("VIRTUAL_HARDWARE_OUT"), "va")
	if out, err := exec.Command("make", "-s", "-C", "driver", "BUILD="+driver).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "the driver cannot be built: %v\n%s", err, out)
		os.Exit(1)
	}
	for name, value := range map[string]string{
		"LIBVA_DRIVERS_PATH": driver, "LIBVA_DRIVER_NAME": "virtual", "LIBVA_MESSAGING_LEVEL": "1",
		"GST_VA_ALL_DRIVERS":   "1", // from 1.26 on GStreamer otherwise takes those it knows
		"LIBVA_VIRTUAL_FAULTS": faultFile, "LIBVA_VIRTUAL_LOG": logFile,
	} {
		os.Setenv(name, value)
	}
	os.Exit(m.Run())
}

// settings show nowhere, and decode with VA-API or the processor.
const settings = `
[display]
sink = "none"
[decode]
order = ["va", "software"]
`

// breakDriver has the driver do what the rules say, from now on until the end of the test or mend.
func breakDriver(t *testing.T, rules ...string) {
	t.Helper()
	t.Cleanup(func() { mend(t) })
	if err := errors.Join(os.WriteFile(logFile, nil, 0o600), os.Chmod(logFile, 0o666)); err != nil { // renderers are of another user
		t.Fatal(err)
	}
	// Renamed, so that the driver never sees half of it.
	if err := os.WriteFile(faultFile+".new", []byte(strings.Join(rules, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(faultFile+".new", faultFile); err != nil {
		t.Fatal(err)
	}
}

// mend has the driver work again.
func mend(t *testing.T) {
	if err := os.Remove(faultFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// struck is when the first fault happened.
func struck(t *testing.T) time.Time {
	t.Helper()
	log, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatalf("no fault happened: %v", err)
	}
	first, _, _ := bytes.Cut(log, []byte(" "))
	seconds, fraction, _ := strings.Cut(string(first), ".")
	s, err1 := strconv.ParseInt(seconds, 10, 64)
	ns, err2 := strconv.ParseInt(fraction, 10, 64)
	if err := errors.Join(err1, err2); err != nil || !bytes.Contains(log, []byte(" fault ")) {
		t.Fatalf("%v in the driver's log:\n%s", err, log)
	}
	return time.Unix(s, ns)
}

var clips = map[string][]byte{}

// small makes a clip that leaves most of the machine's time to others: the hardware is virtual, and decodes on the processor.
func small(t *testing.T, encoder string) []byte {
	t.Helper()
	if clips[encoder] == nil {
		clips[encoder] = box.Clip(t, "320x180", "180", "-c:v", encoder, "-preset", "ultrafast", "-bf", "0", "-x265-params", "log-level=error:bframes=0:frame-threads=1")
	}
	return clips[encoder]
}

// start runs a gateway that has tried out its decoders already, and waits for pictures of VA-API.
func start(t *testing.T, clip []byte, element string) *box.Box {
	t.Helper()
	b := box.Start(t, box.Config{Clip: clip, Settings: settings, State: probed(t)})
	b.Decoding(element)
	return b
}
