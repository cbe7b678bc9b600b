package format

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// mostSets bounds the bytes of the parameter sets of a track: what is larger is not what it says.
const mostSets = 64 << 10

// ParameterSets are the newest of each kind and id, in the order in which a decoder needs them. The zero value has
// none.
type ParameterSets struct {
	list  []parameterSet
	bytes int
}

type parameterSet struct {
	kind mkv.SetKind
	id   uint32
	nal  []byte
}

// Learn takes in a NAL unit, whose data is copied, if it is a parameter set. It returns whether that was not known.
func (s *ParameterSets) Learn(codec string, nal []byte) (news bool) {
	kind, id := mkv.ParameterSet(codec, nal)
	if kind == mkv.NoSet {
		return false
	}
	i, known := slices.BinarySearchFunc(s.list, parameterSet{kind: kind, id: id}, func(a, b parameterSet) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.id, b.id))
	})
	if known && bytes.Equal(s.list[i].nal, nal) || s.bytes+len(nal) > mostSets {
		return false
	}
	set := parameterSet{kind, id, bytes.Clone(nal)}
	s.bytes += len(nal)
	if known {
		s.bytes -= len(s.list[i].nal)
		s.list[i] = set
	} else {
		s.list = slices.Insert(s.list, i, set)
	}
	return true
}

// has says that there is a set of a kind.
func (s *ParameterSets) has(kind mkv.SetKind) bool {
	return slices.ContainsFunc(s.list, func(have parameterSet) bool { return have.kind == kind })
}

// Complete says that a decoder can begin with these sets.
func (s *ParameterSets) Complete(codec string) bool {
	return s.has(mkv.SPS) && s.has(mkv.PPS) && (codec != mkv.CodecH265 || s.has(mkv.VPS))
}

// annexB is all sets in Annex B form.
func (s *ParameterSets) annexB() []byte {
	out := make([]byte, 0, s.bytes+4*len(s.list))
	for _, set := range s.list {
		out = append(append(out, startCode...), set.nal...)
	}
	return out
}

// shape is what a decoder is set up for: profile and size of every SPS. Decoders of another shape are built anew; other
// changes they take from the frames.
func (s *ParameterSets) shape(codec string) string {
	var b []byte
	for _, set := range s.list {
		if set.kind != mkv.SPS {
			continue
		}
		w, h := mkv.PictureSize(codec, set.nal)
		if w == 0 || h == 0 {
			b = append(b, set.nal...)
			continue
		}
		b = append(b, byte(set.id), set.nal[min(profileAt[codec], len(set.nal)-1)], byte(w), byte(w>>8), byte(h), byte(h>>8))
	}
	return string(b)
}

// profileAt is where an SPS has its profile: profile_idc, and the first byte of profile_tier_level.
var profileAt = map[string]int{mkv.CodecH264: 1, mkv.CodecH265: 3}

var startCode = []byte{0, 0, 0, 1}
