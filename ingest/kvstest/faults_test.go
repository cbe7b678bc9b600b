package kvstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
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
	// The kernel tells of a reset once, and not always to the read that comes behind bytes which were waiting.
	if _, err := io.Copy(io.Discard, holding.response.Body); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.ErrUnexpectedEOF) {
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
		{"reversed", Fault{Kind: Fail, ID: 4500, Code: ErrorCodes[4500], Reversed: true}, 4500, "KMS_KEY_ACCESS_DENIED", true},
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
		number := stream.live().number
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

// read reads a body to its end: the fragments that are whole, what is wrong with the others, and how it ended.
func (b *mediaBody) read() (whole []received, faults []error, end error) {
	for {
		d, err := b.next()
		switch {
		case err != nil:
			return whole, faults, err
		case d.err != nil:
			faults = append(faults, d.err)
		default:
			whole = append(whole, d)
		}
	}
}

// TestAtFragment lets each fault happen at a place in the third fragment of a session.
func TestAtFragment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{History: 10 * time.Second})
		earliest := Selector{Type: Earliest}
		all := h.media("clock", earliest)
		var good []received
		for range 6 {
			good = append(good, all.fragment())
		}
		all.leave()
		synctest.Wait()
		third := good[2].Offset
		for _, kind := range []Kind{Drop, End} {
			stream.Next(Fault{Kind: kind, Fragment: 3, At: 1000})
			n, err := io.Copy(io.Discard, h.media("clock", earliest).response.Body)
			if n != third+1000 || (err == nil) != (kind == End) {
				t.Errorf("ended after %d bytes by %v, want %d", n, err, third+1000)
			}
		}
		for kind, want := range map[Kind]Ending{Limit: EndLimit, Fail: EndFault} {
			stream.Next(Fault{Kind: kind, Fragment: 3, At: 1000, ID: 5000})
			whole, _, err := h.media("clock", earliest).read()
			if kind == Fail {
				if last := whole[len(whole)-1]; last.ErrorID != 5000 || last.Number != good[3].Number {
					t.Errorf("the error says %+v", last.Fragment)
				}
				whole = whole[:3]
			}
			if len(whole) != 3 || whole[2].Number != good[2].Number || !errors.Is(err, io.EOF) {
				t.Errorf("%d fragments, and then %v", len(whole), err)
			}
			time.Sleep(time.Second) // for the limit of calls
			if calls := h.server.Calls(); calls[len(calls)-1].Ending != want {
				t.Errorf("recorded %+v", calls[len(calls)-1])
			}
		}
	})
}

// TestDuplicate sends a fragment twice, byte for byte but for the tags that say how far behind it is.
func TestDuplicate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		stream.Next(Fault{Kind: Duplicate, Fragment: 2})
		body := h.media("clock", Selector{Type: Now})
		var numbers []string
		for range 4 {
			numbers = append(numbers, body.fragment().Number)
		}
		if numbers[1] != numbers[2] || numbers[0] == numbers[1] || numbers[2] == numbers[3] {
			t.Errorf("numbers %q", numbers)
		}
		synctest.Wait()
		stream.Inject(Fault{Kind: Duplicate}) // of the one that is being sent
		if a, b := body.fragment(), body.fragment(); a.Number != b.Number {
			t.Errorf("numbers %q and %q", a.Number, b.Number)
		}
	})
}

// TestGarbage puts garbage in front of a fragment, which costs none, and between its elements: it is lost, those around
// it are not.
func TestGarbage(t *testing.T) {
	for _, layout := range []Layout{{}, {UnknownSize: true}} {
		source, err := ReadSource(clip.H264())
		if err != nil {
			t.Fatal(err)
		}
		description := layout.description(source.tracks)
		for _, at := range []int64{0, int64(len(layout.prologue())), int64(len(layout.prologue()) + len(description))} {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				stream := h.add("clock", StreamConfig{Layout: layout, History: 5 * time.Second})
				stream.Next(Fault{Kind: Garbage, Fragment: 2, At: at, Data: GarbageOf(64)})
				stream.Stop()
				whole, faults, err := h.media("clock", Selector{Type: Earliest}).read()
				if len(faults) != 1 || !errors.Is(err, io.EOF) {
					t.Errorf("at %d: faults %v, end %v", at, faults, err)
				}
				want := 5
				if at == 0 {
					want = 6
				}
				if len(whole) != want {
					t.Errorf("at %d: %d fragments, want %d", at, len(whole), want)
				}
			})
		}
	}
}

