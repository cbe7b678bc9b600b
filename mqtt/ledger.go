package mqtt

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"sync"

	"github.com/edge-agent/edge-agent/mqtt/statefile"
)

// ledger counts, in a file of 20 bytes, what was reported and which seq was given
// last. It is written before anything else happens to an event, with one write and
// no fsync: that costs microseconds and outlives the process, though not a
// power cut. So the agent that starts after one was killed knows what it lacks.
//
// A nil ledger does nothing.
type ledger struct {
	path          string
	mu            sync.Mutex
	file          *os.File
	reported, seq uint64
}

const ledgerSize = 20 // reported, seq, CRC-32 of both

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
	// From now on the file has its block: a disk that fills up later does not matter to it.
	if err := errors.Join(l.write(), file.Sync()); err != nil {
		file.Close()
		return err
	}
	return nil
}

// renew starts a new file where the old one was removed.
func (l *ledger) renew() error {
	if l == nil || statefile.Present(l.file, l.path) == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.file.Close()
	return l.open()
}

func (l *ledger) close() error {
	if l == nil {
		return nil
	}
	return l.file.Close()
}

// report counts occurrences that are about to be put, now or later; those that need not be
// missed any more are taken back.
func (l *ledger) report(n int64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reported += uint64(n)
	l.write()
}

// sequence notes the newest seq.
func (l *ledger) sequence(seq uint64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seq = seq
	l.write()
}

func (l *ledger) read() (reported, seq uint64) {
	if l == nil {
		return 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reported, l.seq
}

func (l *ledger) set(reported, seq uint64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reported, l.seq = reported, seq
	l.write()
}

// write is best effort after openLedger: a ledger that cannot be written counts
// too little after a crash, and nothing else.
func (l *ledger) write() error {
	text := make([]byte, 0, ledgerSize)
	text = binary.BigEndian.AppendUint64(text, l.reported)
	text = binary.BigEndian.AppendUint64(text, l.seq)
	text = binary.BigEndian.AppendUint32(text, crc32.ChecksumIEEE(text))
	_, err := l.file.WriteAt(text, 0)
	return err
}
