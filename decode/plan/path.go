package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Path is the way of a picture from the decoder to the screen.
type Path string

// The paths, best first.
const (
	PathAuto  Path = "auto"
	PathPlane Path = "plane" // a plane of the display hardware fetches the picture from where it was decoded and scales it
	PathCopy  Path = "copy"  // the processor converts and scales every picture
)

// Paths are the values of [display] path.
var Paths = []Path{PathAuto, PathPlane, PathCopy}

// Rotations are the values of [display] rotate: degrees, clockwise.
var Rotations = []int{0, 90, 180, 270}

// Answer is what a driver says about something that it may be able to do.
type Answer string

// The answers.
const (
	Yes     Answer = "yes"
	No      Answer = "no"
	Unknown Answer = "unknown" // it cannot be asked without trying
)

// Plane is a layer that the display hardware puts over the background.
type Plane struct {
	ID      uint32
	Kind    string   // overlay, primary, cursor
	Formats []string // fourcc codes
	Scales  Answer   // pictures of video, up and down
	Turns   []int    // degrees that it can rotate by, besides 0
}

// Output is what a screen's card can do.
type Output struct {
	Sink   Sink
	Driver string
	Mode   Mode
	Planes []Plane // that reach the screen
	Fault  string  // why they are not known
}

// PathChoice is a path and why it was not a better one.
type PathChoice struct {
	Path   Path
	Plane  Plane    // of PathPlane
	Passed []string // "plane: the card has no overlay plane"
}

// video are formats of pictures as decoders make them, best first, and that of the screen itself.
var video = []string{"NV12", "YU12", "XR24"}

// ChoosePath chooses the path to a screen. It always gives one that works, and says why it is not the one that is wanted.
func ChoosePath(want Path, rotate int, o Output) PathChoice {
	if want == PathCopy || o.Sink != KMS && want != PathPlane {
		return PathChoice{Path: PathCopy}
	}
	plane, why := choosePlane(rotate, o)
	if why == "" {
		return PathChoice{Path: PathPlane, Plane: plane}
	}
	return PathChoice{Path: PathCopy, Passed: []string{string(PathPlane) + ": " + why}}
}

// choosePlane takes the plane whose formats are the best, or says why there is none.
func choosePlane(rotate int, o Output) (Plane, string) {
	switch {
	case o.Sink != KMS:
		return Plane{}, fmt.Sprintf("a %s display has no planes for a program to use", o.Sink)
	case o.Fault != "":
		return Plane{}, o.Fault
	case rotate == 90 || rotate == 270:
		return Plane{}, fmt.Sprintf("a rotation by %d degrees is left to the processor", rotate)
	}
	var best Plane
	rank := len(video)
	var reasons []string
	for _, p := range o.Planes {
		r, why := judge(p, rotate)
		if why != "" {
			reasons = append(reasons, fmt.Sprintf("plane %d %s", p.ID, why))
		} else if r < rank {
			best, rank = p, r
		}
	}
	switch {
	case rank < len(video):
		return best, ""
	case len(reasons) == 0:
		return Plane{}, fmt.Sprintf("%s has no overlay plane for this screen", cmp.Or(o.Driver, "the card"))
	}
	return Plane{}, strings.Join(reasons, ", ")
}

// judge gives the place of a plane's best format, or says why the plane cannot be used; "" and no place for one that is for something
// else.
func judge(p Plane, rotate int) (rank int, why string) {
	rank = slices.Index(video, VideoFormat(p.Formats))
	switch {
	case p.Kind != "overlay":
		return len(video), "" // the background's, or the mouse pointer's
	case rank < 0:
		return len(video), "takes no format that is known here"
	case p.Scales == No:
		return len(video), "cannot scale"
	case rotate != 0 && !slices.Contains(p.Turns, rotate):
		return len(video), fmt.Sprintf("cannot rotate by %d degrees", rotate)
	}
	return rank, ""
}

// VideoFormat is the best of a plane's formats for pictures; "" when there is none.
func VideoFormat(formats []string) string {
	for _, format := range video {
		if slices.Contains(formats, format) {
			return format
		}
	}
	return ""
}
