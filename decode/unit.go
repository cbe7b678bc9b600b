package decode

import (
	"fmt"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// How blocks of the track in use become access units in the gate. All of this is called with Input.mu held.

// newest is the access unit that began last.
type newest struct {
	unit    Unit
	dropped bool      // further slices are not wanted either
	held    bool      // it waits for further slices, in hold
	since   time.Time // it does
	blocks  int
	hold    []byte
}

const (
	// holdMost is how long a picture waits for further slices, where they come in blocks of their own.
	holdMost = 100 * time.Millisecond
	// wholePictures is after how many pictures of one block none waits any more.
	wholePictures = 50
)

// take takes in a block; u is what is known of the access unit that it belongs to.
func (in *Input) take(data []byte, u Unit) {
	b := &in.blocks
	if in.broken != nil {
		in.unreadable(u, in.broken)
		return
	}
	c, err := b.Scan(data)
	if err != nil {
		in.unreadable(u, err)
		return
	}
	b.Learn(c.Sets)
	switch {
	case c.Slices == 0:
		in.flush()
		b.KeepPrefix(c)
	case in.newest.unit.Number != 0 && c.Joins(u.Time, in.newest.unit.Time, u.Discont):
		in.join(c)
	default:
		in.flush()
		in.begin(c, u)
	}
}

// begin makes a unit of a block with which a picture begins.
func (in *Input) begin(c format.Contents, u Unit) {
	b := &in.blocks
	u = in.number(u)
	u.Key = u.Key || c.Recovery || b.Recovery
	format, why := b.FormatFor(u.Key)
	if format == nil {
		in.drop(u, why, nil)
		return
	}
	u.Format, u.Disposable = format, c.Disposable && len(b.Prefix) == 0
	u.Discont = u.Discont || in.missing
	in.missing = false
	u.Data = b.Unit(c)
	in.hurdle, in.blocked = hurdle{}, report.Report{}
	in.newest.unit = u
	if in.sliced {
		in.wait(u)
		return
	}
	in.give(u)
}

// number opens an access unit in the ledger.
func (in *Input) number(u Unit) Unit {
	u.Number = in.r.numbers.Add(1)
	in.ledger.open(u.Number)
	received := u.Received
	if received.IsZero() { // of a recording
		received = time.Now()
	}
	in.lag.received(u.Number, u.Time, received, in.gate.hidden())
	in.newest = newest{unit: u, blocks: 1, hold: in.newest.hold}
	return u
}

// join adds a further slice to the newest unit. The first such slice of a stream comes when the picture without it
// is in the gate already, and from then on pictures wait for what follows.
func (in *Input) join(c format.Contents) {
	n := &in.newest
	n.blocks++
	switch data := in.blocks.Converted(c.Data); {
	case n.dropped:
	case n.held:
		n.hold = append(n.hold, data...)
	default:
		in.sliced, in.whole = true, 0
		in.gate.Amend(n.unit.Number, data)
	}
}

// wait keeps a unit for further slices.
func (in *Input) wait(u Unit) {
	n := &in.newest
	n.held, n.since, n.hold = true, time.Now(), append(n.hold[:0], u.Data...)
	if in.hold == nil {
		in.hold = time.AfterFunc(holdMost, in.holdOver)
		return
	}
	in.hold.Reset(holdMost)
}

// holdOver gives the newest unit to the gate although no other has begun.
func (in *Input) holdOver() {
	in.mu.Lock()
	defer in.unlock()
	if in.newest.held && time.Since(in.newest.since) >= holdMost {
		in.flush()
	}
}

// flush gives the unit to the gate that waits for further slices.
func (in *Input) flush() {
	n := &in.newest
	if !n.held || in.closed {
		return
	}
	n.held = false
	if in.whole++; n.blocks > 1 {
		in.whole = 0
	}
	in.sliced = in.whole < wholePictures
	u := n.unit
	u.Data = n.hold
	in.give(u)
}

// give gives a unit to the gate.
func (in *Input) give(u Unit) {
	if in.overflow.begins(in.gate.Push(u)) {
		in.later(report.Report{Code: report.CodeDropped, Message: "the renderer does not keep up; frames are dropped until the next key frame"})
	}
}

// overflow tells when frames begin to find no room.
type overflow struct {
	dropping bool
	began    bool // a frame found room
}

func (o *overflow) begins(dropped int) bool {
	begins := dropped > 0 && o.began && !o.dropping
	o.dropping = dropped > 0
	o.began = o.began || dropped == 0
	return begins
}

// hurdle is why frames cannot be shown, and for how long.
type hurdle struct {
	since  time.Time     // by this box's clock
	first  time.Duration // of the first frame, on its own line
	frames int
}

// hurdlePatience is how long frames may come that cannot be shown before that is reported. Groups of pictures
// and so waits for a key frame are mostly shorter.
const hurdlePatience = 3 * time.Second

// wearing takes in one more frame. It returns whether that lasts for long. Recordings come faster than they were made.
func (h *hurdle) wearing(at time.Duration) bool {
	now := time.Now()
	if h.frames++; h.frames == 1 {
		h.since, h.first = now, at
	}
	return now.Sub(h.since) >= hurdlePatience || (at-h.first).Abs() >= hurdlePatience
}

// unreadable drops a block that is not one of the track's codec.
func (in *Input) unreadable(u Unit, err error) {
	in.flush()
	in.drop(in.number(u), report.DropUnsupported, err)
}

// surelyBroken is how many blocks that cannot be read are enough to judge a track by, where none could be read before.
const surelyBroken = 3

// drop settles an access unit that cannot be decoded, and sees to what that means for the track.
func (in *Input) drop(u Unit, why report.Reason, err error) {
	b := &in.blocks
	in.newest.dropped, in.missing = true, true
	b.Prefix, b.Recovery = b.Prefix[:0], false
	if why == report.DropNoKeyFrame && in.gate.hidden() {
		in.ledger.settle(u.Number, report.Hidden)
	} else {
		in.ledger.settle(u.Number, why)
	}
	serious := in.hurdle.wearing(u.Time)
	switch {
	case b.Format != nil: // it worked before
	case why == report.DropUnsupported:
		serious = serious || u.Key || in.hurdle.frames >= surelyBroken
	case why == report.DropNoParameterSets:
		serious = serious || u.Key
	}
	if !serious || b.Format == nil && in.replaceTrack() {
		return
	}
	r := report.Report{Message: fmt.Sprintf("track %d: no key frame for more than %v, so that decoding cannot begin; set the camera to a key frame every 2 s",
		b.Track.Number, hurdlePatience), Code: report.CodeNoKeyFrame}
	switch why {
	case report.DropUnsupported:
		r = reportOf(err)
	case report.DropNoParameterSets:
		r = report.Report{Code: report.CodeNoParameterSets, Message: b.MissingSets()}
	}
	in.block(r)
}

// foreign takes in a block of another video track than the one in use, which is replaced if it has no frames at all. It
// returns whether the block's track is the one in use now.
func (in *Input) foreign(of *mkv.Track, u Unit) bool {
	if in.newest.unit.Number != 0 || in.tracks.wanted != "" || !in.tracks.usable(of) || !in.silence.wearing(u.Time) {
		return false
	}
	return in.replaceTrack() && in.tracks.used.Number == of.Number
}

// replaceTrack uses another track in place of one that cannot be decoded, if there is one.
func (in *Input) replaceTrack() bool {
	if !in.tracks.other() || !in.tracks.fail() {
		return false
	}
	in.chosen(true)
	return true
}

// block notes, and reports once, why frames that arrive cannot be shown.
func (in *Input) block(r report.Report) {
	r.Stream = in.name
	if r.Code != "" && r.Code != in.blocked.Code {
		in.later(r)
	}
	in.blocked = r
}
