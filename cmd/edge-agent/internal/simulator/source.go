package simulator

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/edge-agent/edge-agent/cmd/edge-agent/internal/failure"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// ValidKeyID is what an access key id looks like in a signature.
var ValidKeyID = regexp.MustCompile(`^[A-Za-z0-9_]+$`)

// ReadSource reads a clip or a capture.
func ReadSource(path string) (*kvstest.Source, error) {
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, &failure.Failure{Code: "capture.unreadable", Message: err.Error(), Err: err}
	}
	source, err := kvstest.ReadSource(file)
	switch {
	case errors.Is(err, kvstest.ErrNotMatroska):
		into := strings.TrimSuffix(path, filepath.Ext(path)) + ".mkv"
		return nil, &failure.Failure{
			Code: "capture.malformed", Message: path + " is not Matroska", Err: err,
			Action: fmt.Sprintf("Convert it: ffmpeg -i %s -c copy %s", shellWord(path), shellWord(into)),
		}
	case errors.Is(err, kvstest.ErrNoFrames):
		return nil, &failure.Failure{
			Code: "capture.malformed", Message: path + ": " + err.Error(), Err: err,
			Action: "Use a file with H.264 or H.265 video that begins with a key frame.",
		}
	case err != nil:
		return nil, &failure.Failure{Code: "capture.malformed", Message: path + ": " + err.Error(), Err: err}
	}
	return source, nil
}

// plainWord is what a shell leaves as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,-]+$`)

// shellWord writes a word so that a shell passes it on unchanged.
func shellWord(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// ownClips are the clips that come with the program, by the name that a script calls them.
var ownClips = map[string]func() []byte{"h264": clip.H264, "h265": clip.H265}
