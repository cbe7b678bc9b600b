package mqtt

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/edge-agent/edge-agent/mqtt/contract"
	"github.com/edge-agent/edge-agent/mqtt/contract/contracttest"
)

// long asks for the tests in full length.
var long = flag.Bool("long", false, "run the long tests in full: seven days, many kills")

func testEvent(stream string) contract.Event {
	now := contract.Time{Time: time.Now()}
	return contract.Event{Code: "lag.high", Stream: stream, Count: 1, TS: now, FirstTS: now, LastTS: now}
}

// An event that was dropped while it was on its way must not take the next one with it.
func TestRemoveTouchesOnlyItsEvent(t *testing.T) {
	o := newOutbox(limits{events: 2, bytes: 1 << 20, age: time.Hour})
	o.put(testEvent("a"))
	o.put(testEvent("b"))
	onItsWay, _ := o.after(0)
	o.put(testEvent("c"))
	o.remove(onItsWay.seq)
	kept, lost := o.size()
	if first, _ := o.after(0); first.seq != 2 || kept != 2 || lost != 1 {
		t.Errorf("first is %d, kept %d, lost %d", first.seq, kept, lost)
	}
}

// What the outbox holds is what docs/mqtt.md says: 10,000 events, 4 MiB, 7 days, and of more the newest.
func TestTheOutboxHoldsWhatIsPromised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const week = 7 * 24 * time.Hour
		want := func(o *outbox, kept int, lost uint64, oldest uint64) {
			t.Helper()
			e, _ := o.after(0)
			if k, l := o.size(); k != kept || l != lost || e.seq != oldest {
				t.Errorf("kept %d, the oldest %d, dropped %d, want %d, %d and %d", k, e.seq, l, kept, oldest, lost)
			}
		}
		o := newOutbox(defaultLimits)
		for range 10_000 {
			o.put(testEvent("a"))
		}
		want(o, 10_000, 0, 1)
		o.put(testEvent("a"))
		want(o, 10_000, 1, 2)

		o = newOutbox(defaultLimits)
		large := testEvent("a")
		large.Message = strings.Repeat("x", 1<<20-1000)
		for range 4 {
			o.put(large)
		}
		want(o, 4, 0, 1)
		rest := testEvent("a")
		rest.Message = strings.Repeat("x", 4<<20-o.bytes-len(payload(t, testEvent("a"))))
		o.put(rest) // 4 MiB to the byte
		want(o, 5, 0, 1)
		if o.bytes != 4<<20 {
			t.Fatalf("%d bytes", o.bytes)
		}
		o.put(testEvent("a"))
		want(o, 5, 1, 2)

		o = newOutbox(defaultLimits)
		o.put(testEvent("a"))
		time.Sleep(week / 2)
		o.put(testEvent("a"))
		time.Sleep(week / 2)
		want(o, 2, 0, 1)
		time.Sleep(time.Nanosecond)
		want(o, 1, 1, 2)
	})
}

