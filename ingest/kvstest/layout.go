package kvstest

import (
	"fmt"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Layout says what producers do differently, within what Matroska allows. The zero value writes as ffmpeg does.
type Layout struct {
	// UnknownSize leaves the size of a Cluster open, as the producer SDK does; else it is known, as from ffmpeg.
	UnknownSize bool
	// Time is what the timestamps of the Clusters count from.
	Time ClusterTime
	// Scale is the unit of timestamps, from 100 ns to 1 s; 1 ms. Where a fragment is too long for the 16 bits that a
	// block has for its time, another Cluster begins.
	Scale time.Duration

	// AnnexB writes H.264 and H.265 with start codes in place of lengths, and parameter sets in front of key frames.
	AnnexB bool
	// Private is what becomes of the CodecPrivate of H.264 and H.265.
	Private Private
	// BlockGroups writes every frame as a Block in a BlockGroup instead of as a SimpleBlock.
	BlockGroups bool
	// Lacing is how sound is written.
	Lacing Lacing

	// WideIntegers take eight bytes, whatever they are.
	WideIntegers bool
	// PaddedText ends every string with NULs.
	PaddedText bool
	// Noise adds what readers must pass over: CRC-32 and Void elements, and some that Matroska does not have.
	Noise bool
	// Index adds a SeekHead in front and Cues behind the Clusters.
	Index bool
	// Position writes the Position and the PrevSize of a Cluster, behind its Timestamp.
	Position bool

	// Tags are the producer's own.
	Tags []mkv.Tag
	// TagsOnly makes every n-th fragment one of tags alone, without Tracks and Cluster; 0 makes none.
	TagsOnly int
	// SplitTags gives every tag a Tags element of its own.
	SplitTags bool
	// ShuffledTags are in another order in every fragment, with the service's and the producer's among each other.
	// Those that belong in front of the Cluster stay there, and those behind it too.
	ShuffledTags bool
	// LateTags has all tags of the service behind the Cluster.
	LateTags bool
	// NoProducerTime has 0.000 for PRODUCER_TIMESTAMP.
	NoProducerTime bool
}

// ClusterTime is what the timestamps of the Clusters count from.
type ClusterTime int

// The time lines producers use.
const (
	FragmentTime ClusterTime = iota // 0 in every fragment
	SessionTime                     // the beginning of the producer's session
	WallTime                        // 1970
)

// Private is what a producer puts into CodecPrivate.
type Private int

// What is in CodecPrivate.
const (
	PrivateConfig Private = iota // avcC or hvcC, as in the clip
	PrivateAnnexB                // the parameter sets with start codes
	PrivateNone                  // nothing
)

const (
	minScale     = 100 * time.Nanosecond
	maxScale     = time.Second
	defaultScale = time.Millisecond
)

// check says what cannot be written.
func (l Layout) check() error {
	if l.Scale != 0 && (l.Scale < minScale || l.Scale > maxScale) {
		return fmt.Errorf("kvstest: layout: a timestamp scale of %v; allowed are %v to %v", l.Scale, minScale, maxScale)
	}
	if l.TagsOnly < 0 {
		return fmt.Errorf("kvstest: layout: every %d-th fragment cannot be one of tags only", l.TagsOnly)
	}
	return nil
}

func (l Layout) scale() time.Duration {
	if l.Scale == 0 {
		return defaultScale
	}
	return l.Scale
}

// ticks is a time in units of the scale, the nearest.
func (l Layout) ticks(t time.Duration) int64 {
	return int64(t.Round(l.scale()) / l.scale())
}

// spelling is the producer's.
func (l Layout) spelling() spelling {
	return spelling{wide: l.WideIntegers, padded: l.PaddedText, noise: l.Noise}
}

// serviceSpelling is the service's, in whose tags every size takes four bytes.
func (l Layout) serviceSpelling() spelling {
	s := l.spelling()
	s.sizeBytes = 4
	return s
}
