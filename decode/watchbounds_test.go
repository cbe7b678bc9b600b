package decode

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/test/kit"
)

// watched is a child that is heard of all the time, and what the agent has asked of it.
type watched struct {
	*progress
	base time.Time
}

func newWatched() watched {
	w := watched{&progress{
		patience: Patience{
			Hello: 30 * time.Second, Open: 10 * time.Second, Status: time.Second, Screen: 8 * time.Second,
			First: 1500 * ms, Next: 700 * ms, Still: 750 * ms, Frames: 3, More: 3,
		},
		atWork: func() bool { return true },
	}, time.Unix(1000, 0)}
	w.started = w.base
	return w
}

func (w watched) at(after time.Duration) time.Time { return w.base.Add(after) }

// piped opens a pipeline, which has decoded so many pictures.
func (w watched) piped(software bool, decoded uint64) (number uint32) {
	number = w.open(software, w.base)
	w.opened(number, w.base)
	w.advance(Status{Number: number, Fed: decoded, Decoded: decoded, Fresh: decoded}, w.base)
	return number
}

// fed sends frames that change the picture.
func (w watched) fed(frames int, after time.Duration) {
	for range frames {
		w.sent(unitOf(0x41, restlessSize), w.at(after))
	}
}

// says takes in the same status as often as is needed to believe it.
func (w watched) says(s Status, after time.Duration) {
	for range 3 {
		w.advance(s, w.at(after))
	}
}

// finds checks the child, of which something was heard right before; says is part of the failure, "" for none.
func (w watched) finds(t *testing.T, what string, after time.Duration, code, says string) {
	t.Helper()
	w.hearing(w.at(after), true)
	w.looks(t, what, after, code, says)
}

func (w watched) looks(t *testing.T, what string, after time.Duration, code, says string) {
	t.Helper()
	w.checked = time.Time{} // this process has slept through nothing
	err := w.check(w.at(after))
	var f *failure
	errors.As(err, &f)
	switch {
	case code == "" && err != nil:
		t.Errorf("%s, after %v: %v", what, after, err)
	case code != "" && (f == nil || f.Code != code || !strings.Contains(f.Message, says)):
		t.Errorf("%s, after %v: %v, want %s with %q", what, after, err, code, says)
	}
}

// A child that has greeted is waited for no longer than a second, whatever it said in between.
func TestSilenceAfterHeartbeats(t *testing.T) {
	w := newWatched()
	w.hearing(w.base, true)
	w.hearing(w.at(500*ms), false)
	w.looks(t, "heard", 1500*ms, "", "")
	w.looks(t, "not heard", 1501*ms, report.CodeHang, "has not answered for 1s")
}

// How long a pipeline may take to open, and what came of it counts from then on.
func TestOpeningTakesItsTime(t *testing.T) {
	w := newWatched()
	number := w.open(false, w.base)
	w.fed(3, 0)
	w.finds(t, "opening", 10*time.Second, "", "")
	w.finds(t, "opening", 10*time.Second+1, report.CodeHang, "did not start within 10s")
	w.opened(number+1, w.at(9*time.Second))
	w.finds(t, "another one is open", 10*time.Second+1, report.CodeHang, "did not start")
	w.opened(number, w.at(9*time.Second))
	w.says(Status{Number: number, Fed: 3}, 9*time.Second)
	w.finds(t, "frames that waited for it", 10500*ms, "", "")
	w.finds(t, "frames that waited for it", 10501*ms, report.CodeSilent,
		"3 frames went into the decoder and for 1.5s no picture came out")
}

// Of a pipeline that was given up nothing is awaited.
func TestNothingIsAwaitedOfACutPipeline(t *testing.T) {
	w := newWatched()
	w.open(false, w.base)
	w.cut()
	w.finds(t, "it was opening", time.Hour, "", "")

	w = newWatched()
	number := w.piped(false, 5)
	w.fed(9, 0)
	w.says(Status{Number: number, Fed: 14, Decoded: 5, Fresh: 5}, 0)
	w.cut()
	kit.Expect(t, "in flight", w.inFlight(), 0)
	w.finds(t, "it was silent", time.Hour, "", "")
	_, current := w.advance(Status{Number: number, Fed: 14, Decoded: 9}, w.base)
	kit.Expect(t, "current", current, false)

	w = newWatched()
	number = w.piped(false, 5)
	w.fed(9, 0)
	w.says(Status{Number: number, Fed: 14, Decoded: 14, Fresh: 5}, 0)
	w.cut()
	w.finds(t, "its pictures stood still", time.Hour, "", "")
	next := w.open(false, w.at(time.Hour))
	before, current := w.advance(Status{Number: next, Fed: 2, Decoded: 1}, w.at(time.Hour))
	kit.Expect(t, "current", current, true)
	kit.Expect(t, "before", before.Decoded, 0)
	before, current = w.advance(Status{Number: next, Fed: 2, Decoded: 2}, w.at(time.Hour))
	kit.Expect(t, "current", current, true)
	kit.Expect(t, "before", before.Decoded, 1)
	before, current = w.advance(Status{Number: number, Fed: 9, Decoded: 9}, w.at(time.Hour))
	kit.Expect(t, "of the one before it: current", current, false)
	kit.Expect(t, "of the one before it: taken in", w.status.Decoded, 2)
	kit.Expect(t, "of the one before it: news", before.Decoded, 9) // nothing has grown
}

