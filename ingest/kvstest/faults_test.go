package kvstest

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// TestCut resets live connections, on a real network.
func TestCut(t *testing.T) {
	h := newTCPHarness(t, Config{Speed: 20})
	stream := h.add("clock", StreamConfig{})
	reading := h.media("clock", Selector{Type: Now})
	reading.fragment()
	holding := h.media("clock", Selector{Type: Now}) // and never read from
	stream.Cut()
	if _, err := io.Copy(io.Discard, reading.response.Body); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the body ended by %v, want a reset", err)
	}
	if _, err := io.Copy(io.Discard, holding.response.Body); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the body that was not read ended by %v, want a reset", err)
	}
	h.media("clock", Selector{Type: Now}).fragment()
	for i, want := range []Ending{EndFault, EndFault, ""} {
		if got := h.server.Calls()[i].Ending; got != want {
			t.Errorf("session %d ended by %q, want %q", i, got, want)
		}
	}
}

// TestCutBlocked cuts a session whose client does not read, so that the server is in the middle of a write.
func TestCutBlocked(t *testing.T) {
	for _, kind := range []Kind{Cut, Drop} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, Config{})
			stream := h.add("clock", StreamConfig{History: time.Minute})
			body := h.media("clock", Selector{Type: Earliest})
			time.Sleep(time.Minute)
			synctest.Wait()
			if c := h.server.Calls()[0]; c.Ending != "" || c.Fragments != 0 {
				t.Fatalf("the server is not held up: %+v", c)
			}
			stream.Inject(Fault{Kind: kind})
			synctest.Wait()
			if stream.Sessions() != 0 || h.server.Calls()[0].Ending != EndFault {
				t.Errorf("the session goes on: %+v", h.server.Calls()[0])
			}
			if _, err := io.Copy(io.Discard, body.response.Body); err == nil {
				t.Error("the body ended cleanly")
			}
		})
	}
}

// TestAtByte breaks or ends bodies at given bytes.
func TestAtByte(t *testing.T) {
	for _, at := range []int64{1, 40, 47, 512, 700, 13_000, 100_001} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, Config{})
			stream := h.add("clock", StreamConfig{History: 10 * time.Second})
			stream.Next(Fault{Kind: Drop, At: at}, Fault{Kind: End, At: at})
			earliest := Selector{Type: Earliest}
			if n, err := io.Copy(io.Discard, h.media("clock", earliest).response.Body); n != at || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("dropped at %d: %d bytes and %v", at, n, err)
			}
			if n, err := io.Copy(io.Discard, h.media("clock", earliest).response.Body); n != at || err != nil {
				t.Errorf("ended at %d: %d bytes and %v", at, n, err)
			}
			if d := h.media("clock", earliest).fragment(); d.Offset != 0 {
				t.Error("the third session is not in order")
			}
			for _, c := range h.server.Calls()[:2] {
				if c.Bytes != at || c.Ending != EndFault {
					t.Errorf("recorded %+v", c)
				}
			}
		})
	}
}

// TestFail ends live sessions with errors in the body.
func TestFail(t *testing.T) {
	tests := []struct {
		name   string
		fault  Fault
		id     int
		code   string
		number bool
	}{
		{"known", Fault{Kind: Fail, ID: 4500, Code: ErrorCodes[4500]}, 4500, "KMS_KEY_ACCESS_DENIED", true},
		{"bare", Fault{Kind: Fail, ID: 5000, Code: ErrorCodes[5000], Bare: true}, 5000, "INTERNAL_ERROR", false},
		{"unlisted, no code", Fault{Kind: Fail, ID: 3000, Bare: true}, 3000, "", false},
		{"no id", Fault{Kind: Fail, Code: "ODD"}, 0, "ODD", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				stream := h.add("clock", StreamConfig{})
				body := h.media("clock", Selector{Type: Now})
				body.fragment()
				stream.Inject(tt.fault)
				last := body.fragment() // the fragment in production is still whole
				d, err := body.next()
				if err != nil || d.err != nil || d.ErrorID != tt.id || d.ErrorCode != tt.code || d.Frames != 0 {
					t.Errorf("failed with %+v, %v, %v", d.Fragment, d.err, err)
				}
				if (d.Number != "") != tt.number || tt.number && d.Number <= last.Number {
					t.Errorf("fragment number %q after %q", d.Number, last.Number)
				}
				body.end()
			})
		})
	}
}

// TestFailWhileIdle fails a session that has nothing to send, at once.
func TestFailWhileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		stream.Stop()
		body := h.media("clock", Selector{Type: Now})
		body.complete()
		stream.Fail(4501)
		body.fragment()
		if d, err := body.next(); err != nil || d.ErrorID != 4501 {
			t.Errorf("failed with %+v, %v", d.Fragment, err)
		}
		body.end()
	})
}

