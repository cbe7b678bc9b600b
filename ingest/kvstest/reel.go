package kvstest

import (
	"slices"
	"sort"
	"time"
)

// reel is what a producer plays: a film round and round until the next one begins. Fragments are counted from 0 without
// end, and a position is the time from the beginning if the reel plays without a break.
type reel struct{ strips []strip }

// strip is where a film begins.
type strip struct {
	first int64
	at    time.Duration // position of the first fragment
	film  *film
}

func newReel(f *film) *reel { return &reel{[]strip{{film: f}}} }

// change goes on with another film from a fragment on. What was planned for later than that is off.
func (r *reel) change(first int64, f *film) {
	at := r.position(first)
	r.strips = slices.DeleteFunc(r.strips, func(s strip) bool { return s.first >= first })
	r.strips = append(r.strips, strip{first, at, f})
}

// shot is the film that fragment i shows, and which of its shots.
func (r *reel) shot(i int64) (*film, int) {
	s := r.strip(i)
	return s.film, int((i - s.first) % int64(len(s.film.offsets)))
}

// position is where fragment i begins.
func (r *reel) position(i int64) time.Duration {
	s := r.strip(i)
	pieces := int64(len(s.film.offsets))
	rounds, piece := (i-s.first)/pieces, (i-s.first)%pieces
	return s.at + time.Duration(rounds)*s.film.length + s.film.offsets[piece]
}

// at is the fragment that contains a position.
func (r *reel) at(position time.Duration) int64 {
	s := r.strips[sort.Search(len(r.strips), func(k int) bool { return r.strips[k].at > position })-1]
	rounds, rest := int64((position-s.at)/s.film.length), (position-s.at)%s.film.length
	piece := sort.Search(len(s.film.offsets), func(p int) bool { return s.film.offsets[p] > rest }) - 1
	return s.first + rounds*int64(len(s.film.offsets)) + int64(piece)
}

// strip is the one that fragment i is of.
func (r *reel) strip(i int64) strip {
	return r.strips[sort.Search(len(r.strips), func(k int) bool { return r.strips[k].first > i })-1]
}
