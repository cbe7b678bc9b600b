package decode

import (
	"slices"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/kvstest/forms"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/test/kit"
)

func TestTrackChoice(t *testing.T) {
	video := func(number uint64, name, codec string) *mkv.Track {
		return &mkv.Track{Number: number, Type: mkv.Video, Name: name, CodecID: codec}
	}
	audio := &mkv.Track{Number: 3, Type: mkv.Audio, Name: "sound", CodecID: "A_AAC"}
	secret := video(4, "secret", mkv.CodecH264)
	secret.Encoded = true
	for name, c := range map[string]struct {
		wanted string
		list   []*mkv.Track
		failed []uint64
		used   uint64 // 0: none
		code   string
	}{
		"the first":              {"", []*mkv.Track{audio, video(1, "", mkv.CodecH264), video(2, "", mkv.CodecH265)}, nil, 1, ""},
		"the first decodable":    {"", []*mkv.Track{video(1, "", "V_MJPEG"), secret, video(2, "", mkv.CodecH265)}, nil, 2, ""},
		"none is decodable":      {"", []*mkv.Track{audio, video(1, "", "V_MJPEG"), video(2, "", "V_VP8")}, nil, 1, ""},
		"the first failed":       {"", []*mkv.Track{video(1, "", mkv.CodecH264), video(2, "", mkv.CodecH264)}, []uint64{1}, 2, ""},
		"both failed":            {"", []*mkv.Track{video(1, "", mkv.CodecH264), video(2, "", mkv.CodecH264)}, []uint64{1, 2}, 1, ""},
		"by number":              {"2", []*mkv.Track{video(1, "", mkv.CodecH264), video(2, "", "V_VP8")}, nil, 2, ""},
		"by name":                {"front", []*mkv.Track{video(1, "rear", mkv.CodecH264), video(2, "front", mkv.CodecH264)}, nil, 2, ""},
		"a number before a name": {"2", []*mkv.Track{video(1, "2", mkv.CodecH264), video(2, "", mkv.CodecH264)}, nil, 2, ""},
		"wanted and missing":     {"top", []*mkv.Track{video(1, "rear", mkv.CodecH264), audio}, nil, 0, report.CodeNoTrack},
		"wanted sound":           {"sound", []*mkv.Track{video(1, "rear", mkv.CodecH264), audio}, nil, 0, report.CodeNoTrack},
		"no video":               {"", []*mkv.Track{audio}, nil, 0, report.CodeNoVideo},
		"nothing known":          {"", nil, nil, 0, ""},
	} {
		tracks := tracks{wanted: c.wanted}
		tracks.set(c.list)
		for range c.failed {
			tracks.fail()
		}
		got := uint64(0)
		if tracks.used != nil {
			got = tracks.used.Number
		}
		missing := tracks.missing()
		if got != c.used || missing.Code != c.code {
			t.Errorf("%s: track %d, %q; want %d, %q", name, got, missing.Code, c.used, c.code)
		}
		for _, track := range c.list {
			if c.code != "" && !strings.Contains(missing.Message, track.Name) {
				t.Errorf("%s: %q does not name %q", name, missing.Message, track.Name)
			}
		}
	}
}

// One track is shown from beginning to end, however many there are, and the others are reported once, also when sessions change.
func TestSeveralVideoTracks(t *testing.T) {
	for codec, c := range clips(t) {
		thumbnails := mkv.Track{Number: 9, Type: mkv.Video, Name: "thumbnails", CodecID: "V_MJPEG"}
		for name, form := range map[string]forms.Clip{
			"twice":      forms.Twice(c),
			"thumbnails": forms.WithTrack(c, thumbnails, []byte{0xff, 0xd8, 0xff, 0xe0}),
		} {
			f := newFeeder()
			f.feed(t, form)
			f.feed(t, form)
			units := f.taken()
			kit.Expect(t, name+", "+codec+": units", len(units), 120)
			kit.Expect(t, name+", "+codec+": received", f.in.Counts().Received, 120)
			if codes := f.codes(); !slices.Equal(codes, []string{report.CodeTracks}) {
				t.Errorf("%s, %s: reported %v", name, codec, codes)
			}
			for _, u := range units {
				if !u.Format.Continues(units[0].Format) {
					t.Fatalf("%s, %s: the decoder changes at frame %d", name, codec, u.Number)
				}
			}
		}
	}
}