// payload is an event as the first one of an outbox.
func payload(t *testing.T, e contract.Event) []byte {
	t.Helper()
	e.Seq = 1
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What happens is in the file within a tenth of a second, and so is that it was confirmed.
func TestTheFileFollowsWithinATenthOfASecond(t *testing.T) {
	dir := t.TempDir()
	var back atomic.Bool
	synctest.Test(t, func(t *testing.T) {
		f := newFakeBroker(func(int) behaviour {
			if back.Load() {
				return behaviour{}
			}
			return behaviour{refuse: errRefused}
		})
		defer f.close()
		c := newTestClientWith(t, f, Config{StateDir: dir})
		defer start(c)()
		want := func(streams ...string) {
			t.Helper()
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			var got []string
			for _, e := range storedEvents(t, copyOf(t, filepath.Join(dir, storeName))) {
				got = append(got, e.Stream)
			}
			if !slices.Equal(got, streams) {
				t.Errorf("the file has the events of %q, want %q", got, streams)
			}
		}
		c.Event(contract.Event{Code: "lag.high", Stream: "a"})
		want("a")
		c.Event(contract.Event{Code: "lag.high", Stream: "b"})
		c.Event(contract.Event{Code: "lag.high", Stream: "c"})
		want("a", "b", "c")
		back.Store(true)
		time.Sleep(time.Minute)
		want()
		c.SetStreams([]string{"gate"}) // without an event
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		s, l, held, _, err := openStore(copyOf(t, filepath.Join(dir, storeName)))
		if err != nil {
			t.Fatal(err)
		}
		defer s.db.Close()
		defer l.close()
		if !slices.Equal(held.streams, []string{"gate"}) {
			t.Errorf("the file has the streams %q", held.streams)
		}
	})
}

// Events that have become too old while the agent was off are dropped and counted when it starts.
func TestWhatBecameTooOldWhileOff(t *testing.T) {
	o, now := newOutbox(defaultLimits), time.Now()
	old, young := now.Add(-7*24*time.Hour-time.Second), now.Add(-7*24*time.Hour+time.Second)
	o.restore([]entry{
		{seq: 1, payload: []byte("{}"), count: 3, first: old, last: old, born: old},
		{seq: 2, payload: []byte("{}"), count: 4, first: old, last: young, born: young},
	}, totals{Seq: 2, Put: 7}, nil, now)
	if kept, lost := o.size(); kept != 1 || lost != 3 {
		t.Errorf("%d are kept, %d dropped", kept, lost)
	}
}

// Without its ledger the agent still has the file: seq goes on from there, nothing is said to be dropped, and what is
// lost later is counted.
func TestALedgerThatIsGone(t *testing.T) {
	dir := t.TempDir()
	open := func() (o *outbox, end func()) {
		s, l, held, damaged, err := openStore(dir)
		if err != nil || len(damaged) > 0 {
			t.Fatal(err, damaged)
		}
		o = newOutbox(defaultLimits)
		o.restore(held.events, held.totals, l, contracttest.T0)
		return o, func() { s.db.Close(); l.close() }
	}
	put := func(o *outbox, n int) {
		for range n {
			o.ledger.report(1)
			o.put(testEvent("door"))
		}
	}
	s, l, _, _, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := newOutbox(defaultLimits)
	o.restore(nil, totals{}, l, contracttest.T0)
	put(o, 5)
	c, _ := o.changes()
	if err := errors.Join(s.save(c), s.db.Close(), l.close(), os.Remove(filepath.Join(dir, ledgerName))); err != nil {
		t.Fatal(err)
	}

	o, end := open()
	if kept, lost := o.size(); kept != 5 || lost != 0 || o.seq != 5 {
		t.Errorf("%d are kept, %d dropped, the newest is %d", kept, lost, o.seq)
	}
	put(o, 2) // and it is killed before it copies them
	end()
	o, end = open()
	defer end()
	if kept, lost := o.size(); kept != 5 || lost != 2 || o.seq != 7 {
		t.Errorf("after the next start %d are kept, %d dropped, the newest is %d", kept, lost, o.seq)
	}
}

// storedEvents are the events in the file in dir.
func storedEvents(t *testing.T, dir string) (list []contract.Event) {
	t.Helper()
	s, l, held, damaged, err := openStore(dir)
	if err != nil || len(damaged) > 0 {
		t.Fatal(err, damaged)
	}
	defer s.db.Close()
	defer l.close()
	for _, stored := range held.events {
		var e contract.Event
		if err := json.Unmarshal(stored.payload, &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

func TestTheAgeOfAStoredEvent(t *testing.T) {
	now := time.Now()
	for ts, want := range map[time.Time]time.Duration{
		now.Add(-time.Hour): time.Hour,
		now.Add(time.Hour):  0, // the clock was wrong then, or is now
		time.Unix(1000, 0):  0, // it had not been set yet
	} {
		if got := now.Sub(born(ts, now)); got != want {
			t.Errorf("stored at %v: %v old", ts, got)
		}
	}
}

// What is put, sent, copied or not, in whatever order the disk fails and the process dies:
// every event is confirmed, kept or in the count of the dropped. seq goes up by one.
func TestTheOutboxAccountsForEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "outbox-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		w := newWorld(t, dir)
		w.start()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "step") {
			case 0, 1, 2:
				w.put()
			case 3, 4:
				w.send()
			case 5:
				w.copy(func() {}, rapid.Bool().Draw(t, "disk full"))
			case 6:
				w.copy(rapid.SampledFrom([]func(){w.put, w.send}).Draw(t, "meanwhile"), rapid.Bool().Draw(t, "disk full"))
			case 7:
				w.kill()
				w.start()
			case 8:
				w.report() // and it is killed before it puts it
				w.kill()
				w.start()
			}
			w.checkSize()
		}
		w.copy(func() {}, false)
		w.kill()
		w.start()
		w.sendAll()
		w.check()
		w.kill()
	})
}

