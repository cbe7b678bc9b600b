package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// The back-off begins again with the first frame, and a stream without fragments does not count as a failure. Of the
// first retries that come soon, two are a second apart.
func TestBackOffBeginsAgain(t *testing.T) {
	plays := map[string]time.Duration{"play": 2 * time.Second, "short": 500 * time.Millisecond}
	for name, row := range map[string]struct{ calls, pauses, attempts string }{
		"after frames":     {"fail fail fail fail play fail fail play", "50ms 500ms 1s 2s 50ms 500ms 1s 50ms", "1 2 3 4 1 2 3 1"},
		"cut in a moment":  {"short short short short", "50ms 250ms 50ms 250ms", "1 1 1 1"},
		"cut now and then": {"play play play", "50ms 50ms 50ms", "1 1 1"},
		"no producer":      {"idle idle idle fail fail idle idle", "1s 2s 4s 500ms 1s 1s 2s", "1 4 5 6"},
	} {
		t.Run(name, func(t *testing.T) {
			calls, pauses := strings.Fields(row.calls), strings.Fields(row.pauses)
			var ended []time.Time
			inBubble(t, nil, func(t *testing.T, o *odd) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				o.media = func(w http.ResponseWriter, r *http.Request, _ request) {
					n := len(o.calls)
					if n > len(calls) {
						stop()
						return
					}
					switch call := calls[n-1]; call {
					case "fail":
						turnDown(w, 503, "")
					case "idle":
						send(w, documentHead())
					default:
						send(w, numbered(n).bytes())
						pause(r, plays[call])
						send(w, documentHead())
						ended = append(ended, time.Now())
						panic(http.ErrAbortHandler)
					}
					ended = append(ended, time.Now())
				}
				var r recorder
				ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam"}, o.service, nil, &r).Run(ctx)
				for i, s := range pauses {
					want, _ := time.ParseDuration(s)
					if got := o.calls[i+1].Sub(ended[i]); got < want/2 || got > want+want/2 {
						t.Errorf("pause %d is %v, want %v ± 50 %%", i+1, got, want)
					}
				}
				var attempts []string
				for _, p := range r.reports {
					if p.State == ingest.Backoff || p.State == ingest.Stalled {
						attempts = append(attempts, fmt.Sprint(p.Attempt))
					}
				}
				if got := strings.Join(attempts, " "); got != row.attempts {
					t.Errorf("reports of attempts %s, want %s", got, row.attempts)
				}
			})
		})
	}
}

// What is told when frames come again: after how many attempts, and only if there was a fault.
func TestResumedAfterAttempts(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, o *odd) {
		o.media = func(w http.ResponseWriter, r *http.Request, _ request) {
			switch n := len(o.calls); n {
			case 2, 3, 4:
				turnDown(w, 503, "")
			default:
				send(w, numbered(n).bytes())
				pause(r, 2*time.Second)
				if n == 1 {
					send(w, documentHead())
					panic(http.ErrAbortHandler)
				}
			}
		}
		var r recorder
		o.run(time.Minute, ingest.Now, nil, &r)
		want := []string{"ingest.playing", "ingest.cut", "kvs.http.503", "kvs.http.503", "kvs.http.503", "ingest.resumed"}
		if got := r.codes(); !slices.Equal(got, want) {
			t.Fatalf("reports %q, want %q", got, want)
		}
		if p := r.find(ingest.CodeResumed); p.State != ingest.Playing || p.Attempt != 0 || p.Detail["attempts"] != 4 {
			t.Errorf("%+v", p)
		}
	})
}