// A track that says it is H.264 and is not gives way to one that can be decoded, and so does one that has no frames.
func TestTrackThatIsNotWhatItSays(t *testing.T) {
	for codec, c := range clips(t) {
		liar := c.Tracks[0]
		liar.Number, liar.Name, liar.CodecID, liar.CodecPrivate = 9, "liar", mkv.CodecH264, nil
		with := forms.WithTrack(c, liar, []byte{0xff, 0xd8, 0xff, 0xe0, 0, 0x10})
		slices.Reverse(with.Tracks)
		f := newFeeder()
		f.feed(t, with)
		units := f.taken()
		kit.Expect(t, codec+": units", len(units), 60)
		kit.Expect(t, codec+": unsupported", f.in.Counts().Dropped[report.DropUnsupported], 1)
		kit.Expect(t, codec+": blocked", f.in.Blocked().Code, "")

		silent := forms.Clip{Tracks: []mkv.Track{liar, c.Tracks[0]}}
		silent.Tracks[0].CodecPrivate = c.Tracks[0].CodecPrivate
		for i, b := range c.Blocks {
			b.Time, b.Opens = b.Time*3, i == 0
			silent.Blocks = append(silent.Blocks, b)
		}
		f = newFeeder()
		f.feed(t, silent)
		if n := len(f.taken()); n == 0 {
			t.Errorf("%s: a track without frames is waited for", codec)
		}
	}
}

// The wanted track is used from the next frame that decoding can begin with, also when it is named later.
func TestSelectTrack(t *testing.T) {
	for codec, c := range clips(t) {
		form := forms.Twice(c)
		f := newFeeder()
		f.in.SelectTrack("second")
		f.feed(t, form)
		second := f.taken()
		kit.Expect(t, codec+": units", len(second), 60)
		f.in.SelectTrack("1")
		f.feed(t, form)
		first := f.taken()
		kit.Expect(t, codec+": units of the other", len(first), 60)
		if first[0].Format.Continues(second[0].Format) {
			t.Errorf("%s: the tracks share a decoder", codec)
		}
		f.in.SelectTrack("third")
		kit.Expect(t, codec+": blocked", f.in.Blocked().Code, report.CodeNoTrack)
		f.feed(t, form)
		kit.Expect(t, codec+": received", f.in.Counts().Received, 120)
		f.in.SelectTrack("")
		kit.Expect(t, codec+": blocked", f.in.Blocked().Code, "")
	}
}

// A stream without video says so, with the tracks that it has.
func TestNoVideo(t *testing.T) {
	f := newFeeder()
	f.feed(t, forms.AudioOnly())
	f.feed(t, forms.AudioOnly())
	blocked := f.in.Blocked()
	kit.Expect(t, "blocked", blocked.Code, report.CodeNoVideo)
	kit.Expect(t, "stream", blocked.Stream, "cam")
	if !strings.Contains(blocked.Message, "AUDIO_FROM_CUSTOMER") || !strings.Contains(blocked.Message, "AUDIO_TO_CUSTOMER") {
		t.Errorf("it says %q", blocked.Message)
	}
	if codes := f.codes(); !slices.Equal(codes, []string{report.CodeNoVideo}) {
		t.Errorf("reported %v", codes)
	}
	kit.Expect(t, "received", f.in.Counts().Received, 0)
	for _, c := range clips(t) {
		f.feed(t, c)
		kit.Expect(t, "blocked with video", f.in.Blocked().Code, "")
	}
}
