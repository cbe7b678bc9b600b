package decode

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// errTurned says that another input is shown now.
var errTurned = errors.New("another stream is shown")

// Input is where the frames of one stream go in. One input of a renderer is shown. The others keep
// their last group of pictures, so that any of them can be shown at once; they cost no decoding. Its methods
// may be called from any goroutine.
type Input struct {
	r    *Renderer
	name string
	gate *Gate

	// r.mu is for these.
	prefer Preference
	still  stillFormats

	mu      sync.Mutex // orders Push
	state   input
	wanted  string
	tracks  []*mkv.Track
	blocked Report
}

// Input makes a further input. name is for reports; prefer is what is preferred for this stream.
func (r *Renderer) Input(name string, prefer Preference) *Input {
	in := &Input{r: r, name: name, prefer: prefer, gate: NewGate(r.config.Limits)}
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
	close(r.turned)
	r.turned = make(chan struct{})
	r.stats.FrameTime, r.stats.Wall = 0, time.Time{}
	r.after = nil
}

// Prefer changes what is preferred for the stream. A decoder that is to be another one by that is tried beside the one in
// use, and takes over at a key frame.
func (in *Input) Prefer(p Preference) {
	in.r.mu.Lock()
	defer in.r.mu.Unlock()
	in.prefer = p
}

// SelectTrack names the video track to use, by its number or its name; "" is the first that can be decoded. It counts from
// the next SetTracks on.
func (in *Input) SelectTrack(name string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.wanted = name
}

// SetTracks takes in the tracks of the frames that follow. Those that are not used are reported once.
func (in *Input) SetTracks(tracks []*mkv.Track) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.tracks = tracks
}

// Counts says what became of the frames so far.
func (in *Input) Counts() FrameCounts {
	in.mu.Lock()
	defer in.mu.Unlock()
	return FrameCounts{}
}

// Blocked says why frames that arrive cannot be shown, for as long as that is so. Its code is "" while they can.
func (in *Input) Blocked() Report {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.blocked
}

// Close gives the input up, with all that it keeps; what is pushed later is ignored. If it is shown, nothing is from now on.
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
	r.stats.Dropped += in.gate.Close()
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

// Push hands in one frame; its data is copied. at is its presentation time on the producer's line, best
// as time since 1970; discont says that frames before it are missing; received is when its last byte had been read, if that is
// of interest. Frames of tracks that are no video are passed over. Push never blocks: what finds no room is dropped, counted
// and reported.
func (in *Input) Push(f *mkv.Frame, at time.Duration, discont bool, received time.Time) {
	in.push(f, Unit{Data: f.Data, Time: at, Key: f.Key, Discont: discont, Received: received})
}

// PushStored is Push for frames of a recording, of which every one is to be seen, however fast they come: it waits until
// there is room. It does not wait for a renderer that takes nothing, nor when the input is not shown.
func (in *Input) PushStored(f *mkv.Frame, at time.Duration, discont bool) {
	in.gate.Wait(maxGap)
	in.push(f, Unit{Data: f.Data, Time: at, Key: f.Key, Discont: discont, Stored: true})
}

func (in *Input) push(f *mkv.Frame, u Unit) {
	if f.Track.Type != mkv.Video {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	format, err := in.state.format(f)
	if err != nil {
		in.report(reportOf(err))
	}
	if format == nil {
		return
	}
	u.Format, u.Disposable = format, format.disposable(u.Data)
	if in.state.overflowed(in.gate.Push(u)) {
		in.report(Report{Code: CodeDropped, Message: "the renderer does not keep up; frames are dropped until the next key frame"})
	}
}

func (in *Input) report(r Report) {
	r.Stream = in.name
	in.r.config.Report(r)
}

// input is what Push remembers from frame to frame.
type input struct {
	track    *mkv.Track
	current  *Format
	told     bool // that the track cannot be decoded
	dropping bool
	began    bool // a frame found room
}

// format is the format of the frame's track, nil while it is not known. The same
// pointer means the same format. The error is given once for a track.
func (in *input) format(f *mkv.Frame) (*Format, error) {
	if f.Track == in.track && (in.current != nil || !f.Key) {
		return in.current, nil
	}
	if f.Track != in.track {
		in.told = false
	}
	if !f.Key {
		return nil, nil // wait for a frame that decoding can begin with
	}
	in.track = f.Track
	format, err := FormatOf(f.Track, f.Data)
	if err != nil {
		in.current = nil
		if in.told {
			return nil, nil
		}
		in.told = true
		return nil, err
	}
	if in.current == nil || !in.current.Equal(format) {
		in.current = &format
	}
	return in.current, nil
}

// overflowed says that dropping has begun with this frame.
func (in *input) overflowed(dropped int) bool {
	begins := dropped > 0 && in.began && !in.dropping
	in.dropping = dropped > 0
	in.began = in.began || dropped == 0
	return begins
}
