// Package clip holds the project's own clips: a moving test pattern with a running timecode and frame number to read
// by eye, and a bar of blocks that [ReadFrameNumber] reads from a decoded picture or a screenshot.
//
// make.sh makes the clips with ffmpeg; they are committed, so that nothing needs ffmpeg to use them.
package clip

import (
	_ "embed"
	"slices"
)

//go:embed clock.h264.mkv
var h264 []byte

//go:embed clock.h265.mkv
var h265 []byte

// H264 returns a Matroska file: 300 frames of H.264 High, 1280x720 at 30 frames a second, a key frame every 30.
func H264() []byte { return slices.Clone(h264) }

// H265 returns a Matroska file: 90 frames of H.265 Main, 640x360 at 30 frames a second, a key frame every 30.
func H265() []byte { return slices.Clone(h265) }
