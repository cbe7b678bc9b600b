package decode

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// tracks chooses one video track of a stream: the one with the wanted number or name, else the first that can be
// decoded. A track that turns out not to be decodable while another one could be is replaced by that. It is pure.
//
// Tracks are told apart by their number and compared by value: every session has *mkv.Track of its own.
type tracks struct {
	wanted string
	list   []*mkv.Track
	used   *mkv.Track      // nil when there is none to use
	failed map[uint64]bool // by number: turned out not to be decodable
	told   string          // what was reported last about ignored tracks
}

// set takes in the tracks of the frames that follow. changed says that they differ from those before.
func (t *tracks) set(list []*mkv.Track) (changed bool) {
	changed = !slices.EqualFunc(t.list, list, (*mkv.Track).Equal)
	t.list = slices.Clone(list)
	if changed {
		t.failed = nil
	}
	t.choose()
	return changed
}

// add takes in a track that a frame is of and set has not named, in place of the one of that number.
func (t *tracks) add(track *mkv.Track) (changed bool) {
	list := slices.Clone(t.list)
	if i := slices.IndexFunc(list, func(have *mkv.Track) bool { return have.Number == track.Number }); i >= 0 {
		list[i] = track
		return t.set(list)
	}
	return t.set(append(list, track))
}

// known says that a track is one of the list.
func (t *tracks) known(track *mkv.Track) bool {
	for i, have := range t.list {
		if have == track {
			return true
		}
		if have.Number == track.Number && have.Equal(track) {
			t.list[i] = track
			if t.used == have {
				t.used = track
			}
			return true
		}
	}
	return false
}

// fail takes in that the used track cannot be decoded. It returns whether another one is used now.
func (t *tracks) fail() bool {
	before := t.used
	if t.failed == nil {
		t.failed = make(map[uint64]bool)
	}
	t.failed[before.Number] = true
	t.choose()
	return t.used != before
}

// other says that there is a further track that may be decodable.
func (t *tracks) other() bool {
	return t.wanted == "" && slices.ContainsFunc(t.list, func(track *mkv.Track) bool { return track != t.used && t.usable(track) })
}

func (t *tracks) usable(track *mkv.Track) bool {
	return track.Type == mkv.Video && format.Decodable(track) == nil && !t.failed[track.Number]
}

func (t *tracks) choose() {
	t.used = nil
	video := t.video()
	switch {
	case t.wanted != "":
		for _, track := range video { // a number goes before a name
			if strconv.FormatUint(track.Number, 10) == t.wanted {
				t.used = track
				return
			}
		}
		if i := slices.IndexFunc(video, func(track *mkv.Track) bool { return track.Name == t.wanted }); i >= 0 {
			t.used = video[i]
		}
	case len(video) > 0:
		t.used = video[0]
		if i := slices.IndexFunc(video, t.usable); i >= 0 {
			t.used = video[i]
		}
	}
}

func (t *tracks) video() []*mkv.Track {
	return slices.DeleteFunc(slices.Clone(t.list), func(track *mkv.Track) bool { return track.Type != mkv.Video })
}

// missing says why no track is used: its code is "" when one is, or nothing is known yet.
func (t *tracks) missing() report.Report {
	switch {
	case t.used != nil || len(t.list) == 0:
		return report.Report{}
	case len(t.video()) > 0:
		return report.Report{
			Code:    report.CodeNoTrack,
			Message: fmt.Sprintf("the stream has no video track %q; it has %s; correct video_track", t.wanted, describe(t.list)),
			Detail:  map[string]any{"video_track": t.wanted, "tracks": detail(t.list)},
		}
	}
	return report.Report{
		Code:    report.CodeNoVideo,
		Message: fmt.Sprintf("the stream has no video track; it has %s", describe(t.list)),
		Detail:  map[string]any{"tracks": detail(t.list)},
	}
}

// ignored reports the video tracks that are not used; its code is "" when there are none, or the same was
// reported before.
func (t *tracks) ignored() report.Report {
	if t.used == nil {
		return report.Report{}
	}
	rest := slices.DeleteFunc(t.video(), func(track *mkv.Track) bool { return track == t.used })
	r := report.Report{
		Code:    report.CodeTracks,
		Message: fmt.Sprintf("using %s; ignoring %s; video_track selects another one", describe([]*mkv.Track{t.used}), describe(rest)),
		Detail:  map[string]any{"used": detail([]*mkv.Track{t.used})[0], "ignored": detail(rest)},
	}
	if len(rest) == 0 || r.Message == t.told {
		return report.Report{}
	}
	t.told = r.Message
	return r
}

// describe names tracks for people.
func describe(list []*mkv.Track) string {
	var names []string
	for _, track := range list {
		kind := "other"
		switch track.Type {
		case mkv.Video:
			kind = "video"
		case mkv.Audio:
			kind = "audio"
		}
		name := fmt.Sprintf("%s track %d", kind, track.Number)
		if track.Name != "" {
			name += fmt.Sprintf(" %q", track.Name)
		}
		names = append(names, name+" ("+track.Codec()+")")
	}
	return strings.Join(names, ", ")
}

// detail describes tracks for machines.
func detail(list []*mkv.Track) []map[string]any {
	out := make([]map[string]any, 0, len(list))
	for _, track := range list {
		out = append(out, map[string]any{"number": track.Number, "name": track.Name, "codec": track.Codec()})
	}
	return out
}