// A token that is refused costs one step, once: after the next whole fragment it is the token again.
func TestRefusedTokenIsNotForEver(t *testing.T) {
	for name, row := range map[string]struct {
		refused int // calls after the first session
		asks    string
		gaps    int
	}{
		"the token":             {1, "NOW CONTINUATION_TOKEN FRAGMENT_NUMBER CONTINUATION_TOKEN CONTINUATION_TOKEN", 0},
		"the token, the number": {2, "NOW CONTINUATION_TOKEN FRAGMENT_NUMBER NOW CONTINUATION_TOKEN CONTINUATION_TOKEN", 1},
		"whatever it asks for":  {3, "NOW CONTINUATION_TOKEN FRAGMENT_NUMBER NOW NOW CONTINUATION_TOKEN", 1},
	} {
		t.Run(name, func(t *testing.T) {
			asks := strings.Fields(row.asks)
			inBubble(t, nil, func(t *testing.T, o *odd) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				o.media = func(w http.ResponseWriter, r *http.Request, _ request) {
					switch n := len(o.calls); {
					case n > len(asks):
						stop()
					case n > 1 && n <= 1+row.refused:
						turnDown(w, 400, "InvalidArgumentException")
					default:
						send(w, numbered(n).bytes())
						pause(r, 2*time.Second)
					}
				}
				var r recorder
				ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam"}, o.service, nil, &r).Run(ctx)
				if !slices.Equal(o.asked[:len(asks)], asks) {
					t.Errorf("it asks for %q, want %q", o.asked, asks)
				}
				gaps := r.of(ingest.CodeGap)
				if len(gaps) != row.gaps {
					t.Errorf("%d gaps, want %d; reports %q", len(gaps), row.gaps, r.codes())
				}
				for _, p := range gaps {
					if p.Detail["after_fragment"] != numbered(1).number ||
						p.Detail["cause"] != "kvs.http.InvalidArgumentException" {
						t.Errorf("%+v", p)
					}
				}
				for i, f := range r.frames {
					if want := i == 0 || i == 1 && row.gaps > 0; f.gap != want {
						t.Errorf("frame %d says %v that frames before it are missing", i+1, f.gap)
					}
				}
			})
		})
	}
}

// AWS suggests to ask for the endpoint again after 45 minutes.
func TestEndpointIsRenewed(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
		for range 60 {
			send(w, numbered(int(time.Now().Unix())).bytes())
			pause(r, 5*time.Second)
		}
	}, func(t *testing.T, o *odd) {
		began := time.Now()
		o.run(137*time.Minute, ingest.Now, nil, &recorder{})
		var minutes []int
		for _, at := range o.found {
			minutes = append(minutes, int(at.Sub(began)/time.Minute))
		}
		if want := []int{0, 45, 90, 135}; !slices.Equal(minutes, want) || len(o.calls) != 28 {
			t.Errorf("GetDataEndpoint is called in minutes %d, want %d; %d sessions", minutes, want, len(o.calls))
		}
	})
}

// places is a store of positions that cannot be read, and keeps all that is stored.
type places struct {
	err   error
	saved []ingest.Position
}

func (p *places) Load(string) (ingest.Position, error)   { return ingest.Position{}, p.err }
func (p *places) Save(stream string, at ingest.Position) { p.saved = append(p.saved, at) }

// A position that cannot be read is reported, once at each start; every whole fragment is stored.
func TestPositions(t *testing.T) {
	for name, err := range map[string]error{"readable": nil, "unreadable": errors.New("disk on fire")} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
				send(w, slices.Concat(numbered(1).bytes(), numbered(2).bytes(), numbered(3).head()))
				pause(r, time.Hour)
			}, func(t *testing.T, o *odd) {
				var r recorder
				p := &places{err: err}
				o.run(time.Second, ingest.Resume, p, &r)
				want := []ingest.Position{
					{Token: "token-1", Fragment: numbered(1).number, Server: time.Unix(1_700_000_001, 0)},
					{Token: "token-2", Fragment: numbered(2).number, Server: time.Unix(1_700_000_002, 0)},
				}
				if !slices.EqualFunc(p.saved, want, func(a, b ingest.Position) bool {
					return a.Token == b.Token && a.Fragment == b.Fragment && a.Server.Equal(b.Server)
				}) {
					t.Errorf("stored %+v, want %+v", p.saved, want)
				}
				reports := r.of("ingest.position")
				if err == nil && len(reports) > 0 || err != nil && len(reports) != 1 {
					t.Fatalf("reports %+v", reports)
				}
				if err != nil && (reports[0].State != ingest.Starting || reports[0].Detail["cause"] != "disk on fire") {
					t.Errorf("%+v", reports[0])
				}
				if len(r.frames) != 3 || o.asked[0] != "NOW" {
					t.Errorf("%d frames from %q", len(r.frames), o.asked)
				}
			})
		})
	}
}

