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

// frame recodes a frame. A frame that is in Annex B's form already stays as it is.
func (r *recoding) frame(data []byte, key bool) ([]byte, error) {
	if mkv.IsAnnexB(data) {
		return data, nil
	}
	var b bytes.Buffer
	if key {
		b.Write(r.sets)
	}
	for len(data) > 0 {
		if len(data) < r.lengthSize {
			return nil, fmt.Errorf("kvstest: clip: %d bytes behind the last NAL unit", len(data))
		}
		var length [4]byte
		copy(length[4-r.lengthSize:], data)
		n := int64(binary.BigEndian.Uint32(length[:]))
		if data = data[r.lengthSize:]; n > int64(len(data)) {
			return nil, fmt.Errorf("kvstest: clip: a NAL unit of %d bytes in %d", n, len(data))
		}
		b.Write(startCode)
		b.Write(data[:n])
		data = data[n:]
	}
	return b.Bytes(), nil
}
