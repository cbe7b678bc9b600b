package kvstest

import (
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
)

// TestDeleteAndCreate deletes a stream that has come to high numbers and creates it again under its name: it begins
// with low ones, and knows neither the tokens, the numbers nor the ARN of the old one.
func TestDeleteAndCreate(t *testing.T) {
	for _, later := range []time.Duration{0, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, Config{})
			stream := h.add("clock", StreamConfig{History: time.Hour})
			open := h.media("clock", Selector{Type: Now})
			old, oldARN := open.fragment(), stream.ARN()
			synctest.Wait()

			stream.Delete()
			if _, err := io.Copy(io.Discard, open.response.Body); err != nil {
				t.Errorf("the open session ended by %v", err)
			}
			synctest.Wait()
			if c := h.server.Calls()[0]; c.Ending != EndGone {
				t.Errorf("the session ended by %q", c.Ending)
			}
			for _, body := range []string{`{"StreamName":"clock","StartSelector":{"StartSelectorType":"NOW"}}`, fmt.Sprintf(`{"StreamARN":%q}`, oldARN)} {
				if got := refusal(t, h.post(t.Context(), "/getMedia", []byte(body))); got != "404 ResourceNotFoundException" {
					t.Errorf("%s: %s", body, got)
				}
			}
			if stream.ARN() != "" || h.server.Stream("clock") != stream || stream.Change(stream.source) == nil {
				t.Error("the deleted stream is still there")
			}
			stream.Stop() // means nothing to what does not exist
			stream.Delete()

			time.Sleep(later)
			if err := stream.Create(nil); err != nil {
				t.Fatal(err)
			}
			if stream.ARN() == oldARN || stream.Create(nil) == nil {
				t.Error("the new stream is the old one")
			}
			time.Sleep(time.Second)
			first := h.media("clock", Selector{Type: Earliest}).fragment()
			if want := fragmentNumber(1, first.ServerTime, stream.ARN()); first.Number != want || first.Number >= old.Number {
				t.Errorf("it begins with number %s, want %s, lower than %s", first.Number, want, old.Number)
			}
			byToken := map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Continuation, ContinuationToken: old.Token}}
			if got := refusal(t, h.post(t.Context(), "/getMedia", byToken)); got != "400 InvalidArgumentException" {
				t.Errorf("by a token of the old stream: %s", got)
			}
			body := h.media("clock", Selector{Type: FragmentNumber, AfterFragmentNumber: old.Number})
			if d, err := body.next(); err != nil || d.ErrorID != 4000 {
				t.Errorf("by a number of the old stream: %+v, %v", d.Fragment, err)
			}
		})
	}
}

// TestCreateLater has a stream that does not exist at first, and is created from something else than it was added with.
func TestCreateLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{Absent: true, History: time.Hour})
		ask := map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}}
		if got := refusal(t, h.post(t.Context(), "/getMedia", ask)); got != "404 ResourceNotFoundException" {
			t.Errorf("before: %s", got)
		}
		other, err := ReadSource(clip.H265())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Create(other); err != nil {
			t.Fatal(err)
		}
		if d := h.media("clock", Selector{Type: Earliest}).fragment(); d.tracks[0].Width != 640 || !d.ProducerTime.Equal(time.Now().Add(-time.Second)) {
			t.Errorf("created later: %d pixels wide, from %v", d.tracks[0].Width, d.ProducerTime)
		}
	})
}

// TestDeletedWhileHanging deletes a stream between the acceptance of a call and its answer.
func TestDeletedWhileHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		stream.HangMedia(1, 5*time.Second)
		time.AfterFunc(time.Second, func() {
			stream.Delete()
			_ = stream.Create(nil)
		})
		got := refusal(t, h.post(t.Context(), "/getMedia", map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}}))
		if got != "404 ResourceNotFoundException" {
			t.Errorf("got %s", got)
		}
	})
}

// TestCreatedAtOnce creates a stream again at the very moment of its first creation: it is another one all the same.
func TestCreatedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stream := newHarness(t, Config{}).add("clock", StreamConfig{})
		arn, number := stream.ARN(), stream.live().number(0)
		stream.Delete()
		if err := stream.Create(nil); err != nil {
			t.Fatal(err)
		}
		if stream.ARN() == arn || stream.live().number(0) == number {
			t.Errorf("again %s, %s", stream.ARN(), stream.live().number(0))
		}
	})
}