// TestGarbageAtByte leaves every other byte as it is.
func TestGarbageAtByte(t *testing.T) {
	for _, at := range []int64{0, 1, 47, 13_000, 100_001} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, Config{})
			stream := h.add("clock", StreamConfig{History: 10 * time.Second})
			stream.Next(Fault{Kind: End, At: 150_000}, Fault{Kind: Garbage, At: at, Data: []byte("garbage")})
			sound, err := io.ReadAll(h.media("clock", Selector{Type: Earliest}).response.Body)
			if err != nil || len(sound) != 150_000 {
				t.Fatalf("%d bytes, %v", len(sound), err)
			}
			got := make([]byte, len(sound)+7)
			if _, err := io.ReadFull(h.media("clock", Selector{Type: Earliest}).response.Body, got); err != nil {
				t.Fatal(err)
			}
			if want := slices.Concat(sound[:at], []byte("garbage"), sound[at:]); !bytes.Equal(got, want) {
				t.Errorf("at %d: other bytes", at)
			}
		})
	}
}

// TestExceptions refuses a call with each of the exceptions.
func TestExceptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		for _, e := range Exceptions() {
			stream.RefuseMedia(1, e)
			r := h.post(t.Context(), "/getMedia", map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}})
			if got, want := refusal(t, r), fmt.Sprintf("%d %s", e.Status, e.Type); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	})
}

// TestSlow leaves a session 2000 bytes a second for ten seconds, and then the rest at once.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{History: time.Minute})
		stream.Next(Fault{Kind: Slow, Rate: 2000, For: 10 * time.Second, At: 1000})
		body := h.media("clock", Selector{Type: Earliest}).response.Body
		began := time.Now()
		if _, err := io.CopyN(io.Discard, body, 11_000); err != nil || time.Since(began).Round(time.Second) != 5*time.Second {
			t.Errorf("11,000 bytes after %v, %v", time.Since(began), err)
		}
		if _, err := io.CopyN(io.Discard, body, 1e6); err != nil || time.Since(began).Round(time.Second) != 10*time.Second {
			t.Errorf("1,011,000 bytes after %v, %v", time.Since(began), err)
		}
		stream.Inject(Fault{Kind: Slow, Rate: 1}) // for good
		_, _ = io.CopyN(io.Discard, body, 200_000)
		synctest.Wait()
		stream.Inject(Fault{Kind: End})
		before := time.Now()
		if _, err := io.Copy(io.Discard, body); err != nil || time.Since(before) > time.Second {
			t.Errorf("ended %v later by %v", time.Since(before), err)
		}
	})
}

// TestHang keeps calls waiting for a status line, and lets them go when the client does.
func TestHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		stream.HangMedia(1, 7*time.Second)
		stream.HangMedia(1, 0)
		stream.HangEndpoint(1, 8*time.Second)
		began := time.Now()
		h.media("clock", Selector{Type: Now})
		if waited := time.Since(began); waited != 7*time.Second {
			t.Errorf("GetMedia hung for %v", waited)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		r := signed(t, ctx, h.server.URL()+"/getMedia", []byte(`{"StreamName":"clock","StartSelector":{"StartSelectorType":"NOW"}}`),
			Credentials(), "us-east-1", time.Now())
		if _, err := h.http.Do(r); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("hung for good, and then %v", err)
		}
		synctest.Wait()
		if c := h.server.Calls()[1]; c.Status != 0 || c.Ending != EndClient {
			t.Errorf("recorded %+v", c)
		}
		began = time.Now()
		h.post(t.Context(), "/getDataEndpoint", map[string]any{"StreamName": "clock", "APIName": "GET_MEDIA"})
		if waited := time.Since(began); waited != 8*time.Second {
			t.Errorf("GetDataEndpoint hung for %v", waited)
		}
	})
}

