package decode

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/decode/format"
	"github.com/edge-agent/edge-agent/decode/plan"
	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// errTurned says that another input is shown now.
var errTurned = errors.New("another stream is shown")

// Input is where the frames of one stream go in. One input of a renderer is shown. The others keep
// their last group of pictures, so that any of them can be shown at once; they cost no decoding. Its methods
// may be called from any goroutine.
//
//	Push ──▶ the track in use ──▶ access units ──▶ gate ──▶ renderer child
//	          track.go             assemble.go     gate.go
//
// Every access unit of the track in use gets a number and is accounted for, whatever becomes of it (ledger.go).
type Input struct {
	r      *Renderer
	name   string
	gate   *Gate
	ledger *ledger
	lag    screenLag

	// r.mu is for these.
	prefer plan.Preference
	still  stillFormats
	silent stillFormats // the same for decoders that made no pictures

	mu       sync.Mutex // orders Push; not held while something is reported
	tracks   tracks
	broken   error            // why the track in use cannot be decoded, as far as its entry tells
	blocks   format.Assembler // of the track in use
	newest   newest
	sliced   bool // slices come in blocks of their own
	whole    int  // pictures of one block since they did
	hold     *time.Timer
	hurdle   hurdle
	silence  hurdle // of the track in use, while others have frames
	missing  bool   // frames before the next one
	overflow overflow
	blocked  report.Report
	reports  []report.Report // that wait for mu to be released
	closed   bool
}

// Input makes a further input. name is for reports; prefer is what is preferred for this stream.
func (r *Renderer) Input(name string, prefer plan.Preference) *Input {
	in := &Input{r: r, name: name, prefer: prefer, ledger: &ledger{}}
	in.gate = newGate(r.config.Limits, r.memory, in.ledger)
	in.gate.Park()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inputs = append(r.inputs, in)
	return in
}

// Show makes an input the one whose pictures are shown. The group of pictures that it kept is decoded at
// once; until there is a picture of it, the one before stays, for a moment.
func (r *Renderer) Show(in *Input) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn(in)
}

// turn is Show; r.mu is held.
func (r *Renderer) turn(in *Input) {
	if r.shown == in || !slices.Contains(r.inputs, in) {
		return
	}
	r.shown.gate.Park()
	r.shown = in
	in.gate.Unpark()
	in.lag.reset()
	r.after = nil
	r.repipe()
}

// repipe has the pipeline given up, for another one with the frames of the input that is shown. r.mu is held.
func (r *Renderer) repipe() {
	close(r.turned)
	r.turned = make(chan struct{})
	r.stats.FrameTime, r.stats.Wall = 0, time.Time{}
}

// Restart lets go of all frames that wait or are being decoded: those that follow are of another place in the stream.
func (in *Input) Restart() {
	in.mu.Lock()
	in.flush()
	in.unlock()
	r := in.r
	r.mu.Lock()
	defer r.mu.Unlock()
	in.gate.Discard()
	if r.shown == in {
		r.repipe()
	}
}

// Prefer changes what is preferred for the stream. A decoder that is to be another one by that is tried beside the one
// in use, and takes over at a key frame.
func (in *Input) Prefer(p plan.Preference) {
	in.r.mu.Lock()
	defer in.r.mu.Unlock()
	in.prefer = p
}

// SelectTrack names the video track to use, by its number or its name; "" is the first that can be decoded.
func (in *Input) SelectTrack(name string) {
	in.mu.Lock()
	defer in.unlock()
	if in.tracks.wanted != name {
		in.tracks.wanted, in.tracks.failed = name, nil
		in.tracks.choose()
		in.chosen(true)
	}
}

// SetTracks takes in the tracks of the frames that follow. Those that are not used are reported once.
func (in *Input) SetTracks(tracks []*mkv.Track) {
	in.mu.Lock()
	defer in.unlock()
	in.chosen(in.tracks.set(tracks))
}

// Counts says what became of the frames so far.
func (in *Input) Counts() report.FrameCounts { return in.ledger.snapshot() }

// Blocked says why frames that arrive cannot be shown, for as long as that is so. Its code is "" while they can.
func (in *Input) Blocked() report.Report {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.blocked
}

