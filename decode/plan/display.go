package plan

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/xserver"
)

// Sink is a way to a screen.
type Sink string

// The ways to a screen. Auto takes a desktop session if there is one, because
// that session then holds the output, else the output itself, else None.
const (
	Auto    Sink = "auto"
	KMS     Sink = "kms"
	Wayland Sink = "wayland"
	X11     Sink = "x11"
	None    Sink = "none" // decode, show nowhere
)

// Element is the GStreamer element of the sink.
func (s Sink) Element() string {
	switch s {
	case KMS:
		return "kmssink"
	case Wayland:
		return "waylandsink"
	case X11:
		return "ximagesink" // works without XVideo, which virtual X servers lack
	}
	return "fakesink"
}

// Mode is a size in pixels.
type Mode struct {
	Width, Height int
}

// Display is where the pictures go.
type Display struct {
	Sink        Sink
	Card        string // KMS: device node, such as /dev/dri/card1
	Driver      string // KMS: kernel driver of the card, for people
	Connector   string // KMS: such as HDMI-A-1
	ConnectorID int    // KMS: of the connector; 0 when the kernel does not tell
	Mode        Mode   // size to scale to; zero: on X11 that of the screen, else leave it to the sink
	Path        Path   // wanted; "" is PathAuto
	Rotate      int    // degrees, clockwise

	// Of a path over a plane, as the renderer found it: the plane's number, 0 for another path, and whether the driver waits for
	// the screen by itself.
	Plane  uint32
	Atomic bool
}

// String names the display for people: "kms HDMI-A-1 1920x1080".
func (d Display) String() string {
	text := string(d.Sink)
	if d.Connector != "" {
		text += " " + d.Connector
	}
	if d.Mode.Width > 0 {
		text += fmt.Sprintf(" %dx%d", d.Mode.Width, d.Mode.Height)
	}
	return text
}

// Pipeline is the way of pictures from the decoder's pipeline to the display, as gst-launch-1.0
// understands it. The elements that the renderer looks at are named source and sink.
func (d Display) Pipeline(unpaced bool) string {
	parts := []string{"appsrc name=source format=time is-live=true do-timestamp=false block=false max-bytes=0 emit-signals=false"}
	switch {
	case d.Sink == None:
	case d.Plane != 0: // a converter that has nothing to convert hands on what comes
		return strings.Join(append(parts, "videoconvert", d.sink(unpaced)), " ! ")
	default:
		parts = append(append(parts, d.flip()...), "videoconvertscale")
	}
	if d.Mode.Width > 0 {
		parts = append(parts, fmt.Sprintf("video/x-raw,%swidth=%d,height=%d,pixel-aspect-ratio=1/1", d.formats(), d.Mode.Width, d.Mode.Height))
	}
	return strings.Join(append(parts, d.sink(unpaced)), " ! ")
}

// formats are those of the screen itself. A card may show YUV too, or say so, but not by the matrix and range of the picture: the sink
// does not tell it.
func (d Display) formats() string {
	if d.Sink == KMS {
		return "format=(string){BGRx,RGBx,xRGB,xBGR,BGRA,RGBA,BGR,RGB,RGB16},"
	}
	return ""
}

// flip rotates, before pictures are made larger.
func (d Display) flip() []string {
	directions := map[int]string{90: "90r", 180: "180", 270: "90l"}
	if direction, ok := directions[d.Rotate]; ok {
		return []string{"videoconvert", "videoflip video-direction=" + direction}
	}
	return nil
}

func (d Display) sink(unpaced bool) string {
	text := d.Sink.Element() + " name=sink"
	switch d.Sink {
	case KMS:
		if d.ConnectorID > 0 {
			text += fmt.Sprintf(" connector-id=%d", d.ConnectorID)
		}
		switch {
		case d.Plane != 0:
			text += fmt.Sprintf(" plane-id=%d restore-crtc=false skip-vsync=%t", d.Plane, d.Atomic)
		case d.Mode.Width > 0:
			text += " force-modesetting=true"
		}
	case Wayland:
		text += " fullscreen=true"
	case X11:
		text += " force-aspect-ratio=true"
	}
	if unpaced {
		return text + " sync=false qos=false enable-last-sample=true"
	}
	// The budget is in the frames' times already, so the sink gets no deadline of its own. It drops nothing: the
	// renderer does that before it, and counts it.
	return text + " sync=true max-lateness=-1 processing-deadline=0 qos=false enable-last-sample=true"
}

