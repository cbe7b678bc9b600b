// Package forms rewrites a clip into the forms in which real producers send H.264 and H.265: Annex B or lengths,
// parameter sets here, there or nowhere, slices in blocks of their own, further tracks.
//
// In goes a Matroska file. Out comes the same video in another form, as a capture of GetMedia with one fragment for
// each group of pictures. Tests serve it with kvstest and know how many pictures must come of it.
package forms

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// Clip is a video: tracks, and blocks in the order in which they are sent.
type Clip struct {
	Tracks []mkv.Track
	Blocks []Block
}

// Block is one SimpleBlock.
type Block struct {
	Track uint64
	Time  time.Duration
	Data  []byte
	Key   bool // the flag as the producer sets it
	Opens bool // a fragment begins with it
}

// Read reads a Matroska file with one video track, whose NAL units have lengths in front of them.
func Read(file []byte) (Clip, error) {
	var c Clip
	r := mkv.NewReader(bytes.NewReader(file))
	for {
		event, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return Clip{}, err
		}
		switch event := event.(type) {
		case *mkv.Track:
			c.Tracks = append(c.Tracks, *event)
		case *mkv.Frame:
			c.Blocks = append(c.Blocks, Block{
				Track: event.Track.Number, Time: event.Time, Data: bytes.Clone(event.Data), Key: event.Key, Opens: event.Key,
			})
		}
	}
	if len(c.Tracks) != 1 || len(c.Blocks) == 0 {
		return Clip{}, fmt.Errorf("forms: %d tracks and %d frames; one track with frames is needed", len(c.Tracks), len(c.Blocks))
	}
	return c, nil
}

// First keeps the first n blocks.
func (c Clip) First(n int) Clip {
	return Clip{Tracks: c.Tracks, Blocks: c.Blocks[:min(n, len(c.Blocks))]}
}

// sets are the parameter sets of the first track's CodecPrivate, and the bytes of a length.
func (c Clip) sets() (sets [][]byte, lengthSize int) {
	t := c.Tracks[0]
	if t.CodecID == mkv.CodecH265 {
		if config, err := mkv.ParseHVCC(t.CodecPrivate); err == nil {
			return slices.Concat(config.VPS, config.SPS, config.PPS), config.LengthSize
		}
	}
	config, err := mkv.ParseAVCC(t.CodecPrivate)
	if err != nil {
		panic("forms: the clip has no codec configuration: " + err.Error())
	}
	return slices.Concat(config.SPS, config.PPS), config.LengthSize
}

// each makes a clip of what f makes of every block.
func (c Clip) each(f func(b Block, units [][]byte) []Block) Clip {
	_, size := c.sets()
	out := Clip{Tracks: slices.Clone(c.Tracks)}
	for _, b := range c.Blocks {
		out.Blocks = append(out.Blocks, f(b, slices.Collect(mkv.Units(b.Data, size)))...)
	}
	return out
}

// with gives a block with these NAL units in it.
func (b Block) with(data []byte) Block {
	b.Data = data
	return b
}

// lengths writes NAL units with a length of four bytes in front of each.
func lengths(units ...[]byte) (data []byte) {
	for _, unit := range units {
		data = binary.BigEndian.AppendUint32(data, uint32(len(unit)))
		data = append(data, unit...)
	}
	return data
}

// startCodes writes NAL units in Annex B's form, with so many further zeros in front of the first.
func startCodes(zeros int, units ...[]byte) []byte {
	data := make([]byte, zeros)
	for _, unit := range units {
		data = append(data, 0, 0, 0, 1)
		data = append(data, unit...)
	}
	return data
}

// private gives the clip another CodecPrivate.
func (c Clip) private(p []byte) Clip {
	c.Tracks = slices.Clone(c.Tracks)
	c.Tracks[0].CodecPrivate = p
	return c
}

// emptyConfig is the CodecPrivate of avc3 and hev1: it says the length size and has no parameter sets.
func (c Clip) emptyConfig() []byte {
	p := c.Tracks[0].CodecPrivate
	if c.Tracks[0].CodecID == mkv.CodecH265 {
		return append(bytes.Clone(p[:22]), 0)
	}
	return append(bytes.Clone(p[:5]), 0xE0, 0)
}

// AnnexB has start codes, parameter sets in front of key frames and no CodecPrivate. zeros are further ones in front
// of the first start code, as some cameras send them.
func AnnexB(c Clip, zeros int) Clip {
	sets, _ := c.sets()
	return c.each(func(b Block, units [][]byte) []Block {
		if b.Opens {
			units = slices.Concat(sets, units)
		}
		return []Block{b.with(startCodes(zeros, units...))}
	}).private(nil)
}

// ConfigAndAnnexB has its parameter sets in an avcC or hvcC alone, and frames in Annex B's form.
func ConfigAndAnnexB(c Clip) Clip {
	return c.each(func(b Block, units [][]byte) []Block { return []Block{b.with(startCodes(0, units...))} })
}

// NoSets has no parameter sets anywhere, so that nobody can decode it.
func NoSets(c Clip) Clip { return ConfigAndAnnexB(c).private(nil) }

