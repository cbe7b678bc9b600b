package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/build"
	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/terminal"
	"github.com/edge-agent/edge-agent/decode"
	"github.com/edge-agent/edge-agent/decode/plan"
)

// machine is where a report looks.
type machine struct {
	sys      fs.FS                    // /sys
	messages func() ([]string, error) // of the kernel
	hostname func() (string, error)   // which no report has
	version  string                   // of the agent
}

func thisMachine() machine {
	return machine{sys: os.DirFS("/sys"), messages: kernelMessages, hostname: os.Hostname, version: build.Version}
}

// report is the text for the issue form: what the probe says, versions, what the video drivers say, and the EDIDs of
// the screens without serial numbers.
func (m machine) report(r decode.ProbeReport, p plan.Preference) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "edge-agent %s\n", m.version)
	for _, file := range []struct{ name, path string }{
		{"model", "firmware/devicetree/base/model"},
		{"maker", "class/dmi/id/sys_vendor"},
		{"product", "class/dmi/id/product_name"},
		{"board", "class/dmi/id/board_name"},
		{"firmware", "class/dmi/id/bios_version"},
		{"firmware date", "class/dmi/id/bios_date"},
	} {
		if text, err := fs.ReadFile(m.sys, file.path); err == nil {
			fmt.Fprintf(&b, "%s: %s\n", file.name, terminal.Plain(strings.Trim(string(text), "\x00\n ")))
		}
	}
	b.WriteString("\n## Probe\n\n")
	if err := listProbe(&b, r, p); err != nil {
		return "", err
	}
	b.WriteString("\n## Probe, for programs\n\n")
	if err := listProbeJSON(&b, r, p); err != nil {
		return "", err
	}
	b.WriteString("\n## Screens\n\n")
	m.screens(&b)
	b.WriteString("\n## Kernel messages of video drivers\n\n")
	lines, err := m.messages()
	if err != nil {
		fmt.Fprintf(&b, "They cannot be read by this user: %v\n", err)
	}
	host, _ := m.hostname()
	for _, line := range lines {
		if ofVideo(line) {
			fmt.Fprintln(&b, terminal.Plain(withoutWord(line, host)))
		}
	}
	return b.String(), nil
}

// screens writes the EDIDs of all outputs that have one.
func (m machine) screens(w io.Writer) {
	paths, _ := fs.Glob(m.sys, "class/drm/*/edid") // the only error is one of the pattern
	for _, path := range paths {
		name := strings.Split(path, "/")[2]
		edid, err := fs.ReadFile(m.sys, path)
		switch {
		case err != nil:
			fmt.Fprintf(w, "%s: the EDID cannot be read: %v\n", name, err)
		case len(edid) == 0: // nothing is connected
		default:
			if edid = anonymous(edid); edid == nil {
				fmt.Fprintf(w, "%s: the EDID is damaged, and left out\n", name)
				continue
			}
			fmt.Fprintf(w, "%s: EDID without serial numbers\n%s", name, hex.Dump(edid))
		}
	}
}

// Parts of an EDID (VESA E-EDID 1.4): blocks of 128 bytes, the last of which makes the sum 0.
const (
	edidBlock      = 128
	edidSerial     = 12 // four bytes
	edidDescriptor = 18 // bytes of a descriptor
	edidText       = 5  // where its text begins
	edidSerialText = 0xff
	edidCTA        = 2 // tag of an extension by CTA-861
)

var edidHeader = []byte{0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}

// anonymous is an EDID without serial numbers, with the checksums that go with it; nil when it is none. Extensions that
// are not of CTA-861 may hold serial numbers anywhere: nothing is left of them but their tag.
func anonymous(edid []byte) []byte {
	if len(edid) < edidBlock || len(edid)%edidBlock != 0 || !bytes.HasPrefix(edid, edidHeader) {
		return nil
	}
	out := bytes.Clone(edid)
	for i := 0; i < len(out); i += edidBlock {
		block := out[i : i+edidBlock]
		switch {
		case i == 0:
			clear(block[edidSerial : edidSerial+4])
			hideSerialTexts(block[54:126])
		case block[0] == edidCTA && block[2] >= 4 && int(block[2]) < edidBlock:
			hideSerialTexts(block[block[2] : edidBlock-1])
		case block[0] == edidCTA: // without descriptors
		default:
			clear(block[1:])
		}
		sum := byte(0)
		for _, v := range block[:edidBlock-1] {
			sum += v
		}
		block[edidBlock-1] = -sum
	}
	return out
}

// hideSerialTexts empties the descriptors that hold a serial number as text.
func hideSerialTexts(b []byte) {
	for ; len(b) >= edidDescriptor; b = b[edidDescriptor:] {
		if b[0] == 0 && b[1] == 0 && b[3] == edidSerialText {
			text := b[edidText:edidDescriptor]
			for i := range text {
				text[i] = ' '
			}
			text[0] = '\n' // the end of the text
		}
	}
}

// videoDrivers are the beginnings of what drivers of decoders, graphics and screens call themselves in the kernel's log.
var videoDrivers = []string{
	"i915", "xe", "amdgpu", "radeon", "nouveau", "nvidia", "nvrm", "drm", "vc4", "v3d", "bcm2835-codec", "bcm2835_codec",
	"bcm2835_mmal", "rpi-hevc", "rpivid", "hevc_d", "raspberrypi-firmware", "hantro", "rkvdec", "rkvpu", "rk_vcodec", "mpp_",
	"rockchip-drm", "rockchip-vop", "dwhdmi", "dw-hdmi", "panfrost", "panthor", "lima", "etnaviv", "cedrus", "sun4i-drm",
	"sun8i", "qcom-venus", "msm", "wave5", "vpu", "meson", "mtk-vcodec", "mediatek-drm", "imx-drm", "imx8m", "amphion", "visl",
	"vicodec", "vivid", "vkms", "virtio_gpu", "simple-framebuffer", "videodev", "v4l2", "mc:", "cma", "spacemit",
}

// driverName is what stands at the beginning of a message of the kernel.
var driverName = regexp.MustCompile(`^\[?([A-Za-z0-9_.-]+)`)

// ofVideo says that a message of the kernel is of a video driver.
func ofVideo(line string) bool {
	m := driverName.FindStringSubmatch(line)
	return m != nil && slices.ContainsFunc(videoDrivers, func(driver string) bool {
		rest, ok := strings.CutPrefix(strings.ToLower(m[1]), strings.TrimSuffix(driver, ":"))
		return ok && (rest == "" || len(driver) > 3 || !('a' <= rest[0] && rest[0] <= 'z'))
	})
}

// withoutWord leaves a word out of a text, such as the name of the host.
func withoutWord(text, word string) string {
	if word == "" || word == "localhost" {
		return text
	}
	return regexp.MustCompile(`(?i)(^|\W)`+regexp.QuoteMeta(word)+`($|\W)`).ReplaceAllString(text, "${1}HOST${2}")
}

// writeReport shows a report, and writes it when the user agrees; one who is not at a terminal has agreed.
func writeReport(std stdio, file, text string) error {
	fmt.Fprint(std.Out, text)
	if in, ok := std.In.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		fmt.Fprintf(std.Err, "\nWrite this to %s? [y/N] ", file)
		answer, err := bufio.NewReader(in).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
			fmt.Fprintln(std.Err, "nothing was written")
			return nil
		}
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return usageError(fmt.Sprintf("the report cannot be written: %v", err))
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	fmt.Fprintf(std.Err, "written to %s; attach it to the issue form \"Probe report\"\n", file)
	return nil
}
