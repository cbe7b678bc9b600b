package forms

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/at-wat/ebml-go"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// longAgo is how far behind the newest fragment a capture is, milliseconds: it is a recording, of which every frame
// counts.
const longAgo = "86400000"

// made is when the first frame of a capture was made.
var made = time.Date(2026, 1, 31, 8, 15, 0, 0, time.UTC)

// Capture writes the clip as GetMedia sends it: one document for each fragment, with the service's tags.
func (c Clip) Capture() []byte {
	var out []byte
	for n := 0; len(c.Blocks) > 0; n++ {
		end := 1
		for end < len(c.Blocks) && !c.Blocks[end].Opens {
			end++
		}
		out = append(out, c.fragment(n, c.Blocks[:end])...)
		c.Blocks = c.Blocks[end:]
	}
	return out
}

// fragment is one document. Its cluster's time is that of its first block, so that times before it are negative.
func (c Clip) fragment(n int, blocks []Block) []byte {
	at := made.Add(blocks[0].Time)
	cluster := [][]byte{element(ebml.ElementTimecode, number(uint64(blocks[0].Time.Milliseconds())))}
	for _, b := range blocks {
		cluster = append(cluster, element(ebml.ElementSimpleBlock, b.bytes(blocks[0].Time)))
	}
	return slices.Concat(
		element(ebml.ElementEBML, element(ebml.ElementEBMLDocType, []byte("matroska"))),
		open(ebml.ElementSegment),
		element(ebml.ElementInfo, element(ebml.ElementTimecodeScale, number(uint64(time.Millisecond)))),
		element(ebml.ElementTracks, c.entries()...),
		tags("FRAGMENT_NUMBER", fmt.Sprintf("%047d", n+1), "SERVER_TIMESTAMP", seconds(at), "PRODUCER_TIMESTAMP", seconds(at)),
		element(ebml.ElementCluster, cluster...),
		tags("MILLIS_BEHIND_NOW", longAgo, "CONTINUATION_TOKEN", fmt.Sprintf("%047d", n+1)),
	)
}

func (b Block) bytes(cluster time.Duration) []byte {
	var flags byte
	if b.Key {
		flags = 0x80
	}
	data := []byte{0x80 | byte(b.Track)} // a track number below 127 takes one byte
	data = binary.BigEndian.AppendUint16(data, uint16(int16((b.Time - cluster).Milliseconds())))
	return append(append(data, flags), b.Data...)
}

func (c Clip) entries() (out [][]byte) {
	for _, t := range c.Tracks {
		entry := [][]byte{
			element(ebml.ElementTrackNumber, number(t.Number)), element(ebml.ElementTrackUID, number(t.Number)),
			element(ebml.ElementTrackType, number(uint64(t.Type))), element(ebml.ElementName, []byte(t.Name)),
			element(ebml.ElementCodecID, []byte(t.CodecID)),
		}
		if len(t.CodecPrivate) > 0 {
			entry = append(entry, element(ebml.ElementCodecPrivate, t.CodecPrivate))
		}
		if t.Type == mkv.Video {
			entry = append(entry, element(ebml.ElementVideo,
				element(ebml.ElementPixelWidth, number(uint64(t.Width))), element(ebml.ElementPixelHeight, number(uint64(t.Height)))))
		} else {
			rate := binary.BigEndian.AppendUint64(nil, math.Float64bits(t.SampleRate))
			entry = append(entry, element(ebml.ElementAudio,
				element(ebml.ElementSamplingFrequency, rate), element(ebml.ElementChannels, number(uint64(t.Channels)))))
		}
		out = append(out, element(ebml.ElementTrackEntry, entry...))
	}
	return out
}

// tags writes names and values, in turn, as the service's.
func tags(pairs ...string) []byte {
	var simple [][]byte
	for i := 0; i < len(pairs); i += 2 {
		simple = append(simple, element(ebml.ElementSimpleTag,
			element(ebml.ElementTagName, []byte("AWS_KINESISVIDEO_"+pairs[i])), element(ebml.ElementTagString, []byte(pairs[i+1]))))
	}
	return element(ebml.ElementTags, element(ebml.ElementTag, simple...))
}

func seconds(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }

// element writes an element with a size of eight bytes.
func element(t ebml.ElementType, children ...[]byte) []byte {
	payload := slices.Concat(children...)
	out := binary.BigEndian.AppendUint64(t.Bytes(), 1<<56|uint64(len(payload)))
	return append(out, payload...)
}

// open writes the header of an element of unknown size.
func open(t ebml.ElementType) []byte {
	return binary.BigEndian.AppendUint64(t.Bytes(), 1<<57-1)
}

func number(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
