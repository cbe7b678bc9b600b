package kvstest

import (
	"slices"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// A fragment is one Matroska document, written in this order:
//
//	EBML header
//	Segment             of unknown size
//	  SeekHead          if the layout has an index
//	  Info, Tracks      of the producer
//	  Tags              of the producer, if it has any
//	  Tags              of the service: FRAGMENT_NUMBER, SERVER_TIMESTAMP, PRODUCER_TIMESTAMP
//	  Cluster           known or unknown size; several only where the time scale asks for it
//	    Timestamp
//	    SimpleBlock...  or BlockGroup...
//	  Cues              if the layout has an index
//	  Tags              of the producer again
//	  Tags              of the service: MILLIS_BEHIND_NOW, CONTINUATION_TOKEN

// prologue writes the EBML header and opens the Segment.
func (l Layout) prologue() []byte {
	s := l.spelling()
	s.noise = false // what comes in front tells a document from noise
	header := s.master(
		idEBML,
		s.uint(idEBMLVersion, 1), s.uint(idEBMLReadVersion, 1),
		s.uint(idEBMLMaxIDLength, 4), s.uint(idEBMLMaxSizeLength, 8),
		s.text(idDocType, "matroska"), s.uint(idDocTypeVersion, 4), s.uint(idDocTypeReadVersion, 2),
	)
	return append(append(header, idBytes(idSegment)...), unknownSize(8)...)
}

// unknownSize is the size of an element that does not say where it ends, in n bytes.
func unknownSize(n int) []byte { return vint(1<<(7*n)-1, n) }

// description writes SeekHead, Info and Tracks. Positions count from the first byte of it.
func (l Layout) description(tracks []*mkv.Track) []byte {
	s := l.spelling()
	parts := [][]byte{
		s.master(idInfo, s.uint(idTimestampScale, uint64(l.scale())),
			s.text(idMuxingApp, "edge-agent kvstest"), s.text(idWritingApp, "edge-agent kvstest")),
	}
	var entries [][]byte
	for _, t := range tracks {
		entries = append(entries, s.trackEntry(t))
	}
	parts = append(parts, s.master(idTracks, entries...))
	if l.Noise {
		parts = slices.Insert(parts, 1, noise())
	}
	if l.Index {
		infoAt := len(s.seekHead(0, 0)) // it has the same length with any positions
		tracksAt := infoAt + len(slices.Concat(parts[:len(parts)-1]...))
		parts = slices.Insert(parts, 0, s.seekHead(infoAt, tracksAt))
	}
	return slices.Concat(parts...)
}

func (s spelling) seekHead(infoAt, tracksAt int) []byte {
	s.wide = true
	seek := func(id uint32, at int) []byte {
		return s.master(idSeek, s.element(idSeekID, idBytes(id)), s.uint(idSeekPosition, uint64(at)))
	}
	return s.master(idSeekHead, seek(idInfo, infoAt), seek(idTracks, tracksAt))
}

func (s spelling) trackEntry(t *mkv.Track) []byte {
	children := [][]byte{
		s.uint(idTrackNumber, t.Number), s.uint(idTrackUID, t.Number), s.uint(idTrackType, uint64(t.Type)),
	}
	if t.Name != "" {
		children = append(children, s.text(idTrackName, t.Name))
	}
	children = append(children, s.text(idCodecID, t.CodecID))
	if len(t.CodecPrivate) > 0 {
		children = append(children, s.element(idCodecPrivate, t.CodecPrivate))
	}
	children = append(children, s.optional(idDefaultDuration, uint64(t.DefaultDuration)))
	switch t.Type {
	case mkv.Video:
		children = append(children, s.master(idVideo,
			s.uint(idPixelWidth, uint64(t.Width)), s.uint(idPixelHeight, uint64(t.Height))))
	case mkv.Audio:
		children = append(children, s.master(idAudio,
			s.float(idSampling, t.SampleRate), s.uint(idChannels, uint64(t.Channels)), s.optional(idBitDepth, uint64(t.BitDepth))))
	}
	return s.master(idTrackEntry, children...)
}

// clusterHead writes the header of a Cluster and what comes in front of size bytes of blocks. The position of the
// Cluster counts from the first byte in the Segment.
func (l Layout) clusterHead(ticks uint64, position, size int) []byte {
	s := l.spelling()
	first := s.uint(idTimestamp, ticks)
	if l.Position {
		first = slices.Concat(first, s.uint(idPosition, uint64(position)), s.uint(idPrevSize, 0))
	}
	if l.Noise {
		first = append(first, noise()...)
	}
	head := idBytes(idCluster)
	if l.UnknownSize {
		head = append(head, unknownSize(1)...)
	} else {
		head = append(head, vint(uint64(len(first)+size), 8)...)
	}
	return append(head, first...)
}

// cues writes the index behind the Clusters: one entry for the first of them.
func (l Layout) cues(ticks, track uint64, position int) []byte {
	if !l.Index {
		return nil
	}
	s := l.spelling()
	return s.master(idCues, s.master(idCuePoint, s.uint(idCueTime, ticks),
		s.master(idCueTrackPositions, s.uint(idCueTrack, track), s.uint(idCueClusterPosition, uint64(position)))))
}

// errorDocument writes the document that ends a body with an error: tags, and no tracks nor cluster.
func (l Layout) errorDocument(tags []mkv.Tag, seed uint64) []byte {
	return append(l.prologue(), l.tags(nil, tags, seed)...)
}
