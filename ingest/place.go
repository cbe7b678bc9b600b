package ingest

import (
	"hash/maphash"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Position is a place in a stream to go on behind.
type Position struct {
	Token    string    // continuation token of the last fragment that came whole
	Fragment string    // its number
	Server   time.Time `json:",omitzero"` // its SERVER_TIMESTAMP; zero when it had none
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
//
// A fragment that came whole before is not new: the last 512 are known by number and timestamps. A fragment
// that is not known is not new if it lies before the position that the service accepted: its number is not higher, its
// SERVER_TIMESTAMP is not later, and nothing new has come in this session. These are counted, see takeSkipped.
// One that could not be read is not new any more once frames of another have come: its rest would come after them.
// Everything else is new, whatever its number: a stream that is deleted and created again has lower numbers.
type place struct {
	start Selector // of the stream, while nothing else is known
	last  Position // of the last fragment that came whole
	rung  rung     // how far down the ladder of selectors the service's refusals have led

	look    bool     // the next session looks whether the stream is another one now; see found
	looking bool     // the present session does
	asked   Selector // what the present session was granted
	session session  // what has come in it
	seen    seen     // fragments that came whole
	alike   int      // fragments that looked like others and were not
	skipped skipped  // fragments that were skipped without ever having been handed on, and have not been reported

	open    document       // the fragment that is being read
	partial map[uint64]int // frames handed on of fragments that have not come whole, by identity
	cut     time.Time      // SERVER_TIMESTAMP of the one that was being read when the last session ended
	missing bool           // frames are missing before the next one
}

// session is what one session has brought so far.
type session struct {
	advanced bool // frames that are new
	repeats  int  // fragments that had come whole before
}

// skipped is a run of fragments.
type skipped struct {
	fragments   int
	first, last string // their numbers
}

// maxAlike is how many fragments may look like others and have continuation tokens of their own. Then numbers and
// timestamps say nothing about this stream, and whatever comes is new.
const maxAlike = 3

// maxPartial bounds place.partial: so many broken fragments in a row are not remembered.
const maxPartial = 64

// document is a fragment that is being read.
type document struct {
	number   string
	server   time.Time // SERVER_TIMESTAMP
	producer time.Time // PRODUCER_TIMESTAMP
	base     time.Time // what its first cluster's timestamp means in wall-clock time
	produced bool      // base is the producer's
	read     int       // frames read in this session
	handed   int       // frames handed on in this or an earlier session

	recognised bool   // what follows is set
	identity   uint64 // of number and timestamps
	old        bool   // it is not new
	repeat     bool   // because it was whole before
	whole      bool
}

// rung is a step of the ladder of selectors that a session comes down when the service
// refuses the place it asks for.
type rung int

const (
	byToken rung = iota
	byFragment
	byNow
)

// ask gives what the next call asks for, and begins its session.
func (p *place) ask() Selector {
	p.asked, p.session = p.selector(), session{}
	if p.looking, p.look = p.look, false; p.looking {
		p.asked = Selector{Kind: Now}
	}
	return p.asked
}

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
	if !f.Complete() || d.whole {
		return false
	}
	d.whole = true
	p.recognise()
	if d.old {
		p.skip(f)
		return false
	}
	p.last = Position{Token: f.Token, Fragment: f.Number, Server: f.ServerTime}
	p.rung, p.cut, p.session.advanced = byToken, time.Time{}, true
	if d.recognised {
		delete(p.partial, d.identity)
		p.seen.add(d.identity, p.seen.hash(f.Token))
	}
	return true
}

// place takes in where the fragment stands in time; each tag may come in an element of its own.
func (d *document) place(f *mkv.Fragment) {
	if d.number == "" {
		d.number = f.Number
	}
	d.server, d.producer = f.ServerTime, f.ProducerTime
	d.base, d.produced = f.ProducerTime, f.ProducerTime.Unix() > 0
	if !d.produced {
		d.base = f.ServerTime
	}
}

// recognise decides whether the open fragment is new, once its tags are there: at its first frame, or
// at its end. One that was cut comes again from its start: what was handed on of it is skipped.
func (p *place) recognise() {
	d := &p.open
	if d.recognised || d.number == "" {
		return
	}
	d.recognised, d.identity = true, p.seen.identity(d)
	if p.alike >= maxAlike {
		return
	}
	d.handed = max(d.handed, p.partial[d.identity])
	d.repeat = p.seen.has(d.identity)
	d.old = d.repeat || p.before(d)
}

// before says that a fragment lies before the position that the service accepted.
func (p *place) before(d *document) bool {
	resumed := p.asked.Kind == ContinuationToken || p.asked.Kind == AfterFragment
	if !resumed || p.session.advanced || p.last.Fragment == "" || later(d.number, p.last.Fragment) {
		return false
	}
	return p.last.Server.IsZero() || d.server.IsZero() || !d.server.After(p.last.Server)
}

// later compares fragment numbers, which are too long for integers.
func later(a, b string) bool {
	if len(a) != len(b) {
		return len(a) > len(b)
	}
	return a > b
}

// skip counts a whole fragment that is not new. One with the number and the timestamps of another but a
// continuation token of its own was never handed on.
func (p *place) skip(f *mkv.Fragment) {
	if token := p.seen.token(p.open.identity); p.open.repeat && (token == givenUp || token == p.seen.hash(f.Token)) {
		p.session.repeats++
		return
	}
	if p.open.repeat {
		p.alike++
	}
	s := &p.skipped
	if s.fragments++; s.fragments == 1 {
		s.first = f.Number
	}
	s.last = f.Number
}

// takeSkipped gives the fragments that were skipped without ever having been handed on, once.
func (p *place) takeSkipped() skipped {
	s := p.skipped
	p.skipped = skipped{}
	return s
}

// fresh says whether a frame is new, and counts it.
func (p *place) fresh() bool {
	p.recognise()
	d := &p.open
	d.read++
	if d.old || d.read <= d.handed {
		return false
	}
	p.pass()
	d.handed = d.read
	p.session.advanced = true
	return true
}

// pass gives up the fragments that have not come whole, but for the open one.
func (p *place) pass() {
	for identity := range p.partial {
		if identity != p.open.identity {
			p.seen.add(identity, givenUp)
			delete(p.partial, identity)
		}
	}
}

// leave is for the end of a fragment, or of a session: what is not whole may come again.
func (p *place) leave() {
	d := p.open
	p.open = document{}
	if !d.recognised || d.whole || d.old || d.read == 0 {
		return
	}
	if p.partial == nil || len(p.partial) == maxPartial {
		p.partial = make(map[uint64]int)
	}
	p.partial[d.identity] = d.handed
	p.cut = d.server
}

// finding is what a session that looks at the newest fragment has found.
type finding int

const (
	nothing     finding = iota
	sameStream          // it goes on after the position: the next session has to begin there
	otherStream         // it has other numbers: the position means nothing in it
)

// found says, at the first frame of a fragment, whether the stream is still the one of the position. A service that
// waits for fragments after a position in a stream that was deleted and created again waits for ever, as all
// numbers are lower.
func (p *place) found() finding {
	if !p.looking {
		return nothing
	}
	p.recognise()
	d := &p.open
	last := d.number == p.last.Fragment && (d.server.Equal(p.last.Server) || p.last.Server.IsZero())
	if d.recognised && !d.repeat && last {
		d.old, d.repeat = true, true // it came before the agent was started again
		p.seen.add(d.identity, p.seen.hash(p.last.Token))
	}
	switch {
	case !d.recognised || d.old:
		return nothing
	case later(d.number, p.last.Fragment):
		return sameStream
	}
	p.looking, p.missing = false, true
	return otherStream
}

// lost is for a fragment that could not be read to its end.
func (p *place) lost() { p.missing = true }

// givenUp stands for the token of a fragment that never came whole, see place.pass.
const givenUp = 0

// maxSeen is how many whole fragments are remembered: the fragments of nearly two minutes at the most
// that the service takes, five a second.
const maxSeen = 512

// seen remembers the last fragments that came whole, and their continuation tokens. Its zero value is empty.
type seen struct {
	seed   maphash.Seed
	tokens map[uint64]uint64 // by identity
	order  []uint64          // identities; a ring once there are maxSeen
	oldest int
}

// identity makes one number of a fragment's number and timestamps. Numbers alone are not enough: a stream that was
// created again may have the same ones.
func (s *seen) identity(d *document) uint64 {
	s.begin()
	return maphash.Comparable(s.seed, struct {
		number           string
		server, producer time.Time
	}{d.number, d.server, d.producer})
}

func (s *seen) hash(token string) uint64 {
	s.begin()
	return maphash.String(s.seed, token)
}

func (s *seen) begin() {
	if s.tokens == nil {
		s.seed, s.tokens = maphash.MakeSeed(), make(map[uint64]uint64)
	}
}

func (s *seen) add(identity, token uint64) {
	if len(s.order) < maxSeen {
		s.order = append(s.order, identity)
	} else {
		delete(s.tokens, s.order[s.oldest])
		s.order[s.oldest] = identity
		s.oldest = (s.oldest + 1) % maxSeen
	}
	s.tokens[identity] = token
}

func (s *seen) has(identity uint64) bool {
	_, ok := s.tokens[identity]
	return ok
}

func (s *seen) token(identity uint64) uint64 { return s.tokens[identity] }
