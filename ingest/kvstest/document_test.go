package kvstest

import (
	"bytes"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edge-agent/edge-agent/ingest/kvstest/clip"
	"github.com/edge-agent/edge-agent/ingest/mkv"
)

const samplesFolder = "../../../shared/samples"

// samples are the captures of the service that the folder beside the project holds; the test is skipped without it.
func samples(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(samplesFolder, "*.mkv"))
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) == 0 {
		t.Skip("no captures beside the project")
	}
	var names []string
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

func sample(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(samplesFolder, name))
	if os.IsNotExist(err) {
		t.Skip("no captures beside the project")
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestServiceTagsAsCaptured writes the tags of real captures again: the bytes are the same.
func TestServiceTagsAsCaptured(t *testing.T) {
	for _, name := range samples(t) {
		file := sample(t, name)
		reader := mkv.NewReader(bytes.NewReader(file))
		n := 0
		for {
			event, err := reader.Next()
			if err != nil {
				break // one of the captures is cut short
			}
			tags, ok := event.(*mkv.Tags)
			if !ok || !strings.HasPrefix(tags.List[0].Name, "AWS_") {
				continue
			}
			n++
			if again := (Layout{}).tags(nil, tags.List, 0); !bytes.HasPrefix(file[tags.Offset:], again) {
				t.Errorf("%s: tags at %d are not those written: %v", name, tags.Offset, tags.List)
			}
		}
		if n == 0 {
			t.Errorf("%s: no tags of the service", name)
		}
	}
}

// TestLayoutAsCaptured compares order and sizes of elements with real captures: one of a producer that writes the size
// of its Clusters and one that does not.
func TestLayoutAsCaptured(t *testing.T) {
	for name, layout := range map[string]Layout{
		"output_get_media.mkv": {Tags: []mkv.Tag{{Name: "ENCODER", Value: "x"}}},
		"test_mixed_tags.mkv":  {UnknownSize: true, Time: WallTime},
	} {
		t.Run(name, func(t *testing.T) {
			captured, written := outline(t, sample(t, name)), outline(t, firstDocument(t, layout))
			if !slices.Equal(captured, written) {
				t.Errorf("captured %q\n written %q", captured, written)
			}
		})
	}
}

func TestClusterHead(t *testing.T) {
	for name, tt := range map[string]struct {
		layout Layout
		want   []byte
	}{
		"known size": {Layout{}, []byte{
			0x1F, 0x43, 0xB6, 0x75, // Cluster
			0x01, 0, 0, 0, 0, 0x01, 0x00, 0x04, // 65536 and the timestamp's 4
			0xE7, 0x82, 0x01, 0x2C, // Timestamp 300
		}},
		"unknown size": {Layout{UnknownSize: true}, []byte{
			0x1F, 0x43, 0xB6, 0x75, // Cluster
			0xFF,                   // unknown
			0xE7, 0x82, 0x01, 0x2C, // Timestamp 300
		}},
	} {
		if got := tt.layout.clusterHead(300, 0, 65536); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: % X, want % X", name, got, tt.want)
		}
	}
}

