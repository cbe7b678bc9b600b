package kvstest

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"math/bits"
	"slices"
)

// Ids of the elements that are written, with their length markers.
const (
	idEBML               = 0x1A45DFA3
	idEBMLVersion        = 0x4286
	idEBMLReadVersion    = 0x42F7
	idEBMLMaxIDLength    = 0x42F2
	idEBMLMaxSizeLength  = 0x42F3
	idDocType            = 0x4282
	idDocTypeVersion     = 0x4287
	idDocTypeReadVersion = 0x4285

	idSegment      = 0x18538067
	idSeekHead     = 0x114D9B74
	idSeek         = 0x4DBB
	idSeekID       = 0x53AB
	idSeekPosition = 0x53AC

	idInfo           = 0x1549A966
	idTimestampScale = 0x2AD7B1
	idMuxingApp      = 0x4D80
	idWritingApp     = 0x5741

	idTracks          = 0x1654AE6B
	idTrackEntry      = 0xAE
	idTrackNumber     = 0xD7
	idTrackUID        = 0x73C5
	idTrackType       = 0x83
	idTrackName       = 0x536E
	idCodecID         = 0x86
	idCodecPrivate    = 0x63A2
	idDefaultDuration = 0x23E383
	idVideo           = 0xE0
	idPixelWidth      = 0xB0
	idPixelHeight     = 0xBA
	idAudio           = 0xE1
	idSampling        = 0xB5
	idChannels        = 0x9F
	idBitDepth        = 0x6264

	idCluster        = 0x1F43B675
	idTimestamp      = 0xE7
	idPosition       = 0xA7
	idPrevSize       = 0xAB
	idSimpleBlock    = 0xA3
	idBlockGroup     = 0xA0
	idBlock          = 0xA1
	idReferenceBlock = 0xFB

	idCues               = 0x1C53BB6B
	idCuePoint           = 0xBB
	idCueTime            = 0xB3
	idCueTrackPositions  = 0xB7
	idCueTrack           = 0xF7
	idCueClusterPosition = 0xF1

	idTags      = 0x1254C367
	idTag       = 0x7373
	idSimpleTag = 0x67C8
	idTagName   = 0x45A3
	idTagString = 0x4487

	idVoid    = 0xEC
	idCRC32   = 0xBF
	idUnheard = 0x6FA5 // means nothing in Matroska
)

// spelling is how a writer puts elements into bytes. The zero value takes as few as it can.
type spelling struct {
	sizeBytes int  // of every size; 0 is as few as it takes
	wide      bool // integers take eight bytes
	padded    bool // strings end in NULs
	noise     bool // every master has a CRC-32, a Void and an element that nobody knows
}

// element writes an element with its payload.
func (s spelling) element(id uint32, payload ...[]byte) []byte {
	size := 0
	for _, p := range payload {
		size += len(p)
	}
	n := s.sizeBytes
	if n == 0 {
		n = sizeLength(uint64(size))
	}
	b := append(idBytes(id), vint(uint64(size), n)...)
	return append(b, slices.Concat(payload...)...)
}

// master writes an element of elements.
func (s spelling) master(id uint32, children ...[]byte) []byte {
	if s.noise {
		rest := append(slices.Concat(children...), noise()...)
		checksum := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(rest))
		children = [][]byte{s.element(idCRC32, checksum), rest}
	}
	return s.element(id, children...)
}

func (s spelling) uint(id uint32, v uint64) []byte {
	b := binary.BigEndian.AppendUint64(nil, v)
	if !s.wide {
		b = b[min(bits.LeadingZeros64(v)/8, 7):]
	}
	return s.element(id, b)
}

func (s spelling) int(id uint32, v int64) []byte {
	b := binary.BigEndian.AppendUint64(nil, uint64(v))
	for !s.wide && len(b) > 1 && b[0] == byte(int8(b[1])>>7) { // it only repeats the sign
		b = b[1:]
	}
	return s.element(id, b)
}

func (s spelling) float(id uint32, v float64) []byte {
	return s.element(id, binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
}

func (s spelling) text(id uint32, v string) []byte {
	b := []byte(v)
	if s.padded {
		b = append(b, 0, 0, 0)
	}
	return s.element(id, b)
}

// optional writes an integer unless it is 0.
func (s spelling) optional(id uint32, v uint64) []byte {
	if v == 0 {
		return nil
	}
	return s.uint(id, v)
}

// noise is what every reader has to pass over. It looks like the beginning of a document.
func noise() []byte {
	var s spelling
	looksLikeOne := idBytes(idEBML)
	return append(s.element(idVoid, looksLikeOne, make([]byte, 3)), s.element(idUnheard, looksLikeOne)...)
}

// idBytes is an id as it is written.
func idBytes(id uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, id)
	return b[bits.LeadingZeros32(id)/8:]
}

// vint writes a number of variable length in n bytes, which must suffice.
func vint(v uint64, n int) []byte {
	b := binary.BigEndian.AppendUint64(nil, 1<<(7*n)|v)
	return b[8-n:]
}

// sizeLength is how many bytes a size needs. All ones would mean that it is unknown.
func sizeLength(size uint64) int {
	n := 1
	for size >= 1<<(7*n)-1 {
		n++
	}
	return n
}