// TestNoFragment asks for fragments that are not there: the error is in the body.
func TestNoFragment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{History: time.Minute, Retention: 30 * time.Second})
		number := stream.feed.(*live).numbering.number
		for name, n := range map[string]string{"not kept": number(3), "to come": number(100), "unknown": number(40) + "0", "other": "1"} {
			body := h.media("clock", Selector{Type: FragmentNumber, AfterFragmentNumber: n})
			if d, err := body.next(); err != nil || d.ErrorID != 4000 || d.ErrorCode == "" {
				t.Errorf("%s: %+v, %v", name, d.Fragment, err)
			}
			body.end()
		}
		if c := h.server.Calls()[0]; c.Status != 200 || c.Ending != EndError {
			t.Errorf("recorded %+v", c)
		}
	})
}

// TestStall sends nothing for a time and then what was missed; a fault ends a stall.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		body := h.media("clock", Selector{Type: Now})
		body.fragment()
		synctest.Wait()
		stream.Stall(20 * time.Second)
		stalled := time.Now()
		body.fragment()
		if waited := time.Since(stalled).Round(time.Second); waited != 20*time.Second {
			t.Errorf("stalled for %v", waited)
		}
		for range 20 {
			body.fragment()
		}
		if late := time.Since(stalled); late != 21*time.Second {
			t.Errorf("caught up after %v", late)
		}
		synctest.Wait()
		stream.Stall(0)
		time.Sleep(time.Hour)
		stream.Inject(Fault{Kind: End})
		if _, err := io.Copy(io.Discard, body.response.Body); err != nil {
			t.Errorf("the stalled body ended by %v", err)
		}
	})
}

// TestRefuse refuses calls on demand.
func TestRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		stream.RefuseMedia(2, NotAuthorized)
		stream.RefuseMedia(1, &Exception{503, "ServiceUnavailable:http://internal", "busy"})
		stream.RefuseEndpoint(1, AccessDenied)
		for _, want := range []string{"401 NotAuthorizedException", "401 NotAuthorizedException", "503 ServiceUnavailable:http://internal"} {
			r := h.post(t.Context(), "/getMedia", map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}})
			if got := refusal(t, r); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		r := h.post(t.Context(), "/getDataEndpoint", map[string]any{"StreamName": "clock", "APIName": "GET_MEDIA"})
		if got := refusal(t, r); got != "403 AccessDeniedException" {
			t.Errorf("got %s", got)
		}
		h.media("clock", Selector{Type: Now}).fragment()
	})
}

// TestCapture serves a capture as it is, from where a selector says, and then idles.
func TestCapture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Limits: Limits{Calls: 100}})
		h.add("clock", StreamConfig{History: 3 * time.Second})
		var capture bytes.Buffer
		live := h.media("clock", Selector{Type: Earliest})
		live.reader = mkv.NewReader(io.TeeReader(live.response.Body, &capture))
		var whole []received
		for range 4 {
			whole = append(whole, live.fragment())
		}
		live.leave()
		file := capture.Bytes()[:whole[3].Offset+whole[3].Bytes]

		h.addSource("capture", file, StreamConfig{})
		began := time.Now()
		got, err := io.ReadAll(h.media("capture", Selector{Type: Now}).response.Body)
		if err != nil || !bytes.Equal(got, file) || time.Since(began) < 3*time.Second {
			t.Errorf("%d bytes of %d, %v, after %v", len(got), len(file), err, time.Since(began))
		}
		stamp := float64(whole[2].ProducerTime.UnixMilli())/1000 + 0.5
		for _, s := range []Selector{
			{Type: Continuation, ContinuationToken: whole[1].Token},
			{Type: FragmentNumber, AfterFragmentNumber: whole[1].Number},
			{Type: ProducerTime, StartTimestamp: stamp},
			{Type: ServerTimestamp, StartTimestamp: stamp},
		} {
			got, err := io.ReadAll(h.media("capture", s).response.Body)
			if err != nil || !bytes.Equal(got, file[whole[2].Offset:]) {
				t.Errorf("%s: %d bytes, %v", s.Type, len(got), err)
			}
		}
		h.media("capture", Selector{Type: Continuation, ContinuationToken: whole[3].Token}).end()
	})
}

// TestCapturesOfService serves real captures, one of which is cut short, byte by byte.
func TestCapturesOfService(t *testing.T) {
	for _, name := range samples(t) {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, Config{})
			file := sample(t, name)
			h.addSource("capture", file, StreamConfig{})
			if got, err := io.ReadAll(h.media("capture", Selector{Type: Earliest}).response.Body); err != nil || !bytes.Equal(got, file) {
				t.Errorf("%s: %d bytes of %d, %v", name, len(got), len(file), err)
			}
		})
	}
}
