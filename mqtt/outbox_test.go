package mqtt

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// long asks for the tests in full length.
var long = flag.Bool("long", false, "run the long tests in full: seven days, many kills")

func testEvent(stream string) Event {
	now := Time{time.Now()}
	return Event{Code: "lag.high", Stream: stream, Count: 1, TS: now, FirstTS: now, LastTS: now}
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

func TestTheOutboxIsBoundedInBytesAndAge(t *testing.T) {
	o := newOutbox(limits{events: 100, bytes: 2000, age: time.Hour})
	for range 50 {
		o.put(testEvent("a"))
	}
	if kept, lost := o.size(); o.bytes > 2000 || kept < 2 || kept+int(lost) != 50 {
		t.Errorf("%d bytes, kept %d, lost %d", o.bytes, kept, lost)
	}
	o.trim(time.Now().Add(time.Hour + time.Minute))
	if kept, lost := o.size(); kept != 0 || lost != 50 || o.bytes != 0 {
		t.Errorf("after an hour %d bytes, kept %d, lost %d", o.bytes, kept, lost)
	}
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
// every event is confirmed, kept or in the count of the dropped, which is exact as long as the process lives. seq never
// goes back.
func TestTheOutboxAccountsForEverything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kills := rapid.Bool().Draw(t, "with kills")
		dir, err := os.MkdirTemp("", "outbox-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		w := &world{t: t, dir: dir, confirmed: map[string]bool{}}
		w.start()
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0, 1:
				w.put()
			case 2:
				w.send()
			case 3:
				w.copy(nil)
			case 4:
				w.copy(errors.New("disk full"))
			case 5:
				w.copyWhileSending()
			case 6:
				if kills {
					w.died = true
					w.kill()
					w.start()
				}
			}
		}
		w.exact = !w.died
		w.copy(nil)
		w.kill()
		w.start()
		w.sendAll()
		w.check()
		w.kill()
	})
}

// world is an outbox with what is around it.
type world struct {
	t         *rapid.T
	dir       string
	outbox    *outbox
	store     *store
	reported  []string
	confirmed map[string]bool
	dropped   int64 // as told by mqtt.dropped, by id
	told      map[string]bool
	lastSeq   uint64
	gone      map[string]bool // confirmed, as the file knows: not to be sent again
	removed   []string        // confirmed, as the file does not know
	pushed    int64           // events that were pushed out by newer ones, seen from outside
	died      bool  // the process did, once at least
	exact     bool  // it had not before the end, when all was stored
}

func (w *world) start() {
	s, l, held, aside, err := openStore(w.dir)
	if err != nil || aside != nil {
		w.t.Fatal(err, aside)
	}
	s.db.NoSync() // a killed process needs none, and it takes its time
	w.store, w.outbox = s, newOutbox(limits{events: 8, bytes: 1 << 20, age: time.Hour})
	w.outbox.restore(held.events, held.totals, l, time.Now())
	w.removed = nil // what the file does not know comes back
}

// kill is what SIGKILL leaves: the files as they are. On a busy machine the ledger may not be written yet, as on a disk that
// hangs, of which nothing is promised.
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
}

func (w *world) put() {
	name := "s" + time.Duration(len(w.reported)).String()
	w.reported = append(w.reported, name)
	w.outbox.ledger.report(1)
	if rapid.IntRange(0, 9).Draw(w.t, "killed before it is put") == 0 {
		w.died = true
		w.kill()
		w.start()
		return
	}
	before := w.waiting()
	w.outbox.put(testEvent(name))
	after := w.waiting()
	for _, waited := range before {
		if !slices.Contains(after, waited) {
			w.pushed++
		}
	}
	if !slices.Contains(after, name) {
		w.t.Fatalf("the newest event, %s, is not among %q", name, after)
	}
	if w.outbox.seq <= w.lastSeq {
		w.t.Fatalf("seq %d after %d", w.outbox.seq, w.lastSeq)
	}
	w.lastSeq = w.outbox.seq
}

