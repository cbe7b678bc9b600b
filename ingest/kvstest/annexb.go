package kvstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// startCode stands in front of every NAL unit in Annex B's form.
var startCode = []byte{0, 0, 0, 1}

// recoding turns frames with lengths in front of their NAL units into Annex B's form.
type recoding struct {
	lengthSize int
	sets       []byte // the parameter sets, with start codes
}

// newRecoding reads what it needs from the avcC or hvcC of a track; nil if the track has no NAL units.
func newRecoding(t *mkv.Track) (*recoding, error) {
	var sets [][]byte
	var size int
	switch t.CodecID {
	case mkv.CodecH264:
		c, err := mkv.ParseAVCC(t.CodecPrivate)
		if err != nil {
			return nil, fmt.Errorf("kvstest: layout: Annex B of track %d: %w", t.Number, err)
		}
		sets, size = slices.Concat(c.SPS, c.PPS), c.LengthSize
	case mkv.CodecH265:
		c, err := mkv.ParseHVCC(t.CodecPrivate)
		if err != nil {
			return nil, fmt.Errorf("kvstest: layout: Annex B of track %d: %w", t.Number, err)
		}
		sets, size = slices.Concat(c.VPS, c.SPS, c.PPS), c.LengthSize
	default:
		return nil, nil
	}
	r := &recoding{lengthSize: size}
	for _, set := range sets {
		r.sets = append(append(r.sets, startCode...), set...)
	}
	return r, nil
}

// frame recodes a frame. A frame that is in Annex B's form already stays as it is; a length of
// 256 to 511 looks like a start code too, so all lengths have to be looked at.
func (r *recoding) frame(data []byte, key bool) ([]byte, error) {
	if mkv.IsAnnexB(data) && !r.addUp(data) {
		return data, nil
	}
	var b bytes.Buffer
	if key {
		b.Write(r.sets)
	}
	for len(data) > 0 {
		unit, rest, ok := r.next(data)
		if !ok {
			return nil, fmt.Errorf("kvstest: clip: the lengths of NAL units do not add up in the last %d bytes of a frame", len(data))
		}
		b.Write(startCode)
		b.Write(unit)
		data = rest
	}
	return b.Bytes(), nil
}

// next takes a NAL unit with its length from the front of data.
func (r *recoding) next(data []byte) (unit, rest []byte, ok bool) {
	if len(data) < r.lengthSize {
		return nil, nil, false
	}
	var length [4]byte
	copy(length[4-r.lengthSize:], data[:r.lengthSize])
	n := int64(binary.BigEndian.Uint32(length[:]))
	if data = data[r.lengthSize:]; n > int64(len(data)) {
		return nil, nil, false
	}
	return data[:n], data[n:], true
}

// addUp says that the lengths lead from unit to unit to the end.
func (r *recoding) addUp(data []byte) bool {
	ok := true
	for ok && len(data) > 0 {
		_, data, ok = r.next(data)
	}
	return ok
}
