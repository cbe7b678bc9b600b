package format

import (
	"time"

	"github.com/edge-agent/edge-agent/decode/report"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// An Assembler makes access units for the decoder of the blocks of one video track. Producers put into a block one
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

// Contents is what one block holds.
type Contents struct {
	Data       []byte   // as far as it can be read
	Sets       [][]byte // parameter sets; valid until the next scan
	Slices     int
	first      bool // the first slice is the first of its picture
	Recovery   bool // there is a recovery point
	Disposable bool // no other picture refers to it
}

// Assembler is pure but for its memory: it belongs to one input.
type Assembler struct {
	Track  *mkv.Track
	codec  string // of the track
	Config ParameterSets
	// configSize is the length size by CodecPrivate; 0 when that is not a configuration record.
	configSize int

	framed     bool // lengthSize is known
	lengthSize int  // of the blocks; 0 for Annex B

	sets     ParameterSets // those that count now
	inBand   bool          // sets differ from config
	stale    bool          // format is older than sets
	Format   *Format       // of the newest unit; nil before the first that decoding can begin with
	shape    string        // of format
	Series   int
	Prefix   []byte   // what came in blocks without a slice since the last unit
	Recovery bool     // prefix has a recovery point
	found    [][]byte // memory of contents.sets
	out      []byte   // memory of a unit that is converted
	joined   []byte   // memory of a unit with a prefix
}

// mostPrefix bounds what may come in front of a picture in blocks of its own.
const mostPrefix = 256 << 10

// Begin starts with a track, or says why it cannot be decoded.
func (a *Assembler) Begin(t *mkv.Track) error {
	series := a.Series
	*a = Assembler{Track: t, codec: t.Codec(), Series: series, found: a.found, out: a.out, joined: a.joined, Prefix: a.Prefix[:0]}
	if err := Decodable(t); err != nil {
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
			a.Config.Learn(a.codec, nal)
		}
	}
	for _, set := range a.Config.list {
		a.sets.Learn(a.codec, set.nal)
	}
	return nil
}

func (a *Assembler) take(lists ...[][]byte) {
	for _, list := range lists {
		for _, nal := range list {
			a.Config.Learn(a.codec, nal)
		}
	}
}

// Decodable says why a track cannot be decoded, as far as its entry tells.
func Decodable(t *mkv.Track) error {
	switch codec := t.Codec(); {
	case codec != mkv.CodecH264 && codec != mkv.CodecH265:
		return report.Errorf(report.CodeCodec, "track %d has codec %q; only %s and %s can be decoded", t.Number, codec, mkv.CodecH264, mkv.CodecH265)
	case t.Encoded:
		return report.Errorf(report.CodeCodec, "track %d is compressed or encrypted in the container; the producer must send it plain", t.Number)
	}
	return nil
}

// Scan reads the NAL units of a block. The error says that it is not one of the codec.
func (a *Assembler) Scan(block []byte) (Contents, error) {
	if a.framed {
		if c, ok := a.read(block, a.lengthSize); ok && len(c.Data) == len(block) {
			return c, nil
		}
	}
	for _, size := range a.sizes() {
		if c, ok := a.read(block, size); ok && len(c.Data) == len(block) {
			if a.framed = true; a.lengthSize != size {
				a.lengthSize, a.stale = size, true
			}
			return c, nil
		}
	}
	// What cannot be read behind a slice is left out: some producers fill frames up.
	if c, ok := a.read(block, a.lengthSize); ok && a.framed && c.Slices > 0 {
		return c, nil
	}
	if a.configSize > 0 {
		return Contents{}, report.Errorf(report.CodeCodec, "track %d: the frames are neither NAL units with %d-byte lengths, as CodecPrivate says, nor Annex B; the producer's muxer is at fault",
			a.Track.Number, a.configSize)
	}
	return Contents{}, report.Errorf(report.CodeCodec, "track %d: CodecPrivate (%d bytes) is not a decoder configuration and the frames are not Annex B; the producer must send one of the two",
		a.Track.Number, len(a.Track.CodecPrivate))
}