// world is an outbox with what is around it. It keeps books of its own, of what has to be in the memory and the file.
type world struct {
	t      *rapid.T
	dir    string
	outbox *outbox
	store  *store
	clock  time.Time // of the events

	memory, file books
	lost         uint64           // dropped since the last start
	seq          uint64           // of the newest event
	unstored     map[string]int64 // by stream: count of what is missing at the next start, should it be killed now
	dirty        bool             // there are changes since the last copy
	inexact      bool             // it was killed with such changes: what is said to be dropped may have arrived

	reported             []contract.Event
	delivered, confirmed map[string]bool   // by stream
	ids                  map[uint64]string // of mqtt.dropped, by seq
	told                 int64             // count of all mqtt.dropped that were confirmed
}

func newWorld(t *rapid.T, dir string) *world {
	return &world{
		t: t, dir: dir, clock: contracttest.T0, unstored: map[string]int64{},
		delivered: map[string]bool{}, confirmed: map[string]bool{}, ids: map[uint64]string{},
	}
}

// maxWaiting is the limit of a world's outbox.
const maxWaiting = 8

// books say what an outbox or its file has to hold.
type books struct {
	waiting []contract.Event // oldest first
	dropped contract.Event   // Count, FirstTS and LastTS of what was dropped and is not yet reported
}

func (b books) clone() books { return books{waiting: slices.Clone(b.waiting), dropped: b.dropped} }

func (b *books) drop(e contract.Event) {
	sum := &b.dropped
	if sum.Count == 0 || e.FirstTS.Before(sum.FirstTS.Time) {
		sum.FirstTS = e.FirstTS
	}
	if sum.Count == 0 || e.LastTS.After(sum.LastTS.Time) {
		sum.LastTS = e.LastTS
	}
	sum.Count += e.Count
}

func (w *world) start() {
	s, l, held, aside, err := openStore(w.dir)
	if err != nil || aside != nil {
		w.t.Fatal(err, aside)
	}
	s.db.NoSync() // a killed process needs none, and it takes its time
	now := w.tick()
	w.store, w.outbox = s, newOutbox(limits{events: maxWaiting, bytes: 1 << 20, age: math.MaxInt64})
	w.outbox.restore(held.events, held.totals, l, now)

	w.memory, w.lost = w.file.clone(), 0
	for _, count := range w.unstored {
		w.memory.drop(contract.Event{Count: count, FirstTS: contract.Time{Time: now}, LastTS: contract.Time{Time: now}})
		w.lost += uint64(count)
	}
	w.checkSize()
}

// kill is what SIGKILL leaves: the files as they are. On a busy machine the ledger may not be written yet, as on a disk
// that hangs, of which nothing is promised.
func (w *world) kill() {
	l := w.outbox.ledger
	l.mu.Lock()
	written := l.writing
	l.mu.Unlock()
	if written != nil {
		<-written
	}
	w.store.db.Close()
	w.outbox.ledger.close()
	w.inexact = w.inexact || w.dirty
}

// tick gives the next moment.
func (w *world) tick() time.Time {
	w.clock = w.clock.Add(time.Millisecond)
	return w.clock
}

func (w *world) report() contract.Event {
	began, now := w.tick(), w.tick()
	e := contract.Event{
		Code: "lag.high", Stream: fmt.Sprint("s", len(w.reported)), Count: rapid.Int64Range(1, 3).Draw(w.t, "count"),
		TS: contract.Time{Time: now}, FirstTS: contract.Time{Time: began}, LastTS: contract.Time{Time: now},
	}
	w.outbox.ledger.report(e.Count)
	w.reported = append(w.reported, e)
	w.unstored[e.Stream], w.dirty = e.Count, true
	return e
}

func (w *world) put() {
	e := w.report()
	w.outbox.put(e)
	w.enter(e)
	w.trim()
}

func (w *world) enter(e contract.Event) {
	w.seq++
	e.Seq = w.seq
	w.memory.waiting = append(w.memory.waiting, e)
	w.dirty = true
}

func (w *world) trim() {
	for len(w.memory.waiting) > maxWaiting {
		w.lose(w.memory.waiting[0].Seq)
	}
}

