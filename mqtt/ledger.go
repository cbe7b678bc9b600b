package mqtt

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"sync"
)

// ledger counts, in a file of 20 bytes, what was reported and which seq was given
// last. It is written before anything else happens to an event, with one write and
// no fsync: that costs microseconds and outlives the process, though not a
// power cut. So the agent that starts after one was killed knows what it lacks.
//
// A nil ledger does nothing.
type ledger struct {
	mu            sync.Mutex
	file          *os.File
	reported, seq uint64
}

const ledgerSize = 20 // reported, seq, CRC-32 of both

func openLedger(path string) (*ledger, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	l := &ledger{file: file}
	text := make([]byte, ledgerSize)
	_, err = io.ReadFull(file, text)
	switch {
	case err == nil && binary.BigEndian.Uint32(text[16:]) == crc32.ChecksumIEEE(text[:16]):
		l.reported, l.seq = binary.BigEndian.Uint64(text), binary.BigEndian.Uint64(text[8:])
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		file.Close()
		return nil, err
	}
	// From now on the file has its block: a disk that fills up later does not matter to it.
	if err := errors.Join(l.write(), file.Sync()); err != nil {
		file.Close()
		return nil, err
	}
	return l, nil
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