// Fragments from before the position are counted in one report: before the first frame that is new, or when the
// session ends without one.
func TestSkippedFragmentsAreReportedOnce(t *testing.T) {
	for name, row := range map[string]struct {
		more []byte // after fragments 3 to 5
		want string
	}{
		"then a new one": {numbered(8).bytes(), "ingest.repeated f ingest.cut"},
		"then a cut":     {documentHead(), "ingest.repeated ingest.cut"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, o *odd) {
				o.media = func(w http.ResponseWriter, r *http.Request, _ request) {
					if len(o.calls) == 1 {
						send(w, slices.Concat(numbered(3).bytes(), numbered(4).bytes(), numbered(5).bytes(), row.more))
						pause(r, 20*time.Millisecond)
						panic(http.ErrAbortHandler)
					}
					pause(r, time.Hour)
				}
				var d diary
				seven := ingest.Position{Token: "token-7", Fragment: numbered(7).number, Server: time.Unix(1_700_000_007, 0)}
				positions := memory{"cam": seven}
				o.run(30*time.Millisecond, ingest.Resume, positions, &d)
				if got := strings.Join(d.lines, " "); got != row.want {
					t.Errorf("got %q, want %q", got, row.want)
				}
				p := d.of(ingest.CodeRepeated)
				if len(p) != 1 || p[0].Detail["fragments"] != 3 || p[0].Detail["from_fragment"] != numbered(3).number ||
					p[0].Detail["to_fragment"] != numbered(5).number {
					t.Errorf("reports %+v", p)
				}
			})
		})
	}
}

// tracking is a Sink that keeps what it is told of tracks, among the frames.
type tracking struct {
	recorder
	lines []string
}

func (s *tracking) Tracks(tracks []*mkv.Track) {
	var codecs []string
	for _, t := range tracks {
		codecs = append(codecs, t.CodecID)
	}
	s.lines = append(s.lines, "tracks "+strings.Join(codecs, "+"))
}

func (s *tracking) Frame(context.Context, *ingest.Frame) { s.lines = append(s.lines, "frame") }

// Tracks come at the start of every session, before its first frame, and when they change.
func TestTracksComeOncePerSession(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, o *odd) {
		o.media = func(w http.ResponseWriter, r *http.Request, _ request) {
			n := 10 * len(o.calls)
			other := strings.Replace(string(numbered(n+3).bytes()), "V_TEST", "V_ELSE", 1)
			send(w, slices.Concat(numbered(n+1).bytes(), numbered(n+2).bytes(), []byte(other)))
			if len(o.calls) == 2 {
				pause(r, time.Hour)
			}
		}
		var s tracking
		o.run(time.Second, ingest.Now, nil, &s)
		session := []string{"tracks V_TEST", "frame", "frame", "tracks V_ELSE", "frame"}
		if want := slices.Concat(session, session); !slices.Equal(s.lines, want) {
			t.Errorf("%q, want %q", s.lines, want)
		}
	})
}

// Fragments without frames are progress too: a stream of them is not a stall.
func TestFragmentsWithoutFramesAreNotAStall(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
		for i := 1; ; i++ {
			c := numbered(i)
			c.frames = nil
			if !send(w, c.bytes()) || !pause(r, 4*time.Second) {
				return
			}
		}
	}, func(t *testing.T, o *odd) {
		var r recorder
		o.run(58*time.Second, ingest.Now, nil, &r)
		if len(r.codes()) > 0 || len(r.fragments) != 15 || len(o.calls) != 1 {
			t.Errorf("%d fragments, %d calls, reports %q", len(r.fragments), len(o.calls), r.codes())
		}
	})
}

// Of what has been read already, a session that is to end hands on nothing more.
func TestNothingComesAfterTheEnd(t *testing.T) {
	inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
		send(w, slices.Concat(numbered(1).bytes(), numbered(2).bytes(), numbered(3).bytes()))
		pause(r, time.Hour)
	}, func(t *testing.T, o *odd) {
		var p patient
		o.run(time.Second, ingest.Now, nil, &p)
		if p.taken != 1 || len(p.fragments) != 0 {
			t.Errorf("%d frames, %d fragments", p.taken, len(p.fragments))
		}
	})
}

// Seek before Run says where Run begins, and Calls counts all calls. A session that ends while it waits for the limit
// of calls makes no more of them.
func TestSeekBeforeRunAndCalls(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, o *odd) {
		o.media = func(w http.ResponseWriter, _ *http.Request, _ request) { send(w, numbered(len(o.calls)).bytes()) }
		session := ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam"}, o.service, nil, &recorder{})
		session.Seek(ingest.Selector{Kind: ingest.Earliest})
		ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer stop()
		session.Run(ctx)
		token := "CONTINUATION_TOKEN"
		if want := []string{"EARLIEST", token, token, token, token}; !slices.Equal(o.asked, want) {
			t.Errorf("it asks for %q", o.asked)
		}
		if session.Calls() != 5 {
			t.Errorf("%d calls", session.Calls())
		}
	})
}

