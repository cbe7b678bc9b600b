package kvstest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
	"time"

	"github.com/at-wat/ebml-go"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// A fragment is one Matroska document, written in this order:
//
//	EBML header
//	Segment             of unknown size
//	  Info, Tracks      of the producer
//	  Tags              of the producer, if it has any
//	  Tags              of the service: FRAGMENT_NUMBER, SERVER_TIMESTAMP, PRODUCER_TIMESTAMP
//	  Cluster           known or unknown size
//	    Timestamp
//	    SimpleBlock...
//	  Tags              of the producer again
//	  Tags              of the service: MILLIS_BEHIND_NOW, CONTINUATION_TOKEN
//
// Layout says what producers do differently.
type Layout struct {
	// UnknownSize leaves the size of the Cluster open, as the producer SDK does; else it is known, as from ffmpeg.
	UnknownSize bool
	// Time is what the timestamps of the Clusters count from.
	Time ClusterTime
	// Tags are the producer's own.
	Tags []mkv.Tag
}

// ClusterTime is what the timestamps of the Clusters count from.
type ClusterTime int

// The time lines producers use.
const (
	FragmentTime ClusterTime = iota // 0 in every fragment
	SessionTime                     // the beginning of the producer's session
	WallTime                        // 1970
)

const (
	tagFragmentNumber    = "AWS_KINESISVIDEO_FRAGMENT_NUMBER"
	tagServerTimestamp   = "AWS_KINESISVIDEO_SERVER_TIMESTAMP"
	tagProducerTimestamp = "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP"
	tagMillisBehindNow   = "AWS_KINESISVIDEO_MILLIS_BEHIND_NOW"
	tagContinuationToken = "AWS_KINESISVIDEO_CONTINUATION_TOKEN"
	tagErrorCode         = "AWS_KINESISVIDEO_ERROR_CODE"
	tagErrorID           = "AWS_KINESISVIDEO_ERROR_ID"
)

// timestampScale is the unit of Matroska timestamps here, in nanoseconds.
const timestampScale = uint64(time.Millisecond)

type ebmlHeader struct {
	EBMLVersion, EBMLReadVersion, EBMLMaxIDLength, EBMLMaxSizeLength uint64
	EBMLDocType                                                      string
	EBMLDocTypeVersion, EBMLDocTypeReadVersion                       uint64
}

type info struct {
	TimestampScale        uint64
	MuxingApp, WritingApp string
}

type trackEntry struct {
	TrackNumber, TrackUID, TrackType uint64
	Name                             string `ebml:"Name,omitempty"`
	CodecID                          string
	CodecPrivate                     []byte `ebml:"CodecPrivate,omitempty"`
	DefaultDuration                  uint64 `ebml:"DefaultDuration,omitempty"`
	Video                            *video
	Audio                            *audio
}

type video struct{ PixelWidth, PixelHeight uint64 }

type audio struct {
	SamplingFrequency float64
	Channels          uint64
	BitDepth          uint64 `ebml:"BitDepth,omitempty"`
}

type tag struct{ SimpleTag []simpleTag }

type simpleTag struct{ TagName, TagString string }

// documentHead writes what comes before the service's first Tags; it is the same in every fragment.
func documentHead(tracks []*mkv.Track, layout Layout) []byte {
	var doc struct {
		EBML    ebmlHeader
		Segment struct {
			Info   info
			Tracks struct{ TrackEntry []trackEntry }
		} `ebml:"Segment,size=unknown"`
	}
	doc.EBML = matroskaHeader
	doc.Segment.Info = info{TimestampScale: timestampScale, MuxingApp: "edge-agent kvstest", WritingApp: "edge-agent kvstest"}
	for _, t := range tracks {
		doc.Segment.Tracks.TrackEntry = append(doc.Segment.Tracks.TrackEntry, describe(t))
	}
	return append(marshal(&doc), producerTags(layout.Tags)...)
}

var matroskaHeader = ebmlHeader{
	EBMLVersion: 1, EBMLReadVersion: 1, EBMLMaxIDLength: 4, EBMLMaxSizeLength: 8,
	EBMLDocType: "matroska", EBMLDocTypeVersion: 4, EBMLDocTypeReadVersion: 2,
}

