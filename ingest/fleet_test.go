package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edge-agent/edge-agent/ingest"
)

// cam runs one session of a stream of its own name.
func (o *odd) cam(ctx context.Context, name string, sink ingest.Sink) {
	ingest.NewSession(ingest.Stream{Name: name, StreamName: name}, o.service, nil, sink).Run(ctx)
}

// After a cut, an error in the body, a planned end and a refused token, the next call is made within 100 ms, also when it happens
// several times a minute.
func TestFirstRetryIsSoon(t *testing.T) {
	for name, end := range map[string]func(w http.ResponseWriter){
		"cut":         func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"planned end": func(http.ResponseWriter) {},
		"error 5000": func(w http.ResponseWriter) {
			send(w, append(documentHead(), tagsElement("ERROR_ID", "5000", "ERROR_CODE", "X")...))
		},
		"error 4501": func(w http.ResponseWriter) {
			send(w, append(documentHead(), tagsElement("ERROR_ID", "4501", "ERROR_CODE", "X")...))
		},
		"refused": nil,
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, o *odd) {
				began := time.Now()
				o.media = func(w http.ResponseWriter, r *http.Request, in request) {
					if end == nil && in.StartSelector.StartSelectorType == "CONTINUATION_TOKEN" {
						w.Header().Set("X-Amzn-ErrorType", "InvalidArgumentException")
						w.WriteHeader(http.StatusBadRequest)
						return
					}
					for range 80 {
						if !send(w, numbered(int(time.Since(began)/(50*time.Millisecond))).bytes()) || !pause(r, 50*time.Millisecond) {
							return
						}
					}
					if end != nil {
						end(w)
					}
				}
				var s shown
				o.run(time.Minute, ingest.Now, nil, &s)
				longest := time.Duration(0)
				for i, at := range s.times[1:] {
					longest = max(longest, at.Sub(s.times[i]))
				}
				if len(s.times) < 1000 || longest > 50*time.Millisecond+80*time.Millisecond {
					t.Errorf("%d frames, the longest wait is %v", len(s.times), longest)
				}
				if name == "planned end" && longest > 60*time.Millisecond {
					t.Errorf("a planned end is a wait of %v", longest)
				}
				o.checkRate(t)
			})
		})
	}
}

// A connection that breaks again and again stays within the service's five calls a second.
func TestCallsStayWithinTheLimit(t *testing.T) {
	n := 0
	inBubble(t, func(w http.ResponseWriter, _ *http.Request, _ request) {
		n++
		send(w, numbered(n).bytes())
		if n%3 == 0 {
			panic(http.ErrAbortHandler)
		}
	}, func(t *testing.T, o *odd) {
		var r recorder
		o.run(time.Minute, ingest.Now, nil, &r)
		if len(r.frames) < 60 {
			t.Errorf("%d frames", len(r.frames))
		}
		o.checkRate(t)
		// The same stream in a new session, as after a reload, and while it is told to move, shares the limit.
		ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
		defer stop()
		session := ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam"}, o.service, nil, &r)
		var seeking sync.WaitGroup
		seeking.Go(func() {
			for ctx.Err() == nil {
				session.Seek(ingest.Selector{Kind: ingest.Earliest})
				time.Sleep(10 * time.Millisecond)
			}
		})
		session.Run(ctx)
		seeking.Wait()
		o.checkRate(t)
	})
}

// A fleet that is cut at the same moment, and whose service is away for a minute, does not come back at the same moment.
func TestFleetSpreadsOut(t *testing.T) {
	const fleet, bin = 300, 100 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var back []time.Time // of calls that were served after the outage
		away := make(chan struct{})
		began := time.Now()
		cut, over := began.Add(10*time.Second), began.Add(70*time.Second)
		bins := map[int]int{} // calls, by time since the cut
		o := newOdd(t, func(w http.ResponseWriter, r *http.Request, _ request) {
			now := time.Now()
			mu.Lock()
			if now.After(cut) {
				bins[int(now.Sub(cut)/bin)]++
			}
			if now.After(over) {
				back = append(back, now)
			}
			mu.Unlock()
			if now.After(cut) && now.Before(over) {
				panic(http.ErrAbortHandler)
			}
			for i := int(now.Sub(began) / time.Second); send(w, numbered(i).bytes()); i++ {
				select {
				case <-away:
					if now.Before(cut) {
						panic(http.ErrAbortHandler)
					}
				default:
				}
				if now.Before(cut) {
					select {
					case <-away:
						panic(http.ErrAbortHandler)
					case <-time.After(time.Second):
					case <-r.Context().Done():
						return
					}
				} else if !pause(r, time.Second) {
					return
				}
			}
		})
		defer o.close()
		time.AfterFunc(cut.Sub(began), func() { time.Sleep(time.Nanosecond); close(away) })
		ctx, stop := context.WithTimeout(t.Context(), 150*time.Second)
		defer stop()
		var running sync.WaitGroup
		for i := range fleet {
			running.Go(func() { o.cam(ctx, fmt.Sprint("cam-", i), &recorder{}) })
		}
		running.Wait()
		if len(back) < fleet {
			t.Fatalf("%d of %d came back", len(back), fleet)
		}
		slices.SortFunc(back, time.Time.Compare)
		first, median := back[0].Sub(over), back[fleet/2].Sub(over)
		most, total := 0, 0
		for at, n := range bins {
			if total += n; at >= int(time.Second/bin) {
				most = max(most, n)
			}
		}
		t.Logf("%d calls; in the first second %d %d %d %d %d %d %d %d %d %d; then at most %d within %v; back after %v, half of them after %v, all after %v",
			total, bins[0], bins[1], bins[2], bins[3], bins[4], bins[5], bins[6], bins[7], bins[8], bins[9], most, bin,
			first, median, back[fleet-1].Sub(over))
		if most > fleet/5 {
			t.Errorf("%d of %d call within %v, a second after the cut", most, fleet, bin)
		}
		if median < time.Second {
			t.Errorf("half of the fleet is back %v after the outage", median)
		}
	})
}

// Times that a producer counts from its own start are no time of day.
func TestRelativeProducerTimes(t *testing.T) {
	for producer, want := range map[string]bool{"45.000": false, "100000000.500": false, "1700000000.000": true} {
		c := numbered(1)
		c.producer = producer
		inBubble(t, func(w http.ResponseWriter, r *http.Request, _ request) {
			send(w, c.bytes())
			pause(r, time.Minute)
		}, func(t *testing.T, o *odd) {
			var s shown
			o.run(time.Second, ingest.Now, nil, &s)
			if len(s.data) != 1 || s.last.WallClock != want || !s.last.Produced {
				t.Errorf("%s: %+v", producer, s.last)
			}
		})
	}
}
