package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/kvstest/forms"
	"github.com/edge-agent/edge-agent/ingest/mkv"
	"github.com/edge-agent/edge-agent/mqtt"
	"github.com/edge-agent/edge-agent/mqtt/contract"
)

// What producers send is shown, or the state says why it cannot be; either way every frame is accounted for.
func TestFormsOfProducers(t *testing.T) {
	for codec, file := range map[string][]byte{"h264": clip.H264(), "h265": clip.H265()} {
		c, err := forms.Read(file)
		if err != nil {
			t.Fatal(err)
		}
		c = c.First(90) // three groups of thirty
		thumbnails := mkv.Track{Number: 7, Type: mkv.Video, Name: "thumbnails", CodecID: "V_MJPEG", Width: 160, Height: 90}
		for name, tc := range map[string]struct {
			form           forms.Clip
			sliced, annexB bool // every slice in a block of its own
			want           account
			state          string // code of the state while frames come that cannot be shown
			event          string
		}{
			"plain":                 {form: c, want: account{frames: 90, shown: 90}},
			"Annex B":               {form: forms.AnnexB(c, 0), want: account{frames: 90, shown: 90}},
			"long start codes":      {form: forms.AnnexB(c, 1), want: account{frames: 90, shown: 90}},
			"configuration, frames": {form: forms.ConfigAndAnnexB(c), want: account{frames: 90, shown: 90}},
			"sets in band":          {form: forms.InBand(c), want: account{frames: 90, shown: 90}},
			"sets apart":            {form: forms.SetsApart(c, false), want: account{frames: 90, shown: 90}},
			"sets apart, Annex B":   {form: forms.SetsApart(c, true), want: account{frames: 90, shown: 90}},
			"slices apart":          {sliced: true, want: account{frames: 90, shown: 90}},
			"slices apart, Annex B": {sliced: true, annexB: true, want: account{frames: 90, shown: 90}},
			"Video for Windows":     {form: forms.VFW(c), want: account{frames: 90, shown: 90}},
			"two tracks":            {form: forms.Twice(c), want: account{frames: 90, shown: 90}, event: "decode.tracks"},
			"thumbnails first": {
				form: forms.WithTrack(c, thumbnails, []byte("\xff\xd8\xff\xe0 a thumbnail")), want: account{frames: 90, shown: 90}, event: "decode.tracks",
			},
			"late sets": {
				form: forms.LateSets(c, 1), want: account{frames: 90, shown: 60, reasons: contract.Reasons{"no_parameter_sets": 30}},
				event: "decode.no_parameter_sets",
			},
			"no sets": {
				form: forms.NoSets(c), want: account{frames: 90, reasons: contract.Reasons{"no_parameter_sets": 90}},
				state: "decode.no_parameter_sets", event: "decode.no_parameter_sets",
			},
			"sound alone": {form: forms.AudioOnly(), state: "decode.no_video", event: "decode.no_video"},
		} {
			t.Run(codec+"/"+name, func(t *testing.T) {
				t.Parallel()
				if tc.sliced {
					tc.form = forms.SlicesApart(sliced(t, codec), tc.annexB)
				}
				s := newSite(t, tc.form.Capture())
				w := s.watch()
				start(t, nil, "run", "--config", s.config("none", cameraStream+"start = \"earliest\"\n"))
				w.account(tc.want, tc.state, tc.event)
			})
		}
	}
}

// account waits until the telemetry adds up to what is wanted and until state and event with these codes came, if any.
func (w *watcher) account(want account, state, event string) {
	w.t.Helper()
	var got account
	w.t.Cleanup(func() {
		if w.t.Failed() {
			w.t.Logf("of %d frames %d were shown, dropped %v, hidden %d", got.frames, got.shown, got.reasons, got.hidden)
		}
	})
	codes, events := map[string]bool{"": true}, map[string]bool{"": true}
	w.until(fmt.Sprintf("%+v with the state %q and the event %q", want, state, event), func(m mqtt.Message, f map[string]any) bool {
		code, _ := f["code"].(string)
		switch m.Topic {
		case w.topics.State("gate"):
			codes[code] = true
		case w.topics.Events():
			events[code] = true
		case w.topics.Telemetry("gate"):
			var t contract.Telemetry
			if err := json.Unmarshal(m.Payload, &t); err != nil {
				w.t.Fatal(err)
			}
			if err := got.take(t); err != nil {
				w.t.Fatal(err)
			}
		}
		done := got.frames == want.frames && got.shown == want.shown && maps.Equal(got.reasons, want.reasons)
		return done && codes[state] && events[event]
	})
	for code := range events {
		if strings.HasPrefix(code, "decode.") && code != event && code != "decode.probed" {
			w.t.Errorf("event %s: nothing is wrong with the decoder", code)
		}
	}
}

// sliced is a clip of 90 frames of which each has several slices.
func sliced(t *testing.T, codec string) forms.Clip {
	t.Helper()
	encoder := []string{"-c:v", "libx264", "-bf", "0", "-x264-params", "keyint=30:min-keyint=30:scenecut=0:slices=4:sliced-threads=0"}
	if codec == "h265" {
		encoder = []string{"-c:v", "libx265", "-bf", "0", "-x265-params", "keyint=30:min-keyint=30:scenecut=0:slices=4:log-level=error:frame-threads=1:wpp=1:pools=2"}
	}
	return encoded(t, 3, encoder...)
}

// encoded is a clip that ffmpeg makes, 640x360 at 30 frames a second.
func encoded(t *testing.T, seconds int, encoder ...string) forms.Clip {
	t.Helper()
	path := filepath.Join(t.TempDir(), "clip.mkv")
	args := append([]string{"-loglevel", "error", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=640x360:rate=30:duration=%d", seconds)}, encoder...)
	if out, err := exec.Command("ffmpeg", append(args, path)...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v: %s", err, out)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := forms.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
