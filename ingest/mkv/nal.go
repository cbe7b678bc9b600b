package mkv

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// H.264 and H.265 pictures come as NAL units, either each with its length in front (the
// size of that number is in CodecPrivate) or, in Annex B's form, with start codes
// between them. Kinesis Video Streams stores what producers send, so both occur.

// IsAnnexB says whether data begins with a start code. Four-byte lengths of 1 begin
// the same, but no NAL unit that is worth sending is one byte long.
func IsAnnexB(data []byte) bool {
	return bytes.HasPrefix(data, []byte{0, 0, 1}) || bytes.HasPrefix(data, []byte{0, 0, 0, 1})
}

// Units gives the NAL units of an access unit, which have lengths of so many bytes in front; 0 means Annex B's
// form. It ends where the lengths do not add up.
func Units(data []byte, lengthSize int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		units := nalUnits{rest: data, lengthSize: lengthSize}
		for nal := units.next(); nal != nil; nal = units.next() {
			if !yield(nal) {
				return
			}
		}
	}
}

// nalUnits walks the NAL units of an access unit.
type nalUnits struct {
	rest       []byte
	lengthSize int // bytes of the length in front of each unit; 0 in Annex B's form
}

// next gives the next NAL unit without its length or start code; nil at the end, and where
// the lengths do not add up.
func (u *nalUnits) next() []byte {
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

func (u *nalUnits) nextAnnexB() []byte {
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
func unitsOf(data, private []byte, lengthSizeAt int) nalUnits {
	size := 4
	if len(private) > lengthSizeAt && private[0] == 1 {
		size = int(private[lengthSizeAt]&3) + 1
	}
	units := nalUnits{rest: data, lengthSize: size}
	if IsAnnexB(data) && !units.addUp() {
		units.lengthSize = 0
	}
	return units
}

// addUp says that the lengths lead exactly from unit to unit to the end.
func (u nalUnits) addUp() bool {
	for u.next() != nil {
	}
	return len(u.rest) == 0
}

// isKey judges whether decoding can begin at a frame. The slices decide: a producer's
// flag may be wrong either way. Only where no slice can be read does the flag stand.
func isKey(t *Track, data []byte, flag bool) bool {
	switch t.CodecID {
	case CodecH264:
		units := unitsOf(data, t.CodecPrivate, avcLengthSizeAt)
		for nal := units.next(); nal != nil; nal = units.next() {
			switch nal[0] & 0x1F {
			case avcIDR:
				return true
			case avcSlice, avcPartitionA:
				// Without IDR pictures, streams begin at intra pictures that are flagged so.
				return flag && intraSlice(nal[1:])
			}
		}
	case CodecH265:
		units := unitsOf(data, t.CodecPrivate, hevcLengthSizeAt)
		for nal := units.next(); nal != nil; nal = units.next() {
			if kind := nal[0] >> 1 & 0x3F; kind <= hevcLastSlice {
				return kind >= hevcFirstIRAP && kind <= hevcLastIRAP
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
