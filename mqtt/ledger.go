package mqtt

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// ledger counts, in a file of 20 bytes, what was reported and which seq was given
// last. It is written before anything else happens to an event, with one write and
// no fsync: that costs microseconds and outlives the process, though not a
// power cut. So the agent that starts after one was killed knows what it lacks.
//
// The write is done by a goroutine of its own. A disk that hangs holds up whoever reports for ledgerPatience once, and
// nobody from then on until it works again.
//
// A nil ledger does nothing.
type ledger struct {
	path string

	mu            sync.Mutex // of memory: it is not held over a call of the disk
	reported, seq uint64
	again         bool          // there are figures to write
	writing       chan struct{} // closed when they are written; nil while nobody writes
	stuck         bool          // that took too long

	disk sync.Mutex // of file
	file *os.File
}

const ledgerSize = 20 // reported, seq, CRC-32 of both

// ledgerPatience is how long a reporter waits for the write.
const ledgerPatience = 20 * time.Millisecond

func openLedger(path string) (*ledger, *statefile.Damage, error) {
	l := &ledger{path: path}
	damage, err := statefile.Read(path, ledgerSize, func(text []byte) error {
		if len(text) == 0 { // a power cut came before its first block
			return nil
		}
		if len(text) != ledgerSize || binary.BigEndian.Uint32(text[16:]) != crc32.ChecksumIEEE(text[:16]) {
			return errors.New("its checksum is wrong")
		}
		l.reported, l.seq = binary.BigEndian.Uint64(text), binary.BigEndian.Uint64(text[8:])
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	return l, damage, l.open()
}

// open opens the file for writing, creates it if need be, and writes it.
func (l *ledger) open() error {
	file, _, err := statefile.Open(l.path, ledgerSize)
	if err != nil {
		return err
	}
	l.file = file
	_, err = file.WriteAt(l.text(), 0)
	// From now on the file has its block: a disk that fills up later does not matter to it.
	if err = errors.Join(err, file.Sync()); err != nil {
		file.Close()
	}
	return err
}

// renew starts a new file where the old one was removed.
func (l *ledger) renew() error {
	if l == nil {
		return nil
	}
	l.disk.Lock()
	defer l.disk.Unlock()
	if statefile.Present(l.file, l.path) == nil {
		return nil
	}
	l.file.Close()
	return l.open()
}

func (l *ledger) close() error {
	if l == nil {
		return nil
	}
	l.disk.Lock()
	defer l.disk.Unlock()
	return l.file.Close()
}

// report counts occurrences that are about to be put, now or later; those that need not be
// missed any more are taken back.
func (l *ledger) report(n int64) {
	l.change(func() { l.reported += uint64(n) })
}

// sequence notes the newest seq.
func (l *ledger) sequence(seq uint64) {
	l.change(func() { l.seq = seq })
}

func (l *ledger) set(reported, seq uint64) {
	l.change(func() { l.reported, l.seq = reported, seq })
}

func (l *ledger) read() (reported, seq uint64) {
	if l == nil {
		return 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reported, l.seq
}

// change changes the figures and returns when the file has them, unless the disk hangs.
func (l *ledger) change(figures func()) {
	if l == nil {
		return
	}
	l.mu.Lock()
	figures()
	l.again = true
	if l.writing == nil {
		l.writing = make(chan struct{})
		go l.write(l.writing)
	}
	written, stuck := l.writing, l.stuck
	l.mu.Unlock()
	if stuck {
		return
	}
	timer := time.NewTimer(ledgerPatience)
	defer timer.Stop()
	select {
	case <-written:
	case <-timer.C:
		l.mu.Lock()
		l.stuck = l.writing == written
		l.mu.Unlock()
	}
}

// write writes the figures until the file has the newest. It is best effort: a ledger that cannot be written counts too
// little after a crash, and nothing else.
func (l *ledger) write(written chan struct{}) {
	for {
		l.mu.Lock()
		if !l.again {
			l.writing, l.stuck = nil, false
			l.mu.Unlock()
			close(written)
			return
		}
		l.again = false
		l.mu.Unlock()
		l.disk.Lock()
		_, _ = l.file.WriteAt(l.text(), 0)
		l.disk.Unlock()
	}
}

// text is the content of the file.
func (l *ledger) text() []byte {
	reported, seq := l.read()
	text := make([]byte, 0, ledgerSize)
	text = binary.BigEndian.AppendUint64(text, reported)
	text = binary.BigEndian.AppendUint64(text, seq)
	return binary.BigEndian.AppendUint32(text, crc32.ChecksumIEEE(text))
}