// A status of no pipeline says nothing.
func TestStatusWithoutAPipeline(t *testing.T) {
	w := newWatched()
	before, current := w.advance(Status{Decoded: 5}, w.base)
	kit.Expect(t, "current", current, false)
	kit.Expect(t, "news", before.Decoded, 5)
	kit.Expect(t, "taken in", w.status.Decoded, 0)
}

// What waits for a display takes its own time from when the display is there, once.
func TestTimeCountsFromTheDisplay(t *testing.T) {
	w := newWatched()
	w.open(false, w.base)
	w.screenAsked(7, w.base)
	w.screened(7, w.at(7*time.Second))
	w.finds(t, "a pipeline", 17*time.Second, "", "")
	w.finds(t, "a pipeline", 17*time.Second+1, report.CodeHang, "did not start within 10s")

	w = newWatched()
	w.screenAsked(7, w.base)
	w.screened(7, w.at(7*time.Second))
	w.finds(t, "no pipeline was asked for", time.Hour, "", "")

	w = newWatched()
	began := w.base
	w.writing = func() time.Time { return began }
	w.screenAsked(7, w.base)
	w.finds(t, "a write", 8*time.Second, "", "")
	w.screened(7, w.at(8*time.Second))
	w.finds(t, "a write", 18*time.Second, "", "")
	w.finds(t, "a write", 18*time.Second+1, report.CodeHang, "has read nothing for 10s")
	began = w.at(18 * time.Second)
	w.finds(t, "the next write", 28*time.Second, "", "")
	w.finds(t, "the next write", 28*time.Second+1, report.CodeHang, "has read nothing for 10s")
	began = time.Time{}
	w.finds(t, "it was read", time.Hour, "", "")

	w = newWatched()
	number := w.piped(false, 1)
	w.screenAsked(7, w.base)
	w.screened(7, w.base)
	w.fed(3, 0)
	w.says(Status{Number: number, Fed: 4, Decoded: 1, Fresh: 1}, 0)
	w.screened(7, w.at(600*ms)) // it failed later
	w.finds(t, "frames", 700*ms, "", "")
	w.finds(t, "frames", 701*ms, report.CodeSilent, "3 frames")
}

// A display is waited for as long as it may take, which may be for ever.
func TestDisplayIsWaitedFor(t *testing.T) {
	w := newWatched()
	w.screenAsked(7, w.base)
	w.finds(t, "opening", 8*time.Second, "", "")
	w.finds(t, "opening", 8*time.Second+1, report.CodeDisplayLost, "the display was not opened within 8s")
	w.patience.Screen = 0
	w.finds(t, "without an end", 24*time.Hour, "", "")
}

// Time runs from the first frame after a picture, not from the picture nor from later frames.
func TestTimeCountsFromTheFirstFrame(t *testing.T) {
	w := newWatched()
	number := w.piped(false, 1)
	for after := range 3 {
		w.fed(1, time.Hour+time.Duration(after)*200*ms)
	}
	w.says(Status{Number: number, Fed: 4, Decoded: 1, Fresh: 1}, time.Hour+600*ms)
	w.finds(t, "silence", time.Hour+700*ms, "", "")
	w.finds(t, "silence", time.Hour+701*ms, report.CodeSilent, "for 700ms")
}

// A decoder that is excused fails no more by being silent, until it has made a picture.
func TestExcused(t *testing.T) {
	w := newWatched()
	number := w.piped(true, 0)
	w.fed(3, 0)
	w.says(Status{Number: number, Fed: 3}, 0)
	w.finds(t, "silent", 6001*ms, report.CodeSilent, "for 6s") // four times 1.5 s: software
	w.excuse()
	w.finds(t, "excused", time.Hour, "", "")
	w.says(Status{Number: number, Fed: 3}, time.Hour)
	w.finds(t, "still excused", time.Hour, "", "")
	w.advance(Status{Number: number, Fed: 3, Decoded: 1, Fresh: 1}, w.at(time.Hour))
	w.fed(3, time.Hour)
	w.says(Status{Number: number, Fed: 6, Decoded: 1, Fresh: 1}, time.Hour)
	w.finds(t, "after a picture", time.Hour+2801*ms, report.CodeSilent, "for 2.8s") // four times 0.7 s
	w.excuse()
	w.open(true, w.at(2*time.Hour))
	kit.Expect(t, "excused in another pipeline", w.excused, false)
}