func describe(t *mkv.Track) trackEntry {
	e := trackEntry{
		TrackNumber: t.Number, TrackUID: t.Number, TrackType: uint64(t.Type),
		Name: t.Name, CodecID: t.CodecID, CodecPrivate: t.CodecPrivate, DefaultDuration: uint64(t.DefaultDuration),
	}
	switch t.Type {
	case mkv.Video:
		e.Video = &video{uint64(t.Width), uint64(t.Height)}
	case mkv.Audio:
		e.Audio = &audio{t.SampleRate, uint64(t.Channels), uint64(t.BitDepth)}
	}
	return e
}

// openingTags are the service's tags before the Cluster.
func openingTags(number string, server, producer time.Time) []mkv.Tag {
	return []mkv.Tag{
		{Name: tagFragmentNumber, Value: number},
		{Name: tagServerTimestamp, Value: seconds(server)},
		{Name: tagProducerTimestamp, Value: seconds(producer)},
	}
}

// clusterHead writes the Cluster's header and timestamp, in front of size bytes of blocks.
func clusterHead(layout Layout, timestamp time.Duration, size int) []byte {
	var children struct{ Timestamp uint64 }
	children.Timestamp = uint64(timestamp.Milliseconds())
	first := marshal(&children)
	head := ebml.ElementCluster.Bytes()
	if layout.UnknownSize {
		head = append(head, 0xFF) // the shortest unknown size
	} else {
		head = binary.BigEndian.AppendUint64(head, 1<<56|uint64(len(first)+size)) // 0x01: seven bytes of size follow
	}
	return append(head, first...)
}

// simpleBlock writes one frame, at a time relative to its Cluster's.
func simpleBlock(f *mkv.Frame, at time.Duration) []byte {
	var element struct{ SimpleBlock ebml.Block }
	element.SimpleBlock = ebml.Block{
		TrackNumber: f.Track.Number,
		Timecode:    int16(at.Milliseconds()),
		Keyframe:    f.Key,
		Data:        [][]byte{f.Data},
	}
	return marshal(&element)
}

// closingTags writes what comes after the Cluster: the producer's Tags again and those that complete the fragment.
func closingTags(layout Layout, behind time.Duration, token string) []byte {
	return append(producerTags(layout.Tags), serviceTags([]mkv.Tag{
		{Name: tagMillisBehindNow, Value: strconv.FormatInt(behind.Milliseconds(), 10)},
		{Name: tagContinuationToken, Value: token},
	})...)
}

// errorDocument writes the document that ends a body with an error: tags, and no tracks nor cluster.
func errorDocument(tags []mkv.Tag) []byte {
	var doc struct {
		EBML    ebmlHeader
		Segment struct{} `ebml:"Segment,size=unknown"`
	}
	doc.EBML = matroskaHeader
	return append(marshal(&doc), serviceTags(tags)...)
}

// serviceTags writes one Tags element the way the service does: every size takes four bytes.
func serviceTags(tags []mkv.Tag) []byte {
	return marshalTags(tags, ebml.WithDataSizeLen(4))
}

// producerTags writes one Tags element, or nothing if there are no tags.
func producerTags(tags []mkv.Tag) []byte {
	if len(tags) == 0 {
		return nil
	}
	return marshalTags(tags)
}

func marshalTags(tags []mkv.Tag, options ...ebml.MarshalOption) []byte {
	var element struct{ Tags struct{ Tag tag } }
	for _, t := range tags {
		element.Tags.Tag.SimpleTag = append(element.Tags.Tag.SimpleTag, simpleTag{t.Name, t.Value})
	}
	return marshal(&element, options...)
}

// seconds is how the service writes a time: decimal seconds since 1970.
func seconds(t time.Time) string {
	ms := t.UnixMilli()
	return fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
}

// marshal encodes one of the structures above. None of them can fail: they hold nothing that EBML has no form for.
func marshal(elements any, options ...ebml.MarshalOption) []byte {
	var b bytes.Buffer
	if err := ebml.Marshal(elements, &b, options...); err != nil {
		panic(fmt.Sprintf("kvstest: %T: %v", elements, err))
	}
	return b.Bytes()
}