// Fragments that came while nobody asked are not lost when the session, after a while without any, looks at the
// newest one.
func TestLookingLosesNothing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, o *odd) {
		o.media = func(w http.ResponseWriter, r *http.Request, in request) {
			switch sel := in.StartSelector; {
			case len(o.calls) < 5:
				send(w, documentHead()) // nothing new
			case sel.StartSelectorType == "NOW":
				send(w, numbered(8).bytes())
				pause(r, time.Hour)
			default:
				send(w, slices.Concat(numbered(6).bytes(), numbered(7).bytes(), numbered(8).bytes()))
				pause(r, time.Hour)
			}
		}
		var s shown
		o.run(time.Minute, ingest.Resume, memory{"cam": {Token: "token-5", Fragment: numbered(5).number}}, &s)
		if want := []string{"frame 6", "frame 7", "frame 8"}; !slices.Equal(s.data[:min(3, len(s.data))], want) {
			t.Errorf("frames %q, want %q", s.data, want)
		}
		want := []string{ingest.CodeIdle, ingest.CodePlaying}
		if !slices.Equal(s.codes()[:2], want) || o.asked[4] != "NOW" {
			t.Errorf("reports %q, asked for %q", s.codes(), o.asked)
		}
	})
}

// parts is a fragment with three frames, and the same without the third of them and all that follows.
func parts(n int) (whole, begun []byte) {
	c := numbered(n)
	c.frames = []string{fmt.Sprint(n, "a"), fmt.Sprint(n, "b"), fmt.Sprint(n, "c")}
	end := strings.Index(string(c.head()), c.frames[1]) + len(c.frames[1])
	return c.bytes(), c.head()[:end]
}

// A fragment that could not be read does not go on after frames of the next one have come, when both come again after
// a cut: its frames would come after later ones.
func TestBrokenFragmentDoesNotGoOnLater(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, o *odd) {
		first, _ := parts(1)
		second, broken := parts(2)
		third, begun := parts(3)
		fourth, _ := parts(4)
		o.media = func(w http.ResponseWriter, r *http.Request, in request) {
			switch in.StartSelector.ContinuationToken {
			case "":
				send(w, slices.Concat(first, broken, kvstest.GarbageOf(100), begun))
				pause(r, time.Second)
				panic(http.ErrAbortHandler)
			case "token-1":
				send(w, slices.Concat(second, third, fourth))
			}
			pause(r, time.Hour)
		}
		var s shown
		o.run(5*time.Second, ingest.Now, nil, &s)
		if got, want := strings.Join(s.data, " "), "1a 1b 1c 2a 2b 3a 3b 3c 4a 4b 4c"; got != want {
			t.Fatalf("frames %s, want %s", got, want)
		}
		for i, f := range s.frames {
			if want := i == 0 || s.data[i] == "3a"; f.gap != want {
				t.Errorf("%s says %v that frames before it are missing", s.data[i], f.gap)
			}
		}
		if got, want := strings.Join(s.codes(), " "), "ingest.playing ingest.malformed ingest.cut ingest.resumed"; got != want {
			t.Errorf("reports %s, want %s", got, want)
		}
		var whole []string
		for _, f := range s.fragments {
			whole = append(whole, f.Token)
		}
		if got, want := strings.Join(whole, " "), "token-1 token-3 token-4"; got != want {
			t.Errorf("whole fragments %s, want %s", got, want)
		}
	})
}

// A stream whose very first fragment is cut goes on with that fragment, by its time: the newest is a later one by then.
func TestFirstFragmentIsCut(t *testing.T) {
	for name, start := range map[string]ingest.SelectorKind{"now": ingest.Now, "resume, without a position": ingest.Resume} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, o *odd) {
				whole, begun := parts(1)
				o.media = func(w http.ResponseWriter, r *http.Request, _ request) {
					if len(o.calls) == 1 {
						send(w, begun)
						pause(r, time.Second)
						panic(http.ErrAbortHandler)
					}
					send(w, whole)
					pause(r, time.Hour)
				}
				var s shown
				o.run(5*time.Second, start, memory{}, &s)
				if want := []string{"NOW", "SERVER_TIMESTAMP"}; !slices.Equal(o.asked, want) {
					t.Errorf("it asks for %q, want %q", o.asked, want)
				}
				if got := strings.Join(s.data, " "); got != "1a 1b 1c" || s.frames[2].gap {
					t.Errorf("frames %s, %+v", got, s.frames)
				}
			})
		})
	}
}