// Pictures that stand still are a fault of the decoder only while it is suspected.
func TestSuspected(t *testing.T) {
	for _, c := range []struct {
		software bool
		limit    time.Duration
	}{{false, 750 * ms}, {true, 3 * time.Second}} {
		w := newWatched()
		number := w.piped(c.software, 5)
		w.fed(9, 0)
		w.says(Status{Number: number, Fed: 14, Decoded: 14, Fresh: 5}, 0)
		w.finds(t, "too early", c.limit-1, "", "")
		w.finds(t, "still", c.limit, report.CodeStale, "9 pictures that had been there before")
		w.suspect(false)
		w.finds(t, "trusted", c.limit, "", "")
		w.suspect(true)
		w.finds(t, "suspected again", c.limit, report.CodeStale, "")
	}
}

// A process that looks at its child up to 100 ms later than it should has not slept.
func TestLateChecksForgiveNothing(t *testing.T) {
	for every, want := range map[time.Duration]time.Duration{
		100 * ms: 1100 * ms, 150 * ms: 1050 * ms, 200 * ms: 1200 * ms, // the first look after more than a second
		300 * ms: 3300 * ms, // of each 300 ms, 200 do not count
	} {
		w := newWatched()
		w.hearing(w.base, true)
		at := time.Duration(0)
		for ; w.check(w.at(at)) == nil && at < time.Minute; at += every {
		}
		kit.Expect(t, "looked at every "+every.String()+": silence is found", at, want)
	}
}

// A decoder that hangs while it is loaded is found soon. A child that works for it has its time, and so has one in
// which it waits for the display or the pipeline before it.
func TestHangWhileLoading(t *testing.T) {
	type doing struct {
		computed time.Duration
		faults   uint64
		runs     bool
	}
	for name, tc := range map[string]struct {
		does func(n int) doing // at the nth look, each 100 ms
		busy bool
		want time.Duration // when it is a failure
	}{
		"nothing":            {does: func(int) doing { return doing{} }, want: 1800 * ms},
		"its heartbeat":      {does: func(n int) doing { return doing{computed: time.Duration(n/5) * 10 * ms} }, want: 1800 * ms},
		"computes":           {does: func(n int) doing { return doing{computed: time.Duration(n) * 30 * ms} }, want: 10100 * ms},
		"reads from disk":    {does: func(n int) doing { return doing{faults: uint64(n) * 3} }, want: 10100 * ms},
		"waits for its turn": {does: func(n int) doing { return doing{runs: n%10 == 0} }, want: 10100 * ms},
		"computes, then not": {does: func(n int) doing { return doing{computed: time.Duration(min(n, 20)) * 50 * ms} }, want: 3800 * ms},
		"waits for another":  {does: func(int) doing { return doing{} }, busy: true, want: 10100 * ms},
	} {
		w := newWatched()
		w.patience.Load = 1700 * ms
		n := 0
		w.effort = func() (time.Duration, uint64, bool) {
			d := tc.does(n)
			return d.computed, d.faults, d.runs
		}
		w.open(false, w.base)
		var failed time.Duration
		for n = 1; failed == 0 && n < 200; n++ {
			after := time.Duration(n) * 100 * ms
			w.hearing(w.at(after), true)
			w.advance(Status{Busy: tc.busy}, w.at(after))
			if w.check(w.at(after)) != nil {
				failed = after
			}
		}
		kit.Expect(t, name, failed, tc.want)
	}
}

// A stream that changes its format all the time begins a pipeline each time. When none of them makes a picture the decoder is
// at fault, although none was waited for long enough; those that were given up say nothing, and one picture is enough.
func TestPipelinesThatEndWithoutAPicture(t *testing.T) {
	tests := []struct {
		name string
		ends []string // of the pipelines: "barren", "cut", "empty", "fruitful"
		code string
	}{
		{"one", []string{"barren"}, ""},
		{"two", []string{"barren", "barren"}, report.CodeSilent},
		{"two after one that was well", []string{"fruitful", "barren", "barren"}, report.CodeSilent},
		{"one picture in between", []string{"barren", "fruitful", "barren"}, ""},
		{"given up", []string{"cut", "cut", "cut"}, ""},
		{"given up in between", []string{"barren", "cut", "barren"}, report.CodeSilent},
		{"without frames", []string{"empty", "empty", "empty"}, ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			w := newWatched()
			for _, end := range tc.ends {
				number := w.piped(false, 0)
				last := Status{Number: number}
				switch end {
				case "barren":
					last.Fed = 5
				case "cut":
					last.Fed = 5
					w.cut()
				case "fruitful":
					last.Fed, last.Decoded = 5, 1
				}
				w.drained(last)
			}
			w.piped(false, 0)
			says := ""
			if tc.code != "" {
				says = "ended without a picture of 10 frames"
			}
			w.finds(t, "the next pipeline", ms, tc.code, says)
		})
	}
}

// What is known to be the stream's doing is no fault of the decoder.
func TestPipelinesWithoutAPictureAreExcused(t *testing.T) {
	w := newWatched()
	for range 3 {
		w.drained(Status{Number: w.piped(true, 0), Fed: 5})
	}
	w.piped(true, 0)
	w.excuse()
	w.finds(t, "the next pipeline", ms, "", "")
}