// lose enters into the books that an event was dropped.
func (w *world) lose(seq uint64) {
	if e, found := w.take(seq); found {
		w.memory.drop(e)
		if e.Code != "mqtt.dropped" { // else they have been counted before
			w.lost += uint64(e.Count)
		}
	}
}

// take strikes an event from the memory's book.
func (w *world) take(seq uint64) (e contract.Event, found bool) {
	i := slices.IndexFunc(w.memory.waiting, func(e contract.Event) bool { return e.Seq == seq })
	if i < 0 {
		return contract.Event{}, false
	}
	e = w.memory.waiting[i]
	w.memory.waiting = slices.Delete(w.memory.waiting, i, i+1)
	w.dirty = true
	return e, true
}

// send has some events on their way at once, of which in the end some are confirmed and others cannot be sent.
func (w *world) send() {
	var sent []uint64
	e, ok := w.next(0)
	for atOnce := rapid.IntRange(1, 4).Draw(w.t, "at once"); ok && len(sent) < atOnce; e, ok = w.next(e.Seq) {
		sent = append(sent, e.Seq)
	}
	for _, seq := range sent {
		switch rapid.IntRange(0, 5).Draw(w.t, "what comes of it") {
		case 0, 1, 2:
			w.confirm(seq)
		case 3:
			w.outbox.drop(seq)
			w.lose(seq)
		}
	}
}

func (w *world) sendAll() {
	for e, ok := w.next(0); ok; e, ok = w.next(0) {
		w.confirm(e.Seq)
	}
}

// next delivers the event that follows a seq, as the client finds it.
func (w *world) next(seq uint64) (contract.Event, bool) {
	if e, ok := w.after(seq); ok {
		return e, true
	}
	reported, sum := w.outbox.reportDropped(droppedEvent), w.memory.dropped
	if reported != (sum.Count > 0) {
		w.t.Fatalf("%d were dropped, and that is reported: %v", sum.Count, reported)
	}
	if reported {
		sum.Code, sum.TS = "mqtt.dropped", sum.LastTS
		w.memory.dropped = contract.Event{}
		w.enter(sum)
	}
	return w.after(seq)
}

// after delivers the event that follows a seq, which has to be the one that the book has there.
func (w *world) after(seq uint64) (want contract.Event, ok bool) {
	e, ok := w.outbox.after(seq)
	w.trim()
	i := slices.IndexFunc(w.memory.waiting, func(e contract.Event) bool { return e.Seq > seq })
	if ok != (i >= 0) {
		w.t.Fatalf("after %d: %s, want one of %+v", seq, e.payload, w.memory.waiting)
	}
	if !ok {
		return contract.Event{}, false
	}
	want = w.memory.waiting[i]
	var got contract.Event
	if err := json.Unmarshal(e.payload, &got); err != nil {
		w.t.Fatal(err)
	}
	if got.Seq != want.Seq || got.Code != want.Code || got.Stream != want.Stream || got.Count != want.Count ||
		!got.TS.Equal(want.TS.Time) || !got.FirstTS.Equal(want.FirstTS.Time) || !got.LastTS.Equal(want.LastTS.Time) {
		w.t.Fatalf("after %d: %s, want %+v", seq, e.payload, want)
	}
	if want.Code == "mqtt.dropped" {
		w.checkID(got)
	}
	w.delivered[got.Stream] = true
	return want, true
}

// checkID: one that arrives twice has the id it had.
func (w *world) checkID(e contract.Event) {
	if id, known := w.ids[e.Seq]; known && id != e.ID || uuid.Validate(e.ID) != nil {
		w.t.Fatalf("the id of %+v was %s", e, id)
	}
	w.ids[e.Seq] = e.ID
}

func (w *world) confirm(seq uint64) {
	w.outbox.remove(seq)
	e, found := w.take(seq)
	if !found {
		return
	}
	w.confirmed[e.Stream] = true
	delete(w.unstored, e.Stream) // nobody has to miss it
	if e.Code == "mqtt.dropped" {
		w.told += e.Count
	}
}