// TestMisdirect answers an endpoint that is the wrong one.
func TestMisdirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{}).Misdirect(1)
		for _, want := range []string{"400 InvalidEndpointException", ""} {
			r := h.post(t.Context(), "/getDataEndpoint", map[string]any{"StreamName": "clock", "APIName": "GET_MEDIA"})
			var out struct{ DataEndpoint string }
			if err := json.NewDecoder(r.Body).Decode(&out); err != nil {
				t.Fatal(err)
			}
			path := strings.TrimPrefix(out.DataEndpoint, h.server.URL()) + "/getMedia"
			media := h.post(t.Context(), path, map[string]any{"StreamName": "clock", "StartSelector": Selector{Type: Now}})
			got := ""
			if media.StatusCode != 200 {
				got = refusal(t, media)
			}
			if got != want {
				t.Errorf("GetMedia at %s: %q, want %q", out.DataEndpoint, got, want)
			}
		}
	})
}

// TestAlways lets a fault happen to every session, until it is taken back.
func TestAlways(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{History: time.Minute})
		stream.Always(Fault{Kind: End, At: 5000})
		for range 4 {
			if n, err := io.Copy(io.Discard, h.media("clock", Selector{Type: Earliest}).response.Body); n != 5000 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		}
		stream.Always()
		h.media("clock", Selector{Type: Earliest}).fragment()
	})
}

// TestIdleReset resets the connection of an idle session.
func TestIdleReset(t *testing.T) {
	h := newTCPHarness(t, Config{IdleReset: true, Speed: 20})
	stream := h.add("clock", StreamConfig{})
	stream.Stop()
	_, err := io.Copy(io.Discard, h.media("clock", Selector{Type: Now}).response.Body)
	if !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the body ended by %v, want a reset", err)
	}
}

// TestSwap sends fragments out of order: the third after the fourth, and the sixth after the seventh.
func TestSwap(t *testing.T) {
	for _, history := range []time.Duration{0, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, Config{})
			stream := h.add("clock", StreamConfig{History: history})
			stream.Always(Fault{Kind: Swap, Fragment: 2}, Fault{Kind: Swap, Fragment: 5})
			body := h.media("clock", Selector{Type: Earliest})
			number := stream.live().number
			for i, want := range []int64{0, 1, 3, 2, 4, 6, 5, 7, 8} {
				if d := body.fragment(); d.Number != number(want) || d.Frames != 30 {
					t.Errorf("fragment %d has number %s, want %s", i+1, d.Number, number(want))
				}
			}
		})
	}
}

// TestFlood repeats bytes at a rate in front of a fragment, for a time and for good.
func TestFlood(t *testing.T) {
	for name, data := range map[string][]byte{"garbage": GarbageOf(7), "zeros": ZerosOf(1000), "Void": Void(), "nothing": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, Config{})
				stream := h.add("clock", StreamConfig{History: 10 * time.Second})
				sound := h.media("clock", Selector{Type: Earliest})
				first := sound.fragment().Bytes
				sound.leave()
				stream.Next(Fault{Kind: Flood, Data: data, Rate: 100, For: 20 * time.Second, Fragment: 2})
				body := h.media("clock", Selector{Type: Earliest}).response.Body
				if _, err := io.CopyN(io.Discard, body, first); err != nil {
					t.Fatal(err)
				}
				unit := data
				if data == nil {
					unit = ZerosOf(1)
				}
				began := time.Now()
				for sent := 0; ; sent += len(unit) {
					got := make([]byte, len(unit))
					if _, err := io.ReadFull(body, got); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(got, unit) {
						if begins := (Layout{}).prologue(); !bytes.HasPrefix(got, begins[:min(len(got), len(begins))]) {
							t.Errorf("after %d bytes: % x", sent, got[:min(len(got), 16)])
						}
						if took := time.Since(began).Round(time.Second); sent < 1900 || sent > 3000 || took < 20*time.Second || took > 30*time.Second {
							t.Errorf("%d bytes in %v", sent, took)
						}
						break
					}
				}
			})
		})
	}
}

