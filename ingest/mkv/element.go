package mkv

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/at-wat/ebml-go"
)

// id is an EBML element id with its length marker, as it stands in the bytes.
type id uint32

const (
	idEBML    id = 0x1A45DFA3
	idDocType id = 0x4282

	idSegment id = 0x18538067

	// Children of a Segment.
	idSeekHead    id = 0x114D9B74
	idInfo        id = 0x1549A966
	idTracks      id = 0x1654AE6B
	idCluster     id = 0x1F43B675
	idCues        id = 0x1C53BB6B
	idTags        id = 0x1254C367
	idChapters    id = 0x1043A770
	idAttachments id = 0x1941A469

	// Allowed everywhere.
	padding id = 0 // NULs, which are not an element
	idVoid  id = 0xEC
	idCRC32 id = 0xBF

	idTimestampScale id = 0x2AD7B1 // in Info

	// In Cluster.
	idTimestamp   id = 0xE7
	idSimpleBlock id = 0xA3
	idBlockGroup  id = 0xA0
	idBlock       id = 0xA1 // in BlockGroup
	idReference   id = 0xFB // in BlockGroup: the frame needs another one

	// In Tracks.
	idTrackEntry       id = 0xAE
	idTrackNumber      id = 0xD7
	idTrackType        id = 0x83
	idTrackName        id = 0x536E
	idCodecID          id = 0x86
	idCodecPrivate     id = 0x63A2
	idDefaultDuration  id = 0x23E383
	idContentEncodings id = 0x6D80
	idVideo            id = 0xE0
	idPixelWidth       id = 0xB0
	idPixelHeight      id = 0xBA
	idAudio            id = 0xE1
	idSampling         id = 0xB5
	idChannels         id = 0x9F
	idBitDepth         id = 0x6264

	// In Tags.
	idTag       id = 0x7373
	idSimpleTag id = 0x67C8
	idTagName   id = 0x45A3
	idTagString id = 0x4487
)

// topOfSegment says that an element can only be a child of a Segment, so that its
// coming ends a Cluster of unknown size.
func (i id) topOfSegment() bool {
	switch i {
	case idSeekHead, idInfo, idTracks, idCluster, idCues, idTags, idChapters, idAttachments:
		return true
	}
	return false
}

// names are Matroska's element names by id, from ebml-go's table.
var names = func() map[id]string {
	m := make(map[id]string)
	for t := ebml.ElementInvalid + 1; t.String() != "unknown"; t++ {
		var v id
		for _, b := range t.Bytes() {
			v = v<<8 | id(b)
		}
		m[v] = t.String()
	}
	return m
}()

func (i id) String() string {
	if n, ok := names[i]; ok {
		return n
	}
	return fmt.Sprintf("element 0x%X", uint32(i))
}

// unknown is the size of an element that does not say where it ends.
const unknown = -1

// header is the id and size in front of an element's payload.
type header struct {
	id     id
	size   int64 // of the payload, or unknown
	n      int   // bytes of the header itself
	offset int64 // of the header in the body
}

// end is the offset of the first byte behind the element, or unknown.
func (h header) end() int64 {
	if h.size == unknown {
		return unknown
	}
	return h.offset + int64(h.n) + h.size
}

// parseHeader reads a header from the front of b. n is 0 when b is too short
// to tell, and negative when no header can begin like this.
func parseHeader(b []byte) (h header) {
	if len(b) == 0 {
		return header{}
	}
	idLen := bits.LeadingZeros8(b[0]) + 1
	if idLen > 4 {
		return header{n: -1}
	}
	if len(b) <= idLen {
		return header{}
	}
	for _, c := range b[:idLen] {
		h.id = h.id<<8 | id(c)
	}
	size, n := parseSize(b[idLen:])
	if n <= 0 {
		return header{n: n}
	}
	h.size = size
	h.n = idLen + n
	return h
}

// parseSize reads a data size: a variable-length number in which all ones
// mean unknown. n is as for parseHeader.
func parseSize(b []byte) (size int64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	n = bits.LeadingZeros8(b[0]) + 1
	if n > 8 {
		return 0, -1
	}
	if len(b) < n {
		return 0, 0
	}
	v := uint64(b[0]) & (0xFF >> n)
	for _, c := range b[1:n] {
		v = v<<8 | uint64(c)
	}
	if v == 1<<(7*n)-1 {
		return unknown, n
	}
	return int64(v), n
}

// element is a whole element in memory.
type element struct {
	header
	data []byte
}

// cursor walks the children of a whole element.
type cursor struct {
	parent id
	rest   []byte
	offset int64 // of rest in the body
	err    error
}

func (e element) children() *cursor {
	return &cursor{parent: e.id, rest: e.data, offset: e.offset + int64(e.n)}
}

// next gives the next child; false at the end of the parent or, with err set, at a fault.
func (c *cursor) next() (element, bool) {
	for len(c.rest) > 0 && c.rest[0] == 0 { // NUL padding
		c.rest, c.offset = c.rest[1:], c.offset+1
	}
	if len(c.rest) == 0 {
		return element{}, false
	}
	h := parseHeader(c.rest)
	h.offset = c.offset
	switch {
	case h.n <= 0:
		c.err = malformed(c.parent, c.offset, "no element begins with these bytes")
		return element{}, false
	case h.size == unknown || h.size > int64(len(c.rest)-h.n):
		c.err = malformed(h.id, h.offset, "larger than the "+c.parent.String()+" around it")
		return element{}, false
	}
	whole := h.n + int(h.size)
	e := element{header: h, data: c.rest[h.n:whole]}
	c.rest, c.offset = c.rest[whole:], c.offset+int64(whole)
	return e, true
}

// uint reads an unsigned integer of up to eight bytes.
func (e element) uint() (uint64, error) {
	if len(e.data) > 8 {
		return 0, malformed(e.id, e.offset, "an integer of more than 8 bytes")
	}
	var b [8]byte
	copy(b[8-len(e.data):], e.data)
	return binary.BigEndian.Uint64(b[:]), nil
}

// int reads an unsigned integer that fits an int32, as sizes and counts do.
func (e element) int() (int, error) {
	v, err := e.uint()
	if err == nil && v > math.MaxInt32 {
		err = malformed(e.id, e.offset, "a value above 2147483647")
	}
	return int(v), err
}

// float reads a float of four or eight bytes; none at all is 0.
func (e element) float() (float64, error) {
	switch len(e.data) {
	case 0:
		return 0, nil
	case 4:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(e.data))), nil
	case 8:
		return math.Float64frombits(binary.BigEndian.Uint64(e.data)), nil
	}
	return 0, malformed(e.id, e.offset, "a float of "+itoa(int64(len(e.data)))+" bytes")
}

// maxName is how much is kept of a name, in bytes. Names are logged and reported, and a producer may write what it
// likes.
const maxName = 100

// name reads a string that names something: as far as it is kept, and as valid text.
func (e element) name() string { return nameOf(e.text()) }

func nameOf(text string) string {
	if len(text) > maxName {
		text = text[:maxName] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// text reads a string; some writers pad it with NULs.
func (e element) text() string {
	b := e.data
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return string(b)
}

func malformed(i id, offset int64, detail string) *Error {
	return &Error{Kind: Malformed, Element: i.String(), Offset: offset, Detail: detail}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
