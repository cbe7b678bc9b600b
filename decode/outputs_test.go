package decode

import (
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/plan"
)

// Only an output of which nothing is known is asked about, and one that cannot be does not keep the others from it.
func TestWhichOutputsAreAskedAbout(t *testing.T) {
	err := askAbout([]plan.Connector{
		{Name: "HDMI-A-1", Card: "card1", ID: 1, Unknown: true},
		{Name: "HDMI-A-2", Card: "card1", ID: 2, Connected: true},
		{Name: "HDMI-A-3", Card: "card1", ID: 3, Unknown: true, Preferred: plan.Mode{Width: 640, Height: 480}},
		{Name: "HDMI-A-4", Card: "card1", Unknown: true},
		{Name: "HDMI-A-5", Card: "card1"},
		{Name: "VGA-1", Card: "card1", ID: 6, Unknown: true},
	}, t.TempDir())
	var asked []string
	for line := range strings.Lines(err.Error()) {
		_, rest, _ := strings.Cut(line, "the output ")
		name, _, _ := strings.Cut(rest, ":")
		asked = append(asked, name)
	}
	if got := strings.Join(asked, " "); got != "HDMI-A-1 VGA-1" {
		t.Errorf("%s; %v", got, err)
	}
}