// sizes are the length sizes that the blocks may have, the most probable first: 00 00 01 may begin a length as well as
// a start code, so lengths that lead to the end of the block have the first word.
func (a *Assembler) sizes() []int {
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
func (a *Assembler) read(block []byte, size int) (c Contents, ok bool) {
	if size == 0 && !mkv.IsAnnexB(block) {
		return Contents{}, false
	}
	a.found = a.found[:0]
	codec := codecOf[a.codec]
	layers := 0
	if a.Format != nil {
		layers = a.Format.Layers
	}
	units, others := mkv.NewNALUnits(block, size), 0
	c.Disposable = true
	read := 0
	for nal := units.Next(); nal != nil; nal = units.Next() {
		if nal[0]&0x80 != 0 { // forbidden_zero_bit
			break
		}
		read = len(block) - units.Rest()
		_, free := unreferenced(codec, layers, nal)
		c.Disposable = c.Disposable && free
		if slice, first := mkv.Slice(a.codec, nal); slice {
			if c.Slices++; c.Slices == 1 {
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
		c.Recovery = c.Recovery || mkv.IsRecoveryPoint(a.codec, nal)
	}
	c.Disposable = c.Disposable && c.Slices > 0
	c.Data, c.Sets = block[:read], a.found
	return c, c.Slices+others > 0
}

// codecOf names the codecs as the rest of this package does.
var codecOf = map[string]Codec{mkv.CodecH264: H264, mkv.CodecH265: H265}

// Learn takes in parameter sets that came in band.
func (a *Assembler) Learn(sets [][]byte) {
	for _, nal := range sets {
		if a.sets.Learn(a.codec, nal) {
			a.stale, a.inBand = true, true
		}
	}
}

// direct says that the blocks go to the decoder as they are, with CodecPrivate as its configuration.
func (a *Assembler) direct() bool {
	return a.lengthSize > 0 && a.lengthSize == a.configSize && !a.inBand && a.Config.Complete(a.codec)
}

// formatNow is the format of a unit that decoding can begin with; nil when parameter sets are missing.
func (a *Assembler) formatNow() *Format {
	if a.Format != nil && !a.stale {
		return a.Format
	}
	if !a.sets.Complete(a.codec) {
		return nil
	}
	f := &Format{Codec: codecOf[a.codec], Stream: ByteStream, Width: a.Track.Width, Height: a.Track.Height}
	for _, set := range a.sets.list {
		if set.kind == mkv.SPS && f.Codec == H265 {
			f.Layers = max(f.Layers, layers(set.nal))
		}
	}
	if a.direct() {
		f.Stream, f.CodecData, f.LengthSize = DirectStream[f.Codec], a.Track.Configuration(), a.configSize
	} else {
		f.CodecData = a.sets.annexB()
	}
	shape := a.sets.shape(a.codec)
	if a.Format == nil || a.Format.Stream != f.Stream || a.shape != shape {
		a.Series++
	}
	f.Series = a.Series
	a.Format, a.shape, a.stale = f, shape, false
	return f
}

// DirectStream is the form in which blocks with lengths go to a decoder as they are.
var DirectStream = map[Codec]StreamFormat{H264: AVC, H265: HVC1}

// FormatFor is the format of a unit, key or not; nil with the reason why it cannot be decoded.
func (a *Assembler) FormatFor(key bool) (*Format, report.Reason) {
	if key {
		if f := a.formatNow(); f != nil {
			return f, report.Shown
		}
		return nil, report.DropNoParameterSets
	}
	switch {
	case a.fits():
		return a.Format, report.Shown
	case !a.sets.Complete(a.codec):
		return nil, report.DropNoParameterSets
	}
	return nil, report.DropNoKeyFrame
}

// MissingSets says what is missing for formatNow.
func (a *Assembler) MissingSets() string {
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

// KeepPrefix keeps a block without a slice for the unit that follows.
func (a *Assembler) KeepPrefix(c Contents) {
	a.Recovery = a.Recovery || c.Recovery
	if len(a.Prefix)+len(c.Data) <= mostPrefix {
		a.Prefix = append(a.Prefix, c.Data...)
	}
}

// Unit makes a unit's data of a block that begins a picture, and what came in front of it. It is valid until the next
// call.
func (a *Assembler) Unit(c Contents) []byte {
	data := c.Data
	if len(a.Prefix) > 0 {
		a.joined = append(append(a.joined[:0], a.Prefix...), c.Data...)
		data = a.joined
		a.Prefix, a.Recovery = a.Prefix[:0], false
	}
	return a.Converted(data)
}

// Converted gives NAL units the form that the decoder gets. It is valid until the next call.
func (a *Assembler) Converted(data []byte) []byte {
	if a.lengthSize == 0 || a.Format == nil || a.Format.Stream != ByteStream {
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
func (a *Assembler) fits() bool {
	return a.Format != nil && (a.Format.Stream == ByteStream || a.lengthSize == a.Format.LengthSize)
}

// Joins says that a block without the beginning of a picture continues the one before it.
func (c Contents) Joins(at, before time.Duration, discont bool) bool {
	return c.Slices > 0 && !c.first && at == before && !discont
}
