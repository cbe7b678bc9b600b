package decode

import (
	"testing"

	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
)

// A path over a plane that fails is left for the other one, at once: the display is not lost, and no way to it is passed over. When
// something is plugged or unplugged it gets another chance.
func TestPathThatFails(t *testing.T) {
	s := newDisplayRig(t, plan.KMS, "card1-HDMI-A-1/status=connected", "card1-HDMI-A-1/modes=1920x1080")
	s.look()
	s.want("screen 1 " + hdmi1)
	s.r.screened(Screened{Number: 1, Path: plan.PathPlane})
	if got := s.r.Stats(); got.Path != plan.PathPlane || got.PathNotes != nil {
		t.Errorf("%q, passed over %q", got.Path, got.PathNotes)
	}
	s.look()
	s.want()

	s.failed(report.CodePath)
	s.want("display.path: it failed")
	if got := s.trouble(); got != "" {
		t.Errorf("the display is in trouble: %s", got)
	}
	s.look()
	s.want("screen 2 " + hdmi1 + " by copy")
	s.r.screened(Screened{Number: 2, Path: plan.PathCopy})
	s.look()
	s.want()

	s.outputs.plug("card1-HDMI-A-1/status=connected", "card1-HDMI-A-1/modes=1920x1080", "card1-HDMI-A-2/status=connected")
	s.look()
	s.want("screen 3 " + hdmi1)
}

// A failure of a display that was replaced meanwhile says nothing of the path of the present one.
func TestOldFailureOfAPath(t *testing.T) {
	s := newDisplayRig(t, plan.KMS, "card1-HDMI-A-1/status=connected", "card1-HDMI-A-1/modes=1920x1080")
	s.look()
	s.want("screen 1 " + hdmi1)
	s.r.screened(Screened{Number: 0, Failure: &Failure{Code: report.CodePath}})
	s.look()
	s.want()
}

// A path that was asked for by name and is not possible is reported once, and pictures are shown all the same.
func TestPathThatIsNotPossible(t *testing.T) {
	s := newDisplayRig(t, plan.KMS, "card1-HDMI-A-1/status=connected", "card1-HDMI-A-1/modes=1920x1080")
	s.r.config.Path = plan.PathPlane
	s.look()
	s.want("screen 1 " + hdmi1 + " by plane")
	for range 2 {
		s.r.screened(Screened{Number: 1, Path: plan.PathCopy, Passed: []string{"plane: vkms has no overlay plane for this screen"}})
	}
	s.want("display.path: the path to the screen that [display] path names is not possible here " +
		"(plane: vkms has no overlay plane for this screen); the path \"copy\" is used")
	s.look()
	s.want()
}

// A known fault of the decoder takes the pictures from the plane, and another decoder brings them back.
func TestPathThatADecoderForbids(t *testing.T) {
	s := newDisplayRig(t, plan.KMS, "card1-HDMI-A-1/status=connected", "card1-HDMI-A-1/modes=1920x1080")
	s.r.config.Rotate = 180
	s.look()
	s.want("screen 1 " + hdmi1)
	for i, copied := range []bool{true, true, false} {
		s.r.copied = copied
		s.look()
		switch i {
		case 0:
			s.want("screen 2 " + hdmi1 + " by copy")
		case 1:
			s.want()
		case 2:
			s.want("screen 3 " + hdmi1)
		}
	}
}
