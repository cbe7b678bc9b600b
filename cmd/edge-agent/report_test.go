package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/test/kit"
)

// screenEDID is one with serial numbers as a number, as texts of both blocks, and in an extension of another kind.
func screenEDID() []byte {
	edid := make([]byte, 3*edidBlock)
	copy(edid, edidHeader)
	copy(edid[edidSerial:], "\x11\x22\x33\x44")
	copy(edid[54:], "\x00\x00\x00\xfc\x00MONITOR\n     ")
	copy(edid[72:], "\x00\x00\x00\xff\x00SERIAL-ONE-23")
	cta := edid[edidBlock:]
	cta[0], cta[2] = edidCTA, 100
	copy(cta[100:], "\x00\x00\x00\xff\x00SERIAL-TWO\n  ")
	copy(edid[2*edidBlock:], "\x70SERIAL-THREE")
	return edid
}

// No serial number is left in an EDID, and it is valid.
func TestAnonymousEDID(t *testing.T) {
	was := screenEDID()
	got := anonymous(was)
	for i := 0; i < len(got); i += edidBlock {
		sum := byte(0)
		for _, v := range got[i : i+edidBlock] {
			sum += v
		}
		kit.Expect(t, "sum of a block", sum, 0)
	}
	if bytes.Contains(got, []byte("SERIAL")) || bytes.Contains(got, []byte("\x11\x22\x33\x44")) || !bytes.Contains(got, []byte("MONITOR")) {
		t.Errorf("%q", got)
	}
	if !bytes.Equal(was, screenEDID()) {
		t.Error("the EDID that was given has changed")
	}
	for name, damaged := range map[string][]byte{"nothing": nil, "short": was[:100], "cut": was[:200], "other header": make([]byte, edidBlock)} {
		if anonymous(damaged) != nil {
			t.Error(name)
		}
	}
	was[edidBlock+2] = 255 // descriptors beyond the block
	if bytes.Contains(anonymous(was), []byte("SERIAL-ONE")) {
		t.Error("the first block")
	}
	for n := range 256 { // wherever they begin
		was[edidBlock+2] = byte(n)
		anonymous(was)
	}
}

func TestKernelMessagesOfVideo(t *testing.T) {
	for line, want := range map[string]bool{
		"i915 0000:00:02.0: [drm] GPU HANG: ecode 12:1": true, "[drm] Initialized vkms 1.0.0": true, "hantro-vpu fdea0000.video: timeout": true,
		"rkvdec2 fdc38100.video: error": true, "NVRM: GPU at PCI:0000:01:00": true, "xe 0000:00:02.0: hang": true,
		"xenbus: something": false, "usb 1-1: SerialNumber: 12345": false, "audit: type=1400 user=anna": false, "": false,
		"eth0: link up": false, "wlan0: authenticate with aa:bb": false, "drmaster: x": false, ": i915": false,
	} {
		if got := ofVideo(line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}

func TestReport(t *testing.T) {
	m := machine{
		sys: fstest.MapFS{
			"firmware/devicetree/base/model": {Data: []byte("Raspberry Pi 4 Model B Rev 1.4\x00")}, "class/dmi/id/bios_version": {Data: []byte("1.2\n")},
			"class/dmi/id/product_serial": {Data: []byte("SERIAL")}, "class/drm/card1-HDMI-A-1/edid": {Data: screenEDID()},
			"class/drm/card1-HDMI-A-2/edid": {}, "class/drm/card1-HDMI-A-3/edid": {Data: []byte("SERIAL")},
		},
		messages: func() ([]string, error) { return []string{"usb 1-1: SERIAL", "vc4-drm gpu: bound on wall-7"}, nil },
		hostname: func() (string, error) { return "wall-7", nil }, version: "1.0",
	}
	text, err := m.report(probed, plan.Preference{})
	if err != nil || strings.Contains(text, "SERIAL") || strings.Contains(text, "wall-7") {
		t.Error(err, text)
	}
	kit.Golden(t, filepath.Join("probe", "report.txt"), text)
	m.messages = func() ([]string, error) { return nil, os.ErrPermission }
	if text, _ := m.report(probed, plan.Preference{}); !strings.Contains(text, "cannot be read by this user") {
		t.Error(text)
	}
}

// It is shown first, and no file is overwritten.
func TestWriteReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.txt")
	var out, errs bytes.Buffer
	std := stdio{In: strings.NewReader(""), Out: &out, Err: &errs}
	kit.Expect(t, "error", writeReport(std, file, "text\n"), nil)
	kit.Expect(t, "shown", out.String(), "text\n")
	if got, err := os.ReadFile(file); err != nil || string(got) != "text\n" {
		t.Error(err, string(got))
	}
	if err := writeReport(std, file, "other"); err == nil {
		t.Error("it overwrites")
	}
	if err := writeReport(std, filepath.Join(file, "x"), "other"); err == nil || errors.Is(err, os.ErrExist) {
		t.Error(err)
	}
	status, _, said := run("probe", "--report", file)
	if status == 0 || !strings.Contains(said, "is there already") {
		t.Error(status, said)
	}
}