// LateSets has its parameter sets in band from the fragment numbered n on, counted from 0, and nowhere before.
func LateSets(c Clip, n int) Clip {
	sets, _ := c.sets()
	fragment := -1
	return c.each(func(b Block, units [][]byte) []Block {
		if b.Opens {
			if fragment++; fragment >= n {
				units = slices.Concat(sets, units)
			}
		}
		return []Block{b.with(startCodes(0, units...))}
	}).private(nil)
}

// InBand has lengths, a configuration without parameter sets, and the sets in front of key frames: avc3 and hev1.
func InBand(c Clip) Clip {
	sets, _ := c.sets()
	return c.each(func(b Block, units [][]byte) []Block {
		if b.Opens {
			units = slices.Concat(sets, units)
		}
		return []Block{b.with(lengths(units...))}
	}).private(c.emptyConfig())
}

// SetsApart has every parameter set in a block of its own, without a key flag, in front of the key frame. annexB says
// in which form.
func SetsApart(c Clip, annexB bool) Clip {
	sets, _ := c.sets()
	write, private := lengths, c.emptyConfig()
	if annexB {
		write, private = func(units ...[]byte) []byte { return startCodes(0, units...) }, nil
	}
	return c.each(func(b Block, units [][]byte) (out []Block) {
		if b.Opens {
			for i, set := range sets {
				out = append(out, Block{Track: b.Track, Time: b.Time, Data: write(set), Opens: i == 0})
			}
		}
		b.Opens = false
		return append(out, b.with(write(units...)))
	}).private(private)
}

// SlicesApart has every slice in a block of its own, all of a picture with the same time. What comes before the first
// slice stays with it.
func SlicesApart(c Clip, annexB bool) Clip {
	sets, _ := c.sets()
	h265 := c.Tracks[0].CodecID == mkv.CodecH265
	write, private := lengths, c.Tracks[0].CodecPrivate
	if annexB {
		write, private = func(units ...[]byte) []byte { return startCodes(0, units...) }, nil
	}
	return c.each(func(b Block, units [][]byte) (out []Block) {
		var lead [][]byte
		if b.Opens && annexB {
			lead = sets
		}
		for _, unit := range units {
			if lead = append(slices.Clip(lead), unit); !isSlice(unit, h265) {
				continue
			}
			part := b.with(write(lead...))
			part.Opens, part.Key = b.Opens && len(out) == 0, b.Key && len(out) == 0
			out, lead = append(out, part), nil
		}
		return out
	}).private(private)
}

func isSlice(unit []byte, h265 bool) bool {
	if h265 {
		return unit[0]>>1&0x3F < 32
	}
	kind := unit[0] & 0x1F
	return kind >= 1 && kind <= 5
}

// VFW is declared as Video for Windows does, with the FourCC in a BITMAPINFOHEADER; the frames are in Annex B's form.
func VFW(c Clip) Clip {
	fourCC := "H264"
	if c.Tracks[0].CodecID == mkv.CodecH265 {
		fourCC = "HEVC"
	}
	out := AnnexB(c, 0)
	header := make([]byte, 40)
	t := &out.Tracks[0]
	binary.LittleEndian.PutUint32(header, 40)
	binary.LittleEndian.PutUint32(header[4:], uint32(t.Width))
	binary.LittleEndian.PutUint32(header[8:], uint32(t.Height))
	binary.LittleEndian.PutUint16(header[12:], 1)  // planes
	binary.LittleEndian.PutUint16(header[14:], 24) // bits of a pixel
	copy(header[16:], fourCC)
	t.CodecID, t.CodecPrivate = "V_MS/VFW/FOURCC", header
	return out
}

// WithTrack adds a further track with one block in front of every block that opens a fragment.
func WithTrack(c Clip, track mkv.Track, data []byte) Clip {
	out := Clip{Tracks: append(slices.Clone(c.Tracks), track)}
	for _, b := range c.Blocks {
		if b.Opens {
			out.Blocks = append(out.Blocks, Block{Track: track.Number, Time: b.Time, Data: data, Key: true, Opens: true})
			b.Opens = false
		}
		out.Blocks = append(out.Blocks, b)
	}
	return out
}

// Twice has the same video in two tracks, whose key frames come in turn.
func Twice(c Clip) Clip {
	second := c.Tracks[0]
	second.Number++
	second.Name = "second"
	out := Clip{Tracks: append(slices.Clone(c.Tracks), second)}
	for _, b := range c.Blocks {
		other := b
		other.Track, other.Opens = second.Number, false
		out.Blocks = append(out.Blocks, b, other)
	}
	return out
}

// AudioOnly has two tracks of sound and no picture, as Amazon Connect sends it.
func AudioOnly() Clip {
	track := func(number uint64, name string) mkv.Track {
		return mkv.Track{
			Number: number, Type: mkv.Audio, Name: name, CodecID: "A_AAC", SampleRate: 8000, Channels: 1,
			CodecPrivate: []byte{0x15, 0x88}, // AAC LC, 8 kHz, one channel
		}
	}
	c := Clip{Tracks: []mkv.Track{track(1, "AUDIO_FROM_CUSTOMER"), track(2, "AUDIO_TO_CUSTOMER")}}
	for i := range 100 {
		for n := range uint64(2) {
			c.Blocks = append(c.Blocks, Block{
				Track: n + 1, Time: time.Duration(i) * 128 * time.Millisecond, Data: []byte{0x01, 0x40, 0x20, 0x07}, Key: true, Opens: n == 0 && i%10 == 0,
			})
		}
	}
	return c
}
