package kvstest

import (
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Lacing is how several frames of sound are put into one block. Frames of pictures have blocks of their own.
type Lacing uint8

// The lacings of Matroska.
const (
	NoLacing Lacing = iota
	XiphLacing
	FixedLacing // of frames of equal size; another one begins a new block
	EBMLLacing
)

// maxLaced bounds how many frames are put into one block.
const maxLaced = 8

// block is some frames of one track that are written together.
type block struct {
	track  *mkv.Track
	frames [][]byte
	key    bool
	ticks  int64         // of the first frame, from the fragment's beginning
	there  time.Duration // when the last frame is there, from the fragment's beginning
}

// blocksOf divides frames, which begin at a time of the clip, into blocks.
//
// A frame that comes after one with a later timestamp, as with B-frames, is not there before that.
func (l Layout) blocksOf(frames []frame, begin time.Duration) []block {
	var blocks []block
	var there time.Duration
	for _, f := range frames {
		at := f.at - begin
		there = max(there, at)
		if n := len(blocks); n > 0 && l.laces(blocks[n-1], f) {
			blocks[n-1].frames = append(blocks[n-1].frames, f.Data)
			blocks[n-1].there = there
			continue
		}
		blocks = append(blocks, block{f.Track, [][]byte{f.Data}, f.Key, l.ticks(at), there})
	}
	return blocks
}

// laces says whether a frame joins a block.
func (l Layout) laces(b block, f frame) bool {
	return l.Lacing != NoLacing && f.Track.Type == mkv.Audio && f.Track == b.track && f.Key == b.key &&
		len(b.frames) < maxLaced && (l.Lacing != FixedLacing || len(f.Data) == len(b.frames[0]))
}

// write writes a block, at a distance from the timestamp of its Cluster.
func (l Layout) write(b block, distance int16) []byte {
	s := l.spelling()
	var before []byte
	if l.Noise {
		before = s.element(idVoid, []byte{0})
	}
	if !l.BlockGroups {
		return append(before, s.element(idSimpleBlock, l.payload(b, distance))...)
	}
	children := [][]byte{s.element(idBlock, l.payload(b, distance))}
	if !b.key {
		children = append(children, s.int(idReferenceBlock, -1))
	}
	return append(before, s.master(idBlockGroup, children...)...)
}

// Flags of a block.
const (
	flagKey     = 0x80 // of a SimpleBlock only
	lacingShift = 1
)

func (l Layout) payload(b block, distance int16) []byte {
	lacing := l.Lacing
	if len(b.frames) == 1 {
		lacing = NoLacing
	}
	flags := byte(lacing) << lacingShift // Lacing counts as Matroska does
	if b.key && !l.BlockGroups {
		flags |= flagKey
	}
	head := append(vint(b.track.Number, sizeLength(b.track.Number)), byte(uint16(distance)>>8), byte(distance), flags)
	return append(append(head, laceSizes(lacing, b.frames)...), slices.Concat(b.frames...)...)
}

// laceSizes writes what stands in front of laced frames: their number less one and the sizes of all but the last.
func laceSizes(lacing Lacing, frames [][]byte) []byte {
	if lacing == NoLacing {
		return nil
	}
	b := []byte{byte(len(frames) - 1)}
	if lacing == FixedLacing {
		return b
	}
	for i, f := range frames[:len(frames)-1] {
		switch {
		case lacing == XiphLacing:
			b = append(b, xiphSize(len(f))...)
		case i == 0:
			b = append(b, vint(uint64(len(f)), sizeLength(uint64(len(f))))...)
		default:
			b = append(b, difference(len(f)-len(frames[i-1]))...)
		}
	}
	return b
}

// xiphSize writes a size as bytes to be added up; one below 255 ends it.
func xiphSize(n int) []byte {
	return append(slices.Repeat([]byte{255}, n/255), byte(n%255))
}

// difference writes a signed number of variable length: one that is moved up so as not to be negative.
func difference(d int) []byte {
	for n := 1; ; n++ {
		if half := 1<<(7*n-1) - 1; d >= -half && d <= half {
			return vint(uint64(d+half), n)
		}
	}
}