// Surroundings is what ChooseDisplay looks at.
type Surroundings struct {
	Getenv     func(key string) string
	Connectors []Connector
	Reachable  func(network, address string) error // tries to connect to a Wayland compositor
	XAccess    func(xserver.Server) error          // connects to an X server; a xserver.Refused when it refuses
	Found      []string                            // GStreamer elements that exist
	Denied     func(Sink) (why string, denied bool)
}

// Choice is the display that was chosen and why it was not another.
type Choice struct {
	Display Display
	Passed  []string // "x11: DISPLAY is not set", in the order they were looked at
	Refused error    // of a desktop session that is there and refuses access; an *Error
}

// ChooseDisplay chooses where pictures go. want Auto always gives a display, in the end
// None; any other want that is impossible gives an *Error that says why.
func ChooseDisplay(want Sink, connector string, s Surroundings) (Choice, error) {
	order := []Sink{want}
	if want == Auto {
		order = []Sink{Wayland, X11, KMS, None}
		if connector != "" { // asking for an output means asking for it without a desktop
			order = []Sink{KMS, None}
		}
	}
	var choice Choice
	var cause error
	for _, sink := range order {
		d, err := s.try(sink, connector)
		if err == nil {
			choice.Display = d
			return choice, nil
		}
		cause = err
		if e := (*report.Error)(nil); errors.As(err, &e) && e.Code == report.CodeNoAccess {
			choice.Refused = err
		}
		choice.Passed = append(choice.Passed, string(sink)+": "+err.Error())
	}
	return choice, cause
}

// try says how to use a sink, or why it cannot be used.
func (s Surroundings) try(sink Sink, connector string) (Display, error) {
	if s.Denied != nil {
		if why, denied := s.Denied(sink); denied {
			return Display{}, report.Errorf(report.CodeNoDisplay, "%s", why)
		}
	}
	if sink != None && !slices.Contains(s.Found, sink.Element()) {
		return Display{}, report.Errorf(report.CodeNoDisplay, "GStreamer has no %s; install gstreamer1.0-plugins-bad (kms, wayland) or gstreamer1.0-x (x11)", sink.Element())
	}
	switch sink {
	case KMS:
		return s.TryKMS(connector)
	case Wayland:
		return s.tryWayland()
	case X11:
		return s.tryX11()
	case None:
		return Display{Sink: None}, nil
	}
	return Display{}, report.Errorf(report.CodeNoDisplay, "there is no display sink %q; choose auto, kms, wayland, x11 or none", sink)
}

// tryWayland looks first, because the sink without these says nothing useful.
func (s Surroundings) tryWayland() (Display, error) {
	dir, name := s.Getenv("XDG_RUNTIME_DIR"), s.Getenv("WAYLAND_DISPLAY")
	switch {
	case name == "":
		return Display{}, report.Errorf(report.CodeNoDisplay, "WAYLAND_DISPLAY is not set")
	case dir == "" && !path.IsAbs(name):
		return Display{}, report.Errorf(report.CodeNoDisplay, "XDG_RUNTIME_DIR is not set")
	}
	if !path.IsAbs(name) {
		name = path.Join(dir, name)
	}
	if err := s.Reachable("unix", name); errors.Is(err, fs.ErrPermission) {
		return Display{}, &report.Error{Code: report.CodeNoAccess, Message: "the agent's user may not connect to the Wayland compositor; run the agent as the user of the session", Err: err}
	} else if err != nil {
		return Display{}, &report.Error{Code: report.CodeNoDisplay, Message: "no Wayland compositor answers", Err: err}
	}
	return Display{Sink: Wayland}, nil
}

