package kvstest

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/mkv"
)

// TestCutClip divides a clip with sound, B-frames and a beginning that cannot be decoded.
func TestCutClip(t *testing.T) {
	sound := &mkv.Track{Number: 1, Type: mkv.Audio, CodecID: "A_PCM/INT/LIT", SampleRate: 8000, Channels: 1, BitDepth: 16}
	picture := &mkv.Track{Number: 2, Type: mkv.Video, CodecID: "V_TEST", Width: 64, Height: 64}
	var l Layout
	file := append(l.prologue(), l.description([]*mkv.Track{sound, picture})...)
	file = append(file, Layout{UnknownSize: true}.clusterHead(0, 0, 0)...)
	add := func(track *mkv.Track, at time.Duration, key bool) {
		file = append(file, l.write(block{track: track, frames: [][]byte{{byte(at / time.Millisecond)}}, key: key}, int16(at.Milliseconds()))...)
	}
	add(picture, 0, false) // its key frame is missing
	add(sound, 10*time.Millisecond, true)
	for _, key := range []time.Duration{40 * time.Millisecond, 200 * time.Millisecond} {
		add(picture, key, true)
		add(sound, key+10*time.Millisecond, true)
		add(picture, key+120*time.Millisecond, false)
		add(picture, key+40*time.Millisecond, false)
		add(picture, key+80*time.Millisecond, false)
	}
	source, err := ReadSource(file)
	if err != nil {
		t.Fatal(err)
	}
	if source.length != 320*time.Millisecond { // 8 pictures of 40 ms
		t.Errorf("the clip takes %v", source.length)
	}
	pieces := source.pieces(0)
	if len(pieces) != 2 || pieces[1].offset != 160*time.Millisecond {
		t.Fatalf("pieces %v", pieces)
	}
	for _, p := range pieces {
		var there []int64
		for _, b := range l.blocksOf(p.frames, p.offset) {
			there = append(there, b.there.Milliseconds())
		}
		if want := []int64{0, 10, 120, 120, 120}; !slices.Equal(there, want) {
			t.Errorf("frames are there after %v ms, want %v", there, want)
		}
	}
}

// TestLongPiece refuses what the timestamps of blocks cannot express.
func TestLongPiece(t *testing.T) {
	track := &mkv.Track{Number: 1, Type: mkv.Video, CodecID: "V_TEST"}
	l := Layout{UnknownSize: true}
	file := append(l.prologue(), l.description([]*mkv.Track{track})...)
	for i := range 5 {
		file = append(file, l.clusterHead(uint64(i)*10_000, 0, 0)...)
		file = append(file, l.write(block{track: track, frames: [][]byte{{1}}, key: i == 0}, 0)...)
	}
	if _, err := ReadSource(file); err == nil {
		t.Error("a clip of 40 seconds with one key frame was taken")
	}
	if _, err := ReadSource(bytes.Replace(file, []byte{0x81, 0, 0, 0}, []byte{0x81, 0, 0, 0x80}, -1)); err != nil {
		t.Errorf("with five key frames: %v", err)
	}
}
