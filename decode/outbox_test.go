package decode

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// stuff gives a child that does not read more than its socket holds, and waits until that is noticed.
func (r *rig) stuff() *attempt {
	r.t.Helper()
	data := make([]byte, 1<<20)
	copy(data, []byte{0, 0xf, 0xff, 0xfc, 0x65, 0x88})
	for range 4 {
		r.n++
		r.Push(&mkv.Frame{Track: r.track, Data: data, Key: true}, time.Duration(r.n), false)
	}
	var a *attempt
	r.until("a write that blocks", func() bool {
		r.mu.Lock()
		a = r.current
		r.mu.Unlock()
		if a == nil {
			return false
		}
		a.progress.mu.Lock()
		opened := a.progress.asked > 0 && a.progress.opening.IsZero() // since when it does not read
		a.progress.mu.Unlock()
		return opened && !a.out.since().IsZero()
	})
	return a
}

// Slates and snapshots do not wait for a child that has stopped reading.
func TestNobodyWaitsForADeafChild(t *testing.T) {
	r := start(t, "deaf")
	a := r.stuff()
	began := a.out.since()
	for _, state := range []string{"a", "b"} {
		r.SetSlate(Slate{State: state})
	}
	asked, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := r.Snapshot(asked, Snapshot{}); err == nil || !strings.Contains(err.Error(), "in time") {
		t.Error(err)
	}
	if now := a.out.since(); !now.Equal(began) || len(r.reports) > 0 {
		t.Errorf("the write of %v has ended; now it is that of %v", began, now)
	}
}

// A child that does not read is replaced, though its heart beats.
func TestDeafChildIsReplaced(t *testing.T) {
	r := start(t, "deaf", func(c *Config) { c.Patience.Open = time.Second })
	r.stuff()
	if report := r.report(report.CodeHang); !strings.Contains(report.Message, "has read nothing for 1s") {
		t.Errorf("%+v", report)
	}
	r.report(report.CodeFallback)
	r.SetSlate(Slate{State: "new"})
	r.until("the slate in the new child", func() bool { return strings.HasSuffix(r.got(), "<new>") })
}

// A snapshot ends with the child that should take it, not with the time that it is given.
func TestSnapshotEndsWithItsChild(t *testing.T) {
	r := start(t, "snapshot")
	r.push("K")
	r.shown(1)
	_, err := r.Snapshot(t.Context(), Snapshot{})
	var e *report.Error
	if !errors.As(err, &e) || e.Code != report.CodeNoPicture || !strings.Contains(e.Message, "ended before the picture came") || t.Context().Err() != nil {
		t.Error(err)
	}
	r.report(report.CodeCrash)
}

// The time in which this process did not run is not that of a child that reads nothing.
func TestSleepIsForgivenToReaders(t *testing.T) {
	began := time.Unix(1000, 0)
	p := progress{patience: Patience{Hello: time.Hour, Open: time.Second, Status: time.Hour}, started: began, writing: func() time.Time { return began }}
	p.hearing(began, true)
	for at := checkEvery; at <= 300*time.Millisecond; at += checkEvery {
		if err := p.check(began.Add(at)); err != nil {
			t.Fatal(err)
		}
	}
	const slept = time.Minute
	if err := p.check(began.Add(slept)); err != nil {
		t.Fatal(err)
	}
	for at := slept; at <= slept+2*time.Second; at += checkEvery {
		if p.check(began.Add(at)) != nil {
			return
		}
	}
	t.Error("a child that reads nothing is not seen")
}