// waiting are the streams of the events in the outbox.
func (w *world) waiting() (streams []string) {
	for seq := uint64(0); ; {
		e, ok := w.outbox.after(seq)
		if !ok {
			return streams
		}
		var event Event
		if err := json.Unmarshal(e.payload, &event); err != nil {
			w.t.Fatal(err)
		}
		if event.Code == "lag.high" {
			streams = append(streams, event.Stream)
		}
		seq = e.seq
	}
}

// send has one event delivered and, perhaps, confirmed.
func (w *world) send() {
	e, ok := w.outbox.after(0)
	if !ok {
		return
	}
	w.deliver(e)
	if rapid.Bool().Draw(w.t, "confirmed") {
		w.outbox.remove(e.seq)
		w.removed = append(w.removed, w.streamOf(e))
	}
}

// streamOf is the stream of an event, which is its name here.
func (w *world) streamOf(e entry) string {
	var event Event
	if err := json.Unmarshal(e.payload, &event); err != nil {
		w.t.Fatal(err)
	}
	return event.Stream
}

// stored takes in that the file has been told of so many of the events that were confirmed.
func (w *world) stored(n int) {
	if w.gone == nil {
		w.gone = make(map[string]bool)
	}
	for _, name := range w.removed[:n] {
		w.gone[name] = true
	}
	w.removed = w.removed[n:]
}

func (w *world) deliver(e entry) {
	var event Event
	if err := json.Unmarshal(e.payload, &event); err != nil {
		w.t.Fatal(err)
	}
	if event.Code != "mqtt.dropped" {
		if w.gone[event.Stream] {
			w.t.Fatalf("%s was confirmed, the file was told, and it is sent again", event.Stream)
		}
		w.confirmed[event.Stream] = true
		return
	}
	if w.told == nil {
		w.told = map[string]bool{}
	}
	if !w.told[event.ID] {
		w.told[event.ID] = true
		w.dropped += event.Count
	}
}

func (w *world) copy(fails error) {
	c, done := w.outbox.changes()
	known := len(w.removed)
	if fails == nil {
		fails = w.store.save(c)
	}
	done(fails)
	if fails == nil {
		w.stored(known)
	}
}

// copyWhileSending confirms an event between the look at the outbox and the end of the transaction.
func (w *world) copyWhileSending() {
	c, done := w.outbox.changes()
	known := len(w.removed)
	w.send()
	var err error
	if rapid.Bool().Draw(w.t, "disk full") {
		err = errors.New("disk full")
	} else {
		err = w.store.save(c)
	}
	done(err)
	if err == nil {
		w.stored(known)
	}
}

func (w *world) sendAll() {
	for {
		e, ok := w.outbox.after(0)
		if !ok && !w.outbox.reportDropped(droppedEvent) {
			return
		}
		if ok {
			w.deliver(e)
			w.outbox.remove(e.seq)
		}
	}
}

func (w *world) check() {
	missing := int64(0)
	for _, name := range w.reported {
		if !w.confirmed[name] {
			missing++
		}
	}
	if w.exact && w.dropped != w.pushed {
		w.t.Fatalf("%d events were pushed out, %d are said to be dropped", w.pushed, w.dropped)
	}
	if missing > w.dropped {
		w.t.Fatalf("%d of %d events never arrived, %d are said to be dropped", missing, len(w.reported), w.dropped)
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
			c.Event(Event{Code: "lag.high", Stream: fmt.Sprint("stream-", i%20), Message: message, TS: Time{time.Now()}})
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
			if o.seq != 1000 || o.dropped.count != 0 {
				t.Errorf("seq goes on at %d, %d are said to be dropped", o.seq, o.dropped.count)
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
			c.Event(Event{Code: "lag.high", Stream: "gate"})
			if err := c.copyOutbox(); err != nil {
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
			c.Event(Event{Code: "lag.high", Stream: fmt.Sprint("s", i)})
		}
		c.SetStreams([]string{"gate"})
		c.SetState("gate", State{State: Playing})
		c.Telemetry("gate", Telemetry{})
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
	c.Event(Event{Code: "lag.high", Stream: "the last"}) // returns once the ledger has it and all before
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
