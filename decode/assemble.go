package decode

import (
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// An assembler makes access units for the decoder of the blocks of one video track. Producers put into a block one
// access unit; some put parameter sets, or every slice, into a block of its own. How NAL units are told apart
// and where the parameter sets are differs too:
//
//	CodecPrivate              blocks                       to the decoder
//	avcC, hvcC with sets      lengths                      as they are
//	the same, without sets    lengths, sets in band        Annex B
//	the same, with sets       Annex B                      as they are, behind the sets
//	Annex B, or nothing       Annex B                      as they are, behind the sets
//	nothing                   4-byte lengths               Annex B
//
// Parameter sets in band that differ from those in CodecPrivate, or from those before, count from then on.

// contents is what one block holds.
type contents struct {
	data       []byte   // as far as it can be read
	sets       [][]byte // parameter sets; valid until the next scan
	slices     int
	first      bool // the first slice is the first of its picture
	recovery   bool // there is a recovery point
	disposable bool // no other picture refers to it
}

// assembler is pure but for its memory: it belongs to one input.
type assembler struct {
	track  *mkv.Track
	codec  string // of the track
	config parameterSets
	// configSize is the length size by CodecPrivate; 0 when that is not a configuration record.
	configSize int

	framed     bool // lengthSize is known
	lengthSize int  // of the blocks; 0 for Annex B

	sets     parameterSets // those that count now
	inBand   bool          // sets differ from config
	stale    bool          // format is older than sets
	format   *Format       // of the newest unit; nil before the first that decoding can begin with
	shape    string        // of format
	series   int
	prefix   []byte   // what came in blocks without a slice since the last unit
	recovery bool     // prefix has a recovery point
	found    [][]byte // memory of contents.sets
	out      []byte   // memory of a unit that is converted
	joined   []byte   // memory of a unit with a prefix
}

// mostPrefix bounds what may come in front of a picture in blocks of its own.
const mostPrefix = 256 << 10

// begin starts with a track, or says why it cannot be decoded.
func (a *assembler) begin(t *mkv.Track) error {
	series := a.series
	*a = assembler{track: t, codec: t.Codec(), series: series, found: a.found, out: a.out, joined: a.joined, prefix: a.prefix[:0]}
	if err := decodable(t); err != nil {
		return err
	}
	config := t.Configuration()
	switch a.codec {
	case mkv.CodecH264:
		if c, err := mkv.ReadAVCC(config); err == nil {
			a.configSize = c.LengthSize
			a.take(c.SPS, c.PPS)
		}
	case mkv.CodecH265:
		if c, err := mkv.ReadHVCC(config); err == nil {
			a.configSize = c.LengthSize
			a.take(c.VPS, c.SPS, c.PPS)
		}
	}
	if a.configSize == 0 && mkv.IsAnnexB(config) {
		units := mkv.NewNALUnits(config, 0)
		for nal := units.Next(); nal != nil; nal = units.Next() {
			a.config.learn(a.codec, nal)
		}
	}
	for _, set := range a.config.list {
		a.sets.learn(a.codec, set.nal)
	}
	return nil
}

func (a *assembler) take(lists ...[][]byte) {
	for _, list := range lists {
		for _, nal := range list {
			a.config.learn(a.codec, nal)
		}
	}
}

// decodable says why a track cannot be decoded, as far as its entry tells.
func decodable(t *mkv.Track) error {
	switch codec := t.Codec(); {
	case codec != mkv.CodecH264 && codec != mkv.CodecH265:
		return errorf(CodeCodec, "track %d has codec %q; only %s and %s can be decoded", t.Number, codec, mkv.CodecH264, mkv.CodecH265)
	case t.Encoded:
		return errorf(CodeCodec, "track %d is compressed or encrypted in the container; the producer must send it plain", t.Number)
	}
	return nil
}

// scan reads the NAL units of a block. The error says that it is not one of the codec.
func (a *assembler) scan(block []byte) (contents, error) {
	if a.framed {
		if c, ok := a.read(block, a.lengthSize); ok && len(c.data) == len(block) {
			return c, nil
		}
	}
	for _, size := range a.sizes() {
		if c, ok := a.read(block, size); ok && len(c.data) == len(block) {
			if a.framed = true; a.lengthSize != size {
				a.lengthSize, a.stale = size, true
			}
			return c, nil
		}
	}
	// What cannot be read behind a slice is left out: some producers fill frames up.
	if c, ok := a.read(block, a.lengthSize); ok && a.framed && c.slices > 0 {
		return c, nil
	}
	if a.configSize > 0 {
		return contents{}, errorf(CodeCodec, "track %d: the frames are neither NAL units with %d-byte lengths, as CodecPrivate says, nor Annex B; the producer's muxer is at fault",
			a.track.Number, a.configSize)
	}
	return contents{}, errorf(CodeCodec, "track %d: CodecPrivate (%d bytes) is not a decoder configuration and the frames are not Annex B; the producer must send one of the two",
		a.track.Number, len(a.track.CodecPrivate))
}

// sizes are the length sizes that the blocks may have, the most probable first: 00 00 01 may begin a length as well as
// a start code, so lengths that lead to the end of the block have the first word.
func (a *assembler) sizes() []int {
	switch a.configSize {
	case 0, 4:
		return []int{4, 0}
	case 1:
		return []int{1, 0}
	case 2:
		return []int{2, 0}
	}
	return []int{a.configSize, 4, 0}
}

// read reads a block with one length size. It is false when nothing in it is a NAL unit.
func (a *assembler) read(block []byte, size int) (c contents, ok bool) {
	if size == 0 && !mkv.IsAnnexB(block) {
		return contents{}, false
	}
	a.found = a.found[:0]
	codec := codecOf[a.codec]
	layers := 0
	if a.format != nil {
		layers = a.format.Layers
	}
	units, others := mkv.NewNALUnits(block, size), 0
	c.disposable = true
	read := 0
	for nal := units.Next(); nal != nil; nal = units.Next() {
		if nal[0]&0x80 != 0 { // forbidden_zero_bit
			break
		}
		read = len(block) - units.Rest()
		_, free := unreferenced(codec, layers, nal)
		c.disposable = c.disposable && free
		if slice, first := mkv.Slice(a.codec, nal); slice {
			if c.slices++; c.slices == 1 {
				c.first = first
			}
			continue
		}
		if mkv.Auxiliary(a.codec, nal) {
			others++
		}
		if kind, _ := mkv.ParameterSet(a.codec, nal); kind != mkv.NoSet {
			a.found = append(a.found, nal)
		}
		c.recovery = c.recovery || mkv.IsRecoveryPoint(a.codec, nal)
	}
	c.disposable = c.disposable && c.slices > 0
	c.data, c.sets = block[:read], a.found
	return c, c.slices+others > 0
}

// codecOf names the codecs as the rest of this package does.
var codecOf = map[string]Codec{mkv.CodecH264: H264, mkv.CodecH265: H265}

// learn takes in parameter sets that came in band.
func (a *assembler) learn(sets [][]byte) {
	for _, nal := range sets {
		if a.sets.learn(a.codec, nal) {
			a.stale, a.inBand = true, true
		}
	}
}

// direct says that the blocks go to the decoder as they are, with CodecPrivate as its configuration.
func (a *assembler) direct() bool {
	return a.lengthSize > 0 && a.lengthSize == a.configSize && !a.inBand && a.config.complete(a.codec)
}

// formatNow is the format of a unit that decoding can begin with; nil when parameter sets are missing.
func (a *assembler) formatNow() *Format {
	if a.format != nil && !a.stale {
		return a.format
	}
	if !a.sets.complete(a.codec) {
		return nil
	}
	f := &Format{Codec: codecOf[a.codec], Stream: ByteStream, Width: a.track.Width, Height: a.track.Height}
	for _, set := range a.sets.list {
		if set.kind == mkv.SPS && f.Codec == H265 {
			f.Layers = max(f.Layers, layers(set.nal))
		}
	}
	if a.direct() {
		f.Stream, f.CodecData, f.LengthSize = directStream[f.Codec], a.track.Configuration(), a.configSize
	} else {
		f.CodecData = a.sets.annexB()
	}
	shape := a.sets.shape(a.codec)
	if a.format == nil || a.format.Stream != f.Stream || a.shape != shape {
		a.series++
	}
	f.series = a.series
	a.format, a.shape, a.stale = f, shape, false
	return f
}

var directStream = map[Codec]StreamFormat{H264: AVC, H265: HVC1}

// formatFor is the format of a unit, key or not; nil with the reason why it cannot be decoded.
func (a *assembler) formatFor(key bool) (*Format, Reason) {
	if key {
		if f := a.formatNow(); f != nil {
			return f, Shown
		}
		return nil, DropNoParameterSets
	}
	switch {
	case a.fits():
		return a.format, Shown
	case !a.sets.complete(a.codec):
		return nil, DropNoParameterSets
	}
	return nil, DropNoKeyFrame
}

// missingSets says what is missing for formatNow.
func (a *assembler) missingSets() string {
	missing := ""
	for _, kind := range []struct {
		kind mkv.SetKind
		name string
	}{{mkv.VPS, "VPS"}, {mkv.SPS, "SPS"}, {mkv.PPS, "PPS"}} {
		if !a.sets.has(kind.kind) && (kind.kind != mkv.VPS || a.codec == mkv.CodecH265) {
			if missing != "" {
				missing += " and "
			}
			missing += kind.name
		}
	}
	return "the stream has no parameter sets (" + missing + "), neither in CodecPrivate nor in its frames; the producer must send them"
}

// keepPrefix keeps a block without a slice for the unit that follows.
func (a *assembler) keepPrefix(c contents) {
	a.recovery = a.recovery || c.recovery
	if len(a.prefix)+len(c.data) <= mostPrefix {
		a.prefix = append(a.prefix, c.data...)
	}
}

// unit makes a unit's data of a block that begins a picture, and what came in front of it. It is valid until the next
// call.
func (a *assembler) unit(c contents) []byte {
	data := c.data
	if len(a.prefix) > 0 {
		a.joined = append(append(a.joined[:0], a.prefix...), c.data...)
		data = a.joined
		a.prefix, a.recovery = a.prefix[:0], false
	}
	return a.converted(data)
}

// converted gives NAL units the form that the decoder gets. It is valid until the next call.
func (a *assembler) converted(data []byte) []byte {
	if a.lengthSize == 0 || a.format == nil || a.format.Stream != ByteStream {
		return data
	}
	units := mkv.NewNALUnits(data, a.lengthSize)
	a.out = a.out[:0]
	for nal := units.Next(); nal != nil; nal = units.Next() {
		a.out = append(append(a.out, startCode...), nal...)
	}
	return a.out
}

// fits says that blocks can go to the decoder of the present format.
func (a *assembler) fits() bool {
	return a.format != nil && (a.format.Stream == ByteStream || a.lengthSize == a.format.LengthSize)
}

// joins says that a block without the beginning of a picture continues the one before it.
func (c contents) joins(at, before time.Duration, discont bool) bool {
	return c.slices > 0 && !c.first && at == before && !discont
}
