package mkv

import (
	"bytes"
	"math"
	"time"
)

// maxTracks is far above the three tracks that the service allows.
const maxTracks = 64

// trackTable holds the tracks of the documents so far.
type trackTable struct {
	raw    []byte // the last Tracks element: most fragments repeat it to the byte
	tracks []*Track
}

func (t *trackTable) byNumber(n uint64) *Track {
	for _, track := range t.tracks {
		if track.Number == n {
			return track
		}
	}
	return nil
}

// readTracks takes in a Tracks element; the tracks that are new or differ wait to be sent.
func (r *Reader) readTracks(h header) error {
	e, err := r.whole(h, maxMaster)
	if err != nil {
		return err
	}
	if bytes.Equal(e.data, r.tracks.raw) {
		return nil
	}
	var found []*Track
	c := e.children()
	for child, ok := c.next(); ok; child, ok = c.next() {
		if child.id != idTrackEntry {
			continue
		}
		if len(found) == maxTracks {
			return malformed(h.id, h.offset, "more than "+itoa(maxTracks)+" tracks")
		}
		track, err := parseTrack(child)
		if err != nil {
			return err
		}
		if old := r.tracks.byNumber(track.Number); old.Equal(track) {
			track = old
		} else {
			r.waiting = append(r.waiting, track)
		}
		found = append(found, track)
	}
	if c.err != nil {
		r.waiting = nil
		return c.err
	}
	r.tracks.tracks = found
	r.tracks.raw = append(r.tracks.raw[:0], e.data...)
	return nil
}

// parseTrack reads a TrackEntry.
func parseTrack(entry element) (*Track, error) {
	t := &Track{}
	c := entry.children()
	for e, ok := c.next(); ok; e, ok = c.next() {
		var err error
		switch e.id {
		case idTrackNumber:
			t.Number, err = e.uint()
		case idTrackType:
			var v uint64
			v, err = e.uint()
			t.Type = TrackType(min(v, math.MaxUint8))
		case idTrackName:
			t.Name = e.name()
		case idCodecID:
			t.CodecID = e.name()
		case idCodecPrivate:
			t.CodecPrivate = bytes.Clone(e.data)
		case idDefaultDuration:
			var v uint64
			v, err = e.uint()
			t.DefaultDuration = time.Duration(min(v, math.MaxInt64))
		case idContentEncodings:
			t.Encoded = true
		case idVideo, idAudio:
			err = t.parseSettings(e)
		}
		if err != nil {
			return nil, err
		}
	}
	return t, c.err
}

// parseSettings reads a Video or Audio element.
func (t *Track) parseSettings(settings element) error {
	c := settings.children()
	for e, ok := c.next(); ok; e, ok = c.next() {
		var err error
		switch e.id {
		case idPixelWidth:
			t.Width, err = e.int()
		case idPixelHeight:
			t.Height, err = e.int()
		case idSampling:
			t.SampleRate, err = e.float()
		case idChannels:
			t.Channels, err = e.int()
		case idBitDepth:
			t.BitDepth, err = e.int()
		}
		if err != nil {
			return err
		}
	}
	return c.err
}
