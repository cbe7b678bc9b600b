package decode

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// touch makes a device node, as far as a listing can tell.
func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o660); err != nil {
		t.Fatal(err)
	}
}

func TestDeviceNodes(t *testing.T) {
	dev := t.TempDir()
	for _, name := range []string{"video10", "media0", "dri/renderD128", "dri/card0", "null", "v4l2/video0"} {
		touch(t, filepath.Join(dev, name))
	}
	var got []string
	for _, n := range deviceNodes(dev) {
		name, _ := filepath.Rel(dev, n.path)
		got = append(got, name)
		if n.closed || groupOf(n.path) == "" {
			t.Errorf("%+v of the group %q", n, groupOf(n.path))
		}
	}
	want := []string{"dri/renderD128", "media0", "video10"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	kit.Expect(t, "nowhere", len(deviceNodes(filepath.Join(dev, "absent"))), 0)
}

func TestAccess(t *testing.T) {
	nodes := []deviceNode{{"/dev/dri/renderD128", true}, {"/dev/media0", false}, {"/dev/video4", true}, {"/dev/video5", true}}
	r := access(closedNodes(nodes), func(path string) string {
		if strings.HasPrefix(path, "/dev/dri/") {
			return "render"
		}
		return "video"
	})
	kit.Expect(t, "code", r.Code, report.CodeAccess)
	kit.Expect(t, "message", r.Message, "this user may not open /dev/dri/renderD128, /dev/video4, /dev/video5: decoders behind them are not seen; "+
		"they belong to the group render or video, which the user has to be in, and the agent to be started anew")
}

// What is closed is told once, and again when it is another.
func TestTellClosed(t *testing.T) {
	var told []string
	r := New(Config{Report: func(r report.Report) { told = append(told, r.Detail["devices"].([]string)...) }})
	video := deviceNode{"/dev/video0", true}
	media := deviceNode{"/dev/media0", true}
	for _, nodes := range [][]deviceNode{{video}, {video}, {}, {media}, {{"/dev/media0", false}}} {
		r.tellClosed(nodes)
	}
	kit.Expect(t, "told", len(told), 2)
	r.config.Prefer = plan.Preference{Order: []plan.Family{plan.Software}}
	r.tellClosed([]deviceNode{video})
	kit.Expect(t, "told of what is not wanted", len(told), 2)
}

// A decoder whose device comes after the renderer process was started is tried, and takes over in a new one.
func TestDeviceThatComesLater(t *testing.T) {
	dev := t.TempDir()
	node := filepath.Join(dev, "dri", "renderD128")
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	var changes atomic.Int64
	r := start(t, "none", func(c *Config) {
		c.Devices = func() { changes.Add(1) }
		c.Sink, c.Dev, c.Env = plan.Auto, dev, append(c.Env, fakeNodeEnv+"="+node) // a display is looked for meanwhile
	})
	r.push("Kddd")
	r.shown(4)
	kit.Expect(t, "decoder", r.Stats().Decoder, "avdec_h264")
	kit.Expect(t, "changes before", changes.Load(), 0)
	touch(t, node)
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for r.Stats().Decoder != "vah264dec" {
		select {
		case <-deadline:
			t.Fatal("it does not take over")
		case <-tick.C:
			r.push("dK")
		}
	}
	report := r.report(report.CodeRecovered)
	kit.Expect(t, "element", report.Detail["element"], any("vah264dec"))
	kit.Expect(t, "replaced", report.Detail["replaced_element"], any("avdec_h264"))
	kit.Expect(t, "changes", changes.Load(), 1)
	kit.Expect(t, "children that ended", r.Stats().Restarts, 1)
	kit.Expect(t, "denied", len(r.Stats().Denied), 0)
}