// Close gives the input up, with all that it keeps; what is pushed later is ignored. If it is shown, nothing is from
// now on.
func (in *Input) Close() {
	r := in.r
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.inputs, in)
	if i < 0 || in == r.own {
		return
	}
	if r.shown == in {
		r.turn(r.own)
	}
	r.inputs = slices.Delete(r.inputs, i, i+1)
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.gate.Close()
	in.ledger.settleThrough(math.MaxUint64, math.MaxUint64, report.Hidden)
	r.gone.Add(in.ledger.snapshot())
}

// showing is the input that is shown, and what is closed when it no longer is.
func (r *Renderer) showing() (*Input, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown, r.turned
}

// Shown says that this input is the one that is shown.
func (in *Input) Shown() bool {
	shown, _ := in.r.showing()
	return shown == in
}

// Push hands in one frame; its data is copied. at is its presentation time on the producer's line, best as time since
// 1970; discont says that frames before it are missing; received is when its last byte had been read, if that is of
// interest. Frames of other tracks than the one in use are ignored. Push never blocks: what finds no room is dropped,
// counted and reported.
func (in *Input) Push(f *mkv.Frame, at time.Duration, discont bool, received time.Time) {
	in.push(f, Unit{Time: at, Key: f.Key, Discont: discont, Received: received})
}

// storedPatience is how long frames of a recording wait for a renderer that takes none: a child that hangs is replaced
// in less.
const storedPatience = 10 * time.Second

// PushStored is Push for frames of a recording, of which every one is to be seen, however fast they come: it waits
// until there is room or ctx ends, but not when the input is not shown, and not for a renderer that takes nothing for
// ten seconds.
func (in *Input) PushStored(ctx context.Context, f *mkv.Frame, at time.Duration, discont bool) {
	in.gate.Wait(ctx, storedPatience)
	in.push(f, Unit{Time: at, Key: f.Key, Discont: discont, Stored: true})
}

// push takes in a block; u is what is known of the access unit that it belongs to.
func (in *Input) push(f *mkv.Frame, u Unit) {
	if f.Track.Type != mkv.Video {
		return
	}
	in.mu.Lock()
	defer in.unlock()
	if in.closed {
		return
	}
	if !in.tracks.known(f.Track) {
		in.chosen(in.tracks.add(f.Track))
	}
	if used := in.tracks.used; used == nil || f.Track.Number != used.Number && !in.foreign(f.Track, u) {
		return
	}
	in.take(f.Data, u)
}

// unlock releases mu and reports what has come up: whoever is told may ask this input.
func (in *Input) unlock() {
	reports := in.reports
	in.reports = nil
	in.mu.Unlock()
	for _, r := range reports {
		in.report(r)
	}
}

// later reports something when mu is released.
func (in *Input) later(r report.Report) { in.reports = append(in.reports, r) }

func (in *Input) report(r report.Report) {
	r.Stream = in.name
	in.r.config.Report(r)
}

// chosen takes in that a track was chosen; news says that the list or the choice has changed.
func (in *Input) chosen(news bool) {
	if !news {
		return
	}
	if r := in.tracks.ignored(); r.Code != "" {
		in.later(r)
	}
	used := in.tracks.used
	if used != nil && in.blocks.Track != nil && sameMedia(in.blocks.Track, used) {
		return
	}
	in.flush()
	in.newest, in.sliced = newest{hold: in.newest.hold}, false
	in.hurdle, in.silence, in.blocked = hurdle{}, hurdle{}, report.Report{}
	if used == nil {
		in.blocks = format.Assembler{Series: in.blocks.Series}
		in.block(in.tracks.missing())
		return
	}
	in.broken = in.blocks.Begin(used)
}

// sameMedia says that the frames of two tracks go on into each other.
func sameMedia(a, b *mkv.Track) bool {
	return a.Number == b.Number && a.CodecID == b.CodecID && bytes.Equal(a.CodecPrivate, b.CodecPrivate) && a.Encoded == b.Encoded &&
		a.Width == b.Width && a.Height == b.Height
}
