package ingest_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/ingest"
	"github.com/edge-agent/edge-agent/ingest/kvstest"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// journeys is a Sink that keeps what comes between two begins of a session apart.
type journeys []*recorder

func (j *journeys) last() *recorder { return (*j)[len(*j)-1] }

func (j *journeys) Frame(ctx context.Context, f *ingest.Frame) { j.last().Frame(ctx, f) }
func (j *journeys) Tracks(t []*mkv.Track)                      { j.last().Tracks(t) }
func (j *journeys) Fragment(f mkv.Fragment)                    { j.last().Fragment(f) }
func (j *journeys) Report(r ingest.Report) {
	if r.State == ingest.Starting {
		*j = append(*j, &recorder{})
	}
	j.last().Report(r)
}

// Wherever a stream is when it is told to go on elsewhere, also several times at once and
// while the service fails: what comes next begins at that place, with a frame that
// decoding can begin with, and is whole; nothing of the place before is left.
func TestSeekBeginsAnew(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		plan := drawPlan(rt)
		tos := rapid.SliceOfN(rapid.SampledFrom([]ingest.SelectorKind{ingest.Now, ingest.Earliest}), 1, 3).Draw(rt, "to")
		synctest.Test(t, func(t *testing.T) { checkSeeks(t, rt, plan, tos) })
	})
}

func checkSeeks(t *testing.T, rt *rapid.T, p plan, tos []ingest.SelectorKind) {
	b := newBench(t, kvstest.Config{Limits: kvstest.Limits{Session: p.limit, Connections: 1}},
		kvstest.StreamConfig{Layout: p.layout, History: time.Minute})
	defer b.close()
	ctx, stop := context.WithCancel(t.Context())
	var all journeys
	session := ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam"}, b.service, memory{}, &all)
	go func() {
		for i, to := range tos {
			a := p.acts[i%len(p.acts)]
			time.Sleep(a.after)
			if a.kind > 0 {
				disturbances[a.kind-1](b.stream, a.at)
			}
			time.Sleep(time.Duration(a.at) * time.Microsecond)
			go session.Seek(ingest.Selector{Kind: ingest.Earliest}) // overtaken by, or overtaking, the other
			session.Seek(ingest.Selector{Kind: to})
		}
		time.Sleep(90 * time.Second)
		stop()
	}()
	session.Run(ctx)
	if len(all) < 2 || len(all.last().frames) < 100 {
		rt.Fatalf("%d begins, %d frames after the last", len(all), len(all.last().frames))
	}
	for _, r := range all {
		if len(r.frames) > 0 && (!r.frames[0].key || !r.frames[0].gap) {
			rt.Errorf("begins with %+v", r.frames[0])
		}
		if len(r.frames) > 1 && r.find(ingest.CodeMalformed) == nil {
			checkFrames(rt, r)
		}
	}
}

// Seek moves at once and says where to; it also ends the wait for the next attempt.
func TestSeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{History: 5 * time.Minute})
		defer b.close()
		ctx, stop := context.WithCancel(t.Context())
		var all journeys
		session := ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam"}, b.service, nil, &all)
		ended := make(chan struct{})
		go func() { session.Run(ctx); close(ended) }()
		defer func() { stop(); <-ended }()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		live := number(all.last().fragments[0])
		session.Seek(ingest.Selector{Kind: ingest.Earliest})
		time.Sleep(time.Second)
		synctest.Wait()
		if old := number(all.last().fragments[0]); len(all) != 2 || old >= live-100 {
			t.Errorf("from fragment %d to %d", live, old)
		}

		b.stream.RefuseMedia(1, &kvstest.Exception{Status: 400, Type: "InvalidArgumentException", Message: "no"})
		session.Seek(ingest.Selector{Kind: ingest.AfterFragment, Value: "5"})
		time.Sleep(time.Second)
		synctest.Wait()
		if all.last().find("kvs.http.InvalidArgumentException") == nil {
			t.Fatalf("reports %q", all.last().codes())
		}
		session.Seek(ingest.Selector{})
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if r := all.last(); len(r.frames) == 0 || r.reports[0].Attempt != 0 || !slices.Equal(r.codes(), []string{ingest.CodePlaying}) {
			t.Errorf("%d frames, reports %+v", len(r.frames), r.reports)
		}
	})
}

// Run can be called again, and begins where the stream is configured to.
func TestRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{}, kvstest.StreamConfig{})
		defer b.close()
		var all journeys
		session := ingest.NewSession(ingest.Stream{Name: "cam", StreamName: "cam"}, b.service, nil, &all)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			session.Run(ctx)
			cancel()
			time.Sleep(time.Minute)
		}
		if len(all) != 2 || all.last().reports[len(all.last().reports)-1].State != ingest.Stopped {
			t.Fatalf("%d begins", len(all))
		}
		if first, second := all[0].fragments[0], all[1].fragments[0]; number(second)-number(first) < 20 {
			t.Errorf("from fragment %d, and then from %d", number(first), number(second))
		}
	})
}

// A bound that is set while the stream runs counts from the next fragment on.
func TestSetMaxLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, kvstest.Config{Limits: kvstest.Limits{Bandwidth: 150e3}}, kvstest.StreamConfig{History: 10 * time.Minute})
		defer b.close()
		positions := memory{}
		var before recorder
		b.run(2*time.Second, ingest.Stream{Start: ingest.Selector{Kind: ingest.Earliest}}, positions, &before)
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		defer cancel()
		var r recorder
		var told time.Duration
		began := time.Now()
		late := ingest.Stream{Name: "cam", StreamName: "cam", Start: ingest.Selector{Kind: ingest.Resume}, Stay: true}
		session := ingest.NewSession(late, b.service, positions, &noted{&r, func(p ingest.Report) {
			if p.Code == ingest.CodeLagHigh && told == 0 {
				told = time.Since(began)
			}
		}})
		time.AfterFunc(5*time.Second, func() { session.SetMaxLag(time.Second) })
		session.Run(ctx)
		// Fragments come faster than one a second, or it would not catch up.
		if told < 5*time.Second || told > 6*time.Second || len(r.of(ingest.CodeLagHigh)) != 1 {
			t.Errorf("%s after %v, reports %q", ingest.CodeLagHigh, told, r.codes())
		}
	})
}

// noted is a recorder that tells of reports.
type noted struct {
	*recorder
	on func(ingest.Report)
}

func (n *noted) Report(r ingest.Report) { n.on(r); n.recorder.Report(r) }
