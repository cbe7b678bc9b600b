package mkv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"testing/iotest"
)

// Documents for the tests are put together from elements by hand, so that they can
// be wrong in every way.

// el is an element with a known size of one, two, four or eight bytes.
func el(i id, parts ...[]byte) []byte {
	payload := bytes.Join(parts, nil)
	out := idBytes(i)
	switch n := len(payload); {
	case n < 0x7F:
		out = append(out, 0x80|byte(n))
	case n < 0x3FFF:
		out = binary.BigEndian.AppendUint16(out, 0x4000|uint16(n))
	default:
		out = binary.BigEndian.AppendUint32(out, 0x10000000|uint32(n))
	}
	return append(out, payload...)
}

// claim is an element's header with a size that nothing has to come true of.
func claim(i id, size uint64) []byte {
	return binary.BigEndian.AppendUint64(idBytes(i), 1<<56|size)
}

// endless is the header of an element of unknown size.
func endless(i id) []byte { return append(idBytes(i), 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF) }

func idBytes(i id) []byte {
	return bytes.TrimLeft(binary.BigEndian.AppendUint32(nil, uint32(i)), "\x00")
}

func num(v uint64) []byte {
	b := bytes.TrimLeft(binary.BigEndian.AppendUint64(nil, v), "\x00")
	if len(b) == 0 {
		return []byte{0}
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func prologueBytes() []byte {
	return join(el(idEBML, el(idDocType, []byte("matroska"))), endless(idSegment))
}

func trackBytes(number uint64, codec string, private []byte) []byte {
	return el(idTrackEntry, el(idTrackNumber, num(number)), el(idTrackType, num(1)),
		el(idCodecID, []byte(codec)), el(idCodecPrivate, private),
		el(idVideo, el(idPixelWidth, num(640)), el(idPixelHeight, num(360))))
}

func tagsBytes(pairs ...string) []byte {
	var simple [][]byte
	for i := 0; i < len(pairs); i += 2 {
		simple = append(simple, el(idTag, el(idSimpleTag,
			el(idTagName, []byte(pairs[i])), el(idTagString, []byte(pairs[i+1])))))
	}
	return el(idTags, simple...)
}

// blockBytes is the payload of a block: track, time, flags, frames.
func blockBytes(track byte, at int16, flags byte, payload []byte) []byte {
	return join([]byte{0x80 | track}, binary.BigEndian.AppendUint16(nil, uint16(at)), []byte{flags}, payload)
}

func simpleBlockBytes(at int16, flags byte, payload string) []byte {
	return el(idSimpleBlock, blockBytes(1, at, flags, []byte(payload)))
}

// fragmentBytes is a fragment as the service sends it, with a Cluster of known size.
func fragmentBytes(number int, frames ...string) []byte {
	cluster := [][]byte{el(idTimestamp, num(uint64(number)*1000))}
	for i, f := range frames {
		flags := byte(0)
		if i == 0 {
			flags = flagKey
		}
		cluster = append(cluster, simpleBlockBytes(int16(i*40), flags, f))
	}
	return join(prologueBytes(),
		el(idTracks, trackBytes(1, "V_TEST", []byte{1, 2, 3})),
		tagsBytes("AWS_KINESISVIDEO_FRAGMENT_NUMBER", fmt.Sprintf("%047d", number),
			"AWS_KINESISVIDEO_SERVER_TIMESTAMP", fmt.Sprintf("%d.250", 1700000000+number),
			"AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", fmt.Sprintf("%d.000", 1700000000+number)),
		el(idCluster, cluster...),
		tagsBytes("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "120",
			"AWS_KINESISVIDEO_CONTINUATION_TOKEN", fmt.Sprintf("token-%d", number)))
}

// events reads body to its end and tells every event in a line.
func events(r io.Reader) []string {
	var out []string
	reader := NewReader(r)
	for {
		ev, err := reader.Next()
		if err != nil {
			return append(out, fmt.Sprint("error ", err))
		}
		out = append(out, describe(ev))
	}
}

func describe(ev Event) string {
	switch ev := ev.(type) {
	case *Start:
		return fmt.Sprintf("start %d", ev.Offset)
	case *Track:
		return fmt.Sprintf("track %d %s %dx%d %x", ev.Number, ev.CodecID, ev.Width, ev.Height, ev.CodecPrivate)
	case *Tags:
		return fmt.Sprintf("tags %q number=%s token=%s", ev.List, ev.Fragment.Number, ev.Fragment.Token)
	case *Frame:
		return fmt.Sprintf("frame track=%d %v %v key=%v %d %q", ev.Track.Number, ev.Time, ev.ClusterTime, ev.Key, ev.Offset, ev.Data)
	case *End:
		return fmt.Sprintf("end %+v err=%v", ev.Fragment, ev.Err)
	}
	return "?"
}

// splits are the ways in which a body can arrive.
func splits(body []byte) map[string]io.Reader {
	return map[string]io.Reader{
		"whole":         bytes.NewReader(body),
		"one byte":      iotest.OneByteReader(bytes.NewReader(body)),
		"halves":        iotest.HalfReader(bytes.NewReader(body)),
		"data with EOF": iotest.DataErrReader(bytes.NewReader(body)),
	}
}
