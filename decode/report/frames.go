package report

// Reason says why a frame was not shown. It is a key of telemetry's dropped_by, so a name never changes.
type Reason string

// The reasons. Shown is none: the frame's picture was on the screen. Hidden frames are those of a stream that was not
// the one on the display: nobody misses them, so they are counted apart from the dropped ones.
const (
	Shown  Reason = ""
	Hidden Reason = "hidden"

	DropNoKeyFrame      Reason = "no_key_frame"      // came before a frame that decoding can begin with
	DropNoParameterSets Reason = "no_parameter_sets" // came before the parameter sets that it needs
	DropUnsupported     Reason = "unsupported"       // of a codec, or in a form, that cannot be decoded
	DropQueueFull       Reason = "queue_full"        // the renderer did not keep up and the queue was full
	DropTooLarge        Reason = "too_large"         // larger than the queue
	DropOverload        Reason = "overload"          // left out so that a slow decoder keeps up
	DropLate            Reason = "late"              // its time was over before it could be shown
	DropCatchUp         Reason = "catch_up"          // passed without being shown, to get to the newest frame
	DropNoPicture       Reason = "no_picture"        // the decoder made no picture of it
	DropDecoderFailed   Reason = "decoder_failed"    // lost with a decoder or renderer that failed
)

// Settled is a frame whose fate is known.
type Settled struct {
	Frame  uint64 // Unit.Number
	Reason Reason // Shown, or why not
}

// FrameCounts says what became of the frames of one input. At every moment
// Received = Shown + Hidden + the sum of Dropped + Queued.
type FrameCounts struct {
	Received uint64 // access units of the video track in use
	Shown    uint64
	Hidden   uint64
	Dropped  map[Reason]uint64
	Queued   uint64 // on their way: nothing is known of them yet
}

// DroppedSum is the sum of Dropped.
func (c FrameCounts) DroppedSum() (n uint64) {
	for _, of := range c.Dropped {
		n += of
	}
	return n
}

// Add adds further counts.
func (c *FrameCounts) Add(more FrameCounts) {
	c.Received += more.Received
	c.Shown += more.Shown
	c.Hidden += more.Hidden
	c.Queued += more.Queued
	for why, n := range more.Dropped {
		if c.Dropped == nil {
			c.Dropped = make(map[Reason]uint64)
		}
		c.Dropped[why] += n
	}
}