// copy writes the file, and has something happen between the look at the outbox and the end of the transaction.
func (w *world) copy(meanwhile func(), diskFull bool) {
	changes, done := w.outbox.changes()
	memory, unstored := w.memory.clone(), w.unstored
	w.unstored, w.dirty = map[string]int64{}, false
	meanwhile()
	if diskFull {
		done(errors.New("disk full"))
		maps.Copy(w.unstored, unstored)
		w.dirty = true
		return
	}
	if err := w.store.save(changes); err != nil {
		w.t.Fatal(err)
	}
	done(nil)
	w.file = memory
	if w.dirty {
		return
	}
	if more, _ := w.outbox.changes(); len(more.added)+len(more.removed) > 0 {
		w.t.Fatalf("the file has everything, and this is still to be copied: %+v", more)
	}
}

// checkSize compares what the outbox says of itself with the books.
func (w *world) checkSize() {
	kept, lost := w.outbox.size()
	if kept != len(w.memory.waiting) || lost != w.lost {
		w.t.Fatalf("%d are kept and %d dropped, want %d and %d", kept, lost, len(w.memory.waiting), w.lost)
	}
	bytes := 0
	for _, e := range w.outbox.queue {
		bytes += len(e.payload)
	}
	if w.outbox.bytes != bytes {
		w.t.Fatalf("the payloads have %d bytes, not %d", bytes, w.outbox.bytes)
	}
}

// check adds up what was reported: nothing is missing that is not said to be dropped, and nothing else is said to be,
// but for what a process did not store before it was killed.
func (w *world) check() {
	missing, unconfirmed := int64(0), int64(0)
	for _, e := range w.reported {
		if !w.delivered[e.Stream] {
			missing += e.Count
		}
		if !w.confirmed[e.Stream] {
			unconfirmed += e.Count
		}
	}
	if w.told < missing || w.told < unconfirmed || w.told > unconfirmed && !w.inexact {
		w.t.Fatalf("%d never arrived, %d were not confirmed, %d are said to be dropped", missing, unconfirmed, w.told)
	}
}

// Seven days without a broker at one event a second, in a bubble's time: one, unless -long. Everything is full after three
// hours. Then the broker comes back, and every event has arrived or is in the count of the dropped.
func TestSevenDaysWithoutABroker(t *testing.T) {
	seconds := 24 * 3600
	if *long {
		seconds *= 7
	}
	var back atomic.Bool
	connect := func(int) behaviour {
		if back.Load() {
			return behaviour{}
		}
		return behaviour{refuse: errRefused}
	}
	inBubble(t, connect, func(t *testing.T, f *fakeBroker, c *Client) {
		defer start(c)()
		message := strings.Repeat("the network is down ", 10)
		before := heap()
		for i := range seconds { // of so many streams that no event is a repeat
			c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint("stream-", i%20), Message: message, TS: contract.Time{Time: time.Now()}})
			time.Sleep(time.Second)
		}
		grown, s := heap()-before, c.Status()
		c.outbox.mu.Lock()
		bytes := c.outbox.bytes
		c.outbox.mu.Unlock()
		t.Logf("%d events wait, %d bytes, %d dropped, %d attempts, heap %d KiB more", s.Queued, bytes, s.DroppedEvents, s.Attempts, grown>>10)
		if s.Queued > defaultLimits.events || bytes > defaultLimits.bytes || s.Queued+int(s.DroppedEvents) != seconds {
			t.Errorf("%d events wait, %d bytes, %d dropped", s.Queued, bytes, s.DroppedEvents)
		}
		if grown > 3*int64(defaultLimits.bytes) {
			t.Errorf("the heap grew by %d bytes", grown)
		}

		back.Store(true)
		time.Sleep(5 * time.Minute)
		sums := make(map[string]int64)
		for _, e := range events(t, f, c) {
			sums[e.Code] += e.Count
		}
		if sums["lag.high"]+sums["mqtt.dropped"] != int64(seconds) || sums["mqtt.unreachable"] != int64(s.Attempts) || len(sums) != 3 {
			t.Errorf("counts %v after %d events and %d attempts", sums, seconds, s.Attempts)
		}
	})
}

