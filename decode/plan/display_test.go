package plan

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/decode/xserver"
)

func drm(files ...string) fstest.MapFS {
	m := fstest.MapFS{"version": {Data: []byte("drm 1.1.0")}}
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		m[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(content, ",", "\n"))}
	}
	return m
}

// pi has two outputs, of which the second is connected.
var pi = drm(
	"card0/device/uevent=DRIVER=v3d", "card1/device/uevent=OF_NAME=gpu,DRIVER=vc4-drm",
	"card1-HDMI-A-1/status=disconnected", "card1-HDMI-A-1/connector_id=32",
	"card1-HDMI-A-2/status=connected", "card1-HDMI-A-2/connector_id=42", "card1-HDMI-A-2/modes=1920x1080,1280x720",
	"card1-Writeback-1/status=unknown", "renderD128/device/uevent=DRIVER=v3d",
)

func TestChooseDisplay(t *testing.T) {
	hdmi2 := Display{Sink: KMS, Card: "/dev/dri/card1", Driver: "vc4-drm", Connector: "HDMI-A-2", ConnectorID: 42, Mode: Mode{1920, 1080}}
	session := map[string]string{"WAYLAND_DISPLAY": "wayland-0", "XDG_RUNTIME_DIR": "/run/user/1000", "DISPLAY": ":0"}
	all := []string{"kmssink", "waylandsink", "ximagesink"}
	for name, c := range map[string]struct {
		want      Sink
		connector string
		env       map[string]string
		drm       fstest.MapFS
		found     []string
		down      string // address that does not answer
		closed    string // address that may not be opened
		refused   bool   // by the X server
		denied    Sink

		display Display
		code    string
		says    string // in the error, or in why others were passed over
	}{
		"auto: output":           {want: Auto, drm: pi, found: all, display: hdmi2, says: "x11: DISPLAY is not set"},
		"auto: wayland first":    {want: Auto, env: session, drm: pi, found: all, display: Display{Sink: Wayland}},
		"auto: no compositor":    {want: Auto, env: session, drm: pi, found: all, down: "/run/user/1000/wayland-0", display: Display{Sink: X11}, says: "wayland: no Wayland compositor answers"},
		"auto: no waylandsink":   {want: Auto, env: session, drm: pi, found: all[2:], display: Display{Sink: X11}, says: "GStreamer has no waylandsink"},
		"auto: x11 failed":       {want: Auto, env: map[string]string{"DISPLAY": ":0"}, drm: pi, found: all, denied: X11, display: hdmi2, says: "x11: failed"},
		"auto: nothing":          {want: Auto, drm: drm(), found: all, display: Display{Sink: None}, says: "kms: the kernel shows no output"},
		"auto: nothing plugged":  {want: Auto, drm: drm("card0-DP-1/status=disconnected"), found: all, display: Display{Sink: None}, says: "no screen is connected to any of DP-1"},
		"auto: not known":        {want: Auto, drm: drm("card0-DP-1/status=unknown", "card0-DP-2/status=disconnected"), found: all, display: Display{Sink: KMS, Card: "/dev/dri/card0", Connector: "DP-1"}},
		"auto: known first":      {want: Auto, drm: drm("card0-DP-1/status=unknown", "card0-DP-2/status=connected"), found: all, display: Display{Sink: KMS, Card: "/dev/dri/card0", Connector: "DP-2"}},
		"auto: connector wanted": {want: Auto, connector: "HDMI-A-2", env: session, drm: pi, found: all, display: hdmi2},
		"kms":                    {want: KMS, env: session, drm: pi, found: all, display: hdmi2},
		"kms: old kernel":        {want: KMS, drm: drm("card0-DP-1/status=connected"), found: all, display: Display{Sink: KMS, Card: "/dev/dri/card0", Connector: "DP-1"}},
		"kms: connector empty":   {want: KMS, connector: "HDMI-A-1", drm: pi, found: all, code: report.CodeConnector, says: "no screen is connected to HDMI-A-1"},
		"kms: no such connector": {want: KMS, connector: "DP-9", drm: pi, found: all, code: report.CodeConnector, says: "there are HDMI-A-1, HDMI-A-2"},
		"kms: none":              {want: KMS, drm: drm(), found: all, code: report.CodeNoDisplay, says: "shows no output"},
		"wayland: no directory":  {want: Wayland, env: map[string]string{"WAYLAND_DISPLAY": "wayland-0"}, found: all, code: report.CodeNoDisplay, says: "XDG_RUNTIME_DIR"},
		"wayland: not set":       {want: Wayland, found: all, code: report.CodeNoDisplay, says: "WAYLAND_DISPLAY"},
		"x11: not there":         {want: X11, env: map[string]string{"DISPLAY": ":7.0"}, found: all, down: "/tmp/.X11-unix/X7", code: report.CodeNoDisplay, says: "DISPLAY=:7.0"},
		"x11: over network":      {want: X11, env: map[string]string{"DISPLAY": "box:1"}, found: all, down: "box:6001", code: report.CodeNoDisplay, says: "no X server"},
		"x11: malformed":         {want: X11, env: map[string]string{"DISPLAY": "box"}, found: all, code: report.CodeNoDisplay, says: "host:number"},
		"x11: refused":           {want: X11, env: map[string]string{"DISPLAY": ":0"}, found: all, refused: true, code: report.CodeNoAccess, says: "set XAUTHORITY"},
		"wayland: refused":       {want: Wayland, env: session, found: all, closed: "/run/user/1000/wayland-0", code: report.CodeNoAccess, says: "may not connect"},
		"auto: x11 refused":      {want: Auto, env: map[string]string{"DISPLAY": ":0"}, drm: pi, found: all, refused: true, display: hdmi2, says: "x11: the X server at DISPLAY=:0 refuses access"},
		"none":                   {want: None, env: session, drm: pi, display: Display{Sink: None}},
		"unknown":                {want: "vga", found: []string{"fakesink"}, code: report.CodeNoDisplay, says: `"vga"`},
	} {
		t.Run(name, func(t *testing.T) {
			answers := func(address string) error {
				switch address {
				case c.down:
					return errors.New("connection refused")
				case c.closed:
					return fs.ErrPermission
				}
				return nil
			}
			choice, err := ChooseDisplay(c.want, c.connector, Surroundings{
				Getenv:     func(key string) string { return c.env[key] },
				Connectors: Connectors(c.drm), Found: c.found,
				Reachable: func(_, address string) error { return answers(address) },
				XAccess: func(s xserver.Server) error {
					if c.refused {
						return xserver.Refused("no cookie")
					}
					return answers(s.Address)
				},
				Denied: func(s Sink) (string, bool) { return "failed", s == c.denied },
			})
			if c.code != "" {
				var e *report.Error
				if !errors.As(err, &e) || e.Code != c.code || !strings.Contains(err.Error(), c.says) {
					t.Fatalf("got %v, want %s with %q", err, c.code, c.says)
				}
				return
			}
			if err != nil || choice.Display != c.display {
				t.Errorf("got %+v, %v, want %+v", choice.Display, err, c.display)
			}
			if passed := strings.Join(choice.Passed, "\n"); !strings.Contains(passed, c.says) {
				t.Errorf("passed over: %s; want %q among them", passed, c.says)
			}
		})
	}
}