// TestFloodForGood lets nothing else come, as fast as a session may be, until another fault ends it.
func TestFloodForGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{Limits: Limits{Bandwidth: 1e5}})
		stream := h.add("clock", StreamConfig{})
		stream.Next(Fault{Kind: Flood, Data: Void()})
		body := h.media("clock", Selector{Type: Now}).response.Body
		began := time.Now()
		if n, err := io.CopyN(io.Discard, body, 1e6); err != nil || time.Since(began) < 9*time.Second || time.Since(began) > 10*time.Second {
			t.Errorf("%d bytes in %v, %v", n, time.Since(began), err)
		}
		stream.End()
		if _, err := io.Copy(io.Discard, body); err != nil {
			t.Errorf("ended by %v", err)
		}
	})
}

// TestTrickle sends a byte a second.
func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		h.add("clock", StreamConfig{}).Always(Fault{Kind: Slow, Rate: 1})
		body := h.media("clock", Selector{Type: Now}).response.Body
		began := time.Now()
		if _, err := io.CopyN(io.Discard, body, 61); err != nil || time.Since(began) != time.Minute {
			t.Errorf("61 bytes in %v, %v", time.Since(began), err)
		}
	})
}

// TestFailAbruptly puts an error into the middle of a block.
func TestFailAbruptly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{History: 10 * time.Second})
		const at = 20_000 // in the first picture
		stream.Next(Fault{Kind: End, At: at}, Fault{Kind: Fail, ID: 5000, Code: ErrorCodes[5000], Abrupt: true, At: at})
		sound, err := io.ReadAll(h.media("clock", Selector{Type: Earliest}).response.Body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(h.media("clock", Selector{Type: Earliest}).response.Body)
		if err != nil || len(got) < at || !bytes.Equal(got[:at], sound) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		r := mkv.NewReader(bytes.NewReader(got[at:]))
		for {
			event, err := r.Next()
			if err != nil {
				t.Fatalf("no error in what follows: %v", err)
			}
			if end, ok := event.(*mkv.End); ok {
				if end.Fragment.ErrorID != 5000 || end.Fragment.Number != stream.live().number(0) || end.Err != nil {
					t.Errorf("it says %+v, %v", end.Fragment, end.Err)
				}
				break
			}
		}
		if c := h.server.Calls()[1]; c.Ending != EndFault || c.Fragments != 0 {
			t.Errorf("recorded %+v", c)
		}
	})
}

// TestFailOpen leaves the body open after an error: for a time, and until another fault ends it.
func TestFailOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, Config{})
		stream := h.add("clock", StreamConfig{})
		for _, open := range []time.Duration{time.Minute, 0} {
			stream.Next(Fault{Kind: Fail, ID: 4501, Fragment: 1, Open: true, For: open})
			body := h.media("clock", Selector{Type: Now})
			body.complete()
			began := time.Now()
			for {
				event, err := body.reader.Next()
				if err != nil {
					t.Fatal(err)
				}
				if tags, ok := event.(*mkv.Tags); ok && tags.Fragment.ErrorID == 4501 {
					break
				}
			}
			if waited := time.Since(began); waited != 0 {
				t.Errorf("the error came %v after the fragment", waited)
			}
			want := open
			if open == 0 {
				want = time.Hour
				time.AfterFunc(want, stream.Cut)
			}
			rest, err := io.ReadAll(body.response.Body)
			if len(rest) > 0 || time.Since(began) != want || (err == nil) != (open > 0) {
				t.Errorf("%d more bytes and %v after %v, want %v", len(rest), err, time.Since(began), want)
			}
		}
	})
}
