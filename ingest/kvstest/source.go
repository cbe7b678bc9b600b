package kvstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Source is what a stream is made of: a clip, which is played round and round as a live stream, or a capture of
// GetMedia, which is served as it is.
type Source struct {
	tracks []*mkv.Track  // the latest description of each
	groups []piece       // of a clip, each beginning with a key frame
	length time.Duration // of a clip, from its first frame to its first again; 0 for a capture

	capture   []byte
	documents []mkv.Fragment // of a capture
}

// piece is a stretch of a clip that can be made into a fragment.
type piece struct {
	offset time.Duration // from the first frame of the clip
	frames []frame
}

// frame is one encoded frame.
type frame struct {
	mkv.Frame
	at time.Duration // from the first frame of the clip, in whole milliseconds
}

// Why a file cannot be a Source.
var (
	ErrNotMatroska = errors.New("kvstest: clip: not a Matroska file")
	ErrNoFrames    = errors.New("kvstest: clip: no key frame that another frame of its track follows")
)

// ReadSource reads a Matroska file. One that has the tags of the service in it is a capture.
func ReadSource(file []byte) (*Source, error) {
	var s Source
	var frames []frame
	reader := mkv.NewReader(bytes.NewReader(file))
	for {
		event, err := reader.Next()
		if err != nil {
			return s.complete(file, frames, err)
		}
		switch event := event.(type) {
		case *mkv.Track:
			s.describe(event)
		case *mkv.Frame:
			frames = append(frames, frame{Frame: *event, at: event.Time.Round(time.Millisecond)})
			frames[len(frames)-1].Data = slices.Clone(event.Data)
		case *mkv.End:
			s.documents = append(s.documents, event.Fragment)
		}
	}
}

// IsCapture says that it is served as it is.
func (s *Source) IsCapture() bool { return s.capture != nil }

// complete makes a clip or a capture of what was read until err.
func (s *Source) complete(file []byte, frames []frame, err error) (*Source, error) {
	isService := func(f mkv.Fragment) bool { return f.Number != "" || f.Complete() || f.Failed() }
	if slices.ContainsFunc(s.documents, isService) {
		return &Source{tracks: s.tracks, capture: file, documents: s.documents}, nil
	}
	if !bytes.HasPrefix(file, idBytes(idEBML)) {
		return nil, ErrNotMatroska
	}
	if !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("kvstest: clip: %w", err)
	}
	if err := s.cut(frames); err != nil {
		return nil, err
	}
	return s, nil
}

// describe keeps the latest description of each track.
func (s *Source) describe(t *mkv.Track) {
	s.tracks = slices.DeleteFunc(s.tracks, func(old *mkv.Track) bool { return old.Number == t.Number })
	s.tracks = append(s.tracks, t)
}

// maxPiece is what the 16 bits of a block's timestamp can hold, in milliseconds.
const maxPiece = math.MaxInt16 * time.Millisecond

// cut divides a clip at the key frames of its leading track: the first video track or, without one, the first track.
func (s *Source) cut(frames []frame) error {
	leading := s.leading()
	var first, last time.Duration
	var n int
	for _, f := range frames {
		leads := leading != nil && f.Track.Number == leading.Number
		if leads && f.Key {
			if len(s.groups) == 0 {
				first = f.at
			}
			s.groups = append(s.groups, piece{offset: f.at - first})
		}
		if len(s.groups) == 0 {
			continue // nothing can be decoded before the first key frame
		}
		f.at -= first
		if leads {
			last = max(last, f.at)
			n++
		}
		group := &s.groups[len(s.groups)-1]
		if f.at-group.offset > maxPiece {
			return fmt.Errorf("kvstest: clip: more than %v from one key frame to the next; a fragment holds 10s at most", maxPiece)
		}
		group.frames = append(group.frames, f)
	}
	if n < 2 {
		return ErrNoFrames
	}
	period := leading.DefaultDuration
	if period == 0 {
		period = last / time.Duration(n-1)
	}
	s.length = (last + period).Round(time.Millisecond)
	return nil
}

func (s *Source) leading() *mkv.Track {
	if i := slices.IndexFunc(s.tracks, func(t *mkv.Track) bool { return t.Type == mkv.Video }); i >= 0 {
		return s.tracks[i]
	}
	if len(s.tracks) > 0 {
		return s.tracks[0]
	}
	return nil
}

// pieces joins the groups to pieces that last at least d.
func (s *Source) pieces(d time.Duration) []piece {
	var joined []piece
	for _, group := range s.groups {
		if n := len(joined); n > 0 && group.offset-joined[n-1].offset < d {
			joined[n-1].frames = append(joined[n-1].frames, group.frames...)
			continue
		}
		joined = append(joined, piece{group.offset, slices.Clone(group.frames)})
	}
	return joined
}
