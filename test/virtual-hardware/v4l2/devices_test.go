//go:build hardware

// Package v4l2 tests how the agent finds, chooses, loses and regains decoders of Video4Linux, with
// the kernel's own test drivers: visl, a stateless decoder that takes H.264 and H.265 and paints
// pictures of its own, and vicodec, a stateful one for a codec of its own (FWHT).
//
// What these drivers cannot show is in docs/hardware.md: visl proves choice, negotiation, order and
// the way out of errors, not pixels; none of these is stateful and takes H.264, so the package stateful has one that is.
package v4l2

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/test/virtual-hardware/box"
)

// What a platform device is called below /sys/bus/platform/devices.
const (
	vislDevice    = "visl.0"
	vicodecDevice = "vicodec.0"
)

// drivers is a folder of sysfs.
const drivers = "/sys/bus/platform/drivers"

func writeSys(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// unplug takes a device away from its driver; it is back at the end of the test.
func unplug(t *testing.T, driver, device string) {
	t.Helper()
	writeSys(t, filepath.Join(drivers, driver, "unbind"), device)
	t.Cleanup(func() { plug(t, driver, device) })
}

// plug gives a device to a driver, if it does not have it.
func plug(t *testing.T, driver, device string) {
	t.Helper()
	if _, err := os.Lstat(filepath.Join(drivers, driver, device)); errors.Is(err, fs.ErrNotExist) {
		writeSys(t, filepath.Join(drivers, driver, "bind"), device)
	}
}

// give makes a second device of a driver out of one of another's, until the end of the test.
func give(t *testing.T, device, from, to string) {
	t.Helper()
	override := filepath.Join("/sys/bus/platform/devices", device, "driver_override")
	unplug(t, from, device)
	writeSys(t, override, to)
	plug(t, to, device)
	t.Cleanup(func() { // before unplug's
		writeSys(t, filepath.Join(drivers, to, "unbind"), device)
		writeSys(t, override, "\n")
	})
}

// nodes lists the device nodes of a platform device, such as /dev/video3, of those whose name contains a word.
func nodes(t *testing.T, device, word string) []string {
	t.Helper()
	found, err := filepath.Glob("/sys/bus/platform/devices/" + device + "/video4linux/video*")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, path := range found {
		name, err := os.ReadFile(filepath.Join(path, "name"))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(name), word) {
			list = append(list, filepath.Join("/dev", filepath.Base(path)))
		}
	}
	return list
}

// node is the one of nodes.
func node(t *testing.T, device, word string) string {
	t.Helper()
	list := nodes(t, device, word)
	if len(list) != 1 {
		t.Fatalf("%s has the nodes %q", device, list)
	}
	return list[0]
}

// trusted is what it takes to decode with visl: it paints pictures of its own.
const trusted = `trusted_elements = ["v4l2slh264dec", "v4l2slh265dec", "v4l2slvideo0h264dec", "v4l2slvideo3h264dec"]`

// settings are tables for the agent's configuration: V4L2 first, shown nowhere.
func settings(decode ...string) string {
	return "[display]\nsink = \"none\"\n[decode]\norder = [\"v4l2\"]\n" + strings.Join(decode, "\n") + "\n"
}

// user is who runs a program; nil stands for root.
type user struct {
	groups []uint32
	home   string
}

// newUser makes a user with no rights but those of the groups.
func newUser(t *testing.T, home string, groups ...uint32) *user {
	t.Helper()
	for dir := home; dir != "/" && dir != "/tmp"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return &user{groups: groups, home: home}
}

const (
	nobody = 65534
	video  = 44 // Debian's group
)

func (u *user) run(command *exec.Cmd) {
	if u == nil {
		return
	}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: u.groups}}
	command.Env = append(os.Environ(), "HOME="+u.home, "GST_REGISTRY=")
	command.Dir = u.home
}

// probeState keeps what probes found out, so that each decoder is tried out once in this boot.
var probeState string

func TestMain(m *testing.M) {
	var err error
	if probeState, err = os.MkdirTemp("", "probe"); err != nil {
		panic(err)
	}
	// With more text in visl's pictures each differs from the others in more than a digit, also in the few rows that are
	// looked at while a decoder is in use.
	if err := os.WriteFile("/sys/module/visl/parameters/tpg_verbose", []byte("Y"), 0); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// probeReport is what edge-agent probe --json says.
type probeReport struct {
	Closed     []string
	Candidates []decode.Candidate
}

// probe runs edge-agent probe as a user would who wants to send us a report.
func probe(t *testing.T, u *user, settings string) probeReport {
	t.Helper()
	state := probeState
	if u != nil {
		state = u.home
	}
	out := runProbe(t, u, state, settings, "--json")
	var r probeReport
	for line := range bytes.Lines(out) {
		var head struct {
			Type   string   `json:"type"`
			Closed []string `json:"closed_devices"`
			decode.Candidate
		}
		if err := json.Unmarshal(line, &head); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if head.Type == "box" {
			r.Closed = head.Closed
		} else {
			r.Candidates = append(r.Candidates, head.Candidate)
		}
	}
	return r
}

// runProbe runs a copy of the programs: others than root may not be able to get at the project's folder.
func runProbe(t *testing.T, u *user, state, settings string, flags ...string) []byte {
	t.Helper()
	folder := t.TempDir()
	config := filepath.Join(folder, "config.toml")
	program := box.Program(t)
	if u != nil {
		folder = u.home
		config = filepath.Join(folder, "config.toml")
		copyFile(t, box.Renderer(t), filepath.Join(folder, decode.RendererName))
		program = copyFile(t, program, filepath.Join(folder, "edge-agent"))
	}
	text := fmt.Sprintf("[agent]\nstate_dir = %q\n%s", state, box.AsRoot(settings))
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(program, append([]string{"probe", "--config", config}, flags...)...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	u.run(command)
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	return out
}

func copyFile(t *testing.T, from, to string) string {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}

// candidate finds what was found out about an element.
func (r probeReport) candidate(element string, codec format.Codec) (decode.Candidate, bool) {
	i := slices.IndexFunc(r.Candidates, func(c decode.Candidate) bool { return c.Element == element && c.Codec == codec })
	if i < 0 {
		return decode.Candidate{}, false
	}
	return r.Candidates[i], true
}

// elements lists those of a family, in their order.
func (r probeReport) elements(codec format.Codec, family plan.Family) []string {
	var list []string
	for _, c := range r.Candidates {
		if c.Codec == codec && c.Family == family {
			list = append(list, c.Element)
		}
	}
	return list
}