// The same with the file, which is written seldom, so that
// the test is fast, and in the end after every event, as that leaves the most holes.
func TestSevenDaysOfflineStayWithinBounds(t *testing.T) {
	dir := t.TempDir()
	s, l, held, _, err := openStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	defer s.db.Close()
	s.db.NoSync()
	o := newOutbox(defaultLimits)
	o.restore(held.events, held.totals, nil, time.Now()) // without a ledger, which takes most of the test's time
	before := heap()
	events := 50_000 // enough to fill it five times
	if *long {
		events = 7 * 24 * 3600
	}
	message := strings.Repeat("the network is down ", 10)
	for i := range events {
		e := testEvent("door")
		e.Message = message
		o.put(e)
		if i%20_000 == 0 || i > events-600 {
			c, done := o.changes()
			err := s.save(c)
			done(err)
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	grown := heap() - before
	info, err := os.Stat(filepath.Join(dir, storeName))
	if err != nil {
		t.Fatal(err)
	}
	kept, lost := o.size()
	t.Logf("kept %d (%d bytes), dropped %d, heap %d KiB, file %d KiB", kept, o.bytes, lost, grown>>10, info.Size()>>10)
	if kept > defaultLimits.events || o.bytes > defaultLimits.bytes || kept+int(lost) != events {
		t.Errorf("kept %d (%d bytes), dropped %d", kept, o.bytes, lost)
	}
	if grown > 3*int64(defaultLimits.bytes) {
		t.Errorf("the heap grew by %d bytes", grown)
	}
	if info.Size() > maxStoreSize {
		t.Errorf("the file has %d bytes", info.Size())
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestABrokenFileIsPutAside(t *testing.T) {
	whole := func(dir string) []byte {
		s, l, _, _, err := openStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		o := newOutbox(defaultLimits)
		o.restore(nil, totals{}, l, time.Now())
		for range 1000 {
			l.report(1)
			o.put(testEvent("door"))
		}
		c, _ := o.changes()
		if err := errors.Join(s.save(c), s.db.Close(), l.close()); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join(dir, storeName))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	breaks := map[string]func([]byte) []byte{
		"other file": func([]byte) []byte { return []byte(strings.Repeat("no database ", 10_000)) },
		"cut short":  func(b []byte) []byte { return b[:len(b)/2] },
		"wiped": func(b []byte) []byte {
			clear(b[2*os.Getpagesize():])
			return b
		},
		"other events": func(b []byte) []byte { return []byte(strings.ReplaceAll(string(b), `{"schema"`, `{{schema"`)) },
		"one other event": func(b []byte) []byte {
			return []byte(strings.ReplaceAll(string(b), `{"schema":1,"id":"","seq":1000`, `{{schema":1,"id":"","seq":1000`))
		},
	}
	for name, damage := range breaks {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, storeName)
			if err := os.WriteFile(path, damage(whole(dir)), 0o600); err != nil {
				t.Fatal(err)
			}
			s, l, held, aside, err := openStore(dir)
			if err != nil || len(aside) != 1 || aside[0].Path != path {
				t.Fatalf("err %v, aside %v", err, aside)
			}
			defer s.db.Close()
			defer l.close()
			o := newOutbox(defaultLimits)
			o.restore(held.events, held.totals, l, time.Now())
			kept, lost := o.size()
			if reported, _ := l.read(); o.seq != 1000 || o.dropped.count != 0 || kept != 0 || lost != 0 || reported != 0 {
				t.Errorf("seq goes on at %d, dropped %d, kept %d, in the ledger %d", o.seq, o.dropped.count, kept, reported)
			}
			if _, err := os.Stat(aside[0].Aside); err != nil || filepath.Dir(aside[0].Aside) != dir {
				t.Error(aside[0], err)
			}
		})
	}
}

func TestAFileInUseIsNotTouched(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	db, err := bolt.Open(filepath.Join(dir, storeName), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, _, _, _, err := openStore(dir); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("err = %v", err)
	}
}

// A file that is damaged or removed while the client runs is replaced by a new one with all events that
// wait, and the client reports it.
func TestTheStoreStartsOverWhileInUse(t *testing.T) {
	for name, test := range map[string]struct {
		harm func(dir string) error
		code string
	}{
		"cut short": {func(dir string) error { return os.Truncate(filepath.Join(dir, storeName), 5000) }, "storage.damaged"},
		"removed":   {os.RemoveAll, "storage.missing"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			config := Config{Broker: Broker{URL: "mqtt://localhost:1"}, AgentID: "box", StateDir: dir, Logger: slog.New(slog.DiscardHandler)}
			c, err := New(config)
			if err != nil {
				t.Fatal(err)
			}
			c.SetStreams([]string{"gate"})
			c.Event(contract.Event{Code: "lag.high", Stream: "gate"})
			if err := c.copyOutbox(); err != nil {
				t.Fatal(err)
			}
			c.closeStore() // and the next run knows these from the file
			if c, err = New(config); err != nil {
				t.Fatal(err)
			}
			if err := test.harm(dir); err != nil {
				t.Fatal(err)
			}
			if err := c.copyOutbox(); err != nil {
				t.Fatal(err)
			}
			c.closeStore()

			s, l, held, damaged, err := openStore(dir)
			if err != nil || len(damaged) > 0 {
				t.Fatal(err, damaged)
			}
			defer s.db.Close()
			defer l.close()
			var events string
			for _, e := range held.events {
				events += string(e.payload)
			}
			if len(held.events) != 2 || !strings.Contains(events, "lag.high") || !strings.Contains(events, test.code) {
				t.Errorf("the new file has the events %s", events)
			}
			if !slices.Equal(held.streams, []string{"gate"}) {
				t.Errorf("the new file has the streams %v", held.streams)
			}
			if reported, _ := l.read(); reported != 2 {
				t.Errorf("the ledger has %d", reported)
			}
		})
	}
}