func TestBlocks(t *testing.T) {
	picture, sound := &mkv.Track{Number: 1, Type: mkv.Video}, &mkv.Track{Number: 200, Type: mkv.Audio}
	run := bytes.Repeat([]byte{7}, 255)
	for name, tt := range map[string]struct {
		layout Layout
		block  block
		want   []byte
	}{
		"key frame": {Layout{}, block{track: picture, frames: [][]byte{[]byte("data")}, key: true}, []byte{
			0xA3, 0x88, // SimpleBlock
			0x81, 0xFF, 0xF6, 0x80, // track 1, -10, key frame
			'd', 'a', 't', 'a',
		}},
		"group": {Layout{BlockGroups: true}, block{track: picture, frames: [][]byte{[]byte("d")}}, []byte{
			0xA0, 0x8A, // BlockGroup
			0xA1, 0x85, 0x81, 0xFF, 0xF6, 0x00, 'd', // Block
			0xFB, 0x81, 0xFF, // ReferenceBlock: the frame before
		}},
		"Xiph": {Layout{Lacing: XiphLacing}, block{track: sound, frames: [][]byte{run, []byte("ab"), []byte("c")}}, append(append([]byte{
			0xA3, 0x41, 0x0B, // SimpleBlock of 267 bytes
			0x40, 0xC8, 0xFF, 0xF6, 0x02, // track 200, Xiph
			0x02, 0xFF, 0x00, 0x02, // 3 frames: 255, 2 and the rest
		}, run...), "abc"...)},
		"fixed": {Layout{Lacing: FixedLacing}, block{track: sound, frames: [][]byte{[]byte("ab"), []byte("cd")}}, []byte{
			0xA3, 0x8A,
			0x40, 0xC8, 0xFF, 0xF6, 0x04, // fixed
			0x01, 'a', 'b', 'c', 'd',
		}},
		"EBML": {Layout{Lacing: EBMLLacing}, block{track: sound, frames: [][]byte{run, []byte("ab"), []byte("abc"), []byte("d")}}, append(append([]byte{
			0xA3, 0x41, 0x10, // SimpleBlock of 272 bytes
			0x40, 0xC8, 0xFF, 0xF6, 0x06, // EBML
			0x03, 0x40, 0xFF, 0x5F, 0x02, 0xC0, // 4 frames: 255, 253 less, 1 more, the rest
		}, run...), "ababcd"...)},
	} {
		if got := tt.layout.write(tt.block, -10); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: % X, want % X", name, got, tt.want)
		}
	}
}

// TestTracks writes tracks that are read as they were.
func TestTracks(t *testing.T) {
	want := []*mkv.Track{
		{Number: 1, Type: mkv.Video, Name: "front", CodecID: mkv.CodecH264, CodecPrivate: []byte{1, 2}, Width: 640, Height: 360, DefaultDuration: 40 * time.Millisecond},
		{Number: 2, Type: mkv.Audio, CodecID: "A_PCM/INT/LIT", SampleRate: 8000, Channels: 1, BitDepth: 16},
	}
	reader := mkv.NewReader(bytes.NewReader(append(Layout{}.prologue(), Layout{}.description(want)...)))
	var got []*mkv.Track
	for {
		event, err := reader.Next()
		if err != nil {
			break
		}
		if track, ok := event.(*mkv.Track); ok {
			got = append(got, track)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// firstDocument is the first fragment of a live stream.
func firstDocument(t *testing.T, layout Layout) []byte {
	t.Helper()
	source, err := ReadSource(clip.H264())
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLive("clock", source, StreamConfig{Layout: layout}, time.Unix(1e9, 0))
	if err != nil {
		t.Fatal(err)
	}
	return bytesOf(t, l, 0)
}

// outline names the elements of the first document, without those that producers may add: index, padding and tags.
func outline(t *testing.T, file []byte) []string {
	t.Helper()
	names := map[uint64]string{
		0x1A45DFA3: "EBML", 0x18538067: "Segment", 0x1549A966: "Info", 0x1654AE6B: "Tracks", 0x1254C367: "Tags",
		0x1F43B675: "Cluster",
	}
	var list []string
	for len(file) > 0 {
		id, n := readVint(file, false)
		size, m := readVint(file[n:], true)
		unknown, known := file[n:n+m], true
		if size == 1<<(7*m)-1 {
			size, known = 0, false
		}
		if names[id] == "EBML" && len(list) > 0 {
			break
		}
		element := file[n+m : n+m+int(size)]
		file = file[n+m+int(size):]
		switch {
		case names[id] == "Tags" && !bytes.Contains(element, []byte("AWS_")), names[id] == "":
		case !known:
			list = append(list, fmt.Sprintf("%s of unknown size %X", names[id], unknown))
		case names[id] == "Tags":
			for _, name := range regexp.MustCompile("AWS_[A-Z_]+").FindAll(element, -1) {
				list = append(list, string(name))
			}
		default:
			list = append(list, names[id])
		}
	}
	return list
}

// readVint reads an element's id or size, and how many bytes it takes.
func readVint(b []byte, mask bool) (uint64, int) {
	n := bits.LeadingZeros8(b[0]) + 1
	var v uint64
	for _, c := range b[:n] {
		v = v<<8 | uint64(c)
	}
	if mask {
		v &= 1<<(7*n) - 1
	}
	return v, n
}
