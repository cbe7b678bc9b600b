package mkv

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// H.264 and H.265 pictures come as NAL units, either each with its length in front (the
// size of that number is in CodecPrivate) or, in Annex B's form, with start codes
// between them. Kinesis Video Streams stores what producers send, so both occur.

// IsAnnexB reports whether data begins with a start code: two zero bytes or more (Annex B.1.1 allows any number of
// leading zero bytes) and a one. Four-byte lengths of 1 begin the same, but no NAL unit that is worth sending is one
// byte long.
func IsAnnexB(data []byte) bool {
	zeros := 0
	for zeros < len(data) && data[zeros] == 0 {
		zeros++
	}
	return zeros >= 2 && zeros < len(data) && data[zeros] == 1
}

// Units gives the NAL units of an access unit, which have lengths of so many bytes in front; 0 means Annex B's
// form. It ends where the lengths do not add up.
func Units(data []byte, lengthSize int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		units := NewNALUnits(data, lengthSize)
		for nal := units.Next(); nal != nil; nal = units.Next() {
			if !yield(nal) {
				return
			}
		}
	}
}

// NALUnits walks the NAL units of a block.
type NALUnits struct {
	rest       []byte
	lengthSize int // bytes of the length in front of each unit; 0 in Annex B's form
}

// NewNALUnits walks data, in which each NAL unit has a length of so many bytes in front; 0 means Annex B's form.
func NewNALUnits(data []byte, lengthSize int) NALUnits {
	return NALUnits{rest: data, lengthSize: lengthSize}
}

// Rest is how many bytes were not read. After the last Next it is 0 unless the lengths do not add up.
func (u *NALUnits) Rest() int { return len(u.rest) }

// Next gives the next NAL unit without its length or start code, with one byte at least; nil at the end, and where the
// lengths do not add up.
func (u *NALUnits) Next() []byte {
	if u.lengthSize == 0 {
		return u.nextAnnexB()
	}
	if len(u.rest) < u.lengthSize {
		return nil
	}
	var b [8]byte
	copy(b[8-u.lengthSize:], u.rest[:u.lengthSize])
	n := binary.BigEndian.Uint64(b[:])
	rest := u.rest[u.lengthSize:]
	if n == 0 || n > uint64(len(rest)) {
		return nil
	}
	u.rest = rest[n:]
	return rest[:n]
}

var startCode = []byte{0, 0, 1}

func (u *NALUnits) nextAnnexB() []byte {
	for {
		i := bytes.Index(u.rest, startCode)
		if i < 0 {
			return nil
		}
		unit := u.rest[i+len(startCode):]
		u.rest = nil
		if end := bytes.Index(unit, startCode); end >= 0 {
			unit, u.rest = unit[:end], unit[end:]
		}
		if unit = bytes.TrimRight(unit, "\x00"); len(unit) > 0 {
			return unit
		}
	}
}

// unitsOf walks a frame of a track whose CodecPrivate is private. A length of 256 to 511 begins like
// a start code, so that only lengths that do not add up prove Annex B's form.
func unitsOf(data, private []byte, lengthSizeAt int) NALUnits {
	size := 4
	if len(private) > lengthSizeAt && private[0] == 1 {
		size = int(private[lengthSizeAt]&3) + 1
	}
	units := NewNALUnits(data, size)
	if IsAnnexB(data) && !units.addUp() {
		units.lengthSize = 0
	}
	return units
}

// addUp says that the lengths lead exactly from unit to unit to the end.
func (u NALUnits) addUp() bool {
	for u.Next() != nil {
	}
	return len(u.rest) == 0
}

// isKey judges whether decoding can begin at a frame. The NAL units decide: a producer's flag may be wrong either way.
// Besides IDR and IRAP pictures these are recovery points, with which streams of gradual refresh begin. Only where no
// slice can be read does the flag stand.
func isKey(t *Track, data []byte, flag bool) bool {
	switch codec := t.Codec(); codec {
	case CodecH264:
		units := unitsOf(data, t.Configuration(), avcLengthSizeAt)
		for nal := units.Next(); nal != nil; nal = units.Next() {
			switch nal[0] & 0x1F {
			case avcIDR:
				return true
			case avcSEI:
				if IsRecoveryPoint(codec, nal) {
					return true
				}
			case avcSlice, avcPartitionA:
				// Without IDR pictures, streams begin at intra pictures that are flagged so.
				return flag && intraSlice(nal[1:])
			}
		}
	case CodecH265:
		units := unitsOf(data, t.Configuration(), hevcLengthSizeAt)
		for nal := units.Next(); nal != nil; nal = units.Next() {
			switch kind := nal[0] >> 1 & 0x3F; {
			case kind <= hevcLastSlice:
				return kind >= hevcFirstIRAP && kind <= hevcLastIRAP
			case kind == hevcPrefixSEI && IsRecoveryPoint(codec, nal):
				return true
			}
		}
	}
	return flag
}

// intraSlice reads the beginning of an H.264 slice header: first_mb_in_slice, slice_type.
func intraSlice(b []byte) bool {
	bits := bitReader{data: b}
	bits.ue()
	kind := bits.ue() % 5
	return !bits.short && kind == 2
}

// seiRecoveryPoint is the payload type of a recovery point message (H.264, D.1.8; H.265, D.2.8).
const seiRecoveryPoint = 6

// IsRecoveryPoint reports whether a NAL unit is an SEI with a recovery point message: decoding can begin with the
// picture that follows, and some pictures later (recovery_frame_cnt) all of the picture is right.
func IsRecoveryPoint(codec string, nal []byte) bool {
	head := 1
	switch codec {
	case CodecH264:
		if nal[0]&0x1F != avcSEI {
			return false
		}
	case CodecH265:
		if nal[0]>>1&0x3F != hevcPrefixSEI {
			return false
		}
		head = 2
	default:
		return false
	}
	// Messages follow each other: type and size, each as a run of bytes that are added up, and the payload. Emulation
	// prevention bytes lengthen a payload; they matter only for messages in front of this one, and encoders send
	// the short recovery point before long messages.
	for rest := nal[min(head, len(nal)):]; len(rest) > 2; {
		var kind, size int
		kind, rest = seiNumber(rest)
		size, rest = seiNumber(rest)
		if kind == seiRecoveryPoint {
			return true
		}
		if size > len(rest) {
			return false
		}
		rest = rest[size:]
	}
	return false
}

// seiNumber reads a payload type or size (H.264, 7.3.2.3.1; H.265, 7.3.5).
func seiNumber(b []byte) (n int, rest []byte) {
	for i, c := range b {
		n += int(c)
		if c != 0xFF {
			return n, b[i+1:]
		}
	}
	return n, nil
}
