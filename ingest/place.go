package ingest

import (
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Position is a place in a stream to go on behind.
type Position struct {
	Token    string // continuation token of the last fragment that came whole
	Fragment string // its number
}

// Positions keeps the places of streams over a restart of the agent.
type Positions interface {
	// Load gives the zero Position when none is known.
	Load(stream string) (Position, error)
	// Save takes every position, and may keep the last one only.
	Save(stream string, p Position)
}

// place is where in the stream a session is. It decides what the next GetMedia call asks
// for and which of the frames that come are new, so that over any number of calls every frame of
// every whole fragment is handed on once. It is plain arithmetic: no time, no network.
type place struct {
	start Selector // of the stream, while nothing else is known
	last  Position // of the last fragment that came whole
	rung  rung     // how far down the ladder of selectors the service's refusals have led

	open    document       // the fragment that is being read
	partial map[string]int // frames handed on of fragments that have not come whole, by number
	cut     time.Time      // SERVER_TIMESTAMP of the one that was being read when the last session ended
	missing bool           // frames are missing before the next one
}

// maxPartial bounds place.partial: so many broken fragments in a row are not remembered.
const maxPartial = 64

// document is a fragment that is being read.
type document struct {
	number   string
	server   time.Time // SERVER_TIMESTAMP
	base     time.Time // what its first cluster's timestamp means in wall-clock time
	produced bool      // base is the producer's
	read     int       // frames read in this session
	handed   int       // frames handed on in this or an earlier session
	old      bool      // it was whole before
	whole    bool
}

// rung is a step of the ladder of selectors that a session comes down when the service
// refuses the place it asks for.
type rung int

const (
	byToken rung = iota
	byFragment
	byNow
)

// selector is what the next call asks for.
func (p *place) selector() Selector {
	switch {
	case p.rung == byNow:
		return Selector{Kind: Now}
	case p.last.Token != "" && p.rung == byToken:
		return Selector{Kind: ContinuationToken, Value: p.last.Token}
	case p.last.Fragment != "":
		return Selector{Kind: AfterFragment, Value: p.last.Fragment}
	case p.start.Kind == Now && !p.cut.IsZero():
		// The very first fragment was cut: by now the newest would be a later one.
		return Selector{Kind: ServerTime, Time: p.cut}
	}
	return p.start
}

// refused comes one rung down; false when the place was the user's own choice, for
// which there is no next best one.
func (p *place) refused() bool {
	if p.last == (Position{}) && p.cut.IsZero() {
		return false
	}
	if p.rung = min(p.rung+1, byNow); p.last == (Position{}) {
		p.rung = byNow
	}
	if p.rung == byNow {
		p.missing = true
	}
	return true
}

// jump makes the next call ask for the newest fragment.
func (p *place) jump() { p.rung, p.missing = byNow, true }

// note takes in a fragment's tags; true when they complete a fragment that is new.
func (p *place) note(f *mkv.Fragment) bool {
	d := &p.open
	d.place(f)
	if f.Number != "" && d.number == "" {
		p.enter(f.Number)
	}
	if !f.Complete() || d.whole {
		return false
	}
	d.whole = true
	if d.old {
		return false
	}
	p.last = Position{Token: f.Token, Fragment: f.Number}
	p.rung, p.cut = byToken, time.Time{}
	clear(p.partial)
	return true
}

// place takes in where the fragment stands in time; each tag may come in an element of its own.
func (d *document) place(f *mkv.Fragment) {
	d.server = f.ServerTime
	d.base, d.produced = f.ProducerTime, f.ProducerTime.Unix() > 0
	if !d.produced {
		d.base = f.ServerTime
	}
}

// enter opens a fragment. One that was cut comes again from its start: what was handed on of it is
// passed over. One that was whole before is passed over altogether.
func (p *place) enter(number string) {
	d := &p.open
	d.number, d.handed = number, p.partial[number]
	d.old = p.last.Fragment != "" && !later(number, p.last.Fragment)
}

// later compares fragment numbers, which are too long for integers.
func later(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

// fresh says whether a frame is new, and counts it.
func (p *place) fresh() bool {
	d := &p.open
	d.read++
	if d.old || d.read <= d.handed {
		return false
	}
	d.handed = d.read
	return true
}

// leave is for the end of a fragment, or of a session: what is not whole may come again.
func (p *place) leave() {
	d := p.open
	p.open = document{}
	if d.number == "" || d.whole || d.old || d.read == 0 {
		return
	}
	if p.partial == nil || len(p.partial) == maxPartial {
		p.partial = make(map[string]int)
	}
	p.partial[d.number] = d.handed
	p.cut = d.server
}

// lost is for a fragment that could not be read to its end.
func (p *place) lost() { p.missing = true }
