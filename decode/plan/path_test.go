package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/test/kit"
)

// Which path pictures take on boxes of the field, as their drivers describe themselves.
func TestPathOfBoxes(t *testing.T) {
	full := Mode{1920, 1080}
	rgb, both := []string{"XR24", "AR24"}, []string{"XR24", "AR24", "NV12", "YU12"}
	primary, cursor := Plane{ID: 31, Kind: "primary", Formats: both}, Plane{ID: 40, Kind: "cursor", Formats: []string{"AR24"}}
	overlay := func(id uint32, scales Answer, formats []string, turns ...int) Plane {
		return Plane{ID: id, Kind: "overlay", Formats: formats, Scales: scales, Turns: turns}
	}
	boxes := []struct {
		name   string
		want   Path
		rotate int
		output Output
	}{
		{"Intel, i915", PathAuto, 0, Output{KMS, "i915", full, []Plane{primary, overlay(39, Yes, both, 180), cursor}, ""}},
		{"Intel, upside down", PathAuto, 180, Output{KMS, "i915", full, []Plane{primary, overlay(39, Yes, both, 180), cursor}, ""}},
		{"Intel, upright", PathAuto, 90, Output{KMS, "i915", full, []Plane{primary, overlay(39, Yes, both, 180), cursor}, ""}},
		{"AMD, amdgpu", PathAuto, 0, Output{KMS, "amdgpu", full, []Plane{primary, overlay(50, Yes, both), cursor}, ""}},
		{"Raspberry Pi 4, vc4-drm", PathAuto, 0, Output{KMS, "vc4-drm", full, []Plane{primary, overlay(60, Yes, both, 180), overlay(61, Yes, both, 180)}, ""}},
		{"i.MX8, older driver", PathAuto, 0, Output{KMS, "imx-drm", full, []Plane{primary, overlay(33, Unknown, both)}, ""}},
		{"Rockchip, only a cursor", PathAuto, 0, Output{KMS, "rockchip", full, []Plane{primary, cursor}, ""}},
		{"an overlay for RGB and one for video", PathAuto, 0, Output{KMS, "rockchip", full, []Plane{primary, overlay(70, Yes, rgb), overlay(71, Yes, both)}, ""}},
		{"the overlay for video cannot scale", PathAuto, 0, Output{KMS, "rockchip", full, []Plane{primary, overlay(70, Yes, rgb), overlay(71, No, both)}, ""}},
		{"vkms as it comes", PathAuto, 0, Output{KMS, "vkms", full, []Plane{primary}, ""}},
		{"vkms with an overlay", PathAuto, 0, Output{KMS, "vkms", full, []Plane{primary, overlay(33, No, rgb)}, ""}},
		{"only formats of its own", PathAuto, 0, Output{KMS, "other", full, []Plane{primary, overlay(33, Yes, []string{"P010"})}, ""}},
		{"upside down, not possible", PathAuto, 180, Output{KMS, "amdgpu", full, []Plane{primary, overlay(50, Yes, both)}, ""}},
		{"the planes cannot be listed", PathAuto, 0, Output{KMS, "udl", full, nil, "the card does not tell of its planes: operation not supported"}},
		{"copy is wanted", PathCopy, 0, Output{KMS, "i915", full, []Plane{primary, overlay(39, Yes, both)}, ""}},
		{"plane is wanted", PathPlane, 0, Output{KMS, "i915", full, []Plane{primary, overlay(39, Yes, both)}, ""}},
		{"plane is wanted and not there", PathPlane, 0, Output{KMS, "vkms", full, []Plane{primary}, ""}},
		{"a desktop", PathAuto, 0, Output{Sink: Wayland}},
		{"a desktop, plane is wanted", PathPlane, 0, Output{Sink: X11}},
	}
	var b strings.Builder
	for _, box := range boxes {
		c := ChoosePath(box.want, box.rotate, box.output)
		fmt.Fprintf(&b, "%s (%s): %s", box.name, box.want, c.Path)
		if c.Plane.ID != 0 {
			fmt.Fprintf(&b, " %d", c.Plane.ID)
		}
		for _, why := range c.Passed {
			fmt.Fprintf(&b, "\n\t%s", why)
		}
		b.WriteString("\n")
	}
	kit.Golden(t, "paths.txt", b.String())
}

// Whatever a card says of itself, there is a path; over a plane only where one is for pictures and can do what is asked.
func TestEveryOutputHasAPath(t *testing.T) {
	for _, kind := range []string{"overlay", "primary", "cursor", ""} {
		for _, scales := range []Answer{Yes, No, Unknown} {
			for _, formats := range [][]string{nil, {"XR24"}, {"NV12"}, {"P010"}} {
				for _, rotate := range Rotations {
					p := Plane{ID: 1, Kind: kind, Formats: formats, Scales: scales, Turns: []int{180}}
					got := ChoosePath(PathAuto, rotate, Output{Sink: KMS, Planes: []Plane{p}})
					can := kind == "overlay" && scales != No && len(formats) == 1 && formats[0] != "P010" && rotate%180 == 0
					if (got.Path == PathPlane) != can || got.Path != PathPlane && got.Path != PathCopy || can == (len(got.Passed) > 0) {
						t.Errorf("%+v, %d degrees: %+v", p, rotate, got)
					}
				}
			}
		}
	}
}