// Nobody who reports waits for a disk that hangs, neither in a write of the ledger nor in a transaction, and what was reported
// is counted when the disk works again.
func TestADiskThatHangsHoldsUpNobody(t *testing.T) {
	const reported = 100
	config := Config{Broker: Broker{URL: "mqtt://localhost:1"}, AgentID: "box", StateDir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	hangs, works := make(chan struct{}), make(chan struct{})
	var transaction sync.WaitGroup
	transaction.Go(func() {
		_ = c.store.db.Update(func(*bolt.Tx) error { close(hangs); <-works; return nil })
	})
	<-hangs
	c.outbox.ledger.disk.Lock()

	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range reported {
			c.Event(contract.Event{Code: "lag.high", Stream: fmt.Sprint("s", i)})
		}
		c.SetStreams([]string{"gate"})
		c.SetState("gate", contract.State{State: contract.Playing})
		c.Telemetry("gate", contract.Telemetry{})
		c.SetStreams(nil)
		c.streams.cleared("gate")
		c.noteTold("homeassistant/device/x/config")
		_ = c.Status()
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("reporters wait for the disk")
	}

	c.outbox.ledger.disk.Unlock()
	close(works)
	transaction.Wait()
	c.Event(contract.Event{Code: "lag.high", Stream: "the last"}) // returns once the ledger has it and all before
	err = c.copyOutbox()
	c.closeStore()
	if err != nil {
		t.Fatal(err)
	}
	s, l, held, damaged, err := openStore(config.StateDir)
	if err != nil || len(damaged) > 0 {
		t.Fatal(err, damaged)
	}
	defer s.db.Close()
	defer l.close()
	if n, _ := l.read(); n != reported+1 || len(held.events) != reported+1 || held.told == "" || len(held.streams) != 0 {
		t.Errorf("the ledger has %d, the file %d events, told %q, streams %q", n, len(held.events), held.told, held.streams)
	}
}

// Whatever is found in the place of a file, or damaged in it, the client starts and reports it.
func TestTheClientStartsOnAnyStateDirectory(t *testing.T) {
	for name, put := range map[string]func(dir string) error{
		"events.db is a FIFO":         func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, storeName), 0o600) },
		"events.db is endless":        func(dir string) error { return os.Symlink("/dev/zero", filepath.Join(dir, storeName)) },
		"events.count is a directory": func(dir string) error { return os.Mkdir(filepath.Join(dir, ledgerName), 0o700) },
		"events.count is endless":     func(dir string) error { return os.Symlink("/dev/zero", filepath.Join(dir, ledgerName)) },
		"events.count is damaged": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, ledgerName), bytes.Repeat([]byte{7}, ledgerSize), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := put(dir); err != nil {
				t.Fatal(err)
			}
			config := Config{Broker: Broker{URL: "mqtt://localhost:1"}, AgentID: "box", StateDir: dir, Logger: slog.New(slog.DiscardHandler)}
			c, err := New(config)
			if err != nil || c.store == nil {
				t.Fatal(err, c.store)
			}
			defer c.closeStore()
			if e, ok := c.outbox.after(0); !ok || !bytes.Contains(e.payload, []byte("storage.damaged")) {
				t.Errorf("the first event is %s", e.payload)
			}
		})
	}
}