func (s Surroundings) tryX11() (Display, error) {
	name := s.Getenv("DISPLAY")
	if name == "" {
		return Display{}, report.Errorf(report.CodeNoDisplay, "DISPLAY is not set")
	}
	server, err := xserver.At(name, s.Getenv)
	if err == nil {
		err = s.XAccess(server)
	}
	if err != nil {
		return Display{}, server.NoAccess(name, err)
	}
	return Display{Sink: X11}, nil
}

// TryKMS takes the connector that was asked for, or the first with a screen.
func (s Surroundings) TryKMS(want string) (Display, error) {
	if len(s.Connectors) == 0 {
		return Display{}, report.Errorf(report.CodeNoDisplay, "the kernel shows no output below /sys/class/drm; the box has no graphics or its driver is not loaded")
	}
	// Of some outputs the kernel cannot tell whether there is a screen.
	connectors := slices.Clone(s.Connectors)
	slices.SortStableFunc(connectors, func(a, b Connector) int { return cmp.Compare(order(a), order(b)) })
	var seen []string
	for _, c := range connectors {
		if want != "" && c.Name != want {
			seen = append(seen, c.Name)
			continue
		}
		if c.Connected || c.Unknown {
			return Display{Sink: KMS, Card: "/dev/dri/" + c.Card, Driver: c.Driver, Connector: c.Name, ConnectorID: c.ID, Mode: c.Preferred}, nil
		}
		if want != "" {
			return Display{}, report.Errorf(report.CodeConnector, "no screen is connected to %s", want)
		}
		seen = append(seen, c.Name)
	}
	if want != "" {
		return Display{}, report.Errorf(report.CodeConnector, "there is no connector %s; there are %s", want, strings.Join(seen, ", "))
	}
	return Display{}, report.Errorf(report.CodeNoDisplay, "no screen is connected to any of %s", strings.Join(seen, ", "))
}

// order puts outputs that may have a screen behind those that have.
func order(c Connector) int {
	if c.Unknown {
		return 1
	}
	return 0
}

// Connector is an output of a graphics card.
type Connector struct {
	Card      string // such as card1
	Name      string // such as HDMI-A-1
	ID        int    // 0 when the kernel does not tell
	Connected bool
	Unknown   bool // whether it is: nothing has looked yet, or it cannot be told
	Preferred Mode // zero when not known
	Driver    string
}

// Connectors reads the outputs from /sys/class/drm, in the kernel's order. What cannot be
// read is left out: nothing there is promised to exist.
func Connectors(drm fs.FS) []Connector {
	entries, err := fs.ReadDir(drm, ".")
	if err != nil {
		return nil
	}
	var list []Connector
	for _, entry := range entries {
		card, name, ok := strings.Cut(entry.Name(), "-")
		status := attribute(drm, entry.Name(), "status")
		if !ok || status == "" || strings.HasPrefix(name, "Writeback") {
			continue
		}
		id, _ := strconv.Atoi(attribute(drm, entry.Name(), "connector_id"))
		list = append(list, Connector{
			Card: card, Name: name, ID: id,
			Connected: status == "connected", Unknown: status == "unknown",
			Preferred: firstMode(attribute(drm, entry.Name(), "modes")),
			Driver:    driver(attribute(drm, card, "device/uevent")),
		})
	}
	return list
}

func attribute(drm fs.FS, dir, name string) string {
	b, err := fs.ReadFile(drm, path.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// firstMode reads the first line of modes, which is the preferred one: "1920x1080" or "1920x1080i".
func firstMode(modes string) Mode {
	var m Mode
	if n, _ := fmt.Sscanf(modes, "%dx%d", &m.Width, &m.Height); n != 2 {
		return Mode{}
	}
	return m
}

func driver(uevent string) string {
	for line := range strings.Lines(uevent) {
		if name, ok := strings.CutPrefix(line, "DRIVER="); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}
