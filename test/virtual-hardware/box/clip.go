package box

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Clip makes a clip with ffmpeg: so many frames of a test pattern at 30 a second, a key frame every 30,
// encoded as the arguments say.
//
//	box.Clip(t, "640x360", "90", "-c:v", "libx264", "-preset", "ultrafast")
func Clip(t *testing.T, size, frames string, encoder ...string) []byte {
	t.Helper()
	return ClipOf(t, "testsrc2=rate=30:size="+size, frames, encoder...)
}

// ClipOf makes a clip of another of ffmpeg's sources than its test pattern.
func ClipOf(t *testing.T, source, frames string, encoder ...string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clip.mkv")
	args := []string{"-v", "error", "-f", "lavfi", "-i", source, "-frames:v", frames, "-pix_fmt", "yuv420p", "-g", "30"}
	if out, err := exec.Command("ffmpeg", append(append(args, encoder...), file)...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	clip, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return clip
}
