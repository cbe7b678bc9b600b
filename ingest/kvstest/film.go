package kvstest

import (
	"math"
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// film is a clip made ready to be sent in a layout, round and round.
type film struct {
	layout  Layout
	leading uint64 // number of the leading track
	head    []byte // SeekHead, Info and Tracks
	offsets []time.Duration
	length  time.Duration
	shots   []shot // by piece, as are the offsets
}

// shot is a piece of the clip as it is in every fragment that shows it.
type shot struct{ clusters []cluster }

// cluster is a Cluster without its head.
type cluster struct {
	ticks  int64 // of its timestamp, from the fragment's beginning
	blocks []written
	size   int // of all blocks
}

// written is one block in bytes.
type written struct {
	there time.Duration // when it is there, from the fragment's beginning
	data  []byte
}

// newFilm makes a film with fragments that last at least d.
func newFilm(source *Source, layout Layout, d time.Duration) (*film, error) {
	f := &film{layout: layout, length: source.length}
	if leading := source.leading(); leading != nil {
		f.leading = leading.Number
	}
	tracks, recodings, err := layout.tracks(source.tracks)
	if err != nil {
		return nil, err
	}
	f.head = layout.description(tracks)
	for _, p := range source.pieces(d) {
		if err := recode(p.frames, recodings); err != nil {
			return nil, err
		}
		f.offsets = append(f.offsets, p.offset)
		f.shots = append(f.shots, layout.shoot(p))
	}
	return f, nil
}

// tracks describes the tracks of a clip as the producer does, and says whose frames are to be recoded, by number.
func (l Layout) tracks(of []*mkv.Track) (described []*mkv.Track, recodings map[uint64]*recoding, err error) {
	recodings = map[uint64]*recoding{}
	for _, t := range of {
		described = append(described, t)
		if t.Type != mkv.Video || !l.AnnexB && l.Private == PrivateConfig {
			continue
		}
		r, err := newRecoding(t)
		if err != nil {
			return nil, nil, err
		}
		if r == nil {
			continue
		}
		if l.AnnexB {
			recodings[t.Number] = r
		}
		own := *t
		switch l.Private {
		case PrivateAnnexB:
			own.CodecPrivate = r.sets
		case PrivateNone:
			own.CodecPrivate = nil
		}
		described[len(described)-1] = &own
	}
	return described, recodings, nil
}

func recode(frames []frame, recodings map[uint64]*recoding) error {
	for i, f := range frames {
		r := recodings[f.Track.Number]
		if r == nil {
			continue
		}
		data, err := r.frame(f.Data, f.Key)
		if err != nil {
			return err
		}
		frames[i].Data = data
	}
	return nil
}

// shoot writes the blocks of a piece.
func (l Layout) shoot(p piece) shot {
	var s shot
	for _, b := range l.blocksOf(p.frames, p.offset) {
		last := len(s.clusters) - 1
		if last < 0 || b.ticks-s.clusters[last].ticks > math.MaxInt16 || b.ticks-s.clusters[last].ticks < math.MinInt16 {
			s.clusters = append(s.clusters, cluster{})
			if last++; last > 0 {
				s.clusters[last].ticks = max(0, b.ticks)
			}
		}
		c := &s.clusters[last]
		data := l.write(b, int16(max(math.MinInt16, min(b.ticks-c.ticks, math.MaxInt16))))
		c.blocks = append(c.blocks, written{b.there, data})
		c.size += len(data)
	}
	return s
}

// document is one fragment to be written: a shot at a time, with tags.
type document struct {
	*film
	shot  *shot
	there time.Time // when it begins to be there
	ticks uint64    // of its first timestamp
	own   []mkv.Tag // the service's tags in front
	seed  uint64    // of the order of tags

	clusterAt int // position of the first Cluster, known once parts is done
}

// parts writes all but what comes behind the Clusters.
func (d *document) parts() []part {
	l := d.layout
	head := slices.Clone(d.head)
	if d.shot == nil {
		head = nil
	}
	own := d.own
	if l.LateTags {
		own = nil
	}
	head = append(head, l.tags(l.Tags, own, d.seed)...)
	parts := []part{{d.there, append(l.prologue(), head...)}}
	if d.shot == nil {
		return parts
	}
	d.clusterAt = len(head)
	at := len(head)
	for _, c := range d.shot.clusters {
		clusterHead := l.clusterHead(d.ticks+uint64(c.ticks), at, c.size)
		parts = append(parts, part{d.there.Add(c.blocks[0].there), clusterHead})
		for _, b := range c.blocks {
			parts = append(parts, part{d.there.Add(b.there), b.data})
		}
		at += len(clusterHead) + c.size
	}
	return parts
}

// closing writes what comes behind the Clusters.
func (d *document) closing(tags []mkv.Tag) []byte {
	l := d.layout
	if l.LateTags {
		tags = slices.Concat(d.own, tags)
	}
	var b []byte
	if d.shot != nil {
		b = l.cues(d.ticks, d.leading, d.clusterAt)
	}
	if l.Noise {
		b = append(b, noise()...)
	}
	return append(b, l.tags(l.Tags, tags, d.seed+1)...)
}
